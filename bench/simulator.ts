/**
 * Speed of the simulator on one core: simulated seconds a second of processor time, and commands a second. A cluster of three without faults at several
 * loads (the cost of an idle cluster and of a command can be told apart), and seeds as they are drawn, with all their faults.
 *
 *   npm run bench -- simulator [--seconds 60] [--seeds 20] [--json]
 */
import { parseArgs } from 'node:util';
import { FAULT_KINDS, type Profile } from '@chronon/core/chaos/profile';
import { simulate, Simulator } from '@chronon/core/chaos/simulator';
import { PERFECT_NETWORK } from '@chronon/core/chaos/sim-network';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { chooseCodec } from '@chronon/node/replica/choose-codec';

const CLIENTS = 3;
const LOADS = [0, 10, 60, 300] as const;
/** Runs of a quarter of the time before each load is measured: by then the compiler has little left to do. */
const WARM_UPS = 6;

interface Row {
  readonly what: string;
  readonly simulatedSeconds: number;
  readonly cpuSeconds: number;
  readonly timesRealTime: number;
  readonly commands: number;
  readonly commandsPerSecond: number;
  readonly events: number;
}

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seeds: { type: 'string', default: '20' },
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
  },
});

/** Calls of all clients a second; no faults, no losses. */
function quiet(load: number, seconds: number): (drawn: Profile) => Profile {
  return (drawn) => ({
    ...drawn,
    clients: load === 0 ? 1 : CLIENTS,
    thinkUs: load === 0 ? 1e15 : Math.round((CLIENTS * 1e6) / load),
    inFlightMax: 8,
    readShare: 0.1,
    safetyUs: seconds * 1_000_000,
    network: PERFECT_NETWORK,
    faults: { ...drawn.faults, weights: Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0])) as never },
    disk: { lowUs: 50, highUs: 300, slowChance: 0, slowUs: 0, shortWrites: 0 },
    sinkFailure: 0,
    snapshotEvery: 100,
    cacheBytes: 1024 * 1024,
  });
}

function measured(what: string, run: () => { simulatedMs: number; commands: number; events: number }): Row {
  const before = process.cpuUsage();
  const { simulatedMs, commands, events } = run();
  const { user, system } = process.cpuUsage(before);
  const cpuSeconds = (user + system) / 1e6;
  const simulatedSeconds = simulatedMs / 1000;
  const rate = (value: number): number => Math.round((10 * value) / cpuSeconds) / 10;
  return {
    what,
    simulatedSeconds,
    cpuSeconds,
    timesRealTime: rate(simulatedSeconds),
    commands,
    commandsPerSecond: Math.round(rate(commands)),
    events,
  };
}

function atLoad(load: number, seconds: number, codec: FrameCodec): Row {
  return measured(load === 0 ? 'three replicas, idle' : `three replicas, ${load} calls a second`, () => {
    const simulator = new Simulator({ seed: 1, replicas: 3, codec, adjust: quiet(load, seconds) });
    const course = simulator.course();
    while (!simulator.safetyOver && course.next().done !== true);
    const { statistics, queue } = simulator;
    return { simulatedMs: queue.now / 1000, commands: statistics.commandsAcknowledged, events: queue.executed };
  });
}

function seedsAsDrawn(seeds: number, codec: FrameCodec): Row {
  return measured(`${seeds} seeds as drawn`, () => {
    const sum = { simulatedMs: 0, commands: 0, events: 0 };
    for (let seed = 1; seed <= seeds; seed++) {
      const { virtualMs, statistics } = simulate({ seed, replicas: null, codec });
      sum.simulatedMs += virtualMs;
      sum.commands += statistics.commandsAcknowledged;
      sum.events += statistics.events;
    }
    return sum;
  });
}

const { codec } = await chooseCodec();
const seconds = values.quick ? 10 : Number(values.seconds);
const seeds = values.quick ? 5 : Number(values.seeds);
// What the compiler learns while it warms up is not measured.
seedsAsDrawn(values.quick ? 2 : 10, codec);
const rows = [
  ...LOADS.map((load) => {
    for (let i = 0; i < WARM_UPS; i++) atLoad(load, seconds / 4, codec);
    return atLoad(load, seconds, codec);
  }),
  seedsAsDrawn(seeds, codec),
];
if (values.json) process.stdout.write(`${JSON.stringify({ codec: codec.backend, rows })}\n`);
else {
  for (const { what, timesRealTime, commandsPerSecond, cpuSeconds } of rows) {
    process.stdout.write(
      `${what.padEnd(36)}${String(timesRealTime).padStart(9)} x real time${String(commandsPerSecond).padStart(9)} commands/s${cpuSeconds.toFixed(2).padStart(9)} s\n`,
    );
  }
}
