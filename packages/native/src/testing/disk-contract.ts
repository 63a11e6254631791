/**
 * The contract of VirtualDisk as one suite that every implementation runs: SyncDisk, IoUringDisk, SimDisk and MemoryDisk. As its callers do, it
 * writes durably within a file's size only.
 * A test file calls {@link describeDiskContract} with a factory for its disk.
 */
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES } from '@chronon/core/engine/constants';
import type { DiskError, DiskFile } from '@chronon/core/engine/virtual-disk';
import { DiskHarness, failureOf, type DiskContractFactory } from './disk-harness.ts';
import { pattern } from './pattern.ts';

/** Declares the suite for one implementation. */
export function describeDiskContract(factory: DiskContractFactory): void {
  describe(`${factory.name} keeps the VirtualDisk contract`, () => {
    const harness = new DiskHarness();
    beforeEach(() => harness.start(factory));
    afterEach(() => harness.stop());
    openingAndReading(harness);
    manyAndLarge(harness);
    announcementOfClosedFile(harness);
    memoryAndAnnouncements(harness);
    chains(harness);
    names(harness);
    closingFiles(harness);
    closingDisks(harness);
    randomCalls(harness);
  });
}

function openingAndReading(h: DiskHarness): void {
  it('opens what exists, creates only when asked', () => {
    expect(failureOf(() => h.disk.open('none'))).toBe('ENOENT');
    expect(failureOf(() => h.disk.open('no/such/dir', { create: true }))).toBe('ENOENT');
    expect(h.disk.open('some', { create: true }).size()).toBe(0);
    expect(h.disk.open('some').size()).toBe(0);
    expect(h.disk.open('some', { create: true }).path).toBe('some');
  });

  it('reads back what was written, durable or not, by both faces', async () => {
    const file = h.disk.open('f', { create: true });
    const [a, b] = [pattern(2 * BLOCK_BYTES, 1), pattern(BLOCK_BYTES, 2)];
    expect(await h.write(file, 0, a, false)).toBeNull();
    expect(await h.write(file, 2 * BLOCK_BYTES, b, false)).toBeNull();
    expect(file.size()).toBe(3 * BLOCK_BYTES);
    expect(await h.barrier(file)).toBeNull();
    expect(await h.write(file, BLOCK_BYTES, b)).toBeNull();
    expect(await h.read(file, 0, BLOCK_BYTES)).toEqual(a.subarray(0, BLOCK_BYTES));
    expect(await h.read(file, BLOCK_BYTES, 2 * BLOCK_BYTES)).toEqual(new Uint8Array([...b, ...b]));
    const into = new Uint8Array(BLOCK_BYTES);
    expect(file.readSync(BLOCK_BYTES, into)).toBe(BLOCK_BYTES);
    expect(into).toEqual(b);
  });

  it('mixes blocking and asynchronous writes', async () => {
    const file = h.disk.open('f', { create: true });
    file.writeSync(5, pattern(100, 3));
    file.writeSync(BLOCK_BYTES, pattern(BLOCK_BYTES, 4));
    expect((await h.read(file, 5, 100)).subarray(0, 100)).toEqual(pattern(100, 3));
    expect(await h.write(file, 0, pattern(BLOCK_BYTES, 5))).toBeNull();
    file.barrierSync();
    const into = new Uint8Array(2 * BLOCK_BYTES);
    expect(file.readSync(0, into)).toBe(2 * BLOCK_BYTES);
    expect(into).toEqual(new Uint8Array([...pattern(BLOCK_BYTES, 5), ...pattern(BLOCK_BYTES, 4)]));
  });

  it('reads any range, short only at the end', async () => {
    const file = h.disk.open('f', { create: true });
    const bytes = pattern(3 * BLOCK_BYTES + 100, 6);
    file.writeSync(0, bytes);
    for (const [at, length] of [
      [0, 1],
      [1, BLOCK_BYTES],
      [BLOCK_BYTES - 1, 2],
      [100, 3 * BLOCK_BYTES],
      [3 * BLOCK_BYTES, 100],
      [3 * BLOCK_BYTES + 50, 500],
      [0, 10 * BLOCK_BYTES],
      [bytes.length, 10],
      [bytes.length + 10 * BLOCK_BYTES, 10],
      [7, 0],
    ] as const) {
      const wanted = bytes.subarray(at, at + length);
      expect(await h.read(file, at, length), `${length} at ${at}`).toEqual(new Uint8Array(wanted));
      const into = new Uint8Array(length);
      expect(file.readSync(at, into)).toBe(wanted.length);
    }
  });
}

