/**
 * Snapshot transfer between replicas (docs/protocol.md, "Recovery, repair, state transfer"): giving parts of confirmed snapshots to peers, and fetching one when the
 * log that peers hold begins above the own end, or when the file of an own one is damaged.
 *
 * Invariants: only a confirmed snapshot is given or fetched; one part is asked for at a time, and so many are given a tick at most, so that the normal path is never
 * flooded; what is being sent is pinned until it has been idle for a bound; a peer that is silent or gives wrong bytes is left for another,
 * and so is a snapshot that only silent ones have.
 */
import type { FrameCodec } from './engine/frame-codec.ts';
import { sameHash } from './engine/hash.ts';
import type { Snapshot } from './engine/snapshot-file.ts';
import { SnapshotPart } from './engine/snapshot-part.ts';
import { snapshotPath } from './engine/snapshot-path.ts';
import { DiskFailure, type DiskFile, type VirtualDisk } from './engine/virtual-disk.ts';
import type { GetSnapshot, Message, SnapshotPart as PartMessage } from './vsr/messages.ts';
import { damagedSnapshot, mayInstall, type WantedSnapshot, wantedSnapshot } from './vsr/snapshots.ts';
import type { NodeState } from './vsr/state.ts';

/** Parts given in one tick, all peers together: 25 MB/s at 128 KiB and 10 ms. */
const PARTS_PER_TICK = 2;
/** Longest part that is given, in bytes. */
export const PART_BYTES_MAX = 1024 * 1024;
/** A snapshot that nobody has asked for so long is not pinned any more, in ticks. */
const PIN_TICKS = 500;
/** A peer that has not answered for so long is left for another, in ticks. */
const PATIENCE_TICKS = 50;
/** After a disk error, or a snapshot that cannot be restored, in ticks. */
const PAUSE_TICKS = 500;

export interface TransferPort {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly clusterId: Uint8Array;
  readonly node: () => NodeState;
  readonly send: (to: number, message: Message) => void;
  /** Runs a task of a disk callback; whatever it throws stops the replica. */
  readonly guarded: (task: () => void) => void;
  /** Makes the snapshot the replica's state; false when it is of another application. */
  readonly install: (snapshot: Snapshot) => boolean;
  /** The file of the damaged snapshot at `index` is whole again. */
  readonly mended: (index: number) => void;
  readonly note: (text: string) => void;
}

/** The snapshot being fetched. */
interface Fetch {
  readonly part: SnapshotPart;
  /** Only the file is wanted: the own one is damaged. */
  readonly mends: boolean;
  source: number;
  asked: { readonly offset: number; readonly length: number; readonly nonce: number; readonly tick: number } | null;
  /** Peers that gave wrong bytes or none, by the tick of it. */
  readonly failed: Map<number, number>;
}

interface Pin {
  readonly file: DiskFile;
  tick: number;
}

export class SnapshotTransfer {
  private readonly port: TransferPort;
  private fetch: Fetch | null = null;
  private pausedUntil = 0;
  private nonce = 0;
  private waiting = new Map<number, GetSnapshot>();
  private given = 0;
  /** Peers that were asked for a part in vain, by the tick of it, until they give one. */
  private readonly silent = new Map<number, number>();
  /** Files being given, with the tick of the last question. */
  private readonly pins = new Map<number, Pin>();
  /** Files that are not given any more; a read of them may still be under way. */
  private unpinned: Pin[] = [];

  constructor(port: TransferPort) {
    this.port = port;
  }

  /** Indexes of the snapshots that must not go away now. */
  get pinned(): readonly number[] {
    return [...this.pins.keys()];
  }

  /** Index and source of the transfer under way, for the status. */
  get fetching(): { readonly index: number; readonly source: number; readonly chunks: number } | null {
    const { fetch } = this;
    return fetch === null
      ? null
      : { index: fetch.part.index, source: fetch.source, chunks: fetch.part.fetched + fetch.part.found };
  }

