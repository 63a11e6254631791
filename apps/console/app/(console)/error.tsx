'use client';
import { Button } from '../../src/ui/parts.tsx';

/** A page that broke says so and offers to start again; the frame around it stays live. */
export default function PageError({ error, reset }: { error: Error & { digest?: string }; reset: () => void }) {
  return (
    <section className="rounded-lg border border-line bg-surface p-6" role="alert">
      <h1 className="text-base font-semibold">This page failed</h1>
      <p className="mt-2 font-mono text-xs break-words text-muted">
        {error.message}
        {error.digest && ` (${error.digest})`}
      </p>
      <Button className="mt-4" onClick={reset}>
        Try again
      </Button>
    </section>
  );
}
