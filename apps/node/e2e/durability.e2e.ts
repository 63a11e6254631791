/** Durability of the real processes, seen from outside: by the kernel's view of their files, and by the order of their system calls. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { fromWire } from '@chronon/core/engine/commit-index';
import { readU64 } from '@chronon/core/engine/frame';
import { afterEach, describe, expect, it } from 'vitest';
import { Cluster, until } from './cluster.ts';

const O_DSYNC = 0o10000;
const O_DIRECT = 0o40000;
const clusters: Cluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.destroy();
});

async function started(...args: string[]): Promise<Cluster> {
  const cluster = await Cluster.start({ args: ['--no-console', ...args] });
  clusters.push(cluster);
  return cluster;
}

/** Open files of a process: descriptor to path. */
function openFiles(pid: number): Map<number, string> {
  const files = new Map<number, string>();
  for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
    try {
      files.set(Number(fd), fs.readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      // Closed meanwhile.
    }
  }
  return files;
}

function flagsOf(pid: number, fd: number): number {
  const text = fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
  return Number.parseInt(/^flags:\s*(\d+)/m.exec(text)![1]!, 8);
}

/** System calls of a trace, in the order in which they ended (writes to files) or began (writes to sockets). */
interface Traced {
  readonly kind: 'log' | 'tail' | 'prepareOk';
  /** Last index that a PrepareOk promises, or that a tail record covers. */
  readonly last: number;
}

/** A write to a file that has begun. */
interface Write {
  readonly fd: number;
  /** The beginning of what it writes. */
  readonly bytes: Buffer;
}

