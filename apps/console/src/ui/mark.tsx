/** The product's mark: three log lanes, one ahead. */
export function Mark({ size = 20 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 20 20" aria-hidden className="shrink-0">
      <path d="M3 5h9M3 10h14M3 15h6" stroke="var(--accent)" strokeWidth="2.4" strokeLinecap="round" />
      <circle cx="16.4" cy="5" r="1.8" fill="var(--ok)" />
    </svg>
  );
}
