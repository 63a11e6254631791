/** What a page and a simulator in a Worker say to each other. Everything survives structured cloning. */
import type { statusDetail } from '../../replica-detail.ts';
import type { EventLine } from '../../replica-events.ts';
import type { FaultKind } from '../profile.ts';
import type { FaultEvent } from '../schedule.ts';
import type { SimulationResult } from '../simulator.ts';

export type ToSimulator =
  /** Begins a run, and ends the one before. `speed`: simulated milliseconds a real millisecond. */
  | {
      readonly type: 'start';
      readonly seed: number;
      readonly replicas: number | null;
      readonly speed: number;
      /** Fault events left out: a shrunk schedule. */
      readonly without?: readonly number[];
      readonly paused?: boolean;
    }
  | { readonly type: 'pause' }
  | { readonly type: 'resume' }
  | { readonly type: 'speed'; readonly speed: number }
  /** Goes on by so much virtual time, paused or not. */
  | { readonly type: 'step'; readonly ms: number }
  /** A fault beside those of the schedule, now. `replica` null: one is drawn. */
  | {
      readonly type: 'inject';
      readonly kind: FaultKind;
      readonly replica: number | null;
      readonly durationMs: number;
    }
  | { readonly type: 'stop' };

/** One simulated replica, as the live subscription of a real one tells it (`detail`, `events`, `droppedEvents`). */
export interface SimulatedReplica {
  readonly id: number;
  readonly process: 'running' | 'paused' | 'down';
  /** Process run, from 1. */
  readonly run: number;
  /** Null while it does not answer. */
  readonly detail: SimulatedDetail | null;
  readonly events: readonly EventLine[];
  readonly droppedEvents: number;
}

export type SimulatedDetail = ReturnType<typeof statusDetail> & {
  readonly app: { readonly name: string };
  readonly notes: readonly string[];
  readonly links: readonly { readonly to: number; readonly connected: boolean; readonly cut: boolean }[];
};

export type FromSimulator =
  | { readonly type: 'started'; readonly seed: number; readonly schedule: readonly FaultEvent[] }
  | {
      readonly type: 'frame';
      readonly seed: number;
      /** Virtual time. */
      readonly atMs: number;
      readonly phase: 'safety' | 'liveness';
      readonly paused: boolean;
      readonly replicas: readonly SimulatedReplica[];
      /** Commands acknowledged so far. */
      readonly acknowledged: number;
      /** Last committed index of the cluster, -1 for none. */
      readonly committed: number;
      /** Faults that struck since the last frame. */
      readonly struck: readonly FaultEvent[];
    }
  | { readonly type: 'ended'; readonly result: SimulationResult }
  /** A message that was refused. */
  | { readonly type: 'refused'; readonly message: string };
