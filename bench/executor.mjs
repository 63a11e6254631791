/**
 * Micro-benchmark of the Executor: kv puts of 256 B (or bank transfers) by several sessions, applied from batches that were sealed beforehand. No disk, no network.
 *
 *   node -C @chronon/source --import tsx bench/executor.mjs [--entries 200000] [--batch 256] [--value 256] [--codec noble|wasm|none] [--runs 5] [--app kv|bank] [--json]
 *
 * `none` takes hashing away (a hash of zeros): what remains is the executor itself. Profile with --cpu-prof.
 */
import { parseArgs } from 'node:util';
import { kv } from '@chronon/core/apps/kv';
import { bank } from '@chronon/core/apps/bank';
import { encodePut } from '@chronon/core/apps/kv-calls';
import { KIND } from '@chronon/core/engine/frame';
import { Executor } from '@chronon/core/kernel/executor';
import { LogBuilder } from '@chronon/core/kernel/testing/log-builder';
import { encodeValue } from '@chronon/core/kernel/values';

const { values: options } = parseArgs({
  options: {
    entries: { type: 'string', default: '200000' },
    batch: { type: 'string', default: '256' },
    value: { type: 'string', default: '256' },
    codec: { type: 'string', default: 'noble' },
    runs: { type: 'string', default: '5' },
    app: { type: 'string', default: 'kv' },
    json: { type: 'boolean', default: false },
  },
});
const entries = Number(options.entries);
const batchCount = Number(options.batch);
const SESSIONS = 16;

const nothing = {
  backend: 'noble',
  hash: (_bytes, _start, _end, out, at) => out.fill(0, at, at + 16),
  crc32c: () => 0,
  seal: (bytes, start, end) => {
    let count = 0;
    for (let at = start; at < end; count++) at += (80 + new DataView(bytes.buffer).getUint32(at + 4, true) + 7) & ~7;
    return count;
  },
  verify: () => ({ count: 0, end: 0, fault: null }),
};

async function codecNamed(name) {
  if (name === 'none') return nothing;
  if (name === 'noble') return (await import('@chronon/core/engine/codec/noble')).nobleCodec;
  return (await import('@chronon/core/engine/codec/wasm')).createWasmCodec();
}

/** Command number and body of put or transfer number i. */
function commandOf(i, value) {
  if (options.app === 'bank') {
    const input = { from: `account-${i % 100}`, to: `account-${(i * 7 + 1) % 100}`, cents: 1 + (i % 5) };
    return i < 100 ? [1, encodeValue({ account: `account-${i}`, cents: 1_000_000 })] : [3, encodeValue(input)];
  }
  return [1, encodePut({ key: new TextEncoder().encode(`key-${String(i).padStart(9, '0')}`), value })];
}

function prepare(codec) {
  const log = new LogBuilder(codec);
  const batches = [];
  log.add(KIND.noop);
  const sessions = Array.from({ length: SESSIONS }, (_, i) => log.add(KIND.register, { request: i }));
  batches.push(log.take());
  const value = new Uint8Array(Number(options.value)).fill(120);
  for (let i = 0; i < entries; i++) {
    const request = Math.floor(i / SESSIONS) + 1;
    const [command, body] = commandOf(i, value);
    const ackBelow = Math.max(1, request - 8);
    log.add(KIND.command, { command, client: sessions[i % SESSIONS], request, ackBelow, body });
    if ((i + 1) % batchCount === 0 || i + 1 === entries) batches.push(log.take());
  }
  return batches;
}

const codec = await codecNamed(options.codec);
const module = options.app === 'bank' ? bank : kv;
const batches = prepare(codec);
const rates = [];
const cpuUs = [];
for (let run = 0; run < Number(options.runs); run++) {
  const executor = new Executor({ module, clusterId: new Uint8Array(16), codec, outboxPendingMax: entries });
  let replies = 0;
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  for (const batch of batches) executor.apply(batch, batch.first, batch.last, () => replies++);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const { user, system } = process.cpuUsage(cpu);
  cpuUs.push((user + system) / entries);
  if (replies !== entries + SESSIONS) throw new Error(`${replies} replies for ${entries} puts`);
  rates.push(entries / seconds);
}
rates.sort((a, b) => a - b);
cpuUs.sort((a, b) => a - b);
const result = {
  benchmark: `executor, ${options.app}`,
  codec: options.codec,
  valueBytes: Number(options.value),
  entries,
  batch: batchCount,
  appliesPerSecond: {
    median: Math.round(rates[rates.length >> 1]),
    min: Math.round(rates[0]),
    max: Math.round(rates.at(-1)),
  },
  /** All threads of the process, collector included: steadier than the rate on a shared machine. */
  cpuUsPerApply: { median: Number(cpuUs[cpuUs.length >> 1].toFixed(2)), min: Number(cpuUs[0].toFixed(2)) },
};
if (options.json) console.log(JSON.stringify(result));
else
  console.log(
    `${options.codec}: ${result.appliesPerSecond.median} applies/s (${result.appliesPerSecond.min} to ${result.appliesPerSecond.max}), ${result.cpuUsPerApply.median} us CPU each`,
  );
