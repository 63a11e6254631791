/** The disk under a data directory: which one will be used and why, what kind of file system, how much space, how long a flush takes. */
import fs from 'node:fs';
import { join } from 'node:path';
import { BLOCK_BYTES, SEGMENT_BYTES } from '@chronon/core/engine/constants';
import type { VirtualDisk } from '@chronon/core/engine/virtual-disk';
import { openDisk } from '@chronon/native/open-disk';
import { memoryFileSystem, probe } from '@chronon/native/probe';
import { fileSystemOf } from '../replica/directory.ts';
import { type Finding, ok, problem, warning } from './finding.ts';

/** Durable writes that are timed on each disk. */
const ROUNDS = 200;
/** Written once before the clock runs, so that blocks are allocated. */
const FILE_BLOCKS = 64;
/** Segments a replica needs room for: the one written, the next one, and a snapshot with the log behind it. */
const SEGMENTS_MIN = 3;
const SLOW_P50_MS = 20;
const SLOW_P99_MS = 200;
/** No flush to a medium is that fast. */
const UNLIKELY_P50_MS = 0.02;
const INODES_MIN = 1000;
/** Upper bounds of the histogram, ms. */
const BUCKETS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 500] as const;

export function ioUring(directory: string): Finding {
  const { ok: works, reason } = probe(directory);
  if (works) return ok('io_uring', 'io_uring with O_DIRECT works here and is what a replica takes');
  const why = reason ?? 'unknown';
  return warning('io_uring', `io_uring is not used, the synchronous disk is: ${why}`, adviceFor(why), { reason: why });
}

function adviceFor(reason: string): string {
  if (reason.includes('was not built') || reason.includes('another build'))
    return 'install g++ and run `npm run setup`';
  if (reason.includes('CHRONON_NATIVE=off')) return 'unset CHRONON_NATIVE';
  if (reason.includes('ENOSYS')) return 'use a kernel of 5.6 or later, or leave the sandbox that hides io_uring';
  if (reason.includes('io_uring_disabled'))
    return 'sysctl -w kernel.io_uring_disabled=0, if the policy of this machine allows it';
  if (reason.includes('seccomp'))
    return 'run the container with apps/node/docker/seccomp-io-uring.json (docs/compose.md)';
  if (reason.includes('O_DIRECT') || reason.includes('tmpfs') || reason.includes('ramfs'))
    return 'put the data on ext4 or xfs on a real device (--data)';
  if (reason.includes('MEMLOCK')) return 'raise it: ulimit -l, or ulimits.memlock of the container';
  return 'nothing must be done: the synchronous disk is complete, it only costs more processor time';
}

export function fileSystem(directory: string): Finding {
  const kind = fileSystemOf(directory) ?? 'unknown';
  const memory = memoryFileSystem(directory);
  const facts = { kind, directory };
  if (memory !== null)
    return problem(
      'file-system',
      `${directory} is on ${memory}: a power cut loses everything in it`,
      'choose a directory on a disk (--data)',
      facts,
    );
  if (['nfs', 'fuse', 'overlay'].includes(kind))
    return warning(
      'file-system',
      `${directory} is on ${kind}, whose flushes and locks may promise less than a local disk`,
      'use a local ext4 or xfs, or a volume that is one',
      facts,
    );
  return ok('file-system', `${directory} is on ${kind}`, facts);
}

export function space(directory: string, replicas: number): Finding {
  const { bavail, bsize, ffree, files } = fs.statfsSync(directory);
  const free = bavail * bsize;
  const needed = SEGMENTS_MIN * SEGMENT_BYTES * replicas;
  const facts = { freeBytes: free, segmentBytes: SEGMENT_BYTES, freeInodes: files === 0 ? null : ffree };
  const text = `${mib(free)} free in ${directory}; a segment has ${mib(SEGMENT_BYTES)}, ${replicas} replica${replicas === 1 ? '' : 's'} here`;
  const advice =
    'free space, or move the data to a larger disk; a replica without space for the next segment becomes read-only (E_NO_SPACE)';
  if (files > 0 && ffree < INODES_MIN) return problem('space', `${text}; only ${ffree} inodes are free`, advice, facts);
  if (free < SEGMENT_BYTES * replicas) return problem('space', text, advice, facts);
  if (free < needed) return warning('space', text, advice, facts);
  return ok('space', text, facts);
}

