/**
 * Composition root of one replica process: configuration -> directory, disk, codec, application -> Replica -> peer links, client gateway, control
 * API. Nothing here decides anything about the protocol.
 *
 * Invariants: the directory is locked before anything in it is read; ports are bound before the first tick; whatever goes wrong ends in `halt` with a code.
 */
import { randomInt } from 'node:crypto';
import { toHex } from '@chronon/core/engine/hash';
import { DiskFailure, type VirtualDisk } from '@chronon/core/engine/virtual-disk';
import { installGuard } from '@chronon/core/kernel/guard';
import { LedgerSink } from '@chronon/core/kernel/ledger-sink';
import type { ApplicationModule } from '@chronon/core/kernel/types';
import { SOUND } from '@chronon/core/policy';
import { openReplica, type Replica } from '@chronon/core/replica';
import type { EffectSink, ReplicaEvent, ReplicaPorts } from '@chronon/core/replica-contract';
import { openDisk } from '@chronon/native/open-disk';
import type { Logger } from 'pino';
import { FileLedger } from '../effects/file-ledger.ts';
import { EventRing, eventText } from '@chronon/core/replica-events';
import { eventLevel } from '../observe/events.ts';
import { loadApplication } from './app-loader.ts';
import { chooseCodec } from './choose-codec.ts';
import { apiUrl, coreConfig, selfOf, type ReplicaFile } from './config.ts';
import { firstBoot } from './boot.ts';
import { isProblem, takeDirectory } from './directory.ts';
import type { Ground, Outlets, RunOptions } from './ground.ts';
import { Leases } from './leases.ts';
import { writeQuarantineReport } from './quarantine-report.ts';
import { announce, serve } from './servers.ts';
import { Ticker } from './ticker.ts';

/** A replica process at work. */
export interface RunningReplica {
  readonly replica: Replica;
  close(): void;
}

const monotonicMs = (): number => performance.now();

/** Starts everything; resolves once the ports are bound and the first tick is due. */
export async function runReplica(options: RunOptions): Promise<RunningReplica> {
  const { file, log, halt } = options;
  const ground = await prepare(options);
  const { events, leases } = ground;
  await firstBoot(ground);
  const outlets: Outlets = { peers: null, gateway: null };
  // From here on clocks, randomness and I/O in `apply` throw DeterminismError.
  installGuard(globalThis);
  const replica = openedReplica(ground, outlets);
  const { clusterId, environment, members } = replica.store.manifest;
  if (members.length !== file.members.length) {
    halt(
      'E_CONFIG',
      `${file.dataDir} was formatted for ${members.length} replicas, the configuration has ${file.members.length}`,
    );
  }
  const harmful = file.enableChaos || Object.keys(file.failpoints).length > 0;
  if (harmful && environment === 'production') {
    halt('E_CHAOS_PRODUCTION', `${file.dataDir} was formatted for production, and chaos was asked for`);
  }
  const closeServers = await serve(ground, replica, outlets);
  const ticker = new Ticker(
    replica.config.tickMs,
    monotonicMs,
    () => {
      leases.expire();
      replica.tick();
    },
    (ms) => {
      log.warn(events.add('gap', `this process did not run for ${Math.round(ms)} ms`).text);
    },
  );
  ticker.start();
  log.info({ cluster: toHex(clusterId), environment, api: apiUrl(selfOf(file)), chaos: file.enableChaos }, 'running');
  return {
    replica,
    close: () => {
      ticker.stop();
      closeServers();
      replica.close();
      ground.lock.release();
    },
  };
}

async function prepare(options: RunOptions): Promise<Ground> {
  const { file, log, halt } = options;
  const app = await applicationOf(file, halt);
  const lock = await takeDirectory(file.dataDir, file.format !== null);
  if (isProblem(lock)) return halt(lock.code, lock.message);
  const { codec, reason } = await chooseCodec();
  const disk = diskOf(file, halt);
  log.info(
    { disk: disk.kind, fallback: disk.fallbackReason, codec: codec.backend, codecFallback: reason, app: app.name },
    'opening',
  );
  const notes = disk.fallbackReason === null ? [] : [`synchronous disk: ${disk.fallbackReason}`];
  if (reason !== null) notes.push(reason);
  const events = new EventRing(file.id, () => Date.now());
  const leases = new Leases(monotonicMs, (lease, why) => {
    const what =
      lease.kind === 'cut' ? `cut of r${lease.replica} to r${lease.to ?? 0}` : `${lease.kind} of r${lease.replica}`;
    log.info({ lease: lease.id }, events.add('chaos', `${what} ${why}`).text);
  });
  return { ...options, app, lock, codec, disk, events, leases, notes };
}

async function applicationOf(file: ReplicaFile, halt: RunOptions['halt']): Promise<ApplicationModule> {
  const loaded = await loadApplication(file.app);
  return 'app' in loaded ? loaded.app : halt('E_APP', loaded.problem);
}

function diskOf(file: ReplicaFile, halt: RunOptions['halt']): VirtualDisk {
  try {
    return openDisk({ root: file.dataDir, kind: file.disk });
  } catch (error) {
    if (error instanceof DiskFailure)
      return halt(error.code === 'EOTHER' ? 'E_DISK_KIND' : 'E_DIRECTORY', error.message);
    throw error;
  }
}

/** Opens the replica on its directory. Nothing is sent or replied before the outlets are there. */
function openedReplica(ground: Ground, outlets: Outlets): Replica {
  const { file, log, halt, disk, codec, app, events } = ground;
  const ledger = withFailpoint(new LedgerSink(new FileLedger(file.ledger)), file.failpoints.killAfterEffects);
  let replica: Replica | null = null;
  const report = (odd: Replica, index: number, why: string): void => {
    try {
      log.error({ path: writeQuarantineReport(file.dataDir, odd, index, why) }, 'what reproduces the divergence');
    } catch (error) {
      log.error({ error }, 'the quarantine report could not be written');
    }
  };
  const ports: ReplicaPorts = {
    disk,
    codec,
    app,
    policy: SOUND,
    monotonicMs,
    wallMs: () => Date.now(),
    send: (to, message) => outlets.peers?.send(to, message),
    reply: (origin, message) => outlets.gateway?.reply(origin, message),
    defer: (task) => void setImmediate(task),
    sink: () => ledger,
    halt,
    onEvent: (event) => {
      onEvent(event, log, events);
      if (event.kind === 'quarantine' && replica !== null) report(replica, event.index, event.why);
      if (event.kind === 'identity') outlets.peers?.recheck();
      if (event.kind === 'view' || event.kind === 'status') announce(outlets.gateway, replica);
    },
  };
  const config = coreConfig(file, randomInt(2 ** 47));
  const opened = openReplica(config, ports);
  if ('refusal' in opened) return halt(opened.refusal.code, `${file.dataDir}: ${opened.refusal.message}`);
  replica = opened.replica;
  return replica;
}

/** Dies between the run of an effect and its report: the moment that exactly-once is about. */
function withFailpoint(sink: EffectSink, killAfterEffects: number | undefined): EffectSink {
  if (killAfterEffects === undefined) return sink;
  let left = killAfterEffects;
  return {
    name: sink.name,
    run: (effect, done) => {
      sink.run(effect, (error) => {
        if (error === null && --left <= 0) process.kill(process.pid, 'SIGKILL');
        else done(error);
      });
    },
  };
}

function onEvent(event: ReplicaEvent, log: Logger, events: EventRing): void {
  const text = eventText(event);
  events.add(event.kind, text);
  const level = eventLevel(event);
  if (level !== null) log[level]({ event: event.kind }, text);
}
