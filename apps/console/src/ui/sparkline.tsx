/** Bars of the last 60 s; a gap is where nothing was observed, never a made-up value. */
export function Sparkline({
  values,
  label,
  width = 240,
  height = 36,
}: {
  values: readonly (number | null)[];
  label: string;
  width?: number;
  height?: number;
}) {
  const top = Math.max(1, ...values.map((value) => value ?? 0));
  const step = width / Math.max(1, values.length);
  return (
    <svg
      viewBox={`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
      className="h-9 w-full"
    >
      <line x1="0" x2={width} y1={height - 0.5} y2={height - 0.5} stroke="var(--line-strong)" strokeWidth="1" />
      {values.map((value, i) => {
        if (value === null) return null;
        const tall = value === 0 ? 1 : Math.max(1.5, (value / top) * (height - 2));
        return (
          <rect
            key={i}
            x={i * step + 0.5}
            y={height - tall}
            width={Math.max(0.5, step - 1)}
            height={tall}
            fill={value === 0 ? 'var(--line-strong)' : 'var(--accent)'}
          />
        );
      })}
    </svg>
  );
}
