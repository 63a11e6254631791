/**
 * State invariants: equal applied index, equal execution digest, on every replica and after every restart; a command reaches the application
 * exactly when the canonical log says so; snapshots of one index are equal byte for byte.
 */
import { sameHash, toHex } from '../../engine/hash.ts';
import type { CanonicalLog } from '../canonical.ts';
import type { Observation, Observed } from '../observation.ts';
import { mustHold } from '../violation.ts';

interface Seen {
  run: number;
  applied: number;
}

export class StateInvariants {
  private readonly canonical: CanonicalLog;
  private readonly digests: (Uint8Array | undefined)[] = [];
  private readonly snapshots = new Map<number, { readonly hash: Uint8Array; readonly by: number }>();
  private readonly seen = new Map<number, Seen>();
  /** Indexes that reached the application since the last look, by replica. */
  private pending: { replica: Observed; index: number; session: number; version: number }[] = [];

  constructor(canonical: CanonicalLog) {
    this.canonical = canonical;
  }

  /** A command reached the application of a replica, to be run as `version` of it. */
  executes(replica: Observed, index: number, session: number, version: number): void {
    this.pending.push({ replica, index, session, version });
  }

  /** Something was executed that `step` has not looked at. */
  get waiting(): boolean {
    return this.pending.length > 0;
  }

  step(replica: Observed, seen: Observation): void {
    if (this.pending.length > 0) this.checkExecuted();
    const last = this.seen.get(replica.id);
    if (seen.applied < 0 || (last !== undefined && last.run === replica.run && last.applied === seen.applied)) return;
    this.seen.set(replica.id, { run: replica.run, applied: seen.applied });
    const digest = seen.digest();
    const known = this.digests[seen.applied];
    if (known === undefined) this.digests[seen.applied] = digest;
    else {
      mustHold(sameHash(known, digest), 'state', 'equal-applied-equal-digest', () => {
        return `r${replica.id} has digest ${toHex(digest)} at ${seen.applied}, elsewhere it was ${toHex(known)}`;
      });
    }
  }

  /** A snapshot file as one machine was made to hold it; `hash` is of all its bytes. */
  snapshot(replica: Observed, index: number, hash: Uint8Array): void {
    const known = this.snapshots.get(index);
    if (known === undefined) this.snapshots.set(index, { hash, by: replica.id });
    else {
      mustHold(sameHash(known.hash, hash), 'state', 'snapshots-are-equal', () => {
        return `snapshot ${index} of r${replica.id} differs from that of r${known.by}`;
      });
    }
  }

  private checkExecuted(): void {
    const { pending } = this;
    this.pending = [];
    for (const { replica, index, session, version } of pending) {
      const entry = this.canonical.entries[index];
      mustHold(entry !== undefined, 'log', 'only-committed-entries-are-applied', () => {
        return `r${replica.id} applied ${index}, committed is ${this.canonical.last}`;
      });
      mustHold(entry.executed && entry.session === session, 'state', 'a-command-is-applied-once', () => {
        return (
          `r${replica.id} gave entry ${index} (number ${entry.request} of session ${entry.session}) to the application, ` +
          `but that number was settled by entry ${this.canonical.outcome(entry.session, entry.request)?.index ?? 'none'}`
        );
      });
      mustHold(entry.version === version, 'state', 'commands-run-as-the-active-version', () => {
        return `r${replica.id} ran entry ${index} as version ${version}, active is ${entry.version}`;
      });
    }
  }
}
