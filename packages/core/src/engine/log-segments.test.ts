/** Segments as a disk sees them: made ahead, named only when they are whole, removed and recycled so that no crash finds a hole. */
import { expect, test } from 'vitest';
import { createWasmCodec } from './codec/wasm.ts';
import { at } from './commit-index.ts';
import type { LogOptions } from './log-contract.ts';
import { Bench, Chain, formatted, manifest, openLog, suffix } from './testing/log-harness.ts';
import { MemoryDisk } from './testing/memory-disk.ts';
import type { DiskCallback, DiskFile } from './virtual-disk.ts';

const codec = await createWasmCodec();
const OVER: Partial<LogOptions> = { codec, segmentBytes: 16 * 1024 };

/** A disk that says what was completed, in order; a file by the name it was opened with. */
class RecordingDisk extends MemoryDisk {
  readonly done: string[] = [];

  override open(path: string, options?: { readonly create?: boolean }): DiskFile {
    const file = super.open(path, options);
    const { write, barrier } = file;
    file.write = (offset, bytes, durable, callback) =>
      write.call(
        file,
        offset,
        bytes,
        durable,
        this.noting(`${durable ? 'write' : 'zeros'} ${base(path)} ${offset}`, callback),
      );
    file.barrier = (callback) => barrier.call(file, this.noting(`barrier ${base(path)}`, callback));
    return file;
  }

  override rename(from: string, to: string, callback: DiskCallback): void {
    super.rename(from, to, this.noting(`rename ${base(from)} ${base(to)}`, callback));
  }

  override unlink(path: string, callback: DiskCallback): void {
    super.unlink(path, this.noting(`unlink ${base(path)}`, callback));
  }

  override syncDirectory(directory: string, callback: DiskCallback): void {
    super.syncDirectory(directory, this.noting(`sync ${directory}`, callback));
  }

  private noting(what: string, callback: DiskCallback): DiskCallback {
    return (error) => {
      if (error === null) this.done.push(what);
      callback(error);
    };
  }
}

/** Short names: a segment by its base. */
function base(path: string): string {
  const name = path.replace('log/', '');
  return name.endsWith('.seg') ? String(Number(name.slice(0, 20))) : name;
}

function started(frames: number): { bench: Bench; chain: Chain; disk: RecordingDisk } {
  const disk = formatted(new RecordingDisk()) as RecordingDisk;
  const bench = new Bench(disk, OVER);
  const chain = new Chain();
  for (let i = 0; i < frames; i++) bench.append(chain.next([3000]));
  bench.settle();
  return { bench, chain, disk };
}

/** What happened to the directory, without the tail record and the frames. */
function directoryOnly(done: readonly string[]): string[] {
  return done.filter((step) => /^(rename|unlink|sync)/.test(step));
}

test('the next segment is written and barriered while frames go on, before it is needed', () => {
  const { bench, chain, disk } = started(1);
  expect(bench.disk.content('log/spare').length).toBe(16 * 1024);
  disk.done.length = 0;
  // Four more fill the first segment; the sixth frame finds the next one ready and waits for its header and name only.
  for (let i = 0; i < 5; i++) bench.append(chain.next([3000]));
  bench.settle();
  const rotation = disk.done.findIndex((step) => step.startsWith('rename spare 5'));
  expect(disk.done.slice(0, rotation).filter((step) => step.startsWith('zeros'))).toEqual([]);
  expect(disk.done.slice(rotation).filter((step) => step.startsWith('zeros'))).toEqual(['zeros spare.new 0']);
  const made = ['barrier spare.new', 'rename spare.new spare', 'sync log'];
  expect(disk.done.slice(disk.done.indexOf(made[0]!)).filter((step) => made.includes(step))).toEqual(made);
});

test('rotation: header, then name, then directory, then frames', () => {
  const { bench, chain, disk } = started(5);
  disk.done.length = 0;
  bench.append(chain.next([3000]));
  bench.settle();
  // The file was opened under its first name, `spare.new`.
  const steps = disk.done.filter((step) => !step.includes('tail') && !step.startsWith('zeros'));
  expect(steps.slice(0, 4)).toEqual(['write spare.new 0', 'rename spare 5', 'sync log', 'write spare.new 0']);
});

test('the next segment gets its header and name beside the last frames of the one before, and its own frames behind its name', () => {
  const { bench, chain, disk } = started(1);
  disk.done.length = 0;
  for (let i = 0; i < 8; i++) bench.append(chain.next([3000]));
  bench.settle();
  const steps = disk.done.filter((step) => !step.includes('tail') && !step.startsWith('zeros'));
  // Frame 1; the header, while frames 2 to 4 are on their way; and 5 to 8 only when the directory has the name.
  const header = 'write spare.new 0';
  const rotation = [
    'write spare.new 0',
    header,
    'write spare.new 4096',
    'rename spare 5',
    'sync log',
    'write spare.new 0',
  ];
  expect(steps.slice(0, rotation.length)).toEqual(rotation);
  expect(bench.promised).toBe(8);
  expect(new Bench(disk.restart(), OVER).recovered).toMatchObject({ outcome: 'clean', end: 8 });
});

