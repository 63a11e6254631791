/**
 * Log benchmark: what the engine makes of a disk. Appends through LogStore (sealed frames, chain, tail record, promise by promise) beside the raw device
 * with writes of the same size in the same seconds; the cost of sealing; the speed of recovery; memory over gigabytes.
 *
 * What is compared: the raw loop writes the bytes of one batch after the other, one durable write each, from memory as good as the log's own. The log
 * makes two durable writes of a batch (its frames, then its tail record, beside the next frames) and merges the batches that wait, as a replica's does.
 * Single appends have four promises outstanding, one or two in each stage (gathered, frames, tail record); batches eight, less than a replica's pipeline
 * admits; the column of writes says how many a promise took.
 * The share of the device is that of appends of frames sealed before: sealing hashes each byte twice and is measured by itself, for one core hashes more
 * slowly than such a device writes. The columns of entries and the reference have the sealing in them, on the same thread.
 *
 *   npm run bench -- log [--json] [--quick] [--disk both|io_uring|sync] [--payloads 128,1024,16384] [--batches 1,64,256,512] [--seconds 0.6] [--rounds 3]
 *                        [--depth 4,8] [--recover-mib 512] [--gib 0] [--directory DIR]
 */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BLOCK_BYTES } from '@chronon/core/engine/constants';
import { WRITE_BYTES_MAX } from '@chronon/core/engine/durability-worker';
import { frameBytes } from '@chronon/core/engine/frame';
import { openDisk } from '@chronon/native/open-disk';
import { chooseCodec } from '@chronon/node/replica/choose-codec';
import { isMemory, machine } from './lib/machine.ts';
import { latencyHistogram, spread } from './lib/latency.ts';
import { AHEAD_BYTES, BenchLog, openLog, Sealer, type BenchDisk } from './log/bench-log.ts';
import {
  table,
  targets,
  type Cell,
  type Lone,
  type LogReport,
  type MemoryRun,
  type Raw,
  type Sealing,
} from './log/report.ts';
import { rawDevice } from './raw-device.mjs';

const MB = 1e6;
const SEALING = [
  { payloadBytes: 128, count: 64 },
  { payloadBytes: 1024, count: 64 },
  { payloadBytes: 16_384, count: 64 },
];

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    disk: { type: 'string', default: 'both' },
    payloads: { type: 'string', default: '128,1024,16384' },
    batches: { type: 'string', default: '1,64,256,512' },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    depth: { type: 'string', default: '4,8' },
    'recover-mib': { type: 'string' },
    gib: { type: 'string', default: '0' },
    directory: { type: 'string', default: fileURLToPath(new URL('./results/', import.meta.url)) },
  },
});
const seconds = Number(values.seconds ?? (values.quick ? 0.3 : 0.6));
const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
const [depthOfOne, depthOfBatches] = values.depth.split(',').map(Number) as [number, number];
const disks: readonly BenchDisk[] = values.disk === 'both' ? ['io_uring', 'sync'] : [values.disk as BenchDisk];
const directory = join(values.directory, `log-${process.pid}`);
const { codec } = await chooseCodec();

process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));
mkdirSync(directory, { recursive: true });
if (isMemory(directory)) process.stderr.write('note: this directory is in memory; nothing here is durable\n');

const before = machine();
const cells: Cell[] = [];
const lone: Lone[] = [];
for (const disk of disks) await measureDisk(disk);
const sealing = SEALING.map(({ payloadBytes, count }) => sealed(payloadBytes, count));
const recovery = await recovered(Number(values['recover-mib'] ?? (values.quick ? 64 : 512)));
const memory = Number(values.gib) > 0 ? await gibibytes(Number(values.gib)) : null;
const report: LogReport = {
  benchmark: 'log',
  machine: before,
  directory: dirname(directory),
  codec: codec.backend,
  parameters: { seconds, rounds, depth: values.depth },
  cells,
  lone,
  sealing,
  recovery,
  memory,
  targets: targets({ cells, lone, sealing, recovery, memory }),
};
process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : `${table(report)}\n`);

function raw(bytes: number, pairs = false) {
  const { perSecond, p50us } = rawDevice({ bytes, seconds: Math.max(0.3, seconds / 2), directory, pairs });
  return { bytes, perSecond, p50us };
}

/** Whole blocks that one batch takes, as far as one write goes. */
function writeBytes(payloadBytes: number, count: number): number {
  return Math.min(WRITE_BYTES_MAX, Math.ceil((frameBytes(payloadBytes) * count) / BLOCK_BYTES) * BLOCK_BYTES);
}

async function measureDisk(disk: BenchDisk): Promise<void> {
  const root = join(directory, disk);
  let log: BenchLog;
  try {
    log = new BenchLog(root, disk, codec);
  } catch (error) {
    process.stderr.write(`${disk}: left out: ${(error as Error).message}\n`);
    return;
  }
  // Two segments' worth first: from then on segments are recycled, as on a replica that has taken a snapshot.
  await log.fill(16_384, 64, 160 * 1024 * 1024);
  lone.push(await loneAppend(log, disk));
  for (const payloadBytes of values.payloads.split(',').map(Number)) {
    for (const count of values.batches.split(',').map(Number)) {
      cells.push(await measureCell(log, disk, payloadBytes, count));
      process.stderr.write(`${disk} ${payloadBytes} B x ${count}: ${cells.at(-1)!.entriesPerSecond} entries/s\n`);
    }
  }
  log.close();
  rmSync(root, { recursive: true, force: true });
}

