import Link from 'next/link';

export default function NotFound() {
  return (
    <main className="mx-auto flex min-h-dvh max-w-md flex-col justify-center gap-3 px-6">
      <h1 className="text-lg font-semibold">There is no such page</h1>
      <p className="text-muted">
        Back to the{' '}
        <Link href="/" className="font-medium text-accent underline">
          overview
        </Link>
        .
      </p>
    </main>
  );
}