function manyAndLarge(h: DiskHarness): void {
  it('writes and reads more than one request can hold', async () => {
    const file = h.disk.open('f', { create: true });
    const bytes = pattern(5 * 1024 * 1024 + 3 * BLOCK_BYTES, 7);
    expect(await h.write(file, BLOCK_BYTES, bytes, false)).toBeNull();
    expect(await h.barrier(file)).toBeNull();
    expect(Buffer.compare(await h.read(file, BLOCK_BYTES, bytes.length), bytes)).toBe(0);
    expect(await h.write(file, BLOCK_BYTES, bytes.subarray(0, 2 * 1024 * 1024))).toBeNull();
  });

  it('reads long stretches at once, what was only written to a cache and the end of the file included', () => {
    const file = h.disk.open('f', { create: true });
    const bytes = pattern(1_500_123, 8);
    file.writeSync(0, bytes);
    for (const [at, length] of [
      [0, bytes.length],
      [0, 3_000_000],
      [BLOCK_BYTES, 300_001],
      [5, 400_000],
      [366 * BLOCK_BYTES, 500_000],
      [500 * BLOCK_BYTES, 500_000],
    ] as const) {
      const into = new Uint8Array(length);
      const wanted = bytes.subarray(at, at + length);
      expect(file.readSync(at, into), `${length} at ${at}`).toBe(wanted.length);
      expect(Buffer.compare(into.subarray(0, wanted.length), wanted)).toBe(0);
    }
  });

  it('completes many calls at once, each once', async () => {
    const file = h.disk.open('f', { create: true });
    const count = 400;
    expect(await h.write(file, 0, new Uint8Array(count * BLOCK_BYTES), false)).toBeNull();
    const all = Array.from({ length: count }, (_, i) =>
      h.write(file, i * BLOCK_BYTES, pattern(BLOCK_BYTES, i), i % 2 === 0),
    );
    const barriers = [h.barrier(file), h.barrier(file)];
    expect(await Promise.all(all)).toEqual(all.map(() => null));
    expect(await Promise.all(barriers)).toEqual([null, null]);
    expect(file.size()).toBe(count * BLOCK_BYTES);
    const blocks = await Promise.all(
      Array.from({ length: count }, (_, i) => h.read(file, i * BLOCK_BYTES, BLOCK_BYTES)),
    );
    for (const [i, block] of blocks.entries()) expect(Buffer.compare(block, pattern(BLOCK_BYTES, i))).toBe(0);
  });

  it('counts writes, bytes and barriers', async () => {
    const file = h.disk.open('f', { create: true });
    const before = { ...h.disk.stats };
    await h.write(file, 0, pattern(BLOCK_BYTES, 1), false);
    await h.barrier(file);
    await h.write(file, 0, pattern(BLOCK_BYTES, 2), true);
    await h.read(file, 0, 10);
    expect(h.disk.stats.writes - before.writes).toBe(2);
    expect(h.disk.stats.bytesWritten - before.bytesWritten).toBe(2 * BLOCK_BYTES);
    expect(h.disk.stats.barriers - before.barriers).toBe(2);
    expect(h.disk.stats.reads - before.reads).toBe(1);
    expect(h.disk.stats.bytesRead - before.bytesRead).toBe(10);
  });
}

