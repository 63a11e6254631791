/**
 * Resource invariants: what a replica holds for others is bounded by the constants that its configuration, or the protocol, states, whatever the others do.
 *
 * Looked at once a tick: what waits there has been let in.
 */
import { OUTBOX_PENDING_MAX } from '../../kernel/outbox.ts';
import type { Replica } from '../../replica.ts';
import { PART_BYTES_MAX } from '../../replica-transfer.ts';
import { STASH_MAX } from '../../vsr/normal.ts';
import { SNAPSHOTS_REPORTED_MAX, type Message } from '../../vsr/messages.ts';
import { OWN_ENTRIES_MAX } from '../../vsr/requests.ts';
import type { Profile } from '../profile.ts';
import { Violation } from '../violation.ts';

export class ResourceInvariants {
  private readonly limits: Profile['limits'];

  constructor(limits: Profile['limits']) {
    this.limits = limits;
  }

  look(id: number, replica: Replica): void {
    const { state: n } = replica.node;
    const { executor } = replica;
    const { queueMax, queueBytesMax, batchesInFlightMax, pipelineMax } = n.config;
    const { primary, requests } = n;
    within(id, 'requests that wait', requests.clients, queueMax);
    within(id, 'bytes of requests that wait', requests.clientBytes, queueBytesMax);
    within(id, 'entries of its own that wait', requests.own, OWN_ENTRIES_MAX);
    within(id, 'requests ahead of their turn', requests.parked, queueMax);
    within(id, 'bytes of requests ahead of their turn', requests.parkedByteCount, queueBytesMax);
    within(id, 'Prepares ahead of the log', n.stash.length, STASH_MAX);
    within(id, 'members that vote', n.votes.size, n.members.length);
    within(id, 'sessions', executor.sessionCount, this.limits.sessionsMax);
    within(id, 'idempotency keys', executor.keyCount, this.limits.keysMax);
    within(id, 'pending effects', executor.outbox.pendingCount, OUTBOX_PENDING_MAX);
    within(id, 'snapshots', n.snapshots.held.length + n.snapshots.damaged.length, SNAPSHOTS_REPORTED_MAX);
    if (primary === null) return;
    within(id, 'batches in flight', primary.inFlight.length, batchesInFlightMax);
    within(id, 'held requests', primary.heldRequests.length, queueMax);
    within(id, 'bytes of held requests', primary.heldBytes, queueBytesMax);
    within(id, 'reads', primary.reads.length + primary.heldReads.length, queueMax);
    within(id, 'bytes of reads', primary.readBytes, queueBytesMax);
    within(id, 'entries between commit and head', n.end - n.commitHeard, pipelineMax);
  }

  /** What one message gives to somebody who catches up. */
  sends(id: number, message: Message): void {
    if (message.type === 'snapshotPart')
      within(id, 'bytes of a part of a snapshot', message.bytes.length, PART_BYTES_MAX);
  }
}

function within(id: number, what: string, used: number, limit: number): void {
  if (used > limit) exceeded(id, what, used, limit);
}

// Apart from `within`: what a closure captures is allocated when its function begins, also where it is never made.
function exceeded(id: number, what: string, used: number, limit: number): never {
  throw new Violation('replica', 'every-bound-holds', `r${id} has ${used} ${what}, its bound is ${limit}`);
}
