/**
 * LiveSimulation: a simulation that a page watches and steers. It has no clock and no timer of its own: its host (a Worker) says how much real time has
 * passed, and posts what it is given.
 *
 * Invariants: what is simulated follows from the seed and the injected faults alone, never from the pace; one call of `advance` simulates at
 * most ADVANCE_MS_MAX, so that the host stays responsive.
 */
import type { FrameCodec } from '../../engine/frame-codec.ts';
import { statusDetail } from '../../replica-detail.ts';
import { EventRing, eventText } from '../../replica-events.ts';
import { US_PER_MS } from '../event-queue.ts';
import { FAULT_KINDS } from '../profile.ts';
import type { FaultEvent } from '../schedule.ts';
import type { SimMachine } from '../sim-machine.ts';
import { type SimulationResult, Simulator } from '../simulator.ts';
import type { FromSimulator, SimulatedReplica, ToSimulator } from './protocol.ts';

/** Virtual milliseconds that one call simulates at most. */
export const ADVANCE_MS_MAX = 1000;
/** Simulated milliseconds a real one, at most. */
export const SPEED_MAX = 1000;
const SEED_MAX = 2 ** 48;
const DURATION_MS_MAX = 600_000;
const EVENTS_KEPT = 512;

interface Run {
  readonly simulator: Simulator;
  readonly course: Generator<void, SimulationResult>;
  readonly rings: readonly EventRing[];
  readonly cursors: number[];
  struck: FaultEvent[];
  /** Virtual time that is due but was not simulated yet. */
  owedMs: number;
  speed: number;
  paused: boolean;
}

export class LiveSimulation {
  private readonly codec: FrameCodec;
  private readonly post: (message: FromSimulator) => void;
  private run: Run | null = null;

  constructor(codec: FrameCodec, post: (message: FromSimulator) => void) {
    this.codec = codec;
    this.post = post;
  }

  /** A message of the page. Bad input is answered, never thrown. */
  handle(message: ToSimulator): void {
    const problem = problemOf(message) ?? this.obey(message);
    if (problem !== null) this.post({ type: 'refused', message: problem });
  }

  /** `realMs` have passed. */
  advance(realMs: number): void {
    const { run } = this;
    if (run === null || run.paused) return;
    run.owedMs = Math.min(run.owedMs + realMs * run.speed, ADVANCE_MS_MAX);
    this.pay(run);
  }

  private obey(message: ToSimulator): string | null {
    if (message.type === 'start') {
      this.start(message);
      return null;
    }
    const { run } = this;
    if (run === null) return `nothing runs: ${message.type} comes after start`;
    switch (message.type) {
      case 'pause':
      case 'resume':
        run.paused = message.type === 'pause';
        this.frame(run);
        return null;
      case 'speed':
        run.speed = message.speed;
        return null;
      case 'step':
        run.owedMs += Math.min(message.ms, ADVANCE_MS_MAX);
        this.pay(run);
        return null;
      case 'inject':
        run.simulator.inject(message.kind, message.replica, message.durationMs * US_PER_MS);
        return null;
      case 'stop':
        this.run = null;
        return null;
    }
  }

  private start(message: ToSimulator & { readonly type: 'start' }): void {
    const { seed, replicas, without, speed, paused } = message;
    const rings: EventRing[] = [];
    let run: Run | null = null;
    const simulator = new Simulator({
      seed,
      replicas,
      codec: this.codec,
      without: new Set(without ?? []),
      onEvent: (replica, event) => rings[replica - 1]!.add(event.kind, eventText(event)),
      onFault: (event) => run?.struck.push(event),
    });
    for (const { id } of simulator.machines) rings.push(new EventRing(id, () => nowMs(simulator), EVENTS_KEPT));
    const cursors = rings.map(() => 0);
    run = {
      simulator,
      course: simulator.course(),
      rings,
      cursors,
      struck: [],
      owedMs: 0,
      speed,
      paused: paused === true,
    };
    this.run = run;
    this.post({ type: 'started', seed, schedule: simulator.schedule });
    this.frame(run);
  }

