/**
 * SimClients: the callers of a simulated cluster. Each drives the real SessionClient over simulated connections that keep order and neither lose nor
 * repeat (TCP), but stall, break, and go silent when a machine loses power.
 */
import { at, NONE } from '../engine/commit-index.ts';
import { BANK_COMMAND, BANK_QUERY } from '../apps/bank.ts';
import { encodeValue } from '../kernel/values.ts';
import type { Policy } from '../policy.ts';
import { Prng } from '../prng.ts';
import { SessionClient, type Outcome } from '../vsr/client.ts';
import {
  type ClientMessage,
  clientMessageBytes,
  decodeClientRecords,
  TO_CLIENT,
  writeClientMessage,
} from '../vsr/client-protocol.ts';
import { US_PER_MS } from './event-queue.ts';
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

const TICK_US = 10 * US_PER_MS;
const CALL_TIMEOUT_MS = 4000;
const CENTS_MAX = 500;

/** One simulated connection, seen from both ends. */
interface Connection {
  readonly client: SimClient;
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

export class SimClients {
  readonly clients: SimClient[];
  private readonly world: World;
  private readonly connections = new Map<number, Connection>();
  private origins = 0;

  constructor(world: World, prng: Prng, policy: Policy) {
    this.world = world;
    const { clients } = world.profile;
    this.clients = Array.from(
      { length: clients },
      (_, i) => new SimClient(this, world, i + 1, prng.fork(`client ${i}`), policy),
    );
  }

  start(): void {
    for (const client of this.clients) client.start();
  }

  /** No new calls; those under way are to end. */
  stopCalling(): void {
    for (const client of this.clients) client.calling = false;
  }

  get underWay(): number {
    return this.clients.reduce((sum, client) => sum + client.underWay, 0);
  }