function announcementOfClosedFile(h: DiskHarness): void {
  it('does not take what was announced of a file that is closed for another one, whatever number that gets', async () => {
    const length = 2 * 1024 * 1024;
    const file = h.disk.open('f', { create: true });
    const made = h.disk.open('g', { create: true });
    const wanted = pattern(length, 15);
    expect(await h.write(file, 0, pattern(length, 16), false)).toBeNull();
    expect(await h.write(made, 0, wanted, false)).toBeNull();
    expect(await h.barrier(made)).toBeNull();
    made.close();
    file.prefetch(length);
    file.close();
    const into = new Uint8Array(length);
    expect(h.disk.open('g').readSync(0, into)).toBe(length);
    expect(Buffer.compare(into, wanted)).toBe(0);
  });
}

function memoryAndAnnouncements(h: DiskHarness): void {
  it('reads what stands there whether it was announced or not, and what was written after the announcement', async () => {
    const [file, other] = [h.disk.open('f', { create: true }), h.disk.open('g', { create: true })];
    const bytes = pattern(6 * 1024 * 1024 + 3 * BLOCK_BYTES, 9);
    for (const each of [file, other]) {
      each.writeSync(0, bytes);
      each.barrierSync();
    }
    const read = (from: DiskFile, length = bytes.length): boolean => {
      const into = new Uint8Array(length);
      const wanted = bytes.subarray(0, length);
      return from.readSync(0, into) === wanted.length && Buffer.compare(into.subarray(0, wanted.length), wanted) === 0;
    };
    file.prefetch(bytes.length);
    expect(read(file)).toBe(true);
    expect(read(file)).toBe(true);
    file.prefetch(bytes.length);
    expect(read(other)).toBe(true);
    file.prefetch(bytes.length + BLOCK_BYTES);
    expect(read(file, bytes.length + BLOCK_BYTES)).toBe(true);
    file.prefetch(bytes.length);
    other.prefetch(bytes.length);
    expect(read(file, 2 * 1024 * 1024)).toBe(true);
    file.prefetch(bytes.length);
    bytes.set(pattern(2 * BLOCK_BYTES, 10), 1024 * 1024);
    expect(await h.write(file, 1024 * 1024, bytes.subarray(1024 * 1024, 1024 * 1024 + 2 * BLOCK_BYTES))).toBeNull();
    expect(read(file)).toBe(true);
    file.prefetch(bytes.length);
    bytes.set(pattern(100, 11), 77);
    file.writeSync(77, bytes.subarray(77, 177));
    expect(read(file)).toBe(true);
    file.prefetch(bytes.length);
    file.prefetch(0);
    file.prefetch(bytes.length);
  });

  it('writes from memory that it gave, whole or in part, beside other memory, until and beyond the end of the disk', async () => {
    const file = h.disk.open('f', { create: true });
    const [a, b] = [h.disk.allocate(8 * BLOCK_BYTES), h.disk.allocate(BLOCK_BYTES)];
    expect(a.every((byte) => byte === 0) && a.length === 8 * BLOCK_BYTES).toBe(true);
    a.set(pattern(a.length, 12));
    b.set(pattern(b.length, 13));
    const [whole, part] = [a.slice(), a.slice(2 * BLOCK_BYTES, 5 * BLOCK_BYTES)];
    const others = pattern(BLOCK_BYTES, 14);
    expect(
      await Promise.all([
        h.write(file, 0, a, false),
        h.write(file, 8 * BLOCK_BYTES, a.subarray(2 * BLOCK_BYTES, 5 * BLOCK_BYTES), false),
        h.write(file, 11 * BLOCK_BYTES, b, false),
        h.write(file, 12 * BLOCK_BYTES, others, false),
      ]),
    ).toEqual([null, null, null, null]);
    expect(await h.barrier(file)).toBeNull();
    // A part that does not begin at a block of the memory.
    expect(await h.write(file, 13 * BLOCK_BYTES, a.subarray(8, 8 + BLOCK_BYTES), false)).toBeNull();
    const wanted = [...whole, ...part, ...b, ...others, ...whole.subarray(8, 8 + BLOCK_BYTES)];
    expect(Buffer.compare(await h.read(file, 0, 14 * BLOCK_BYTES), new Uint8Array(wanted))).toBe(0);
    // More than a disk may have at hand.
    const many = Array.from({ length: 12 }, () => h.disk.allocate(4 * 1024 * 1024));
    for (const [i, memory] of many.entries()) memory.fill(i);
    expect(await h.write(file, 0, many[11]!.subarray(0, BLOCK_BYTES))).toBeNull();
    expect(many.map((memory) => memory[memory.length - 1])).toEqual(many.map((_, i) => i));
    h.disk.close();
    a.fill(1);
    expect(a[a.length - 1]).toBe(1);
    expect(Buffer.compare(b, pattern(b.length, 13))).toBe(0);
  });
}

