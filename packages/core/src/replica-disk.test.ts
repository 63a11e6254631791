/**
 * faults.md (storage), "Slow disk / stall" and "ENOSPC": three whole replicas on disks that a script stalls or fills. Messages are delivered at once; a
 * stalled disk completes nothing.
 */
import { expect, test } from 'vitest';
import { kv } from './apps/kv.ts';
import { formatMachine } from './chaos/format.ts';
import { createWasmCodec } from './engine/codec/wasm.ts';
import { ENVELOPE_BYTES } from './engine/constants.ts';
import { KIND, writeEnvelope } from './engine/frame.ts';
import { MemoryDisk } from './engine/testing/memory-disk.ts';
import { SOUND } from './policy.ts';
import { openReplica, type Replica } from './replica.ts';
import { DEFAULT_CONFIG } from './replica-contract.ts';
import { CONSISTENCY, REFUSAL, TO_CLIENT, type ClientMessage } from './vsr/client-protocol.ts';
import type { Message } from './vsr/messages.ts';

const codec = await createWasmCodec();
const SEGMENT_BYTES = 64 * 1024;
const STALL_TICKS = 100;
const DISK_STALL_TICKS = 400;

class World {
  readonly replicas = new Map<number, Replica>();
  readonly disks = new Map<number, MemoryDisk>();
  readonly halts: string[] = [];
  readonly events: string[] = [];
  readonly stalled = new Set<number>();
  private readonly size: number;
  private messages: { to: number; from: number; message: Message }[] = [];
  private deferred: (() => void)[] = [];
  private replies: { from: number; message: ClientMessage }[] = [];
  private nowMs = 0;
  private nonce = 0;

  constructor(size: number) {
    this.size = size;
    for (let id = 1; id <= size; id++) {
      const disk = new MemoryDisk();
      const clusterId = new Uint8Array(16).fill(7);
      const identity = { clusterId, replicaId: id, replicas: size, bootId: new Uint8Array(16).fill(id) };
      expect(formatMachine(disk, codec, identity)).toBeNull();
      this.disks.set(id, disk);
      this.open(id);
    }
  }

  open(id: number): void {
    const config = {
      ...DEFAULT_CONFIG,
      replicaId: id,
      clusterId: null,
      seed: id,
      segmentBytes: SEGMENT_BYTES,
      snapshotEvery: 0,
      pipelineMax: 16,
      stallTicks: STALL_TICKS,
      diskStallTicks: DISK_STALL_TICKS,
      cacheBytes: 16 * 1024,
    };
    const opened = openReplica(config, {
      disk: this.disks.get(id)!,
      codec,
      app: kv,
      policy: SOUND,
      monotonicMs: () => this.nowMs,
      wallMs: () => 1e12 + this.nowMs,
      send: (to, message) => void this.messages.push({ to, from: id, message }),
      reply: (_, message) => void this.replies.push({ from: id, message }),
      defer: (task) => void this.deferred.push(task),
      sink: () => null,
      halt: (code, message) => {
        this.halts.push(`r${id} ${code}: ${message}`);
        this.replicas.delete(id);
      },
      onEvent: (event) => {
        if (event.kind === 'abdicate') this.events.push(`r${id} steps down: ${event.why}`);
        if (event.kind === 'space') this.events.push(`r${id} ${event.full ? 'full' : 'space again'}`);
      },
    });
    if ('refusal' in opened) throw new Error(opened.refusal.message);
    this.replicas.set(id, opened.replica);
  }

  tick(times = 1): this {
    for (let i = 0; i < times; i++) {
      this.nowMs += DEFAULT_CONFIG.tickMs;
      for (const replica of this.replicas.values()) replica.tick();
      this.turn();
    }
    return this;
  }

  private turn(): void {
    for (let busy = true; busy; ) {
      busy = false;
      const tasks = this.deferred.splice(0);
      for (const task of tasks) task();
      for (const [id, disk] of this.disks) if (!this.stalled.has(id)) busy = disk.pump() > 0 || busy;
      for (const { to, from, message } of this.messages.splice(0)) {
        this.replicas.get(to)?.receive(from, message);
        busy = true;
      }
      busy ||= tasks.length > 0 || this.deferred.length > 0;
    }
  }

