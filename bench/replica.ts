/**
 * Processor time of the whole way of a put without the kernel's part: three Replicas and a session client in one process, messages and client records
 * encoded and decoded as on the wire, disks in memory. Steadier than the commit benchmark on a machine that is shared; profile with --cpu-prof.
 *
 *   npm run bench -- replica [--in-flight 256] [--puts 200000] [--runs 5] [--json]
 */
import { parseArgs } from 'node:util';
import { kv } from '@chronon/core/apps/kv';
import { encodePut } from '@chronon/core/apps/kv-calls';
import { formatMachine } from '@chronon/core/chaos/format';
import { concat } from '@chronon/core/chaos/parcel';

import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { SOUND } from '@chronon/core/policy';
import { openReplica, type Replica } from '@chronon/core/replica';
import { DEFAULT_CONFIG } from '@chronon/core/replica-contract';
import { SessionClient } from '@chronon/core/vsr/client';
import {
  clientMessageBytes,
  decodeClientRecords,
  writeClientMessage,
  type ClientMessage,
} from '@chronon/core/vsr/client-protocol';
import { decodeMessage, encodeMessage } from '@chronon/core/vsr/codec';
import { chooseCodec } from '@chronon/node/replica/choose-codec';
import { spread } from './lib/latency.ts';
import { PlainDisk } from './lib/plain-disk.ts';

const REPLICAS = 3;
const KEYS = 50_000;
const SEGMENT_BYTES = 16 * 1024 * 1024;
const TIMEOUT_MS = 1e9;

/** Three replicas, their disks and the bytes between them; `turn` lets everything happen that can. */
class World {
  readonly replicas: Replica[] = [];
  private readonly disks: PlainDisk[] = [];
  private readonly network: { to: number; from: number; bytes: Uint8Array }[] = [];
  private deferred: (() => void)[] = [];
  private outgoing: ClientMessage[] = [];
  private readonly codec: FrameCodec;
  nowMs = 0;
  toClient: (from: number, bytes: Uint8Array) => void = () => undefined;

  constructor(codec: FrameCodec) {
    this.codec = codec;
    for (let id = 1; id <= REPLICAS; id++) this.replicas.push(this.open(id));
  }

  private open(id: number): Replica {
    const disk = new PlainDisk();
    const clusterId = new Uint8Array(16).fill(7);
    const problem = formatMachine(disk, this.codec, {
      clusterId,
      replicaId: id,
      replicas: REPLICAS,
      bootId: clusterId,
    });
    if (problem !== null) throw new Error(problem);
    this.disks.push(disk);
    const config = {
      ...DEFAULT_CONFIG,
      replicaId: id,
      clusterId,
      seed: id,
      segmentBytes: SEGMENT_BYTES,
      snapshotEvery: 0,
    };
    const opened = openReplica(config, {
      disk,
      codec: this.codec,
      app: kv,
      policy: SOUND,
      monotonicMs: () => this.nowMs,
      wallMs: () => 1e12 + this.nowMs,
      send: (to, message) => void this.network.push({ to, from: id, bytes: concat(encodeMessage(message)) }),
      reply: (_, message) => void this.outgoing.push(message),
      defer: (task) => void this.deferred.push(task),
      sink: () => null,
      halt: (code, message) => {
        throw new Error(`r${id} halts: ${code} ${message}`);
      },
      onEvent: () => undefined,
    });
    if ('refusal' in opened) throw new Error(opened.refusal.message);
    return opened.replica;
  }

  get primary(): number {
    return this.replicas.findIndex((replica) => replica.status().serving) + 1;
  }

  tick(): void {
    this.nowMs += DEFAULT_CONFIG.tickMs;
    for (const replica of this.replicas) replica.tick();
    this.turn();
  }

  /** What a connection of the gateway does with a message of a client. */
  request(to: number, bytes: Uint8Array): void {
    const replica = this.replicas[to - 1]!;
    const problem = decodeClientRecords(bytes, (record) => {
      if (record.type === 'request') replica.request(1, record.payload);
    });
    if (problem !== null) throw new Error(problem);
  }

