/** First boot, with every message order: whatever is delivered when, founders are formatted once and equal, and whoever lost its disk stops. */
import { describe, expect, it } from 'vitest';
import { clusterIdOf } from '../engine/blank-manifest.ts';
import { nobleCodec } from '../engine/codec/noble.ts';
import { NONE } from '../engine/commit-index.ts';
import { sameHash, toHex } from '../engine/hash.ts';
import { FirstBoot } from './first-boot.ts';
import { BOOT, type Boot } from './messages.ts';

const MEMBERS = [1, 2, 3];
const bootId = (id: number, life = 0): Uint8Array => new Uint8Array(16).fill(16 * life + id);

interface Wire {
  readonly from: number;
  readonly to: number;
  readonly message: Boot;
}

/** One replica: its boot, and once formatted what it answers. */
interface Place {
  life: number;
  boot: FirstBoot;
  founders: readonly Uint8Array[] | null;
}

function newBoot(id: number, life: number, join = false): FirstBoot {
  const options = {
    id,
    members: MEMBERS,
    bootId: bootId(id, life),
    join,
    environment: 'dev',
    codec: nobleCodec,
    everyTicks: 4,
  };
  return new FirstBoot({ ...options, environment: 'dev' });
}

/** Three machines and the messages between them; `wipe` empties a disk. */
class Bench {
  readonly places = new Map<number, Place>();
  wires: Wire[] = [];

  constructor() {
    for (const id of MEMBERS) this.places.set(id, { life: 0, boot: newBoot(id, 0), founders: null });
    this.tick();
  }

  tick(): void {
    for (const id of MEMBERS) {
      const place = this.places.get(id)!;
      if (place.founders === null) for (let i = 0; i < 4; i++) place.boot.tick();
      this.collect(id);
    }
  }

  deliver(at: number): void {
    const [{ from, to, message }] = this.wires.splice(at, 1) as [Wire];
    const place = this.places.get(to)!;
    if (place.founders === null) place.boot.receive(from, message);
    else if (message.kind === BOOT.blank)
      this.wires.push({ from: to, to: from, message: formatted(place.founders, message.bootId) });
    this.collect(to);
  }

  wipe(id: number): void {
    const life = this.places.get(id)!.life + 1;
    this.places.set(id, { life, boot: newBoot(id, life), founders: null });
  }

  private collect(id: number): void {
    const place = this.places.get(id)!;
    if (place.founders !== null) return;
    for (const { to, message } of place.boot.takeOutputs()) this.wires.push({ from: id, to, message });
    const { outcome } = place.boot;
    if (outcome?.kind === 'format') place.founders = outcome.founders;
  }

  /** Founders that were formatted, each once. */
  clusters(): string[] {
    const ids = [...this.places.values()].flatMap(({ founders }) =>
      founders === null ? [] : [founders.map(toHex).join()],
    );
    return [...new Set(ids)];
  }
}

function formatted(founders: readonly Uint8Array[], answersTo: Uint8Array): Boot {
  return {
    type: 'boot',
    view: 0,
    kind: BOOT.formatted,
    environment: 'dev',
    bootId: answersTo,
    clusterId: clusterIdOf(founders, nobleCodec),
    founders,
    generation: 0,
    incarnations: [1, 1, 1],
    through: NONE,
  };
}

/** Small linear generator: which message comes next, or is lost. */
function* orders(seed: number): Generator<number> {
  let state = seed * 2_654_435_761 + 1;
  for (;;) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    yield state >>> 8;
  }
}