/** Latency of durable 4 KiB writes on both disks. */
export async function flushes(directory: string): Promise<Finding[]> {
  const scratch = join(directory, `.doctor-${process.pid}`);
  try {
    fs.mkdirSync(scratch, { mode: 0o700 });
  } catch (error) {
    const why = (error as Error).message;
    return [
      problem(
        'flush',
        `${directory} cannot be written: ${why}`,
        'check its owner and mode, and the space that is left',
      ),
    ];
  }
  try {
    const findings: Finding[] = [];
    for (const kind of ['sync', 'io_uring'] as const) {
      if (kind === 'io_uring' && !probe(scratch).ok) continue;
      findings.push(await flushOf(scratch, kind));
    }
    return findings;
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

async function flushOf(directory: string, kind: 'sync' | 'io_uring'): Promise<Finding> {
  const id = `flush-${kind}`;
  let disk: VirtualDisk | null = null;
  try {
    disk = openDisk({ root: directory, kind });
    return judge(id, kind, await timesOf(disk, kind));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return problem(id, `durable writes fail on the ${kind} disk: ${why}`, 'check the disk and the space that is left');
  } finally {
    disk?.close();
  }
}

async function timesOf(disk: VirtualDisk, name: string): Promise<number[]> {
  const file = disk.open(name, { create: true });
  const block = new Uint8Array(BLOCK_BYTES).fill(1);
  file.writeSync(0, new Uint8Array(FILE_BLOCKS * BLOCK_BYTES).fill(1));
  file.barrierSync();
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const start = performance.now();
    await new Promise<void>((resolve, reject) => {
      file.write((i % FILE_BLOCKS) * BLOCK_BYTES, block, true, (error) => {
        if (error === null) resolve();
        else reject(new Error(error.message));
      });
    });
    times.push(performance.now() - start);
  }
  return times;
}

function judge(id: string, kind: string, times: readonly number[]): Finding {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Number(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!.toFixed(3));
  const [p50, p99, max] = [at(0.5), at(0.99), at(1)];
  const facts = { rounds: times.length, p50Ms: p50, p99Ms: p99, maxMs: max, histogram: histogram(sorted) };
  const rows = histogramText(facts.histogram);
  const text = `a durable 4 KiB write on the ${kind} disk takes ${p50} ms (p50), ${p99} ms (p99), ${max} ms at most: ${rows}`;
  if (p50 > SLOW_P50_MS || p99 > SLOW_P99_MS)
    return warning(
      id,
      text,
      'every command waits for two of these on a majority: use a faster disk, or one that nobody else keeps busy',
      facts,
    );
  if (p50 < UNLIKELY_P50_MS)
    return warning(
      id,
      `${text}: too fast for a medium`,
      'check whether this device really flushes (write cache, a virtual disk with cache=unsafe)',
      facts,
    );
  return ok(id, text, facts);
}

/** `18 below 0.1 ms, 128 below 0.2 ms, ...`. */
function histogramText(rows: ReturnType<typeof histogram>): string {
  return rows.map(({ belowMs, count }) => `${count} ${belowMs === null ? 'above' : `below ${belowMs} ms`}`).join(', ');
}

function histogram(sorted: readonly number[]): readonly { readonly belowMs: number | null; readonly count: number }[] {
  const rows: { belowMs: number | null; count: number }[] = [];
  let counted = 0;
  for (const belowMs of BUCKETS) {
    const count = sorted.filter((time) => time < belowMs).length - counted;
    counted += count;
    if (count > 0) rows.push({ belowMs, count });
  }
  if (counted < sorted.length) rows.push({ belowMs: null, count: sorted.length - counted });
  return rows;
}

function mib(bytes: number): string {
  const value = bytes / 1024 / 1024;
  return value >= 10_240 ? `${(value / 1024).toFixed(0)} GiB` : `${value.toFixed(0)} MiB`;
}