function readTrace(text: string, files: ReadonlyMap<number, string>): Traced[] {
  const events: Traced[] = [];
  const unfinished = new Map<string, Write>();
  for (const line of text.split('\n')) {
    const call = /^(?:\[pid\s+)?(\d+)?\]?\s*(?:\d+\s+)?(pwrite64|pwritev|write|writev|sendmsg)\((\d+)/.exec(line);
    const resumed = /^(?:\[pid\s+)?(\d+)?\]?\s*<\.\.\. (pwrite64|pwritev) resumed>.*= (-?\d+)/.exec(line);
    if (resumed !== null) fileWrite(unfinished.get(resumed[1] ?? ''), Number(resumed[3]), files, events);
    if (call === null) continue;
    const fd = Number(call[3]);
    const bytes = bytesIn(line);
    if (!call[2]!.startsWith('pwrite')) socketWrite(bytes, events);
    else if (line.includes('<unfinished')) unfinished.set(call[1] ?? '', { fd, bytes });
    else fileWrite({ fd, bytes }, Number(/= (-?\d+)\s*$/.exec(line)?.[1] ?? -1), files, events);
  }
  return events;
}

function bytesIn(line: string): Buffer {
  const hex = [...line.matchAll(/"((?:\\x[0-9a-f]{2})+)"/g)].map((m) => m[1]!.replaceAll('\\x', '')).join('');
  return Buffer.from(hex, 'hex');
}

/** Offset of the last index in a tail record (docs/log-format.md). */
const TAIL_LAST_INDEX = 40;

function fileWrite(
  write: Write | undefined,
  result: number,
  files: ReadonlyMap<number, string>,
  events: Traced[],
): void {
  if (write === undefined || result <= 0) return;
  const path = files.get(write.fd) ?? '';
  if (path.endsWith('.seg')) events.push({ kind: 'log', last: -1 });
  if (path.endsWith('log/tail')) events.push({ kind: 'tail', last: fromWire(readU64(write.bytes, TAIL_LAST_INDEX)) });
}

/** Peer frames in what is sent: length, checksum, kind (6: a message), then type 2 is PrepareOk: view, first, last. */
function socketWrite(bytes: Buffer, events: Traced[]): void {
  for (let at = 0; at + 52 <= bytes.length; at += 8 + bytes.readUInt32LE(at)) {
    if (bytes.readUInt32LE(at + 8) !== 6 || bytes[at + 12] !== 2 || bytes[at + 13] !== 1) continue;
    events.push({ kind: 'prepareOk', last: Number(bytes.readBigUInt64LE(at + 12 + 24)) });
  }
}

describe('durability of real processes', () => {
  it('the open segment is written with O_DSYNC or O_DIRECT, and barriers are counted', async () => {
    const cluster = await started();
    const replicas = await until('every replica has written', async () => {
      const seen = (await cluster.agreed()).replicas;
      return seen.some((replica) => replica.durable === null) ? null : seen;
    });
    for (const { id, pid } of replicas) {
      const segments = [...openFiles(pid!)].filter(
        ([, path]) => path.includes(`/r${id}/log/`) && path.endsWith('.seg'),
      );
      expect(segments.length).toBeGreaterThan(0);
      for (const [fd] of segments) expect(flagsOf(pid!, fd) & (O_DSYNC | O_DIRECT)).not.toBe(0);
    }
  });

  it('no PrepareOk is sent before its frames and then its tail record are written synchronously (strace)', async ({
    skip,
  }) => {
    if (spawnSync('strace', ['-V']).status !== 0) return skip('strace is not installed');
    const cluster = await started('--disk', 'sync');
    cluster.deposit('a', 1);
    // All of them: whoever is a backup now may be the primary soon, which promises nobody anything.
    const { replicas } = await cluster.agreed();
    const traced = await Promise.all(replicas.map(({ id, pid }) => attach(cluster, id, pid!)));
    // What they hold now was written before somebody looked.
    const begun = await until('every replica says what is durable', async () => {
      const { replicas: seen } = await cluster.agreed();
      return seen.every(({ durable, last }) => durable !== null && durable === last) ? seen : null;
    });
    // One that is traced is slow: it may promise two at once.
    await until('five promises', () => {
      cluster.deposit('a', 1);
      return traced.some((one) => promises(one.events()).length >= 5);
    });
    for (const { strace } of traced) strace.kill('SIGINT');
    await Promise.all(traced.map(({ ended }) => ended));
    let raised = 0;
    for (const [i, one] of traced.entries()) raised += judge(one.events(), Number(begun[i]!.durable));
    expect(raised).toBeGreaterThan(0);
  });
});

interface Trace {
  readonly strace: ChildProcess;
  readonly ended: Promise<unknown>;
  /** What was traced so far. */
  readonly events: () => Traced[];
}

/** Traces a replica on the synchronous disk. */
async function attach(cluster: Cluster, id: number, pid: number): Promise<Trace> {
  const files = openFiles(pid);
  for (const [fd, path] of files) {
    if (path.endsWith('.seg') || path.endsWith('log/tail')) expect(flagsOf(pid, fd) & O_DSYNC).not.toBe(0);
  }
  const output = join(cluster.data, `strace-${id}.txt`);
  const calls = 'trace=pwrite64,pwritev,write,writev,sendmsg';
  const strace = spawn('strace', ['-f', '-xx', '-s', '4096', '-e', calls, '-o', output, '-p', String(pid)]);
  const ended = new Promise((resolve) => strace.once('close', resolve));
  let attached = '';
  strace.stderr.on('data', (chunk: Buffer) => (attached += chunk.toString()));
  await until('strace attaches', () => attached.includes('attached'));
  return { strace, ended, events: () => readTrace(fs.readFileSync(output, 'utf8'), files) };
}

/** No promise covers more than a tail record did, and no record that covers more comes without frames of its own; returns how many of these there were. */
function judge(events: readonly Traced[], durable: number): number {
  let last = durable;
  let raised = 0;
  let frames = 0;
  for (const event of events) {
    if (event.kind === 'log') frames++;
    else if (event.kind === 'prepareOk') expect(event.last).toBeLessThanOrEqual(last);
    else if (event.last > last) {
      last = event.last;
      expect(frames).toBeGreaterThanOrEqual(++raised);
    }
  }
  return raised;
}

function promises(events: readonly Traced[]): Traced[] {
  return events.filter((e) => e.kind === 'prepareOk');
}