describe('first boot', () => {
  it('every order of the first messages: all three format, with the same founders', () => {
    // Depth first over the choice of the next wire for the first seven deliveries, then in order.
    const walk = (prefix: readonly number[]): void => {
      const bench = new Bench();
      for (const at of prefix) bench.deliver(at);
      const width = bench.wires.length;
      if (prefix.length < 4) {
        for (let at = 0; at < width; at++) walk([...prefix, at]);
        return;
      }
      for (let round = 0; round < 20 && bench.clusters().length === 0; round++) {
        while (bench.wires.length > 0) bench.deliver(0);
        bench.tick();
      }
      while (bench.wires.length > 0) bench.deliver(0);
      expect(bench.clusters().length).toBe(1);
      expect([...bench.places.values()].every(({ founders }) => founders !== null)).toBe(true);
    };
    walk([]);
  });

  it('with a disk wiped at any moment, messages lost, late and out of order: never two quorums of different founders', () => {
    let stopped = 0;
    let whole = 0;
    for (let seed = 0; seed < 3000; seed++) {
      const next = orders(seed);
      const draw = (n: number): number => (next.next().value as number) % n;
      const bench = new Bench();
      const wipeAt = draw(40);
      const victim = 1 + draw(3);
      const formattedBefore = new Map<number, string>();
      for (let step = 0; step < 120; step++) {
        if (step === wipeAt) {
          for (const [id, { founders }] of bench.places)
            if (founders !== null) formattedBefore.set(id, founders.map(toHex).join());
          bench.wipe(victim);
        }
        if (bench.wires.length === 0 || draw(6) === 0) bench.tick();
        const at = draw(bench.wires.length || 1);
        if (bench.wires.length > 0 && draw(5) === 0) bench.wires.splice(at, 1);
        else if (bench.wires.length > 0) bench.deliver(at);
      }
      // Where a quorum of one cluster lived together, something may have been promised: before the wipe, or now.
      const count = (founders: Iterable<string>): Map<string, number> => {
        const counts = new Map<string, number>();
        for (const one of founders) counts.set(one, (counts.get(one) ?? 0) + 1);
        return counts;
      };
      const now = [...bench.places.values()].flatMap((p) =>
        p.founders === null ? [] : [p.founders.map(toHex).join()],
      );
      const lived = [...count(formattedBefore.values()), ...count(now)].filter(([, n]) => n >= 2).map(([one]) => one);
      const quorums = [...new Set(lived)];
      expect(quorums.length).toBeLessThanOrEqual(1);
      if (bench.places.get(victim)!.boot.outcome?.kind === 'stop') stopped++;
      if ([...bench.places.values()].every(({ founders }) => founders !== null)) whole++;
    }
    expect(stopped).toBeGreaterThan(0);
    expect(whole).toBeGreaterThan(0);
  });

  it('while one is missing each says which', () => {
    const boot = newBoot(1, 0);
    expect(boot.describe()).toBe('first boot: waiting for r2, r3');
    const other = newBoot(2, 0);
    other.tick();
    boot.receive(2, other.takeOutputs()[0]!.message);
    expect(boot.describe()).toBe('first boot: waiting for r3');
    expect(boot.outcome).toBe(null);
  });

  it('a replica whose own stored boot id is among the founders of a formatted peer formats likewise', () => {
    const boot = newBoot(3, 0);
    const founders = MEMBERS.map((id) => bootId(id));
    boot.receive(1, formatted(founders, bootId(3)));
    expect(boot.outcome?.kind === 'format' && sameHash(boot.outcome.clusterId, clusterIdOf(founders, nobleCodec))).toBe(
      true,
    );
  });

  it('any other stops and names chronon recover', () => {
    const boot = newBoot(3, 1);
    boot.receive(
      1,
      formatted(
        MEMBERS.map((id) => bootId(id)),
        bootId(3, 1),
      ),
    );
    expect(boot.outcome).toMatchObject({ kind: 'stop', code: 'E_WIPED' });
    expect(boot.outcome?.kind === 'stop' && boot.outcome.message).toContain('chronon recover --replica 3');
  });

  it('a cluster of one formats at once; one of other size or environment is refused', () => {
    const options = { bootId: bootId(1), join: false, codec: nobleCodec, everyTicks: 4 };
    expect(new FirstBoot({ ...options, id: 1, members: [1], environment: 'dev' }).outcome?.kind).toBe('format');
    const boot = new FirstBoot({ ...options, id: 1, members: MEMBERS, environment: 'production' });
    const other = newBoot(2, 0);
    other.tick();
    boot.receive(2, other.takeOutputs()[0]!.message);
    expect(boot.outcome).toMatchObject({ kind: 'stop', code: 'E_CONFIG' });
  });
});