function chains(h: DiskHarness): void {
  it('a chain writes its links, and calls back, in order', async () => {
    const [a, b] = [h.disk.open('a', { create: true }), h.disk.open('b', { create: true })];
    for (const file of [a, b]) await h.write(file, 0, new Uint8Array(600 * BLOCK_BYTES), false);
    const before = { ...h.disk.stats };
    const order: string[] = [];
    const chain = (round: number, blocks: number): Promise<unknown> =>
      h.call<[DiskError | null]>((done) => {
        const at = round * 4 * BLOCK_BYTES;
        const ended = (name: string) => (error: DiskError | null) => {
          expect(error).toBeNull();
          order.push(`${round}${name}`);
          if (name === 'c') done(null);
        };
        h.disk.writeChain([
          { file: a, offset: at, bytes: pattern(blocks * BLOCK_BYTES, round), callback: ended('a') },
          { file: b, offset: at, bytes: pattern(2 * BLOCK_BYTES, round + 100), callback: ended('b') },
          {
            file: a,
            offset: at + blocks * BLOCK_BYTES,
            bytes: pattern(BLOCK_BYTES, round + 200),
            callback: ended('c'),
          },
        ]);
      });
    // More at once than a ring has room for; the last has a link that is longer than a request.
    await Promise.all(Array.from({ length: 60 }, (_, round) => chain(round, 1 + (round % 3))));
    await chain(60, 300);
    for (let round = 0; round <= 60; round++)
      expect(order.filter((name) => Number.parseInt(name, 10) === round)).toEqual(
        ['a', 'b', 'c'].map((x) => `${round}${x}`),
      );
    expect(h.disk.stats.writes - before.writes).toBe(61 * 3);
    expect(h.disk.stats.barriers - before.barriers).toBe(61 * 3);
    for (const round of [0, 7, 59])
      expect(await h.read(b, round * 4 * BLOCK_BYTES, 2 * BLOCK_BYTES)).toEqual(pattern(2 * BLOCK_BYTES, round + 100));
    expect(await h.read(a, 540 * BLOCK_BYTES, BLOCK_BYTES)).toEqual(pattern(BLOCK_BYTES, 260));
  });

  it('no link behind one that fails is begun, and each ends with that error', async () => {
    const [a, b] = [h.disk.open('a', { create: true }), h.disk.open('b', { create: true })];
    for (const file of [a, b]) await h.write(file, 0, pattern(2 * BLOCK_BYTES, 1), false);
    a.close();
    const codes: (string | undefined)[] = [];
    await h.call<[DiskError | null]>((done) => {
      const ended = (error: DiskError | null): void => void codes.push(error?.code);
      const last = (error: DiskError | null): void => {
        ended(error);
        done(error);
      };
      h.disk.writeChain([
        { file: b, offset: 0, bytes: pattern(BLOCK_BYTES, 2), callback: ended },
        { file: a, offset: 0, bytes: pattern(BLOCK_BYTES, 3), callback: ended },
        { file: b, offset: BLOCK_BYTES, bytes: pattern(BLOCK_BYTES, 4), callback: last },
      ]);
    });
    expect(codes).toEqual([undefined, 'ECLOSED', 'ECLOSED']);
    const wanted = pattern(2 * BLOCK_BYTES, 1);
    wanted.set(pattern(BLOCK_BYTES, 2));
    expect(await h.read(b, 0, 2 * BLOCK_BYTES)).toEqual(wanted);
    expect(await h.write(b, 0, pattern(BLOCK_BYTES, 5))).toBeNull();
  });
}