  turn(): void {
    for (let busy = true; busy; ) {
      busy = false;
      const tasks = this.deferred;
      this.deferred = [];
      for (const task of tasks) task();
      for (const disk of this.disks) busy = disk.pump() > 0 || busy;
      for (const { to, from, bytes } of this.network.splice(0)) {
        const decoded = decodeMessage(bytes, this.codec);
        if ('error' in decoded) throw new Error(decoded.error);
        this.replicas[to - 1]!.receive(from, decoded.message);
        busy = true;
      }
      busy ||= tasks.length > 0 || this.deferred.length > 0;
      if (this.outgoing.length > 0) {
        this.flushReplies();
        busy = true;
      }
    }
  }

  private flushReplies(): void {
    const messages = this.outgoing;
    this.outgoing = [];
    let size = 0;
    for (const message of messages) size += clientMessageBytes(message);
    const out = new Uint8Array(size);
    let at = 0;
    for (const message of messages) at = writeClientMessage(out, at, message);
    this.toClient(this.primary, out);
  }
}

function sessionTo(world: World, primary: number): SessionClient {
  let wanted = false;
  const session: SessionClient = new SessionClient({
    replicas: [primary],
    seed: 1,
    port: {
      connect: () => {
        session.onConnected(primary);
      },
      disconnect: () => undefined,
      send: (to, bytes) => {
        world.request(to, bytes);
      },
      wantFlush: () => {
        wanted = true;
      },
    },
  });
  world.toClient = (from, bytes) => {
    session.onMessage(from, bytes);
    if (wanted) session.flush();
    wanted = false;
  };
  return session;
}

const { values: options } = parseArgs({
  options: {
    'in-flight': { type: 'string', default: '256' },
    puts: { type: 'string', default: '200000' },
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
});
const inFlight = Number(options['in-flight']);
const puts = Number(options.puts);

async function main(): Promise<void> {
  const { codec } = await chooseCodec();
  const cpuUsPerPut: number[] = [];
  for (let run = 0; run <= Number(options.runs); run++) {
    const us = oneRun(codec);
    // The first run warms the compiler up.
    if (run > 0) cpuUsPerPut.push(us);
  }
  const of = spread(cpuUsPerPut, 2);
  const result = { benchmark: 'replica', codec: codec.backend, inFlight, puts, cpuUsPerPut: of };
  process.stdout.write(
    options.json
      ? `${JSON.stringify(result)}\n`
      : `${inFlight} in flight, codec ${codec.backend}: ${of.median} us CPU a put (${of.min} to ${of.max}), client and three replicas together\n`,
  );
}

function oneRun(codec: FrameCodec): number {
  const world = new World(codec);
  while (world.primary === 0) world.tick();
  const session = sessionTo(world, world.primary);
  const encoder = new TextEncoder();
  const value = new Uint8Array(256).fill(0x78);
  const bodies = Array.from({ length: inFlight }, (_, i) =>
    encodePut({ key: encoder.encode(`key-${i}`.padEnd(16)), value }),
  );
  let sent = 0;
  let done = 0;
  const send = (slot: number): void => {
    const body = bodies[slot]!;
    new DataView(body.buffer).setUint32(8, sent++ % KEYS);
    session.submit(1, body, TIMEOUT_MS, callbacks[slot]!);
  };
  const callbacks = bodies.map((_, slot) => ({ kind }: { readonly kind: string }): void => {
    if (kind !== 'ok') throw new Error(`a put ended as ${kind}`);
    done++;
    if (sent < puts) send(slot);
  });
  for (let slot = 0; slot < inFlight; slot++) send(slot);
  const cpu = process.cpuUsage();
  session.flush();
  while (done < puts) {
    world.turn();
    world.tick();
    session.tick(world.nowMs);
  }
  const { user, system } = process.cpuUsage(cpu);
  for (const replica of world.replicas) replica.close();
  return (user + system) / puts;
}

await main();
