/** First boot on disks that lose power (docs/protocol.md, "First boot"): whatever is delivered when and whoever is cut off meanwhile, one cluster comes of it. */
import { expect, test } from 'vitest';
import { kv } from './apps/kv.ts';
import { NOTHING } from './chaos/testing/replica-bench.ts';
import { nobleCodec } from './engine/codec/noble.ts';
import { toHex } from './engine/hash.ts';
import { MemoryDisk } from './engine/testing/memory-disk.ts';
import { SOUND } from './policy.ts';
import { Prng } from './prng.ts';
import { BOOT_PATH, decodeBootFile, openBoot, type ReplicaBoot } from './replica-boot.ts';
import { DEFAULT_CONFIG } from './replica-contract.ts';
import { openReplica, type Replica } from './replica.ts';
import { BOOT, type Message } from './vsr/messages.ts';

const MEMBERS = [1, 2, 3];

interface Place {
  disk: MemoryDisk;
  boot: ReplicaBoot | null;
  replica: Replica | null;
}

class PowerCut extends Error {}

/** Three blank machines; messages are delivered in the order that the script draws, or lost. */
class World {
  readonly places = new Map<number, Place>();
  /** What was said of a boot id that a power cut at that moment would have taken. */
  readonly unfounded: string[] = [];
  readonly stopped: string[] = [];
  private readonly draw: Prng;
  private wires: { readonly from: number; readonly to: number; readonly message: Message }[] = [];
  private deferred: (() => void)[] = [];
  private now = 1000;

  constructor(seed: number) {
    this.draw = new Prng(seed);
    for (const id of MEMBERS) this.places.set(id, { disk: new MemoryDisk(), boot: null, replica: null });
    for (const id of MEMBERS) this.start(id);
  }

  /** The power fails at this one, in the middle of its next start if `inStart`. */
  cut(id: number, inStart: boolean): void {
    const place = this.places.get(id)!;
    Object.assign(place, { disk: place.disk.crash(NOTHING), boot: null, replica: null });
    if (inStart) {
      let steps = this.draw.below(6);
      place.disk.onStep = () => {
        if (steps-- === 0) throw new PowerCut();
      };
      try {
        this.start(id);
      } catch (error) {
        if (!(error instanceof PowerCut)) throw error;
      }
      Object.assign(place, { disk: place.disk.crash(NOTHING), boot: null, replica: null });
    }
    this.start(id);
  }

  private start(id: number): void {
    const place = this.places.get(id)!;
    const { disk } = place;
    const alive = (): boolean => place.disk === disk;
    const send = (to: number, message: Message): void => {
      if (!alive()) return;
      this.check(id, message);
      this.wires.push({ from: id, to, message });
    };
    const random16 = (): Uint8Array => this.draw.bytes(16);
    const config = { replicaId: id, members: MEMBERS, environment: 'dev', everyTicks: 4 } as const;
    place.boot = openBoot(config, { disk, codec: nobleCodec, send, random16 });
    if (place.boot !== null) return;
    const opened = openReplica(
      { ...DEFAULT_CONFIG, replicaId: id, clusterId: null, seed: id, segmentBytes: 16 * 1024, pipelineMax: 16 },
      {
        disk,
        codec: nobleCodec,
        app: kv,
        policy: SOUND,
        monotonicMs: () => this.now,
        wallMs: () => this.now,
        send,
        reply: () => {},
        defer: (task) => this.deferred.push(() => alive() && task()),
        sink: () => null,
        halt: (code) => this.stopped.push(`r${id} ${code}`),
        onEvent: () => {},
      },
    );
    if ('refusal' in opened) this.stopped.push(`r${id} ${opened.refusal.code}`);
    else place.replica = opened.replica;
  }

  /** A blank replica's word is only as good as what its disk would say after a power cut. */
  private check(id: number, m: Message): void {
    if (m.type !== 'boot' || m.kind !== BOOT.blank) return;
    const left = this.places.get(id)!.disk.crash(NOTHING);
    const file = left.paths().includes(BOOT_PATH) ? decodeBootFile(left.content(BOOT_PATH)) : null;
    if (file === null || toHex(file.bootId) !== toHex(m.bootId)) this.unfounded.push(`r${id} ${toHex(m.bootId)}`);
  }

  tick(): void {
    this.now += 10;
    for (const [id, place] of this.places) {
      place.boot?.tick();
      place.replica?.tick();
      for (const task of this.deferred.splice(0)) task();
      place.disk.pump();
      const problem = place.boot?.problem ?? null;
      if (problem !== null) this.stopped.push(`r${id} ${problem.code}`);
      if (place.boot?.ready === true) this.start(id);
    }
  }

  /** Some of the messages that wait, in any order; one in ten is lost. */
  deliver(): void {
    for (let i = this.draw.below(6); i > 0 && this.wires.length > 0; i--) {
      const [wire] = this.wires.splice(this.draw.below(this.wires.length), 1);
      const place = this.places.get(wire!.to)!;
      if (this.draw.chance(0.1)) continue;
      place.boot?.receive(wire!.from, wire!.message);
      place.replica?.receive(wire!.from, wire!.message);
      if (place.boot?.ready === true) this.start(wire!.to);
    }
    if (this.wires.length > 60) this.wires.splice(0, this.wires.length - 60);
  }
}

test('before it answers, a blank replica writes and barriers a random boot id: every message order, a power cut at any moment', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const draw = new Prng(seed);
    const world = new World(seed);
    const cutAt = draw.below(40);
    let serving = false;
    for (let step = 0; step < 4000 && !serving; step++) {
      if (step === cutAt) world.cut(draw.pick(MEMBERS), draw.chance(0.5));
      world.tick();
      world.deliver();
      serving = [...world.places.values()].some(({ replica }) => replica?.status().serving === true);
    }
    const clusters = [...world.places.values()].map(({ replica }) =>
      replica === null ? null : toHex(replica.node.state.manifest.clusterId),
    );
    expect([seed, world.unfounded, world.stopped]).toEqual([seed, [], []]);
    expect([seed, serving, new Set(clusters.filter((cluster) => cluster !== null)).size]).toEqual([seed, true, 1]);
  }
});
