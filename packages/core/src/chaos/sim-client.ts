/**
 * SimClients: the callers of a simulated cluster. Each submits bank commands and reads through a calling process (the real SessionClient), which may die
 * and be followed by another: that one submits what had an idempotency key again, and asks by token for what was told to be unknown. Stale reads go to one
 * replica each, wherever it stands.
 */
import { BANK_COMMAND, BANK_QUERY } from '../apps/bank.ts';
import { utf8Encode } from '../kernel/utf8.ts';
import { encodeValue } from '../kernel/values.ts';
import type { Policy } from '../policy.ts';
import type { Prng } from '../prng.ts';
import { REPLY } from '../reply.ts';
import { formatToken, parseToken, type CallToken, type Outcome } from '../vsr/client.ts';
import type { ClientMessage } from '../vsr/client-protocol.ts';
import { US_PER_MS } from './event-queue.ts';
import { SimConnections, SimProcess } from './sim-connections.ts';
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

const TICK_US = 10 * US_PER_MS;
const CENTS_MAX = 500;
const STALE_READS_MAX = 4;
/** What a machine's clock may differ from true time in measuring a lag. */
const DRIFT_MAX = 1.05;
const MAX_LAGS_MS = [30, 100, 300, 1000, Number.POSITIVE_INFINITY] as const;

/** A command that a caller wants done. */
interface Wish {
  readonly command: number;
  readonly body: Uint8Array;
  readonly key: string | null;
  /** Of its newest call that ended as unknown. */
  token: CallToken | null;
}

export class SimClients {
  readonly clients: SimClient[];
  readonly connections: SimConnections;
  private readonly world: World;
  /** When the commit moved, as far as a look every tick tells. */
  private readonly commits: { readonly us: number; readonly last: number }[] = [];
  private lastCommit = -1;

  constructor(world: World, prng: Prng, policy: Policy) {
    this.world = world;
    this.connections = new SimConnections(world);
    const { clients } = world.profile;
    this.clients = Array.from(
      { length: clients },
      (_, i) => new SimClient(this, world, i + 1, prng.fork(`client ${i}`), policy),
    );
  }

  start(): void {
    for (const client of this.clients) client.start();
    this.world.queue.repeat(TICK_US, () => {
      const { last } = this.world.checks.canonical;
      if (last !== this.lastCommit) this.commits.push({ us: this.world.queue.now, last });
      this.lastCommit = last;
      return TICK_US;
    });
  }

  /** At least so much was committed at `us`. */
  committedAt(us: number): number {
    let low = 0;
    let high = this.commits.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.commits[middle]!.us <= us) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? -1 : this.commits[low - 1]!.last;
  }

  /** No new calls; those under way are to end. */
  stopCalling(): void {
    for (const client of this.clients) client.calling = false;
  }

  get underWay(): number {
    return this.clients.reduce((sum, client) => sum + client.underWay, 0);
  }

  processDied(machine: SimMachine, silent: boolean): void {
    this.connections.processDied(machine, silent);
  }

  announce(machine: SimMachine): void {
    this.connections.announce(machine);
  }

  reply(machine: SimMachine, origin: number, message: ClientMessage): void {
    this.connections.reply(machine, origin, message);
  }
}

export class SimClient {
  readonly id: number;
  calling = true;
  private readonly clients: SimClients;
  private readonly world: World;
  private readonly prng: Prng;
  private readonly policy: Policy;
  private readonly timeoutMs: number;
  /** The process that submits and reads, and the one for stale reads. */
  private process: SimProcess;
  private reader: SimProcess;
  private readonly wishes = new Set<Wish>();
  /** Reads under way, by the process that made them. */
  private readonly reads = new Map<SimProcess, number>();
  private keys = 0;

  constructor(clients: SimClients, world: World, id: number, prng: Prng, policy: Policy) {
    this.clients = clients;
    this.world = world;
    this.id = id;
    this.prng = prng;
    this.policy = policy;
    this.timeoutMs = world.profile.callers.timeoutMs;
    this.process = this.newProcess(null);
    this.reader = this.newProcess(this.prng.range(1, world.profile.replicas));
  }

  /** Calls that have not ended. */
  get underWay(): number {
    return this.inFlight + (this.reads.get(this.reader) ?? 0);
  }

  private get inFlight(): number {
    return this.wishes.size + (this.reads.get(this.process) ?? 0);
  }

  /** `only`: the one replica it knows; null: all. */
  private newProcess(only: number | null): SimProcess {
    const { replicas } = this.world.profile;
    return new SimProcess(this.clients.connections, this.world, this.id, {
      replicas: only === null ? Array.from({ length: replicas }, (_, i) => i + 1) : [only],
      seed: this.prng.u32(),
      policy: this.policy,
      settleBy: this.prng.chance(0.5) ? 'cancel' : 'resend',
    });
  }

  start(): void {
    this.process.start(this.prng.below(TICK_US));
    this.reader.start(this.prng.below(TICK_US));
    this.live();
    this.watch();
    this.think();
  }

  private exponentialUs(meanUs: number): number {
    return Math.floor(-Math.log(1 - this.prng.float()) * meanUs) + 1;
  }

  private think(): void {
    const { thinkUs, inFlightMax } = this.world.profile;
    this.world.queue.after(this.exponentialUs(thinkUs), () => {
      if (!this.calling) return;
      if (this.inFlight < inFlightMax) this.call();
      this.think();
    });
  }

  /** Stale reads need nobody's agreement: they go on beside everything else. */
  private watch(): void {
    const { staleReadUs } = this.world.profile.callers;
    if (staleReadUs === null) return;
    this.world.queue.after(this.exponentialUs(staleReadUs), () => {
      if (!this.calling) return;
      if ((this.reads.get(this.reader) ?? 0) < STALE_READS_MAX) this.readSomething(this.reader);
      this.watch();
    });
  }

