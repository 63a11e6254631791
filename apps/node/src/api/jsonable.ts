/**
 * Values of an application as JSON for people: bigints as decimal strings, bytes as base64, dates as ISO text, maps as lists of pairs.
 *
 * Invariants: own enumerable keys only, copied to objects without prototype trouble; depth is bounded.
 */
const DEPTH_MAX = 32;

export function jsonable(value: unknown, depth = 0): unknown {
  if (depth > DEPTH_MAX) return '(nested too deeply)';
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (value === undefined) return null;
  if (value instanceof Uint8Array)
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Array.isArray(value)) return value.map((item) => jsonable(item, depth + 1));
  if (value instanceof Map) return [...value].map(([k, v]) => [jsonable(k, depth + 1), jsonable(v, depth + 1)]);
  if (typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonable(item, depth + 1)]));
  }
  return `(${typeof value})`;
}
