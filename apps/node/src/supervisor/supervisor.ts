/**
 * The supervisor: parent of the replica processes and the console's server (docs/guide.md, "Start"). Checks everything before it starts anything;
 * writes the endpoint file once commands can be answered; removes it when it has stopped all.
 *
 * Invariants: one supervisor a data directory (a lock for life); nothing is started while a port is taken or a directory refused; every child
 * notices when this process is gone.
 */
import fs from 'node:fs';
import type { Server } from 'node:http';
import { dirname, resolve } from 'node:path';
import { toHex } from '@chronon/core/engine/hash';
import { LockFailure, lockDirectory, type DirectoryLock } from '@chronon/native/lock';
import { memoryFileSystem } from '@chronon/native/probe';
import { clusterView } from '../client/cluster-status.ts';
import { loadApplication } from '../replica/app-loader.ts';
import { apiUrl, clientUrl, type MemberConfig, type ReplicaFileInput } from '../replica/config.ts';
import { Authenticator } from '../transport/auth.ts';
import { serveSupervisor, type SupervisorHost, type SupervisorStatus } from './api.ts';
import { writeAtomically } from './atomic-file.ts';
import {
  checkSize,
  checkWanted,
  newCluster,
  prepareDirectory,
  readCluster,
  unbootedCluster,
  writeCluster,
  type ClusterFile,
  type WantedCluster,
} from './cluster-file.ts';
import { removeEndpoint, startTimeOf, writeEndpoint } from './endpoint-file.ts';
import { Failure, usage } from './failure.ts';
import { formatCluster, manifestOf } from './format.ts';
import * as layout from './layout.ts';
import { loginUrl } from './login-token.ts';
import { ManagedProcess, type ProcessSpec } from './managed-process.ts';
import { localMembers, parseMembers } from './members.ts';
import { portsOf, portsOfOne, portUses, requireFree, type ClusterPorts } from './ports.ts';
import { prepareRecovery } from './recover.ts';
import { ReplicaSupervisor } from './replica-supervisor.ts';
import { sharedSecrets, writeConsoleEnv } from './shared-secrets.ts';

export interface SupervisorOptions {
  readonly dataDir: string;
  /** Null: what the directory was formatted with, else 3. */
  readonly replicas: number | null;
  readonly app: string | null;
  readonly environment: 'dev' | 'production' | null;
  readonly port: number;
  readonly enableChaos: boolean;
  readonly disk: 'auto' | 'sync' | 'io_uring';
  readonly withConsole: boolean;
  /** One replica of a cluster whose members run elsewhere. */
  readonly only: {
    readonly id: number;
    readonly members: string;
    readonly bindHost: string;
    /** File of the secrets that all members share, for a first boot with them; null: the directory must be formatted. */
    readonly secrets: string | null;
    /** Where what the console needs is written; null: nowhere. */
    readonly consoleEnv: string | null;
  } | null;
  readonly logLevel: string;
  /** A line for the operator. */
  say(line: string): void;
}

const SETTLE_MS = 30_000;
const CONSOLE_READY_MS = 30_000;

export class Supervisor {
  private readonly options: SupervisorOptions;
  private readonly dataDir: string;
  private lock: DirectoryLock | null = null;
  private cluster: ClusterFile | null = null;
  private members: MemberConfig[] = [];
  private ports: ClusterPorts = { console: 0, supervisor: 0, replicas: [] };
  private replicas: ReplicaSupervisor | null = null;
  private console: ManagedProcess | null = null;
  private server: Server | null = null;
  private stopped: Promise<void> | null = null;

  constructor(options: SupervisorOptions) {
    this.options = options;
    this.dataDir = resolve(options.dataDir);
  }