function names(h: DiskHarness): void {
  it('names: makes, lists, renames and removes', async () => {
    expect(h.disk.list('none')).toEqual([]);
    h.disk.mkdirSync('a/b');
    h.disk.mkdirSync('a/b');
    h.disk.syncDirectorySync('a');
    for (const name of ['c', 'a', 'b']) h.disk.open(`a/b/${name}`, { create: true });
    expect(h.disk.list('a/b')).toEqual(['a', 'b', 'c']);
    h.disk.renameSync('a/b/c', 'a/b/d');
    h.disk.unlinkSync('a/b/a');
    expect(h.disk.list('a/b')).toEqual(['b', 'd']);
    expect(await h.call<[DiskError | null]>((done) => h.disk.rename('a/b/b', 'a/b/d', done))).toEqual([null]);
    expect(await h.call<[DiskError | null]>((done) => h.disk.syncDirectory('a/b', done))).toEqual([null]);
    expect(await h.call<[DiskError | null]>((done) => h.disk.unlink('a/b/d', done))).toEqual([null]);
    expect(h.disk.list('a/b')).toEqual([]);
    expect((await h.call<[DiskError | null]>((done) => h.disk.unlink('a/b/d', done)))[0]?.code).toBe('ENOENT');
    expect((await h.call<[DiskError | null]>((done) => h.disk.rename('a/x', 'a/y', done)))[0]?.code).toBe('ENOENT');
    expect((await h.call<[DiskError | null]>((done) => h.disk.syncDirectory('none', done)))[0]?.code).toBe('ENOENT');
    expect(failureOf(() => h.disk.unlinkSync('a/b/d'))).toBe('ENOENT');
    const free = h.disk.freeBytes();
    expect(free === null || free > 0).toBe(true);
  });

  it('an open file keeps working under a new name', async () => {
    const file = h.disk.open('old', { create: true });
    await h.write(file, 0, pattern(BLOCK_BYTES, 1), false);
    h.disk.renameSync('old', 'new');
    await h.write(file, BLOCK_BYTES, pattern(BLOCK_BYTES, 2), false);
    await h.barrier(file);
    file.writeSync(2 * BLOCK_BYTES, pattern(10, 3));
    expect(h.disk.open('new').size()).toBe(2 * BLOCK_BYTES + 10);
  });

  it('refuses paths that leave the root', async () => {
    for (const path of ['../x', 'a/../../x', '/etc/passwd', 'a\0b']) {
      expect(failureOf(() => h.disk.open(path))).toBe('EOTHER');
      expect((await h.call<[DiskError | null]>((done) => h.disk.unlink(path, done)))[0]?.code).toBe('EOTHER');
    }
  });
}

function closingFiles(h: DiskHarness): void {
  it('a closed file refuses, and ends what was in flight', async () => {
    const file = h.disk.open('f', { create: true });
    await h.write(file, 0, pattern(64 * BLOCK_BYTES, 1), false);
    const running = [
      ...Array.from({ length: 16 }, (_, i) => h.write(file, i * BLOCK_BYTES, pattern(BLOCK_BYTES, i))),
      h.barrier(file),
    ];
    file.close();
    file.close();
    for (const error of await Promise.all(running)) expect([undefined, 'ECLOSED']).toContain(error?.code);
    expect((await h.write(file, 0, pattern(BLOCK_BYTES, 1)))?.code).toBe('ECLOSED');
    expect((await h.barrier(file))?.code).toBe('ECLOSED');
    expect((await h.call<[DiskError | null, Uint8Array | null]>((done) => file.read(0, 1, done)))[0]?.code).toBe(
      'ECLOSED',
    );
    expect(failureOf(() => file.writeSync(0, new Uint8Array(1)))).toBe('ECLOSED');
  });

  it('a file may be closed inside a callback', async () => {
    const file = h.disk.open('f', { create: true });
    await h.write(file, 0, new Uint8Array(2 * BLOCK_BYTES), false);
    const other = h.write(file, BLOCK_BYTES, pattern(BLOCK_BYTES, 2));
    const [error] = await h.call<[DiskError | null]>((done) =>
      file.write(0, pattern(BLOCK_BYTES, 1), true, (result) => {
        file.close();
        done(result);
      }),
    );
    expect(error).toBeNull();
    await other;
  });
}