  /** A process is gone: its connections break, at once (`silent` false) or only when the client gives up. */
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
      if (connection.open) connection.client.session.onMessage(connection.replica, bytes);
    });
  }

  connect(client: SimClient, replica: number): void {
    const { queue } = this.world;
    const dueUs = queue.now + this.world.clientDelayUs();
    queue.at(dueUs, () => {
      const machine = this.world.machine(replica);
      if (this.world.clientCut(client.id, replica) || machine.silent) return; // the client times out by itself
      if (!machine.alive) return client.session.onDisconnected(replica);
      const connection: Connection = {
        client,
        replica,
        origin: ++this.origins,
        run: machine.run,
        open: true,
        up: { dueUs: 0, waiting: [] },
        down: { dueUs: 0, waiting: [] },
      };
      this.connections.set(connection.origin, connection);
      client.connection = connection;
      client.session.onConnected(replica);
      machine.enter(() => this.hello(machine, connection));
    });
  }

  /** The client closes its connection. */
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
    this.world.trace.mixBytes(200 + connection.client.id, bytes);
    this.carry(connection, connection.up, () => {
      if (machine.run !== connection.run) return;
      machine.enter(() => {
        const { replica } = machine;
        if (replica === null || !connection.open) return;
        const problem = decodeClientRecords(bytes, (record) => {
          if (!machine.alive) return;
          if (record.type === 'request') replica.request(connection.origin, record.payload);
          else
            replica.query(
              connection.origin,
              record.nonce,
              record.query,
              record.body,
              record.consistency,
              record.maxLagMs,
            );
        });
        if (problem !== null) this.world.fail('client', 'records-are-well-formed', problem);
      });
    });
  }

  breakOff(connection: Connection, delayUs: number): void {
    if (!connection.open) return;
    connection.open = false;
    this.connections.delete(connection.origin);
    this.world.queue.after(delayUs, () => {
      if (connection.client.connection === connection) {
        connection.client.connection = null;
        connection.client.session.onDisconnected(connection.replica);
      }
    });
  }

  /** In order, after what was sent before; held back while the way is cut. */
  private carry(connection: Connection, pipe: Pipe, deliver: () => void): void {
    const { queue } = this.world;
    pipe.waiting.push(deliver);
    pipe.dueUs = Math.max(pipe.dueUs, queue.now + this.world.clientDelayUs());
    const arrive = (): void => {
      if (this.world.clientCut(connection.client.id, connection.replica)) queue.after(TICK_US, arrive);
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

export class SimClient {
  readonly id: number;
  readonly session: SessionClient;
  connection: Connection | null = null;
  calling = true;
  underWay = 0;
  private readonly clients: SimClients;
  private readonly world: World;
  private readonly prng: Prng;
  private flushWanted = false;

  constructor(clients: SimClients, world: World, id: number, prng: Prng, policy: Policy) {
    this.clients = clients;
    this.world = world;
    this.id = id;
    this.prng = prng;
    const { replicas } = world.profile;
    this.session = new SessionClient({
      replicas: Array.from({ length: replicas }, (_, i) => i + 1),
      seed: prng.u32(),
      policy,
      settleBy: prng.chance(0.5) ? 'cancel' : 'resend',
      port: {
        connect: (replica) => clients.connect(this, replica),
        disconnect: () => this.closeConnection(),
        send: (_replica, bytes) => {
          if (this.connection !== null) clients.send(this.connection, bytes);
        },
        wantFlush: () => this.wantFlush(),
      },
    });
  }

  start(): void {
    const tick = (): void => {
      this.session.tick(this.world.queue.now / US_PER_MS);
      this.world.queue.after(TICK_US, tick);
    };
    this.world.queue.after(this.prng.below(TICK_US), tick);
    this.think();
  }

  private think(): void {
    const { thinkUs, inFlightMax } = this.world.profile;
    const gapUs = Math.floor(-Math.log(1 - this.prng.float()) * thinkUs) + 1;
    this.world.queue.after(gapUs, () => {
      if (!this.calling) return;
      if (this.underWay < inFlightMax) this.call();
      this.think();
    });
  }

  private call(): void {
    const { readShare, accounts } = this.world.profile;
    const account = (): string => `a${this.prng.below(accounts)}`;
    this.underWay++;
    if (this.prng.chance(readShare)) {
      if (this.prng.chance(0.3)) this.read(BANK_QUERY.total, null);
      else this.read(BANK_QUERY.balance, account());
      return;
    }
    const cents = this.prng.range(1, CENTS_MAX);
    const kind = this.prng.pick(['deposit', 'deposit', 'withdraw', 'transfer', 'transfer', 'transfer'] as const);
    const input = kind === 'transfer' ? { from: account(), to: account(), cents } : { account: account(), cents };
    this.session.submit(BANK_COMMAND[kind], encodeValue(input), CALL_TIMEOUT_MS, (outcome) => this.ended(outcome));
  }

  private ended(outcome: Outcome): void {
    const { statistics, checks, trace } = this.world;
    trace.event('outcome', {
      client: this.id,
      outcome: outcome.kind,
      session: outcome.token?.session ?? 0,
      request: outcome.token?.request ?? 0,
      index: outcome.kind === 'unknown' ? -1 : outcome.index,
    });
    checks.client.ended(this.id, outcome);
    if (outcome.kind === 'unknown') {
      // Its outcome is asked for until it is known, as a person would.
      statistics.commandsUnknown++;
      if (outcome.token.session === this.session.session) {
        return this.session.resume(outcome.token, CALL_TIMEOUT_MS, (later) => this.ended(later));
      }
    } else if (outcome.kind === 'ok') statistics.commandsAcknowledged++;
    else statistics.commandsRejected++;
    this.underWay--;
  }

  private read(query: number, input: unknown): void {
    const { checks, statistics } = this.world;
    const view = this.session.where.view;
    const read = checks.client.invoked(this.id, query, input);
    this.session.query(query, encodeValue(input), { timeoutMs: CALL_TIMEOUT_MS }, (outcome) => {
      this.underWay--;
      checks.client.returned(read, outcome);
      if (outcome.kind === 'ok') statistics.readsAnswered++;
      if (outcome.kind === 'ok' && this.session.where.view > view)
        this.world.sometimes.reached('read-across-a-view-change');
    });
  }

  private closeConnection(): void {
    const { connection } = this;
    this.connection = null;
    if (connection?.open === true) this.clients.disconnect(connection);
  }

  private wantFlush(): void {
    if (this.flushWanted) return;
    this.flushWanted = true;
    this.world.queue.defer(() => {
      this.flushWanted = false;
      this.session.flush();
    });
  }
}