  /** Checks, formats on the first start, starts everything. Throws Failure with nothing left running. */
  async start(): Promise<void> {
    try {
      await this.prepare();
      await this.launch();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Waits until replicas and console answer, or say why not. Returns the console's address with a fresh token, if there is a console. */
  async ready(): Promise<string | null> {
    const { replicas } = this;
    if (replicas === null || this.stopped !== null) return null;
    await replicas.settled(SETTLE_MS);
    const refused = replicas.refusedByAll;
    if (refused !== null)
      throw new Failure('E_REFUSED', 'every replica refused to start; see the lines above', refused);
    if (this.console !== null) await this.consoleReady();
    return this.freshLogin();
  }

  /** Stops everything, once; later calls wait for the same stop. */
  async stop(): Promise<void> {
    this.stopped ??= this.shutDown();
    await this.stopped;
  }

  private async shutDown(): Promise<void> {
    await Promise.all([this.replicas?.stopAll(), this.console?.stop('the supervisor stops')]);
    this.server?.close();
    this.server?.closeAllConnections();
    if (this.server !== null) removeEndpoint(this.dataDir);
    this.lock?.release();
  }

  private async prepare(): Promise<void> {
    const { options, dataDir } = this;
    if (options.replicas !== null) checkSize(options.replicas);
    prepareDirectory(dataDir);
    try {
      this.lock = await lockDirectory(dataDir);
    } catch (error) {
      if (!(error instanceof LockFailure)) throw error;
      if (error.code === 'E_LOCK') throw new Failure('E_DIRECTORY', error.message);
      throw new Failure('E_LOCKED', `${error.message}; a data directory has one supervisor`);
    }
    const { only } = options;
    const wanted = { replicas: options.replicas, environment: options.environment, app: appName(options.app) };
    const known = readCluster(dataDir);
    if (only !== null && only.secrets === null && known?.formatted !== true) {
      throw new Failure(
        'E_NOT_FORMATTED',
        `${dataDir} is not formatted; give --secrets for a first boot with the other members, or run 'chronon format' first`,
      );
    }
    if (known !== null) checkWanted(dataDir, known, wanted);
    const cluster = known ?? this.fresh(wanted);
    if (options.enableChaos && cluster.environment === 'production') {
      throw new Failure(
        'E_CHAOS_PRODUCTION',
        `--enable-chaos is refused on ${dataDir}, which was formatted for production`,
      );
    }
    const app = await loadApplication(cluster.app);
    if ('problem' in app) throw new Failure('E_APP', app.problem);
    await this.checkPorts(cluster);
    const memory = memoryFileSystem(dataDir);
    if (memory !== null)
      options.say(`warning: ${dataDir} is on ${memory}: everything in it is lost with the next power cut`);
    if (!cluster.formatted && only === null) formatCluster(dataDir, cluster);
    else if (known === null) writeCluster(dataDir, cluster);
    if (only !== null && only.consoleEnv !== null) writeConsoleEnv(only.consoleEnv, cluster);
    this.cluster = readCluster(dataDir);
  }

  private fresh(wanted: WantedCluster): ClusterFile {
    const { only, port } = this.options;
    if (only === null || only.secrets === null) return newCluster(wanted);
    const replicas = wanted.replicas ?? parseMembers(only.members, port).length;
    checkSize(replicas);
    return unbootedCluster({ ...wanted, replicas }, sharedSecrets(only.secrets));
  }

  /** First boot is over: from here on an empty directory is a lost one. */
  private booted(id: number): void {
    const { cluster, dataDir } = this;
    const manifest = cluster === null || cluster.formatted ? null : manifestOf(layout.replicaDir(dataDir, id));
    if (cluster === null || manifest === null) return;
    const founders = manifest.founders.map(toHex);
    this.cluster = { ...cluster, clusterId: toHex(manifest.clusterId), founders, formatted: true };
    writeCluster(dataDir, this.cluster);
    // The next process of this replica does not boot anew.
    this.replicaSpec(this.cluster, id);
    this.publish(this.cluster);
  }

  private async checkPorts(cluster: ClusterFile): Promise<void> {
    const { port, only, withConsole } = this.options;
    const { replicas } = cluster;
    this.ports = only === null ? portsOf(port, replicas) : portsOfOne(port, replicas, only.id);
    this.members = only === null ? localMembers(port, replicas) : parseMembers(only.members, port);
    if (this.members.length !== replicas) {
      throw usage(`--members names ${this.members.length}, the directory was formatted with ${replicas}`);
    }
    await requireFree(portUses(this.ports, withConsole), only?.bindHost ?? '127.0.0.1');
  }

  private async launch(): Promise<void> {
    const { cluster, members, options, dataDir } = this;
    if (cluster === null || this.stopped !== null) return;
    fs.mkdirSync(layout.runDir(dataDir), { recursive: true, mode: 0o700 });
    fs.mkdirSync(dirname(layout.ledgerPath(dataDir)), { recursive: true, mode: 0o700 });
    const mine = options.only === null ? members : members.filter(({ id }) => id === options.only?.id);
    this.replicas = new ReplicaSupervisor({
      specs: mine.map(({ id }) => ({ id, spec: this.replicaSpec(cluster, id) })),
      chaosEnabled: options.enableChaos,
      onReady: (id) => {
        this.booted(id);
      },
      say: (line) => {
        options.say(line);
      },
    });
    this.replicas.startAll();
    const auth = new Authenticator(
      [{ name: 'owner', role: 'chaos', token: cluster.token }],
      Buffer.from(cluster.peerSecret),
    );
    const address = {
      bindHost: options.only?.bindHost ?? '127.0.0.1',
      port: this.ports.supervisor,
      names: options.only === null ? [] : mine.map(({ host }) => host.toLowerCase()),
    };
    this.server = await serveSupervisor(this.host(cluster, this.replicas), address, auth);
    if (this.stopped !== null) return;
    if (options.withConsole) this.startConsole(cluster);
    this.publish(this.cluster ?? cluster);
  }

  private replicaSpec(cluster: ClusterFile, id: number): ProcessSpec {
    const { options, dataDir } = this;
    const file: ReplicaFileInput = {
      id,
      members: this.members,
      ...(cluster.formatted ? { clusterId: cluster.clusterId } : { format: { environment: cluster.environment } }),
      dataDir: layout.replicaDir(dataDir, id),
      ledger: layout.ledgerPath(dataDir),
      peerSecret: cluster.peerSecret,
      tokens: [{ name: 'owner', role: 'chaos', token: cluster.token }],
      app: cluster.app,
      disk: options.disk,
      bindHost: options.only?.bindHost ?? '127.0.0.1',
      enableChaos: options.enableChaos,
      exitWithParent: true,
      logLevel: options.logLevel as NonNullable<ReplicaFileInput['logLevel']>,
    };
    const path = layout.configPath(dataDir, id);
    writeAtomically(path, `${JSON.stringify(file, null, 2)}\n`);
    return {
      name: `r${id}`,
      args: [...layout.nodeFlags(), ...layout.REPLICA_FLAGS, layout.REPLICA_MAIN],
      env: { ...process.env, CHRONON_REPLICA_CONFIG: path, TZ: 'UTC' },
      logPath: options.only === null ? layout.logPath(dataDir, `r${id}`) : null,
      lifeline: 'ipc',
    };
  }

  private startConsole(cluster: ClusterFile): void {
    const { options, dataDir } = this;
    if (!layout.consoleBuilt()) {
      options.say('the console is not built (npm run setup builds it); going on without it');
      return;
    }
    const replicas = this.members.map((member) => ({ id: member.id, apiUrl: `${apiUrl(member)}/trpc` }));
    this.console = new ManagedProcess(
      {
        name: 'console',
        args: ['--import', layout.WATCH_PARENT, layout.CONSOLE_SERVER],
        env: {
          ...process.env,
          NODE_ENV: 'production',
          HOSTNAME: '127.0.0.1',
          PORT: String(this.ports.console),
          CHRONON_REPLICAS: JSON.stringify(replicas),
          CHRONON_SUPERVISOR_URL: `${this.supervisorUrl}/trpc`,
          CHRONON_TOKEN: cluster.token,
          CHRONON_CONSOLE_SECRET: cluster.consoleSecret,
        },
        logPath: layout.logPath(dataDir, 'console'),
        lifeline: 'pipe',
      },
      {
        onMessage: () => undefined,
        onChange: () => {
          const state = this.console?.state;
          if (this.stopped === null && (state === 'waiting' || state === 'refused'))
            options.say(`console: ${this.console?.reason ?? ''}`);
        },
      },
    );
    this.console.start();
  }

  private async consoleReady(): Promise<void> {
    const end = performance.now() + CONSOLE_READY_MS;
    while (this.stopped === null && performance.now() < end) {
      const ok = await fetch(`${this.consoleUrl}/api/health`, { signal: AbortSignal.timeout(2000) }).then(
        (response) => response.ok,
        () => false,
      );
      if (ok) return this.console?.markReady();
      await new Promise((wait) => setTimeout(wait, 100));
    }
    if (this.stopped === null)
      this.options.say(
        `console: no answer within ${CONSOLE_READY_MS / 1000} s; see ${layout.logPath(this.dataDir, 'console')}`,
      );
  }

  private publish(cluster: ClusterFile): void {
    writeEndpoint(this.dataDir, {
      version: 1,
      pid: process.pid,
      startTime: startTimeOf(process.pid),
      clusterId: cluster.clusterId,
      dataDir: this.dataDir,
      token: cluster.token,
      app: cluster.app,
      supervisorUrl: this.supervisorUrl,
      consoleUrl: this.console === null ? null : this.consoleUrl,
      replicas: this.members.map((member) => ({
        id: member.id,
        apiUrl: apiUrl(member),
        clientUrl: clientUrl(member),
        dataDir:
          this.options.only === null || this.options.only.id === member.id
            ? layout.replicaDir(this.dataDir, member.id)
            : null,
      })),
    });
  }

  private get consoleUrl(): string {
    return `http://127.0.0.1:${this.ports.console}`;
  }

  private get supervisorUrl(): string {
    return `http://127.0.0.1:${this.ports.supervisor}`;
  }

  private freshLogin(): string | null {
    return this.console === null || this.cluster === null
      ? null
      : loginUrl(this.consoleUrl, this.cluster.consoleSecret, Date.now());
  }

  private host(cluster: ClusterFile, replicas: ReplicaSupervisor): SupervisorHost {
    const targets = this.members.map((member) => ({ id: member.id, apiUrl: apiUrl(member) }));
    return {
      replicas,
      status: () => this.statusOf(this.cluster ?? cluster, replicas),
      clusterStatus: async () =>
        (await clusterView(targets, cluster.token, (this.cluster ?? cluster).clusterId)).status,
      recover: async (id) => {
        await replicas.stop(id);
        const setAside = await prepareRecovery(this.dataDir, cluster, id);
        replicas.start(id);
        return setAside;
      },
      loginUrl: () => this.freshLogin(),
    };
  }

  private statusOf(cluster: ClusterFile, replicas: ReplicaSupervisor): SupervisorStatus {
    const { console } = this;
    return {
      pid: process.pid,
      clusterId: cluster.clusterId,
      dataDir: this.dataDir,
      app: cluster.app,
      environment: cluster.environment,
      chaosEnabled: this.options.enableChaos,
      processes: replicas.reports(),
      console:
        console === null
          ? null
          : { url: this.consoleUrl, pid: console.pid, state: console.state, reason: console.reason },
    };
  }
}

/** Built-in applications by name, files by absolute path. */
export function appName(app: string | null): string | null {
  if (app === null || /^[a-z][a-z0-9-]*$/.test(app)) return app;
  return resolve(app);
}