test('suffix truncation: the highest segment goes first, and the directory is synced before a frame is written above the cut', () => {
  const { bench, chain, disk } = started(17);
  disk.done.length = 0;
  const kept = chain.batches.slice(0, 4);
  const fresh = new Chain();
  fresh.first = 4;
  fresh.hash = chain.hashOf(3);
  const next = fresh.next([3000], 2, 1);
  bench.store.install(manifest({ view: 2, logView: 2, headers: suffix(...kept, next) }), at(3), at(3), () => {});
  bench.append(next, 2);
  bench.settle();
  expect(directoryOnly(disk.done)).toEqual(['unlink 15', 'unlink 10', 'unlink 5', 'sync log']);
  const lowered = disk.done.findIndex((step) => step.startsWith('write tail'));
  const [cut, synced] = [disk.done.indexOf('unlink 15'), disk.done.indexOf('sync log')];
  expect(disk.done.slice(0, lowered).filter((step) => step.includes('manifest')).length).toBe(4);
  expect(lowered).toBeLessThan(cut);
  expect(disk.done.slice(synced + 1)[0]).toMatch(/^write /);
  expect(bench.promised).toBe(4);
});

test('compaction: the oldest segment goes first, each durably, as many kept as there are names, to be used again in turn', () => {
  const { bench, chain, disk } = started(27);
  const checkpoint = { index: at(26), hash: chain.hashOf(26), digest: new Uint8Array(16) };
  bench.store.saveManifest(manifest({ checkpoint }), () => {});
  bench.settle();
  disk.done.length = 0;
  bench.store.compact(26);
  bench.settle();
  const freed = [
    'rename 0 recycled',
    'rename 5 recycled.1',
    'rename 10 recycled.2',
    'rename 15 recycled.3',
    'unlink 20',
  ];
  expect(disk.done).toEqual(freed.flatMap((step) => [step, 'sync log']));
  const restarted = Object.setPrototypeOf(disk.clone(), RecordingDisk.prototype) as RecordingDisk;
  Object.assign(restarted, { done: [] });
  const more = (after: Bench): void => {
    const recording = after.disk as RecordingDisk;
    const behind = chain.batches.length;
    recording.done.length = 0;
    for (let i = 0; i < 25; i++) after.append(chain.next([3000]));
    after.settle();
    // The recycled ones first, then the one made ahead; zeros are written only when none is left.
    const named = ['recycled 30', 'recycled.1 35', 'recycled.2 40', 'recycled.3 45', 'spare 50', 'spare.new spare'];
    expect(directoryOnly(recording.done)).toEqual(named.flatMap((step) => [`rename ${step}`, 'sync log']));
    expect(recording.done.filter((step) => step.startsWith('zeros')).length).toBe(1);
    expect(after.promised).toBe(51);
    chain.batches.length = behind;
    chain.first = 27;
    chain.hash = chain.hashOf(26);
  };
  more(bench);
  more(new Bench(restarted, OVER));
});

test('what an earlier run made ahead is used as it is; what it had not finished, and one of another size, is not', () => {
  const { bench, chain, disk } = started(1);
  bench.store.close();
  const zeros = (after: Bench): string[] => {
    const recording = after.disk as RecordingDisk;
    for (let i = 0; i < 5; i++) after.append(chain.next([3000]));
    after.settle();
    expect(after.promised).toBe(chain.first - 1);
    const rotation = recording.done.findIndex((step) => step.startsWith('rename spare '));
    return recording.done.slice(0, rotation).filter((step) => step.startsWith('zeros'));
  };
  const restarted = (): RecordingDisk => Object.setPrototypeOf(disk.clone(), RecordingDisk.prototype) as RecordingDisk;
  const whole = restarted();
  Object.assign(whole, { done: [] });
  expect(zeros(new Bench(whole, OVER))).toEqual([]);
  chain.first = 1;
  chain.hash = chain.hashOf(0);
  const cutOff = restarted();
  Object.assign(cutOff, { done: [] });
  cutOff.renameSync('log/spare', 'log/spare.new');
  expect(zeros(new Bench(cutOff, OVER))).toEqual(['zeros spare.new 0']);
  const larger = openLog(disk.clone(), { ...OVER, segmentBytes: 32 * 1024 });
  expect('store' in larger && larger.store.options.disk.list('log')).not.toContain('spare');
});
