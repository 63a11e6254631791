/** Numbers, times and hashes as people read them. One locale, so that the server's page equals the browser's. */

/** Groups the digits of a decimal string or number: 184220 -> 184,220. None is a dash. */
export function count(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  const text = typeof value === 'number' ? String(Math.round(value)) : value;
  return text.replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** "0.4 s", "12 s", "12 min", "3 h", "4 d". */
export function duration(ms: number): string {
  if (ms < 9_950) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  if (ms < 99_500) return `${Math.round(ms / 1000)} s`;
  if (ms < 5_400_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 129_600_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

export function rate(perSecond: number | null): string {
  if (perSecond === null) return '–';
  return perSecond < 10 && perSecond > 0 ? perSecond.toFixed(1) : count(perSecond);
}

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = n;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** First 8 digits of a hash; the whole hash belongs in a title or a copy button. */
export function shortHash(hash: string): string {
  return hash.slice(0, 8);
}

/** HH:MM:SS.mmm in the viewer's zone. */
export function timeOfDay(ms: number): string {
  const date = new Date(ms);
  const pad = (n: number, width = 2) => String(n).padStart(width, '0');
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

/** Full, unambiguous: for titles and copies. */
export function absoluteTime(ms: number): string {
  return new Date(ms).toISOString();
}
