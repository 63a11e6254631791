/**
 * Connections between calling processes and replicas in a simulation: they keep order and neither lose nor repeat (TCP), but stall, break, and go
 * silent when a machine loses power.
 */
import { at, NONE } from '../engine/commit-index.ts';
import { SessionClient, type SessionClientOptions } from '../vsr/client.ts';
import {
  type ClientMessage,
  clientMessageBytes,
  decodeClientRecords,
  TO_CLIENT,
  writeClientMessage,
} from '../vsr/client-protocol.ts';
import { STOP, US_PER_MS } from './event-queue.ts';
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

const TICK_US = 10 * US_PER_MS;

/** One simulated connection, seen from both ends. */
interface Connection {
  readonly process: SimProcess;
  readonly replica: number;
  readonly origin: number;
  /** Process run of the replica that accepted it. */
  readonly run: number;
  open: boolean;
  readonly up: Pipe;
  readonly down: Pipe;
}

/** One direction of a connection: what is under way, in order. */
interface Pipe {
  dueUs: number;
  readonly waiting: (() => void)[];
}

export class SimConnections {
  private readonly world: World;
  private readonly connections = new Map<number, Connection>();
  private origins = 0;

  constructor(world: World) {
    this.world = world;
  }

  /** A replica's process is gone: its connections break, at once (`silent` false) or only when the client gives up. */
  processDied(machine: SimMachine, silent: boolean): void {
    for (const connection of this.connections.values()) {
      if (connection.replica === machine.id && !silent) this.breakOff(connection, 1000);
    }
  }

  announce(machine: SimMachine): void {
    for (const connection of this.connections.values()) {
      if (connection.replica === machine.id && connection.run === machine.run) this.hello(machine, connection);
    }
  }

  /** A replica writes to a connection. */
  reply(machine: SimMachine, origin: number, message: ClientMessage): void {
    const connection = this.connections.get(origin);
    if (connection === undefined || !connection.open || connection.run !== machine.run) return;
    const bytes = new Uint8Array(clientMessageBytes(message));
    writeClientMessage(bytes, 0, message);
    this.world.trace.mixBytes(100 + machine.id, bytes);
    this.carry(connection, connection.down, () => {
      if (connection.open) connection.process.session.onMessage(connection.replica, bytes);
    });
  }

  connect(process: SimProcess, replica: number): void {
    const { queue } = this.world;
    const dueUs = queue.now + this.world.clientDelayUs();
    queue.at(dueUs, () => {
      const machine = this.world.machine(replica);
      if (process.dead) return;
      if (this.world.clientCut(process.client, replica) || machine.silent) return; // the client times out by itself
      if (!machine.alive) return process.session.onDisconnected(replica);
      const connection: Connection = {
        process,
        replica,
        origin: ++this.origins,
        run: machine.run,
        open: true,
        up: { dueUs: 0, waiting: [] },
        down: { dueUs: 0, waiting: [] },
      };
      this.connections.set(connection.origin, connection);
      process.connection = connection;
      process.session.onConnected(replica);
      machine.enter(() => this.hello(machine, connection));
    });
  }

  /** The calling process closes its connection. */
  disconnect(connection: Connection): void {
    connection.open = false;
    this.connections.delete(connection.origin);
    const machine = this.world.machine(connection.replica);
    this.world.queue.after(this.world.clientDelayUs(), () => {
      if (machine.run === connection.run) machine.enter(() => machine.replica?.disconnect(connection.origin));
    });
  }

  /** One transport message of a client. */
  send(connection: Connection, bytes: Uint8Array): void {
    const machine = this.world.machine(connection.replica);
    this.world.trace.mixBytes(200 + connection.process.client, bytes);
    this.carry(connection, connection.up, () => {
      if (machine.run !== connection.run) return;
      machine.enter(() => {
        const { replica } = machine;
        if (replica === null || !connection.open) return;
        const problem = decodeClientRecords(bytes, (record) => {
          if (!machine.alive) return;
          if (record.type === 'request') return replica.request(connection.origin, record.payload);
          const { nonce, query, body, consistency, maxLagMs } = record;
          replica.query(connection.origin, nonce, query, body, consistency, maxLagMs);
        });
        if (problem !== null) this.world.fail('client', 'records-are-well-formed', problem);
      });
    });
  }

  private breakOff(connection: Connection, delayUs: number): void {
    if (!connection.open) return;
    connection.open = false;
    this.connections.delete(connection.origin);
    this.world.queue.after(delayUs, () => {
      const { process } = connection;
      if (process.dead || process.connection !== connection) return;
      process.connection = null;
      process.session.onDisconnected(connection.replica);
    });
  }

  /** In order, after what was sent before; held back while the way is cut. */
  private carry(connection: Connection, pipe: Pipe, deliver: () => void): void {
    const { queue } = this.world;
    pipe.waiting.push(deliver);
    pipe.dueUs = Math.max(pipe.dueUs, queue.now + this.world.clientDelayUs());
    const arrive = (): void => {
      if (this.world.clientCut(connection.process.client, connection.replica)) queue.after(TICK_US, arrive);
      else pipe.waiting.shift()!();
    };
    queue.at(pipe.dueUs, arrive);
  }

  private hello(machine: SimMachine, connection: Connection): void {
    const { replica } = machine;
    if (replica === null) return;
    const { state } = replica.node;
    const known = state.status === 'normal';
    this.reply(machine, connection.origin, {
      type: TO_CLIENT.hello,
      status: 0,
      session: state.view,
      request: machine.id,
      index: known ? at(state.primaryOf(state.view)) : NONE,
      body: this.world.clusterId,
    });
  }
}

/** A calling process: one SessionClient with its connection, until it dies. */
export class SimProcess {
  /** The caller it belongs to. */
  readonly client: number;
  readonly session: SessionClient;
  connection: Connection | null = null;
  dead = false;
  private readonly connections: SimConnections;
  private readonly world: World;
  private flushWanted = false;

  constructor(
    connections: SimConnections,
    world: World,
    client: number,
    options: Pick<SessionClientOptions, 'replicas' | 'seed' | 'policy' | 'settleBy'>,
  ) {
    this.connections = connections;
    this.world = world;
    this.client = client;
    this.session = new SessionClient({
      ...options,
      nowMs: world.queue.now / US_PER_MS,
      port: {
        connect: (replica) => connections.connect(this, replica),
        disconnect: () => this.closeConnection(),
        send: (_replica, bytes) => {
          if (this.connection !== null) connections.send(this.connection, bytes);
        },
        wantFlush: () => this.wantFlush(),
      },
    });
  }

  /** Starts its clock, `delayUs` from now. */
  start(delayUs: number): void {
    const { queue } = this.world;
    queue.repeat(delayUs, () => {
      if (this.dead) return STOP;
      this.session.tick(queue.now / US_PER_MS);
      return TICK_US;
    });
  }

  /** SIGKILL: nobody hears of what it had under way. */
  die(): void {
    this.dead = true;
    this.closeConnection();
  }

  private closeConnection(): void {
    const { connection } = this;
    this.connection = null;
    if (connection?.open === true) this.connections.disconnect(connection);
  }

  private wantFlush(): void {
    if (this.flushWanted) return;
    this.flushWanted = true;
    this.world.queue.defer(() => {
      this.flushWanted = false;
      if (!this.dead) this.session.flush();
    });
  }
}
