'use client';
import { KeyRound } from 'lucide-react';
import { useEffect, useState } from 'react';
import { takeFragmentToken, trade } from './fragment-token.ts';
import { Mark } from './mark.tsx';

/** For a browser without a session: trades the token of the printed link, or says how to get one. */
export function Login() {
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    const token = takeFragmentToken();
    if (token === null) return;
    setBusy(true);
    trade(token)
      .then(() => window.location.reload())
      .catch((error: Error) => {
        setProblem(error.message);
        setBusy(false);
      });
  }, []);
  return (
    <main className="mx-auto flex min-h-dvh max-w-md flex-col justify-center gap-5 px-6">
      <div className="flex items-center gap-2.5 text-base font-semibold tracking-tight">
        <Mark /> Chronon
      </div>
      <section className="rounded-lg border border-line bg-surface p-6">
        <h1 className="flex items-center gap-2 text-base font-semibold">
          <KeyRound size={16} aria-hidden /> {busy ? 'Signing in…' : 'This browser has no session'}
        </h1>
        {problem && (
          <p role="alert" className="tone-bad soft mt-3 rounded-md px-3 py-2">
            {problem}
          </p>
        )}
        {!busy && (
          <>
            <p className="mt-3 text-muted">
              Run this where the cluster runs, and open the link that it prints. A link works once.
            </p>
            <pre className="mt-3 overflow-x-auto rounded-md border border-line bg-raised px-3 py-2.5 font-mono text-xs">
              npx --no-install chronon console
            </pre>
          </>
        )}
      </section>
    </main>
  );
}