  /** Processes follow one another. */
  private live(): void {
    this.world.queue.after(this.exponentialUs(this.world.profile.callers.lifeUs), () => {
      if (!this.calling) return;
      this.succeed();
      this.live();
    });
  }

  /** The process dies; the next one knows keys and tokens, nothing else. */
  private succeed(): void {
    this.process.die();
    this.reads.delete(this.process);
    this.process = this.newProcess(null);
    this.process.start(this.prng.below(TICK_US));
    for (const wish of this.wishes) {
      if (wish.key !== null) this.submit(wish);
      else if (wish.token !== null) this.resume(wish, wish.token);
      else this.wishes.delete(wish);
    }
  }

  private call(): void {
    const { readShare, accounts, callers } = this.world.profile;
    const account = (): string => `a${this.prng.below(accounts)}`;
    if (this.prng.chance(readShare)) return this.readSomething(this.process);
    const cents = this.prng.range(1, CENTS_MAX);
    const kind = this.prng.pick(['deposit', 'deposit', 'withdraw', 'transfer', 'transfer', 'transfer'] as const);
    const input = kind === 'transfer' ? { from: account(), to: account(), cents } : { account: account(), cents };
    const key = this.prng.chance(callers.keyShare) ? this.nextKey() : null;
    const wish: Wish = { command: BANK_COMMAND[kind], body: encodeValue(input), key, token: null };
    this.wishes.add(wish);
    this.submit(wish);
  }

  /** Now and then one that was used for another command. */
  private nextKey(): string {
    const reused = this.keys > 0 && this.prng.chance(0.1);
    return `client ${this.id}, order ${reused ? this.prng.range(1, this.keys) : ++this.keys}`;
  }

  private submit(wish: Wish): void {
    const { process } = this;
    const key = wish.key === null ? null : utf8Encode(wish.key);
    const { session } = process;
    session.submit(wish.command, wish.body, this.timeoutMs, (outcome) => this.ended(wish, process, outcome), key);
  }

  private resume(wish: Wish, token: CallToken): void {
    const { process } = this;
    // By way of its text, as between processes.
    const read = parseToken(formatToken(token))!;
    if (read.session !== process.session.session) this.world.sometimes.reached('resumed-by-another-process');
    process.session.resume(read, this.timeoutMs, (outcome) => this.ended(wish, process, outcome));
  }

  private ended(wish: Wish, process: SimProcess, outcome: Outcome): void {
    if (process.dead) return;
    const { statistics, checks, trace, sometimes } = this.world;
    trace.event('outcome', {
      client: this.id,
      outcome: outcome.kind,
      session: outcome.token?.session ?? 0,
      request: outcome.token?.request ?? 0,
      index: outcome.kind === 'unknown' ? -1 : outcome.index,
    });
    checks.client.ended(this.id, outcome);
    if (outcome.kind === 'unknown') {
      statistics.commandsUnknown++;
      if (outcome.lost === true) sometimes.reached('outcome-lost-with-its-session');
      return this.insist(wish, outcome.token, outcome.lost === true);
    }
    if (outcome.kind === 'ok') statistics.commandsAcknowledged++;
    else statistics.commandsRejected++;
    if (outcome.kind === 'rejected' && outcome.status === REPLY.cancelled) sometimes.reached('call-cancelled');
    if (outcome.kind === 'rejected' && outcome.status === REPLY.conflict) sometimes.reached('idempotency-conflict');
    if (checks.canonical.keysAnswered > 0) sometimes.reached('idempotency-key-answered');
    this.wishes.delete(wish);
  }

  /** An outcome is asked for until it is known, as a person would: by the key where there is one, else by the token. */
  private insist(wish: Wish, token: CallToken, lost: boolean): void {
    wish.token = token;
    if (wish.key !== null && (lost || this.prng.chance(0.5))) this.submit(wish);
    else if (lost) this.wishes.delete(wish);
    else this.resume(wish, token);
  }

  private count(process: SimProcess, more: number): void {
    this.reads.set(process, (this.reads.get(process) ?? 0) + more);
  }

  /** Its caller wants to know something at this very moment. */
  readNow(): void {
    if (this.calling && !this.process.dead) this.readSomething(this.process);
  }

  private readSomething(process: SimProcess): void {
    if (this.prng.chance(0.3)) this.read(process, BANK_QUERY.total, null);
    else this.read(process, BANK_QUERY.balance, `a${this.prng.below(this.world.profile.accounts)}`);
  }

  private read(process: SimProcess, query: number, input: unknown): void {
    const { checks, statistics, sometimes, queue } = this.world;
    const stale = process === this.reader;
    const { view } = process.session.where;
    const maxLagMs = stale ? this.prng.pick(MAX_LAGS_MS) : 0;
    const low = stale ? this.clients.committedAt(queue.now - maxLagMs * DRIFT_MAX * US_PER_MS) : checks.canonical.last;
    const read = checks.client.invoked(this.id, query, input, low);
    this.count(process, 1);
    const options = { timeoutMs: this.timeoutMs, consistency: stale ? 'stale' : 'linearizable', maxLagMs } as const;
    process.session.query(query, encodeValue(input), options, (outcome) => {
      if (process.dead) return;
      this.count(process, -1);
      checks.client.returned(read, outcome);
      if (outcome.kind !== 'ok') return;
      statistics.readsAnswered++;
      if (stale && Number.isFinite(maxLagMs)) sometimes.reached('bounded-stale-read');
      if (!stale && process.session.where.view > view) sometimes.reached('read-across-a-view-change');
    });
  }
}