  tick(): void {
    const { tickCount } = this.port.node();
    this.given = 0;
    if (this.waiting.size > 0) this.give();
    if (this.pins.size > 0) this.closeIdlePins(tickCount);
    if (this.unpinned.length > 0) this.closeUnpinned(tickCount);
    this.look();
  }

  private closeIdlePins(tickCount: number): void {
    for (const [index, pin] of this.pins) {
      if (tickCount - pin.tick <= PIN_TICKS) continue;
      pin.file.close();
      this.pins.delete(index);
    }
  }

  private closeUnpinned(tickCount: number): void {
    this.unpinned = this.unpinned.filter((pin) => {
      const idle = tickCount - pin.tick > PIN_TICKS;
      if (idle) pin.file.close();
      return !idle;
    });
  }

  /** The file at `index` is damaged: nothing of it is given from now on. */
  unpin(index: number): void {
    const pin = this.pins.get(index);
    if (pin === undefined) return;
    this.pins.delete(index);
    this.unpinned.push(pin);
  }

  /** A peer asks for a part: at once while there is budget, else in a later tick. */
  onGetSnapshot(from: number, m: GetSnapshot): void {
    this.waiting.set(from, m);
    this.give();
  }

  private give(): void {
    for (const [to, m] of this.waiting) {
      if (this.given >= PARTS_PER_TICK) return;
      this.given++;
      this.waiting.delete(to);
      this.readPart(to, m);
    }
  }

  private readPart(to: number, m: GetSnapshot): void {
    const n = this.port.node();
    const reply = (bytes: Uint8Array): void => {
      const { index, offset, nonce } = m;
      this.port.send(to, { type: 'snapshotPart', view: n.view, index, offset, nonce, bytes });
    };
    const held = n.snapshots.held.find((snapshot) => snapshot.index === m.index && sameHash(snapshot.file, m.file));
    const confirmed = held !== undefined && held.confirmed && n.diverged === null;
    const file = confirmed ? this.pin(m.index) : null;
    if (file === null || m.length > PART_BYTES_MAX || m.offset + m.length > file.size()) {
      reply(new Uint8Array(0));
      return;
    }
    file.read(m.offset, m.length, (error, bytes) => {
      this.port.guarded(() => reply(error === null && bytes !== null ? bytes : new Uint8Array(0)));
    });
  }

  private pin(index: number): DiskFile | null {
    const { tickCount } = this.port.node();
    const pin = this.pins.get(index);
    if (pin !== undefined) {
      pin.tick = tickCount;
      return pin.file;
    }
    try {
      const file = this.port.disk.open(snapshotPath(index));
      this.pins.set(index, { file, tick: tickCount });
      return file;
    } catch (error) {
      if (error instanceof DiskFailure) return null;
      throw error;
    }
  }

  /** Begins, goes on with, or gives up a transfer. */
  private look(): void {
    const n = this.port.node();
    if (n.tickCount < this.pausedUntil) return;
    const needed = wantedSnapshot(n, this.silent);
    const wanted = needed ?? damagedSnapshot(n, this.silent);
    if (wanted === null) this.drop();
    else this.fetchWanted(n, wanted, needed === null);
  }

  private fetchWanted(n: NodeState, wanted: WantedSnapshot, mends: boolean): void {
    const { fetch } = this;
    // A newer one is no reason to begin anew while somebody who answers still has this one.
    const astray = fetch !== null && (fetch.mends !== mends || !this.hasSource(n, fetch, wanted));
    // The log came past it after all: it will never be installed, and would stand in the way for ever.
    const passed = fetch !== null && !fetch.mends && fetch.part.index <= n.applied;
    if (passed || (astray && fetch.part.next().kind !== 'ready')) this.drop();
    if (this.fetch === null) {
      try {
        const { disk, codec, clusterId } = this.port;
        const { index, file } = wanted;
        const onStep = (): void => this.port.guarded(() => this.goOn());
        const part = new SnapshotPart({ disk, codec, clusterId, index, file, restore: !mends, onStep });
        this.fetch = { part, mends, source: n.prng.pick([...wanted.sources]), asked: null, failed: new Map() };
      } catch (error) {
        if (!(error instanceof DiskFailure)) throw error;
        this.pause(error.message);
        return;
      }
    }
    this.goOn();
  }

