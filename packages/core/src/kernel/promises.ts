/**
 * Promises that an application returned where none is taken. They are refused, and what becomes of them later is nobody's concern: a rejection that nobody takes
 * would end the process, at every replay again, on all replicas.
 */
export function disown(value: unknown): void {
  if (value instanceof Promise) value.catch(() => undefined);
}
