'use client';
import { Check, Copy } from 'lucide-react';
import { useState } from 'react';
import { shortHash } from '../lib/format.ts';

/** A hash in short form; a click copies all of it. */
export function Hash({ value, full = false }: { value: string; full?: boolean }) {
  const [copied, setCopied] = useState(false);
  if (value === '') return <span className="text-faint">–</span>;
  const copy = () => {
    navigator.clipboard
      ?.writeText(value)
      .then(() => {
        setCopied(true);
        setTimeout(() => setCopied(false), 1200);
      })
      .catch(() => {});
  };
  return (
    <button
      type="button"
      onClick={copy}
      title={`${value}\nclick to copy`}
      aria-label={`${full ? value : shortHash(value)}, copy the whole hash`}
      className="group inline-flex min-h-6 items-center gap-1 rounded font-mono text-xs text-muted hover:text-text"
    >
      <span className={full ? 'text-left break-all' : ''}>{full ? value : shortHash(value)}</span>
      {copied ? (
        <Check size={12} aria-hidden className="tone-ok shrink-0" />
      ) : (
        <Copy
          size={12}
          aria-hidden
          className="shrink-0 opacity-0 group-hover:opacity-70 group-focus-visible:opacity-70"
        />
      )}
    </button>
  );
}