/** Rounds of raw device and log in turn: a disk that others use changes from one second to the next. */
async function measureCell(log: BenchLog, disk: BenchDisk, payloadBytes: number, count: number): Promise<Cell> {
  const bytes = frameBytes(payloadBytes) * count;
  const depth = count === 1 ? depthOfOne : depthOfBatches;
  const devices: Raw[] = [];
  const promises: number[] = [];
  const ratios: number[] = [];
  const ratiosSealing: number[] = [];
  const writes: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const device = raw(writeBytes(payloadBytes, count));
    // A batch longer than one write takes several.
    const most = (device.perSecond * device.bytes) / Math.max(device.bytes, bytes);
    const before = log.disk.stats.writes;
    const run = await log.run(payloadBytes, count, depth, seconds, null);
    writes.push((log.disk.stats.writes - before) / run.promisesInAll);
    const rate = run.promises / run.seconds;
    const ahead = Math.min(Math.floor(AHEAD_BYTES / bytes), Math.ceil(2 * rate * seconds));
    const sealed = await log.runSealed(log.prepare(payloadBytes, count, ahead), depth);
    devices.push(device);
    promises.push(rate);
    ratios.push(sealed.promises / sealed.seconds / most);
    ratiosSealing.push(rate / most);
  }
  const perSecond = spread(promises, 1).median;
  return {
    disk,
    payloadBytes,
    count,
    depth,
    entriesPerSecond: Math.round(perSecond * count),
    megabytesPerSecond: Math.round((perSecond * bytes) / MB),
    promisesPerSecond: Math.round(perSecond),
    raw: {
      bytes: devices[0]!.bytes,
      perSecond: spread(devices.map((device) => device.perSecond)).median,
      p50us: spread(devices.map((device) => device.p50us)).median,
    },
    writesPerPromise: spread(writes, 2).median,
    ratio: spread(ratios, 2),
    ratioSealing: spread(ratiosSealing, 2),
  };
}

/** One append at a time, the next when the promise of the last is there: the middle round. */
async function loneAppend(log: BenchLog, disk: BenchDisk): Promise<Lone> {
  const all: Lone[] = [];
  for (let round = 0; round < rounds; round++) {
    const device = raw(BLOCK_BYTES);
    const pair = raw(BLOCK_BYTES, true);
    const histogram = latencyHistogram();
    const { promises, seconds: took } = await log.run(128, 1, 1, seconds, histogram);
    const p50us = Math.round(histogram.percentile(50) / 1000);
    all.push({
      disk,
      promisesPerSecond: Math.round(promises / took),
      p50us,
      p99us: Math.round(histogram.percentile(99) / 1000),
      raw: device,
      barriers: Number((p50us / device.p50us).toFixed(2)),
      rawPairP50us: pair.p50us,
    });
  }
  return all.sort((a, b) => a.barriers - b.barriers)[all.length >> 1]!;
}

/** Encode and chain, by processor time: what one core does. */
function sealed(payloadBytes: number, count: number): Sealing {
  const sealer = new Sealer(codec);
  const run = (ms: number): { entries: number; cpuMs: number } => {
    let entries = 0;
    const from = process.cpuUsage();
    for (;;) {
      for (let i = 0; i < 8; i++) entries += sealer.batch(payloadBytes, count).count;
      const { user, system } = process.cpuUsage(from);
      if (user + system >= ms * 1000) return { entries, cpuMs: (user + system) / 1000 };
    }
  };
  run(200);
  const { entries, cpuMs } = run(1000 * seconds);
  const perSecond = (entries / cpuMs) * 1000;
  return {
    payloadBytes,
    count,
    entriesPerSecond: Math.round(perSecond),
    megabytesPerSecond: Math.round((perSecond * payloadBytes) / MB),
  };
}

/** Opens a log of so many MiB: scan, chain, checksums, hashes. */
async function recovered(mebibytes: number): Promise<LogReport['recovery']> {
  const root = join(directory, 'recovery');
  const kind = disks[0]!;
  const log = new BenchLog(root, kind, codec);
  log.recycles = false;
  const payloadBytes = 1024;
  await log.fill(payloadBytes, 512, mebibytes * 1024 * 1024);
  const { end } = log.store;
  log.close();
  const disk = openDisk({ root, kind });
  const cpu = process.cpuUsage();
  const from = performance.now();
  const ignored = (): void => undefined;
  const store = openLog(disk, codec, { onDurable: ignored, onFatal: ignored, onSpace: ignored, onDamaged: ignored });
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(cpu);
  if (store.end !== end) throw new Error(`recovery ends at ${store.end}, the log at ${end}`);
  const bytes = (end + 1) * frameBytes(payloadBytes);
  store.close();
  disk.close();
  rmSync(root, { recursive: true, force: true });
  return {
    disk: kind,
    payloadBytes,
    bytes,
    ms: Math.round(ms),
    megabytesPerSecond: Math.round(bytes / MB / (ms / 1000)),
    megabytesPerCpuSecond: Math.round(bytes / MB / ((user + system) / 1e6)),
  };
}

/** Resident memory while so many GiB are appended. */
async function gibibytes(gib: number): Promise<MemoryRun> {
  const root = join(directory, 'memory');
  const log = new BenchLog(root, disks[0]!, codec);
  const total = gib * 2 ** 30;
  const samples: number[] = [];
  const from = performance.now();
  await log.fill(16_384, 64, total, (written) => {
    if (written >= ((samples.length + 1) * total) / 32) samples.push(Math.round(process.memoryUsage.rss() / MB));
  });
  const took = (performance.now() - from) / 1000;
  log.close();
  rmSync(root, { recursive: true, force: true });
  const early = Math.max(...samples.slice(0, 8));
  return {
    gib,
    megabytesPerSecond: Math.round(total / MB / took),
    rssMegabytes: samples,
    growth: Number((Math.max(...samples.slice(8)) / early - 1).toFixed(3)),
  };
}
