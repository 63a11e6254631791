/**
 * View invariants: one process run acts as primary of a view, and it is the one whose turn it is; a replica never goes back behind a view it voted in or
 * a log view it promised in, and neither do its manifests; a vote or a promise is sent only when both manifest copies on the medium say as much; two
 * votes of one replica for one view say the same, across restarts too (vote-stability.ts); no PrepareOk for what is not durable, or what the tail record on
 * the medium does not state; no vote nacks what its sender acknowledged in the vote's log view, or has another frame there.
 */
import { sameHash, toHex } from '../../engine/hash.ts';
import type { DurableLog } from '../durable-log.ts';
import type { DurableManifest } from '../durable-manifest.ts';
import type { DurableTail } from '../durable-tail.ts';
import type { DoViewChange, Message, PrepareOk } from '../../vsr/messages.ts';
import type { Observation, Observed } from '../observation.ts';
import { mustHold } from '../violation.ts';
import { contradiction } from './vote-stability.ts';

interface Actor {
  readonly id: number;
  readonly run: number;
}

interface Promised {
  view: number;
  logView: number;
  /** Newest acknowledgement, the highest of its view: view, last index and the hash there. */
  acked: { readonly view: number; readonly last: number; readonly hash: Uint8Array } | null;
}

/** Of a replica that has not said anything. */
const SILENT: Promised = { view: 0, logView: 0, acked: null };

export class ViewInvariants {
  private readonly logs: readonly DurableLog[];
  private readonly manifests: readonly Pick<DurableManifest, 'stored'>[];
  private readonly tails: readonly Pick<DurableTail, 'promised'>[];
  private highest = -1;
  private cuts = 0;
  private readonly actors = new Map<number, Actor>();
  private readonly promised: Promised[];
  /** Last vote of each replica, by replica and view. */
  private readonly votes = new Map<string, DoViewChange>();

  constructor(
    logs: readonly DurableLog[],
    manifests: readonly Pick<DurableManifest, 'stored'>[],
    tails: readonly Pick<DurableTail, 'promised'>[],
  ) {
    this.logs = logs;
    this.manifests = manifests;
    this.tails = tails;
    this.promised = logs.map(() => ({ ...SILENT }));
  }

  /** Views that began with less than the newest log of their votes had: nacks have settled it. */
  get cutByNacks(): number {
    return this.cuts;
  }

  /** Views in which somebody acted as primary. */
  get viewsActed(): number {
    return this.actors.size;
  }

  /** Highest view in which somebody acted; -1 for none. */
  get highestView(): number {
    return this.highest;
  }

  /** Its disk is lost: what comes back is another incarnation, bound by nothing that the old one said. */
  wiped(id: number): void {
    this.promised[id - 1] = { ...SILENT };
    for (const key of this.votes.keys()) if (key.startsWith(`${id}/`)) this.votes.delete(key);
  }

  /** A replica sends a message. */
  sends(replica: Observed, message: Message): void {
    this.checkStored(replica, message);
    switch (message.type) {
      case 'prepare':
      case 'commit':
      case 'startView':
        return this.acts(replica, message.view, message.type);
      case 'prepareOk':
        return this.promises(replica, message);
      case 'doViewChange':
        return this.votesFor(replica, message);
      default:
    }
  }

  /** Looked at after each step. */
  step(replica: Observed, seen: Observation): void {
    if (seen.acting) this.acts(replica, seen.view, 'status');
    const { view, logView } = this.promised[replica.id - 1]!;
    if (seen.view >= view && seen.logView >= logView && seen.logView <= seen.view) return;
    mustHold(seen.view >= view, 'view', 'views-never-go-back', () => {
      return `r${replica.id} is in view ${seen.view} after it voted for view ${view}`;
    });
    mustHold(seen.logView >= logView, 'view', 'log-views-never-go-back', () => {
      return `r${replica.id} has log view ${seen.logView} after it promised frames in view ${logView}`;
    });
    mustHold(seen.logView <= seen.view, 'view', 'log-view-is-not-above-view', () => {
      return `r${replica.id} has log view ${seen.logView} in view ${seen.view}`;
    });
  }

  /** What the message promises about views is durable in both copies. */
  private checkStored(replica: Observed, message: Message): void {
    const { type, view } = message;
    const asNormal = type === 'prepareOk' || type === 'prepare' || type === 'commit' || type === 'startView';
    if (!asNormal && type !== 'doViewChange') return;
    const stored = this.manifests[replica.id - 1]!.stored();
    mustHold((asNormal ? stored.logView : stored.view) >= view, 'view', 'views-are-durable-before-promises', () => {
      return `r${replica.id} sends ${type} of view ${view}; its manifests on the medium say view ${stored.view}, log view ${stored.logView}`;
    });
  }