function closingDisks(h: DiskHarness): void {
  it('a disk may be closed inside a callback, with others in flight', async () => {
    const files = ['a', 'b', 'c'].map((name) => h.disk.open(name, { create: true }));
    for (const file of files) await h.write(file, 0, new Uint8Array(8 * BLOCK_BYTES), false);
    const results = await Promise.all(
      files.map((file, i) =>
        h.call<[DiskError | null]>((done) =>
          file.write(0, pattern(8 * BLOCK_BYTES, i), true, (result) => {
            if (i === 0) h.disk.close();
            done(result);
          }),
        ),
      ),
    );
    for (const [error] of results) expect([undefined, 'ECLOSED']).toContain(error?.code);
    expect(failureOf(() => h.disk.open('a'))).toBe('ECLOSED');
    h.disk.close();
  });

  it('another disk over the same directory sees the bytes', async () => {
    h.disk.mkdirSync('log');
    const file = h.disk.open('log/x', { create: true });
    await h.write(file, 0, pattern(4 * BLOCK_BYTES, 9), false);
    await h.barrier(file);
    h.disk.close();
    const again = h.reopen();
    const reopened = again.open('log/x');
    expect(reopened.size()).toBe(4 * BLOCK_BYTES);
    const into = new Uint8Array(4 * BLOCK_BYTES);
    expect(reopened.readSync(0, into)).toBe(into.length);
    expect(into).toEqual(pattern(4 * BLOCK_BYTES, 9));
    reopened.barrierSync();
    again.close();
  });
}

function randomCalls(h: DiskHarness): void {
  it('agrees with a byte array under random calls', async () => {
    const blocks = 40;
    const step = fc.oneof(
      fc.record({
        kind: fc.constantFrom('write' as const, 'durable' as const),
        at: fc.nat(blocks - 9),
        count: fc.integer({ min: 1, max: 8 }),
      }),
      fc.record({
        kind: fc.constant('read' as const),
        at: fc.nat(blocks * BLOCK_BYTES),
        count: fc.nat(9 * BLOCK_BYTES),
      }),
      fc.record({
        kind: fc.constantFrom('barrier' as const, 'blocking' as const),
        at: fc.nat(9000),
        count: fc.nat(9000),
      }),
    );
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        const file = h.disk.open(`model-${run++}`, { create: true });
        const model = new Uint8Array(blocks * BLOCK_BYTES);
        let size = 0;
        for (const [seed, { kind, at, count }] of steps.entries()) {
          if (kind === 'read') {
            const got = await h.read(file, at, count);
            expect(Buffer.compare(got, model.subarray(Math.min(at, size), Math.min(size, at + count)))).toBe(0);
          } else if (kind === 'barrier') {
            expect(await h.barrier(file)).toBeNull();
          } else {
            const whole = kind === 'blocking' ? 1 : BLOCK_BYTES;
            const bytes = pattern(count * whole, seed);
            if (kind === 'blocking') file.writeSync(at, bytes);
            else {
              const durable = kind === 'durable' && at * whole + bytes.length <= size;
              expect(await h.write(file, at * whole, bytes, durable)).toBeNull();
            }
            model.set(bytes, at * whole);
            if (count > 0) size = Math.max(size, at * whole + bytes.length);
          }
        }
        expect(file.size()).toBe(size);
        file.close();
      }),
      { numRuns: 25 },
    );
  });
}
