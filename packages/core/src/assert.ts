/**
 * The one place where invariants are enforced. Assertions stay on in production: a replica that finds itself in an
 * impossible state stops (fail-stop beats wrong, TIGER_STYLE).
 */

/** Thrown by {@link assert}. Never caught inside a replica: the composition root turns it into a halt. */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
  readonly code = 'E_ASSERT';
}

/** Halts unless `condition` holds. `message` says what must be true. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}

/** For the default branch of a switch over a closed union. */
export function unreachable(value: never): never {
  throw new AssertionFailure(`unreachable value ${String(value)}`);
}