  private acts(replica: Observed, view: number, what: string): void {
    const actor = this.actors.get(view);
    if (actor === undefined) {
      if (this.cutsSuffix(replica, view)) this.cuts++;
      const turn = 1 + (view % this.logs.length);
      mustHold(replica.id === turn, 'view', 'the-primary-of-a-view-is-given', () => {
        return `r${replica.id} acts as primary of view ${view} (${what}), which is r${turn}'s`;
      });
      this.actors.set(view, { id: replica.id, run: replica.run });
      this.highest = Math.max(this.highest, view);
      return;
    }
    if (actor.id === replica.id && actor.run === replica.run) return;
    mustHold(false, 'view', 'one-acting-primary-a-view', () => {
      return (
        `r${replica.id} in its process run ${replica.run} acts as primary of view ${view} (${what}), ` +
        `in which run ${actor.run} of r${actor.id} has acted before`
      );
    });
  }

  /** The acting primary's log ends below that of the vote which defined it. */
  private cutsSuffix(replica: Observed, view: number): boolean {
    let best: DoViewChange | null = null;
    for (let id = 1; id <= this.logs.length; id++) {
      const vote = this.votes.get(`${id}/${view}`);
      if (vote === undefined) continue;
      const newer =
        best === null || vote.logView > best.logView || (vote.logView === best.logView && vote.head > best.head);
      if (newer) best = vote;
    }
    return best !== null && replica.observe().last < best.head;
  }

  private promises(replica: Observed, message: PrepareOk): void {
    const log = this.logs[replica.id - 1]!;
    // What a durable checkpoint covers is in a snapshot.
    const { checkpoint } = this.manifests[replica.id - 1]!.stored();
    if (message.last > checkpoint) this.promisesFrames(replica, message, log, checkpoint);
    const promised = this.promised[replica.id - 1]!;
    promised.view = Math.max(promised.view, message.view);
    promised.logView = Math.max(promised.logView, message.view);
    const { acked } = promised;
    if (acked === null || message.view > acked.view || (message.view === acked.view && message.last > acked.last))
      promised.acked = { view: message.view, last: message.last, hash: message.hash };
  }

  private promisesFrames(replica: Observed, message: PrepareOk, log: DurableLog, checkpoint: number): void {
    const first = Math.max(message.first, checkpoint + 1);
    const { last, hash } = message;
    const inRun = log.has(last, hash);
    const behindGap = !inRun && log.standsBehindGap(first, last, hash);
    mustHold(inRun || behindGap, 'durability', 'no-prepare-ok-for-what-is-not-durable', () => {
      const found = log.hashAt(message.last);
      return `r${replica.id} promises ${message.first}..${message.last} with ${toHex(message.hash)}; on its medium at ${message.last} there is ${found === null ? 'nothing' : toHex(found)}`;
    });
    mustHold(behindGap || log.hashAt(first) !== null, 'durability', 'no-prepare-ok-for-what-is-not-durable', () => {
      return `r${replica.id} promises ${message.first}..${message.last}, its medium has nothing intact at ${first}`;
    });
    const stated = this.tails[replica.id - 1]!.promised();
    mustHold(stated >= message.last, 'durability', 'no-prepare-ok-before-its-tail-record', () => {
      return `r${replica.id} promises ${message.first}..${message.last}, its tail record on the medium says ${stated}`;
    });
  }

  private votesFor(replica: Observed, vote: DoViewChange): void {
    const promised = this.promised[replica.id - 1]!;
    promised.view = Math.max(promised.view, vote.view);
    this.keepsAcknowledged(replica, promised, vote);
    const key = `${replica.id}/${vote.view}`;
    const before = this.votes.get(key);
    this.votes.set(key, vote);
    if (before === undefined) return;
    const same =
      before.logView === vote.logView && before.head === vote.head && sameHash(before.headHash, vote.headHash);
    mustHold(same, 'view', 'one-vote-a-view', () => {
      const word = (v: DoViewChange): string =>
        `log view ${v.logView}, head ${v.head} ${toHex(v.headHash).slice(0, 8)}`;
      return `r${replica.id} voted twice for view ${vote.view}: ${word(before)}, then ${word(vote)}`;
    });
    const unstable = contradiction(before, vote);
    mustHold(unstable === null, 'view', 'one-vote-a-view', () => {
      return `r${replica.id} voted twice for view ${vote.view} (log view ${vote.logView}, head ${vote.head}): ${unstable}`;
    });
  }

  /** Nothing is nacked that this replica acknowledged in the log view of its vote: no StartView has replaced it since. */
  private keepsAcknowledged(replica: Observed, { acked }: Promised, vote: DoViewChange): void {
    if (acked === null || acked.view !== vote.logView) return;
    mustHold(vote.promised >= acked.last, 'durability', 'no-nack-of-what-was-acknowledged', () => {
      return (
        `r${replica.id} votes for view ${vote.view} as one that never had what is above ${vote.promised}; ` +
        `in view ${acked.view} it acknowledged ${acked.last} (${toHex(acked.hash).slice(0, 8)})`
      );
    });
    const states = acked.last === vote.head ? vote.headHash : vote.headers.hashIfAny(acked.last);
    mustHold(states === null || sameHash(states, acked.hash), 'durability', 'no-nack-of-what-was-acknowledged', () => {
      return (
        `r${replica.id} votes for view ${vote.view} with ${toHex(states!)} at ${acked.last}; ` +
        `in view ${acked.view}, its log view still, it acknowledged ${toHex(acked.hash)}`
      );
    });
  }
}
