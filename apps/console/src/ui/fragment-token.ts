/** The login token of the printed link. It stands in the fragment, which no browser sends to a server. */

/** Token of `#token=...`, taken out of the address bar and the history entry at once; null when there is none. */
export function takeFragmentToken(): string | null {
  const match = /^#token=(.+)$/.exec(window.location.hash);
  if (!match) return null;
  window.history.replaceState(null, '', window.location.pathname + window.location.search);
  return decodeURIComponent(match[1]!);
}

/** Trades the token for the session cookie; rejects with the server's words. */
export async function trade(token: string): Promise<void> {
  const response = await fetch('/api/login', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  if (response.ok) return;
  const answer = (await response.json().catch(() => null)) as { message?: string } | null;
  throw new Error(answer?.message ?? `login failed (${response.status})`);
}
