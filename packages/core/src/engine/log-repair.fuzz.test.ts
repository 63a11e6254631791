/**
 * Random damage to a log of several segments, at rest and while it runs, is repaired in random order with batches of random size, through crashes: in the end every byte of every
 * frame is what it was. Until then the store says which slots it needs; who gives just those, as the replica does, gets there. CHRONON_REPAIR_SEEDS=N: more of them.
 */
import { expect, test } from 'vitest';
import { Prng } from '../prng.ts';
import { createWasmCodec } from './codec/wasm.ts';
import { at, type CommitIndex, NONE } from './commit-index.ts';
import { BLOCK_BYTES, ENVELOPE_BYTES, SECTOR_BYTES, SEGMENT_HEADER_BYTES } from './constants.ts';
import { FrameBatch } from './frame-batch.ts';
import { OFFSET, readU32 } from './frame.ts';
import { toHex, ZERO_HASH } from './hash.ts';
import { Scrubber } from './scrubber.ts';
import { segmentBase, segmentPath } from './segment.ts';
import { batch, Bench, formatted, manifest } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';

const codec = await createWasmCodec();
const SEGMENT_BYTES = 16 * 1024;
/** What the owner of a log knows by heart: the newest chain hashes. */
const STATED = 8;
const ROUNDS_MAX = 400;
const SEEDS = Number(process.env['CHRONON_REPAIR_SEEDS'] ?? 60);

/** A log, its owner, and a cluster that has every frame of it. */
class Life {
  readonly prng: Prng;
  readonly frames: FrameBatch[] = [];
  disk = formatted(new MemoryDisk());
  bench: Bench;
  /** Slots that the owner asks for: told at opening or later, and not called repaired since. */
  wanted = new Set<number>();
  private heard = 0;
  private logView = 1;
  private checkpoint: CommitIndex = NONE;
  /** What was given before the log was cut counts no more. */
  private cuts = 0;
  /** Something else than repairs may be under way: which end the log has then, other tests look at (log-store.fuzz.test.ts). */
  private changing = false;

  constructor(seed: number) {
    this.prng = new Prng(seed);
    this.bench = this.open();
    this.append(this.prng.range(10, 70));
  }

  get path(): string {
    return this.prng.pick(this.segments());
  }

  segments(): string[] {
    return this.disk.paths().filter((path) => segmentBase(path.slice('log/'.length)) !== null);
  }

  private open(): Bench {
    const { frames } = this;
    const bench = new Bench(this.disk, {
      codec,
      segmentBytes: SEGMENT_BYTES,
      stated: (index) => (index > frames.length - STATED ? (frames[index]?.lastHash ?? null) : null),
    });
    expect(bench.recovered).toMatchObject({ end: frames.length - 1, recoveringHead: false, connected: true });
    this.heard = 0;
    this.wanted = new Set(slotsOf(bench.recovered.faulty));
    return bench;
  }

  /** The newest process dies, with its writes half made. */
  reopen(harm: () => void = () => {}): void {
    if (this.changing) this.settle();
    this.disk = this.prng.chance(0.5)
      ? this.disk.restart(() => this.prng.chance(0.5))
      : this.disk.crash({ names: this.prng.below(this.disk.unsyncedNames + 1), sector: () => this.prng.chance(0.5) });
    harm();
    this.bench = this.open();
  }

  append(count: number): void {
    this.changing = true;
    const first = this.frames.length;
    for (let index = first; index < first + count; index++) {
      // None ends with zeros: where its block cannot be read such a frame is whole all the same, and the slots behind it wait until the device gives the block.
      const size = this.prng.pick([8, 8, 8, 40, 300, 900, 2000, 5000]);
      const before = this.frames.at(-1)?.lastHash ?? ZERO_HASH;
      const part = batch(index, before, [size], this.logView, 1 + this.prng.below(4), codec);
      this.frames.push(part);
      this.bench.append(part, this.logView);
    }
    if (this.prng.chance(0.5)) this.settle();
  }

  /** Another view cuts the end off. */
  cut(): void {
    const lowest = Math.max(this.checkpoint, this.frames.length - 7, 0);
    const keep = at(this.prng.range(lowest, this.frames.length - 1));
    this.frames.length = keep + 1;
    this.logView++;
    this.cuts++;
    this.changing = true;
    const hash = this.frames[keep]!.lastHash;
    this.forget();
    this.bench.store.install(this.manifest(), keep, keep, () => {}, hash);
  }

  private manifest(): ReturnType<typeof manifest> {
    const { logView: view, checkpoint: index } = this;
    const digest = new Uint8Array(16);
    const hash = index === NONE ? digest : this.frames[index]!.lastHash;
    return manifest({ view, logView: view, checkpoint: { index, hash, digest } });
  }

  private forget(): void {
    const { first } = this.bench.store;
    for (const index of this.wanted) if (index < first || index >= this.frames.length) this.wanted.delete(index);
  }

