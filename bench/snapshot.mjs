/**
 * What a snapshot does to the loop: kv rows, one snapshot written to a real directory while puts go on being applied. Prints the longest task of the loop
 * (a piece of the snapshot, or a batch of puts), the snapshot's processor time and how long it took, and the restore of the file.
 *
 *   node -C @chronon/source --import tsx bench/snapshot.mjs [--rows 100000] [--value 256] [--codec native|wasm|noble] [--disk io_uring|sync] [--puts 64] [--json]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { kv } from '@chronon/core/apps/kv';
import { encodePut } from '@chronon/core/apps/kv-calls';
import { KIND } from '@chronon/core/engine/frame';
import { SnapshotStore } from '@chronon/core/engine/snapshot-file';
import { Executor } from '@chronon/core/kernel/executor';
import { LogBuilder } from '@chronon/core/kernel/testing/log-builder';
import { SnapshotTaker } from '@chronon/core/replica-snapshots';
import { openNativeCodec } from '@chronon/native/native-codec';
import { openDisk } from '@chronon/native/open-disk';

const { values: options } = parseArgs({
  options: {
    rows: { type: 'string', default: '100000' },
    value: { type: 'string', default: '256' },
    codec: { type: 'string', default: 'native' },
    disk: { type: 'string', default: 'io_uring' },
    puts: { type: 'string', default: '64' },
    directory: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const rows = Number(options.rows);
const putsAtOnce = Number(options.puts);
const clusterId = new Uint8Array(16);

async function codecNamed(name) {
  if (name === 'noble') return (await import('@chronon/core/engine/codec/noble')).nobleCodec;
  if (name === 'wasm') return (await import('@chronon/core/engine/codec/wasm')).createWasmCodec();
  const { codec, reason } = openNativeCodec();
  if (codec === null) throw new Error(reason);
  return codec;
}

const codec = await codecNamed(options.codec);
const directory = mkdtempSync(path.join(options.directory, 'chronon-bench-'));
const disk = openDisk({ root: directory, kind: options.disk });
const executor = new Executor({ module: kv, clusterId, codec });
const log = new LogBuilder(codec);
const value = new Uint8Array(Number(options.value)).fill(120);
log.add(KIND.noop);
const session = log.add(KIND.register, { request: 1 });
let request = 0;

/** Applies `count` puts as one batch; keys in order, round and round. */
function put(count) {
  for (let i = 0; i < count; i++) {
    const key = new TextEncoder().encode(`key-${String(request % rows).padStart(9, '0')}`);
    request++;
    log.add(KIND.command, { command: 1, client: session, request, ackBelow: request, body: encodePut({ key, value }) });
  }
  const batch = log.take();
  executor.apply(batch, batch.first, batch.last, () => {});
  return batch;
}

const pieces = [];
const cpu = [];
/** Runs a piece of the snapshot; its processor time (all threads) is steadier than its duration on a shared machine. */
function measured(task) {
  const used = process.cpuUsage();
  const at = millis();
  task();
  pieces.push(millis() - at);
  const { user, system } = process.cpuUsage(used);
  cpu.push((user + system) / 1000);
}
const millis = () => Number(process.hrtime.bigint()) / 1e6;
while (request < rows) put(500);
const files = new SnapshotStore({ disk, codec, clusterId });
const result = await new Promise((resolve, reject) => {
  const startedAt = millis();
  const taker = new SnapshotTaker({
    files,
    executor,
    every: 1,
    clusterId,
    defer: (task) =>
      setImmediate(() => {
        measured(task);
      }),
    onTaken: (checkpoint) => {
      done = true;
      resolve({ checkpoint, ms: millis() - startedAt });
    },
    onFailed: (why) => reject(new Error(why)),
  });
  let done = false;
  const apply = () => {
    if (done) return;
    put(putsAtOnce);
    setImmediate(apply);
  };
  const batch = put(putsAtOnce);
  measured(() => taker.take(batch, batch.last));
  setImmediate(apply);
});
const restoring = millis();
const snapshot = files.newest(Number.MAX_SAFE_INTEGER, (text) => console.error(text));
const readMs = millis() - restoring;
const again = new Executor({ module: kv, clusterId, codec });
again.restore(snapshot, snapshot.sections);
const restoreMs = millis() - restoring - readMs;
for (const list of [pieces, cpu]) list.sort((a, b) => a - b);
const bytes = snapshot.sections.reduce((sum, section) => sum + section.length, 0);
disk.close();
rmSync(directory, { recursive: true });
const round = (n) => Number(n.toFixed(2));
const report = {
  benchmark: 'snapshot, kv',
  rows,
  codec: options.codec,
  disk: options.disk,
  bytes,
  longestPieceMs: round(pieces.at(-1)),
  p99PieceMs: round(pieces[Math.floor(pieces.length * 0.99)]),
  longestPieceCpuMs: round(cpu.at(-1)),
  p99PieceCpuMs: round(cpu[Math.floor(cpu.length * 0.99)]),
  medianPieceMs: round(pieces[pieces.length >> 1]),
  pieces: pieces.length,
  sumOfPiecesMs: round(pieces.reduce((sum, ms) => sum + ms, 0)),
  wallMs: round(result.ms),
  putsMeanwhile: request - rows,
  readMs: round(readMs),
  restoreMs: round(restoreMs),
};
if (options.json) console.log(JSON.stringify(report));
else console.table(report);