  /** Simulates what is owed, and tells of it. */
  private pay(run: Run): void {
    const dueMs = nowMs(run.simulator) + run.owedMs;
    for (;;) {
      const leftMs = dueMs - nowMs(run.simulator);
      if (leftMs < run.simulator.sliceMs) {
        run.owedMs = leftMs;
        break;
      }
      const step = run.course.next();
      if (step.done === true) {
        this.frame(run);
        this.run = null;
        this.post({ type: 'ended', result: step.value });
        return;
      }
    }
    this.frame(run);
  }

  private frame(run: Run): void {
    const { simulator, struck, paused } = run;
    run.struck = [];
    this.post({
      type: 'frame',
      seed: simulator.seed,
      atMs: nowMs(simulator),
      phase: simulator.safetyOver ? 'liveness' : 'safety',
      paused,
      replicas: simulator.machines.map((machine) => replicaOf(run, machine)),
      acknowledged: simulator.statistics.commandsAcknowledged,
      committed: simulator.checks.canonical.last,
      struck,
    });
  }
}

function nowMs(simulator: Simulator): number {
  return simulator.queue.now / US_PER_MS;
}

function replicaOf(run: Run, machine: SimMachine): SimulatedReplica {
  const { simulator, rings, cursors } = run;
  const { id, alive, paused, replica } = machine;
  const ring = rings[id - 1]!;
  const { events, dropped } = ring.after(cursors[id - 1]!, EVENTS_KEPT);
  cursors[id - 1] = ring.last;
  const answers = alive && !paused && replica !== null;
  return {
    id,
    process: alive ? (paused ? 'paused' : 'running') : 'down',
    run: machine.run,
    detail: answers ? detailOf(simulator, machine) : null,
    events,
    droppedEvents: dropped,
  };
}

function detailOf(simulator: Simulator, machine: SimMachine): NonNullable<SimulatedReplica['detail']> {
  const status = machine.replica!.status();
  const peers = simulator.machines.filter((peer) => peer !== machine);
  return {
    ...statusDetail(status, machine.clock.monotonicMs()),
    app: { name: status.app },
    notes: status.notes,
    links: peers.map((peer) => {
      return { to: peer.id, connected: peer.alive, cut: simulator.network.isCut(machine.id, peer.id) };
    }),
  };
}

/** Why a message makes no sense, or null. Messages come from a page: anything may be in them. */
function problemOf(message: ToSimulator): string | null {
  const within = (value: unknown, most: number): boolean =>
    typeof value === 'number' && Number.isFinite(value) && value >= 0 && value <= most;
  const size = (value: unknown): boolean => value === null || [1, 3, 5, 7].includes(value as number);
  switch (message.type) {
    case 'start': {
      const { seed, replicas, speed, without } = message;
      if (!Number.isSafeInteger(seed) || !within(seed, SEED_MAX)) return 'the seed is no whole number';
      if (!size(replicas)) return 'a cluster has 1, 3, 5 or 7 replicas';
      if (without !== undefined && !without.every(Number.isSafeInteger)) return 'faults are left out by id';
      return within(speed, SPEED_MAX) ? null : `the speed is 0 to ${SPEED_MAX}`;
    }
    case 'speed':
      return within(message.speed, SPEED_MAX) ? null : `the speed is 0 to ${SPEED_MAX}`;
    case 'step':
      return within(message.ms, DURATION_MS_MAX) ? null : `a step is 0 to ${DURATION_MS_MAX} ms`;
    case 'inject': {
      const { kind, replica, durationMs } = message;
      if (!FAULT_KINDS.includes(kind)) return `no fault is named ${JSON.stringify(kind)}`;
      if (replica !== null && !(Number.isSafeInteger(replica) && replica >= 1 && replica <= 7))
        return 'replicas are numbered from 1';
      return within(durationMs, DURATION_MS_MAX) ? null : `a fault lasts 0 to ${DURATION_MS_MAX} ms`;
    }
    case 'pause':
    case 'resume':
    case 'stop':
      return null;
    default:
      return 'no such message';
  }
}
