/**
 * The contract between the SideEffectManager and whatever reaches the outside. A sink runs one effect and says once how that ended.
 *
 * Invariant: `key` is stable over retries, views and replicas; `fence` never goes back within one cluster; a sink that has seen a fence refuses
 * only a strictly smaller one. `index` is information and is not compared.
 */

/** Order of fences: generation (raised by restore from a backup), then view. */
export interface Fence {
  readonly generation: number;
  readonly view: number;
}

/** Negative, zero or positive as `a` is before, equal to or behind `b`. */
export function compareFences(a: Fence, b: Fence): number {
  return a.generation === b.generation ? a.view - b.view : a.generation - b.generation;
}

/** Tells a running effect that nobody waits for it any more. The daemon turns it into an AbortSignal. */
export class CancelSignal {
  aborted = false;
  private listener: (() => void) | null = null;

  /** Called once, at once when it is too late. */
  onAbort(listener: () => void): void {
    if (this.aborted) listener();
    else this.listener = listener;
  }

  abort(): void {
    if (this.aborted) return;
    this.aborted = true;
    this.listener?.();
  }
}

/** One attempt at one effect. */
export interface EffectRun {
  /** Effect id: 32 hex digits. */
  readonly key: string;
  readonly fence: Fence;
  readonly index: number;
  readonly channel: string;
  readonly payload: Uint8Array;
  /** From 1. */
  readonly attempt: number;
  readonly signal: CancelSignal;
}

/** Runs one effect and calls `done` exactly once: null when it happened (or had happened before), else why not. May call it at once. */
export interface EffectSink {
  readonly name: string;
  run(effect: EffectRun, done: (error: string | null) => void): void;
}
