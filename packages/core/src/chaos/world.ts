/** World: what the parts of one simulation share. Implemented by the Simulator. */
import type { FrameCodec } from '../engine/frame-codec.ts';
import type { Policy } from '../policy.ts';
import type { ReplicaEvent } from '../replica-contract.ts';
import type { Checks } from './checks.ts';
import type { FaultAtlas } from './fault-atlas.ts';
import type { EventQueue } from './event-queue.ts';
import type { Profile } from './profile.ts';
import type { FaultEvent } from './schedule.ts';
import type { SimClients } from './sim-client.ts';
import type { SimMachine } from './sim-machine.ts';
import type { SimNetwork } from './sim-network.ts';
import type { SimSink } from './sim-sink.ts';
import type { Sometimes, Statistics } from './sometimes.ts';
import type { Trace } from './trace.ts';
import type { InvariantFamily } from './violation.ts';

/** What a run tells while it goes on. */
export interface Watcher {
  onEvent?(replica: number, event: ReplicaEvent): void;
  onFault?(event: FaultEvent): void;
}

export interface World {
  readonly queue: EventQueue;
  readonly profile: Profile;
  readonly codec: FrameCodec;
  readonly policy: Policy;
  readonly clusterId: Uint8Array;
  /** Boot ids of the first directories: the cluster id is their hash. */
  readonly founders: readonly Uint8Array[];
  readonly network: SimNetwork;
  readonly sink: SimSink;
  readonly clients: SimClients;
  readonly checks: Checks;
  readonly statistics: Statistics;
  readonly sometimes: Sometimes;
  readonly trace: Trace;
  /** Someone who watches; the run is the same without. */
  readonly watcher: Watcher;
  readonly atlas: FaultAtlas;
  /** Replica ids are 1..n. */
  machine(id: number): SimMachine;
  readonly machines: readonly SimMachine[];
  /** One-way delay of a client's message, microseconds. */
  clientDelayUs(): number;
  /** True while a client cannot reach a replica. */
  clientCut(client: number, replica: number): boolean;
  /** True when its program explains that a replica refuses its log; it has a fitting one then. */
  mendProgram(machine: SimMachine): boolean;
  /** A replica stopped by itself. */
  halted(machine: SimMachine, code: string, message: string): void;
  fail(family: InvariantFamily, invariant: string, sentence: string): never;
}
