/** How loud the process log is about an event of the replica. */
import type { ReplicaEvent } from '@chronon/core/replica-contract';

/** Level of an event in the process log; null: too frequent to be logged. */
export function eventLevel(event: ReplicaEvent): 'info' | 'warn' | 'error' | null {
  switch (event.kind) {
    case 'effect':
      return event.state === 'dead' ? 'warn' : null;
    case 'suspect':
    case 'abdicate':
    case 'space':
    case 'truncate':
    case 'damage':
      return 'warn';
    case 'diverged':
    case 'quarantine':
    case 'data-loss':
      return 'error';
    default:
      return 'info';
  }
}
