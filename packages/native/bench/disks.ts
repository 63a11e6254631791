/**
 * Measures the disks side by side: durable writes a second into a pre-written file, at one and eight in flight.
 * Run: node -C @chronon/source --import tsx packages/native/bench/disks.ts [seconds a cell] [ring options...]
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { DiskFile, VirtualDisk } from '@chronon/core/engine/virtual-disk';
import { IoUringDisk } from '../src/io-uring-disk.ts';
import { loadNative } from '../src/native-binding.ts';
import { SyncDisk } from '../src/sync-disk.ts';

const seconds = Number(process.argv[2] ?? 2);
const ringOptions = process.argv.slice(3).map(Number);
const FILE_BYTES = 64 * 1024 * 1024;
mkdirSync('data', { recursive: true });
const root = mkdtempSync(join('data', 'bench-'));

function prewrite(file: DiskFile): void {
  const chunk = new Uint8Array(1024 * 1024);
  for (let at = 0; at < FILE_BYTES; at += chunk.length) file.writeSync(at, chunk);
  file.barrierSync();
}

interface Cell {
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly p50: number;
  readonly p99: number;
}

function run(file: DiskFile, bytes: number, depth: number): Promise<Cell> {
  const data = new Uint8Array(bytes).fill(7);
  const latencies: number[] = [];
  const started = process.hrtime.bigint();
  const cpu = process.cpuUsage();
  const end = started + BigInt(Math.round(seconds * 1e9));
  let at = 0;
  let running = 0;
  return new Promise((resolve, reject) => {
    const next = (): void => {
      const t0 = process.hrtime.bigint();
      if (t0 >= end) {
        if (running > 0) return;
        const elapsed = Number(t0 - started) / 1e9;
        const { user, system } = process.cpuUsage(cpu);
        latencies.sort((a, b) => a - b);
        const pick = (q: number): number => Math.round(latencies[Math.floor(latencies.length * q)] ?? 0);
        resolve({
          perSecond: Math.round(latencies.length / elapsed),
          cpuMicros: Math.round((user + system) / latencies.length),
          p50: pick(0.5),
          p99: pick(0.99),
        });
        return;
      }
      running++;
      file.write(at, data, true, (error) => {
        if (error !== null) return reject(new Error(error.message));
        running--;
        latencies.push(Number(process.hrtime.bigint() - t0) / 1e3);
        next();
      });
      at = (at + bytes) % (FILE_BYTES - bytes + 1);
      at -= at % 4096;
    };
    for (let i = 0; i < depth; i++) next();
  });
}

const { binding, reason } = loadNative();
if (binding === null) console.log(reason);
const disks: [string, VirtualDisk][] = [['sync', new SyncDisk(root)]];
for (const options of ringOptions.length > 0 ? ringOptions : [0]) {
  if (binding !== null) disks.push([`io_uring/${options}`, new IoUringDisk(root, binding, options)]);
}
const files = disks.map(([name, disk]) => {
  const file = disk.open(name.replace('/', '-'), { create: true });
  prewrite(file);
  return file;
});
for (const [bytes, depth] of [
  [4096, 1],
  [65536, 1],
  [4096, 8],
  [1048576, 1],
] as const) {
  const cells: Cell[][] = disks.map(() => []);
  for (let round = 0; round < 3; round++)
    for (const [i, file] of files.entries()) cells[i]!.push(await run(file, bytes, depth));
  for (const [i, [name]] of disks.entries()) {
    const sorted = cells[i]!.toSorted((a, b) => a.perSecond - b.perSecond);
    const { perSecond, cpuMicros, p50, p99 } = sorted[1]!;
    const spread = sorted.map((cell) => cell.perSecond).join('/');
    console.log(
      `${`${bytes} B x${depth}`.padEnd(12)} ${name.padEnd(12)} ${String(perSecond).padStart(6)}/s [${spread}] cpu ${cpuMicros} us p50 ${p50} us p99 ${p99} us`,
    );
  }
}
for (const [, disk] of disks) disk.close();
rmSync(root, { recursive: true });