  /** A snapshot covers what is below: taken here, or installed. */
  snapshot(): void {
    const { store } = this.bench;
    const lowest = Math.max(this.checkpoint, store.first, 0);
    if (lowest >= this.frames.length) return;
    this.checkpoint = at(this.prng.range(lowest, this.frames.length - 1));
    const { checkpoint } = this;
    this.changing = true;
    if (this.prng.chance(0.5)) store.saveManifest(this.manifest(), () => store.compact(checkpoint));
    else {
      // Where an older frame stands at its index, the log is taken for another one, and begins anew.
      store.installSnapshot(this.manifest(), NONE, (end) => {
        expect([checkpoint, this.frames.length - 1]).toContain(end);
        this.frames.length = end + 1;
      });
      this.settle();
    }
  }

  /** Any frames first..last, as a peer gives them. */
  give(first: number, last: number): void {
    const parts = this.frames.slice(first, last + 1);
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.bytes.length, 0));
    let filled = 0;
    for (const part of parts) {
      bytes.set(part.bytes, filled);
      filled += part.bytes.length;
    }
    const { bench, cuts } = this;
    const repaired = (whole: FrameBatch): void => {
      if (bench !== this.bench || cuts !== this.cuts) return;
      for (let index = whole.first; index <= whole.last; index++) this.wanted.delete(index);
    };
    const whole = new FrameBatch(bytes, parts.length, parts.at(-1)!.lastHash.slice());
    bench.store.repair(whole, () => repaired(whole), repaired);
  }

  settle(): void {
    this.disk.pump();
    this.changing = false;
    this.hear();
    expect(this.bench.fatal).toEqual([]);
    // Nobody else tells the owner.
    for (const index of slotsOf(this.bench.store.faulty)) expect([...this.wanted]).toContain(index);
  }

  /** Some of what waits is done, in no order. */
  settleSome(): void {
    for (let left = this.prng.below(12); left > 0 && this.disk.pending > 0; left--)
      this.disk.complete(this.prng.below(this.disk.pending));
    this.hear();
  }

  private hear(): void {
    const { damaged } = this.bench;
    for (; this.heard < damaged.length; this.heard++) this.wanted.add(damaged[this.heard]!);
    this.forget();
  }

  /** One pass of the scrubber. */
  scrub(): void {
    const scrubber = new Scrubber({
      store: this.bench.store,
      bytesPerTick: 1 << 20,
      restTicks: 1,
      onDamage: () => {},
      snapshots: { onDamaged() {}, isDamaged: () => false },
    });
    for (let tick = 0; scrubber.report().passes === 0; tick++) {
      expect(tick).toBeLessThan(10_000);
      scrubber.tick(tick);
      this.settle();
    }
  }

  /** Rot, lost sectors, a block written elsewhere; while nothing runs also a file that is gone. */
  damage(atRest: boolean): void {
    const { prng } = this;
    if (this.segments().length === 0) return;
    const { path } = this;
    const content = this.disk.content(path);
    const sector = prng.below(content.length / SECTOR_BYTES) * SECTOR_BYTES;
    const length = prng.pick([1, 1, 2, 3, 9]) * SECTOR_BYTES;
    const put = (offset: number, bytes: Uint8Array): void => this.put(path, offset, bytes);
    if (prng.chance(0.15)) {
      this.restoreOlder();
      return;
    }
    const kind = prng.below(atRest ? 8 : 7);
    if (!atRest && prng.chance(0.2)) {
      this.disk.unreadable.add(`${path}:${prng.below(content.length / BLOCK_BYTES)}`);
      return;
    }
    if (kind <= 1) put(sector + prng.below(SECTOR_BYTES), Uint8Array.of(prng.below(256)));
    else if (kind <= 3) put(sector, new Uint8Array(length));
    else if (kind === 4)
      put(
        sector,
        Uint8Array.from({ length }, () => prng.below(256)),
      );
    else if (kind === 7) this.disk.remove(path);
    else {
      const from = this.disk.content(this.path);
      const block = kind === 5 ? BLOCK_BYTES : SECTOR_BYTES;
      const source = prng.below(from.length / block) * block;
      put(prng.below(content.length / block) * block, from.slice(source, source + block * prng.range(1, 2)));
    }
  }

  /** A write was lost: an older frame stands in the place of a newer one, whole in itself and continuing the frame below. */
  private restoreOlder(): void {
    const index = this.prng.range(this.bench.store.first, this.frames.length - 1);
    const segment = this.bench.store.segments.holding(index);
    const part = this.frames[index];
    const path = segment === null ? '' : segmentPath(segment.base);
    if (segment === null || part === undefined || !this.disk.paths().includes(path)) return;
    let offset = SEGMENT_HEADER_BYTES;
    for (let below = segment.base; below < index; below++) offset += this.frames[below]!.bytes.length;
    const size = readU32(part.bytes, OFFSET.payloadSize) - ENVELOPE_BYTES;
    const older = batch(index, part.prevHash, [size], part.viewOf(index), 9, codec);
    this.put(path, offset, older.bytes);
  }

  private put(path: string, offset: number, bytes: Uint8Array): void {
    const content = this.disk.content(path);
    for (let i = 0; i < bytes.length && offset + i < content.length; i++) {
      const mask = content[offset + i]! ^ bytes[i]!;
      if (mask !== 0) this.disk.flip(path, offset + i, mask);
    }
  }

  /** Gives random batches of what is wanted: from a first slot up, from a last one down, from the middle, or with more around. */
  repairSome(): void {
    const { prng, wanted } = this;
    for (let left = prng.range(1, 4); left > 0 && wanted.size > 0; left--) {
      const first = prng.pick([...wanted]);
      let from = first;
      let to = first;
      while (prng.chance(0.7) && wanted.has(to + 1)) to++;
      while (prng.chance(0.5) && wanted.has(from - 1)) from--;
      if (prng.chance(0.2)) to = Math.min(this.frames.length - 1, to + prng.below(4));
      if (prng.chance(0.2)) from = Math.max(0, from - prng.below(4));
      this.give(from, to);
      if (prng.chance(0.5)) this.settleSome();
    }
  }

  /** As the replica does: the lowest that is wanted, with what is wanted behind it, until nothing is. */
  repairAll(): void {
    for (let rounds = 0; this.wanted.size > 0; rounds++) {
      const [first] = [...this.wanted].sort((a, b) => a - b);
      let last = first!;
      const most = this.prng.pick([0, 2 * BLOCK_BYTES, 8 * BLOCK_BYTES]);
      for (let bytes = 0; this.wanted.has(last + 1) && bytes < most; last++) bytes += this.frames[last]!.bytes.length;
      expect([rounds, first, this.bench.store.faulty]).toSatisfy(() => rounds < ROUNDS_MAX);
      this.give(first!, last);
      this.settle();
    }
    expect(this.bench.store.faulty).toEqual([]);
  }

  hashes(): string[] {
    return this.frames.slice(this.bench.store.first).map((part) => toHex(part.lastHash));
  }

  /** Everything that can be read is repaired, until all of it can. */
  mend(): void {
    for (let rounds = 0; ; rounds++) {
      this.repairAll();
      this.scrub();
      const read = this.bench.readAll().map(({ hash }) => toHex(hash));
      this.settle();
      if (this.wanted.size === 0) {
        expect(read).toEqual(this.hashes());
        return;
      }
      expect(rounds).toBeLessThan(40);
    }
  }
}