  private hasSource(n: NodeState, fetch: Fetch, wanted: WantedSnapshot): boolean {
    const sources = this.sources(n, fetch);
    if (sources.length === 0) return false;
    return sameHash(wanted.file, fetch.part.digest) || sources.some((peer) => !this.silent.has(peer));
  }

  private sources(n: NodeState, fetch: Fetch): number[] {
    const { index, digest } = fetch.part;
    const has = [...n.snapshots.reports].filter(([, report]) =>
      report.held.some((ref) => ref.confirmed && ref.index === index && sameHash(ref.file, digest)),
    );
    return has.map(([peer]) => peer);
  }

  private goOn(): void {
    const { fetch } = this;
    const n = this.port.node();
    if (fetch === null) return;
    const step = fetch.part.next();
    switch (step.kind) {
      case 'wait':
        return;
      case 'failed':
        this.pause(step.why);
        return;
      case 'ready':
        if (fetch.mends) {
          this.fetch = null;
          this.port.mended(fetch.part.index);
        } else this.tryInstall(step.snapshot);
        return;
      case 'ask': {
        const { asked } = fetch;
        if (asked !== null && n.tickCount - asked.tick < PATIENCE_TICKS) return;
        if (asked !== null) {
          fetch.failed.set(fetch.source, n.tickCount);
          this.silent.set(fetch.source, n.tickCount);
        }
        this.ask(n, fetch, step.offset, step.length);
      }
    }
  }

  private ask(n: NodeState, fetch: Fetch, offset: number, length: number): void {
    const sources = this.sources(n, fetch);
    if (sources.length === 0) return;
    const failedAt = (peer: number): number => fetch.failed.get(peer) ?? -1;
    if (!sources.includes(fetch.source) || fetch.failed.has(fetch.source)) {
      // Whoever failed longest ago.
      fetch.source = sources.reduce((best, peer) => (failedAt(peer) < failedAt(best) ? peer : best));
      fetch.failed.delete(fetch.source);
    }
    this.nonce++;
    const { nonce } = this;
    fetch.asked = { offset, length, nonce, tick: n.tickCount };
    const { index, digest } = fetch.part;
    this.port.send(fetch.source, {
      type: 'getSnapshot',
      view: n.view,
      index,
      file: digest,
      offset,
      length,
      nonce,
    });
  }

  onSnapshotPart(from: number, m: PartMessage): void {
    const { fetch } = this;
    this.silent.delete(from);
    if (fetch === null || fetch.asked === null || from !== fetch.source) return;
    const { offset, length, nonce } = fetch.asked;
    if (m.nonce !== nonce || m.offset !== offset || m.index !== fetch.part.index) return;
    fetch.asked = null;
    const n = this.port.node();
    if (m.bytes.length !== length || !fetch.part.take(offset, m.bytes)) {
      fetch.failed.set(from, n.tickCount);
      this.port.note(`snapshot ${m.index}: r${from} gave wrong bytes at ${offset}`);
      // Not at once: with no other source this would be a loop.
      return;
    }
    this.goOn();
  }

  private tryInstall(snapshot: Snapshot): void {
    const n = this.port.node();
    if (!mayInstall(n, snapshot.index, snapshot.chainHash)) return;
    this.fetch = null;
    if (!this.port.install(snapshot)) this.pausedUntil = n.tickCount + PAUSE_TICKS;
  }

  private pause(why: string): void {
    this.port.note(`fetching a snapshot: ${why}`);
    this.pausedUntil = this.port.node().tickCount + PAUSE_TICKS;
    this.drop();
  }

  private drop(): void {
    this.fetch?.part.close();
    this.fetch = null;
  }
}