  /** Id of the serving primary, 0 while there is none. */
  get primary(): number {
    for (const [id, replica] of this.replicas) {
      const { serving, role } = replica.status();
      if (serving && role === 'primary') return id;
    }
    return 0;
  }

  settle(): number {
    for (let i = 0; i < 2000 && this.primary === 0; i++) this.tick();
    expect(this.primary).not.toBe(0);
    return this.primary;
  }

  /** A write (the registration of a session) at the primary: what came back within `ticks`, or null. */
  write(ticks = 20): ClientMessage | null {
    const payload = new Uint8Array(ENVELOPE_BYTES);
    writeEnvelope(payload, 0, KIND.register, 0, 0, ++this.nonce, 0);
    return this.asked((id) => this.replicas.get(id)!.request(1, payload), ticks);
  }

  /** A linearizable read at the primary. */
  read(ticks = 20): ClientMessage | null {
    return this.asked((id) => {
      this.replicas
        .get(id)!
        .query(1, ++this.nonce, 1, new Uint8Array(0), CONSISTENCY.linearizable, Number.POSITIVE_INFINITY);
    }, ticks);
  }

  private asked(ask: (primary: number) => void, ticks: number): ClientMessage | null {
    this.replies = [];
    ask(this.settle());
    for (let i = 0; i < ticks && this.replies.length === 0; i++) this.tick();
    return this.replies[0]?.message ?? null;
  }

  view(id: number): number {
    return this.replicas.get(id)!.status().view;
  }
}

const OK = { type: TO_CLIENT.reply };
const ANSWER = { type: TO_CLIENT.answer };
const NO_SPACE = { type: TO_CLIENT.refusal, status: REFUSAL.noSpace };

test('a backup whose disk stalls for any length triggers no election and delays nobody, keeps little in memory, ends with E_DISK_STALL, and catches up', () => {
  const world = new World(3);
  const primary = world.settle();
  const backup = primary === 1 ? 2 : 1;
  const view = world.view(primary);
  world.stalled.add(backup);
  for (let i = 0; i < 80; i++) {
    expect(world.write()).toMatchObject(OK);
    expect(world.read()).toMatchObject(ANSWER);
  }
  const behind = world.replicas.get(backup)!.status();
  expect(behind.status).toBe('normal');
  expect(behind.last - behind.durable).toBeLessThan(40);
  world.tick(DISK_STALL_TICKS + 10);
  expect(world.halts).toEqual([expect.stringMatching(new RegExp(`^r${backup} E_DISK_STALL: .* for 4 s$`))]);
  expect([world.primary, world.view(primary)]).toEqual([primary, view]);
  expect(world.write()).toMatchObject(OK);
  world.stalled.clear();
  world.disks.set(backup, world.disks.get(backup)!.restart());
  world.open(backup);
  world.tick(100);
  const { applied } = world.replicas.get(primary)!.status();
  expect(world.replicas.get(backup)!.status().applied).toBe(applied);
  expect(world.view(primary)).toBe(view);
});

test('a primary whose disk stalls goes on with the others, then steps down, then ends; reads and writes go on elsewhere', () => {
  const world = new World(3);
  const primary = world.settle();
  world.stalled.add(primary);
  // The others are a quorum: it commits without its own disk, and its heartbeats keep its view.
  expect(world.write()).toMatchObject(OK);
  expect(world.read()).toMatchObject(ANSWER);
  expect(world.primary).toBe(primary);
  world.tick(STALL_TICKS + 1);
  expect(world.events).toEqual([`r${primary} steps down: its own disk does not finish a write`]);
  world.tick(200);
  expect(world.primary).not.toBe(primary);
  expect(world.write()).toMatchObject(OK);
  expect(world.read()).toMatchObject(ANSWER);
  world.tick(DISK_STALL_TICKS);
  expect(world.halts).toEqual([expect.stringContaining(`r${primary} E_DISK_STALL`)]);
});