function slotsOf(ranges: readonly { readonly from: number; readonly to: number }[]): number[] {
  return ranges.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
}

/** In each segment the frames stand one behind the other, byte for byte. */
function expectWhole({ bench, disk, frames }: Life): void {
  for (let index = bench.store.first; index < frames.length; ) {
    const segment = bench.store.segments.holding(index)!;
    expect([segment.base, segment.last]).toSatisfy(() => segment.base === index && segment.last < frames.length);
    const content = disk.content(segmentPath(segment.base));
    let offset = SEGMENT_HEADER_BYTES;
    for (; index <= segment.last; index++) {
      const { bytes } = frames[index]!;
      const got = content.subarray(offset, offset + bytes.length);
      expect([index, toHex(got)]).toEqual([index, toHex(bytes)]);
      offset += bytes.length;
    }
  }
}

test.each(Array.from({ length: SEEDS }, (_, i) => i + 1))('seed %i', (seed) => {
  const life = new Life(seed);
  const { prng } = life;
  for (let episode = prng.range(1, 3); episode > 0; episode--) {
    const harm = (atRest: boolean) => (): void => {
      for (let left = prng.pick([1, 1, 2, 3, 6]); left > 0; left--) life.damage(atRest);
    };
    if (prng.chance(0.6)) life.reopen(harm(true));
    else {
      harm(false)();
      if (prng.chance(0.5)) life.scrub();
      else life.bench.readAll();
      life.settle();
    }
    for (let left = prng.below(12); left > 0; left--) {
      life.repairSome();
      life.settleSome();
      const what = prng.below(24);
      if (what === 0) life.reopen();
      else if (what === 1) life.scrub();
      else if (what === 2) {
        life.append(prng.range(1, 4));
      } else if (what === 3) {
        life.cut();
        if (prng.chance(0.5)) life.append(prng.range(1, 4));
      } else if (what === 4) harm(false)();
      else if (what === 5) life.snapshot();
    }
    life.settle();
    life.mend();
    expectWhole(life);
    if (prng.chance(0.5)) life.reopen();
    expect([...life.wanted]).toEqual([]);
  }
});
