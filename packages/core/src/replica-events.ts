/**
 * What a replica tells of itself while it runs, in words: the lines of the live subscription (of the daemon and of the simulator in a browser) and of
 * the process log.
 *
 * Invariants: seq rises by one; at most `capacity` events are held; a reader that fell behind learns how many it missed.
 */
import type { ReplicaEvent } from './replica-contract.ts';

/** One event as a person reads it. */
export interface EventLine {
  /** Rising per process run. */
  readonly seq: number;
  readonly atMs: number;
  readonly replica: number;
  readonly kind: string;
  readonly text: string;
}

export const EVENTS_MAX = 4096;

/** The last events of one process run, numbered. */
export class EventRing {
  /** Seq of the newest event; 0 before the first. */
  last = 0;
  private readonly events: EventLine[] = [];
  private readonly replica: number;
  private readonly wallMs: () => number;
  private readonly capacity: number;

  constructor(replica: number, wallMs: () => number, capacity: number = EVENTS_MAX) {
    this.replica = replica;
    this.wallMs = wallMs;
    this.capacity = capacity;
  }

  add(kind: string, text: string): EventLine {
    const event: EventLine = { seq: ++this.last, atMs: this.wallMs(), replica: this.replica, kind, text };
    this.events[(event.seq - 1) % this.capacity] = event;
    return event;
  }

  /** Up to `max` events after `seq`, oldest first, and how many after `seq` are lost for good. */
  after(seq: number, max: number): { readonly events: EventLine[]; readonly dropped: number } {
    const oldest = Math.max(1, this.last - this.capacity + 1);
    const from = Math.max(seq + 1, oldest, this.last - max + 1);
    const events: EventLine[] = [];
    for (let n = from; n <= this.last; n++) events.push(this.events[(n - 1) % this.capacity]!);
    return { events, dropped: Math.max(0, from - seq - 1) };
  }
}

const REMEDY_TEXT = {
  peers: 'it is asked of the other replicas',
  rewritten: 'it is written again',
  replaced: 'it is not used any more until it is fetched again; if nobody has it, new ones are taken',
} as const;

/** An event of the replica in words. */
export function eventText(event: ReplicaEvent): string {
  switch (event.kind) {
    case 'status':
      return `status ${event.status} in view ${event.view}`;
    case 'view':
      return `view ${event.view}, primary r${event.primary}`;
    case 'suspect':
      return `suspects the primary of view ${event.view}: ${event.why}`;
    case 'abdicate':
      return `steps down from view ${event.view}: ${event.why}`;
    case 'join':
      return `asks which of ${event.from}..${event.to} are in the log of view ${event.view}`;
    case 'truncate':
      return `drops ${event.from}..${event.to}, which are not in the log of the new view`;
    case 'repair':
      return `repaired ${event.from}..${event.to}`;
    case 'snapshot':
      return `snapshot at ${event.index}`;
    case 'restart':
      return `restarted from snapshot ${event.snapshot < 0 ? 'none' : event.snapshot}, log through ${event.end < 0 ? 'none' : event.end}`;
    case 'install':
      return `goes on from the snapshot at ${event.index}, fetched from another replica`;
    case 'mended':
      return event.how === 'fetched'
        ? `the damaged snapshot at ${event.index} is whole again, fetched from another replica`
        : `the damaged snapshot at ${event.index} is superseded by newer ones`;
    case 'compact':
      return `the log begins at ${event.first} now`;
    case 'quarantine':
      return `quarantined at ${event.index}: ${event.why}`;
    case 'diverged':
      return `execution digest at ${event.index} differs from that of r${event.peer}`;
    case 'data-loss':
      return `E_DATA_LOSS: index ${event.index}: ${event.why}`;
    case 'identity':
      return `generation ${event.generation}, incarnations ${event.incarnations.join(', ')}`;
    case 'effect':
      return `effect ${event.id.slice(0, 8)} ${event.state}`;
    case 'space':
      return event.full ? 'no space for the log: read-only' : 'space for the log again';
    case 'version':
      return event.ran
        ? `version ${event.version} of the application is active from index ${event.index} on`
        : `version ${event.version} of the application is not active: its migration threw at index ${event.index}`;
    case 'damage':
      return `damaged: ${event.file}${event.index === null ? '' : ` index ${event.index}`}: ${event.fault}; ${REMEDY_TEXT[event.remedy]}`;
  }
}