test('a full disk at every replica: writes fail definitely, reads and heartbeats live on, no one ends; space clears the alarm', () => {
  const world = new World(3);
  world.settle();
  for (const disk of world.disks.values()) disk.capacityBytes = disk.usedBytes();
  let refused: ClientMessage | null = null;
  for (let i = 0; i < 3000 && refused === null; i++) {
    const answer = world.write();
    if (answer?.type === TO_CLIENT.refusal) refused = answer;
    else expect(answer).toMatchObject(OK);
  }
  expect(refused).toMatchObject(NO_SPACE);
  world.tick(3 * STALL_TICKS + DISK_STALL_TICKS);
  expect(world.halts).toEqual([]);
  // The disk filled up under the first primary, which handed over once; the next one was elected with a full disk and stays.
  expect(world.events.filter((event) => event.includes('steps down'))).toHaveLength(1);
  const second = world.settle();
  const view = world.view(second);
  for (let i = 0; i < 5; i++) {
    expect(world.write()).toMatchObject(NO_SPACE);
    expect(world.read()).toMatchObject(ANSWER);
  }
  expect(world.replicas.get(second)!.status().readOnly).toBe(true);
  // View changes live on: the primary is lost.
  world.replicas.delete(second);
  const third = world.settle();
  expect(world.read()).toMatchObject(ANSWER);
  expect(world.view(third)).toBeGreaterThan(view);
  for (const disk of world.disks.values()) disk.capacityBytes = Number.POSITIVE_INFINITY;
  world.tick(20);
  for (let i = 0; i < 50; i++) expect(world.write()).toMatchObject(OK);
  expect(world.replicas.get(third)!.status().readOnly).toBe(false);
  expect(world.halts).toEqual([]);
});

test('a full disk at the primary only: it hands over to a replica that has space, and goes on as a backup', () => {
  const world = new World(3);
  const primary = world.settle();
  const disk = world.disks.get(primary)!;
  disk.capacityBytes = disk.usedBytes();
  for (let i = 0; i < 3000 && world.events.length === 0; i++) world.write();
  expect(world.events).toEqual([`r${primary} full`]);
  world.tick(STALL_TICKS + 100);
  expect(world.events).toEqual([`r${primary} full`, `r${primary} steps down: no space left for its log`]);
  expect(world.settle()).not.toBe(primary);
  for (let i = 0; i < 300; i++) expect(world.write()).toMatchObject(OK);
  const behind = world.replicas.get(primary)!.status();
  expect([behind.status, behind.readOnly]).toEqual(['normal', true]);
  expect(behind.last - behind.durable).toBeLessThan(40);
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  world.tick(300);
  expect(world.replicas.get(primary)!.status().durable).toBe(world.replicas.get(world.primary)!.status().durable);
  expect(world.halts).toEqual([]);
});

test('a cluster of one on a full disk refuses writes, serves reads, and goes on when there is space', () => {
  const world = new World(1);
  world.settle();
  const disk = world.disks.get(1)!;
  disk.capacityBytes = disk.usedBytes();
  let answer: ClientMessage | null = null;
  for (let i = 0; i < 3000 && answer?.type !== TO_CLIENT.refusal; i++) answer = world.write();
  expect(answer).toMatchObject(NO_SPACE);
  world.tick(2 * DISK_STALL_TICKS);
  expect(world.read()).toMatchObject(ANSWER);
  // A restart on the full disk starts read-only.
  world.disks.set(1, disk.restart());
  world.disks.get(1)!.capacityBytes = disk.usedBytes();
  world.open(1);
  expect(world.read()).toMatchObject(ANSWER);
  world.disks.get(1)!.capacityBytes = Number.POSITIVE_INFINITY;
  world.tick(5);
  expect(world.write()).toMatchObject(OK);
  expect(world.halts).toEqual([]);
});
