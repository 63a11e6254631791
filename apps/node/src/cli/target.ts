/**
 * How every command finds its cluster: `--url URL --token T`, else CHRONON_URL and CHRONON_TOKEN, else the endpoint file of `--data DIR` (./data).
 *
 * Invariants: a flag wins over the environment, the environment over the file; a stale endpoint file is named as such.
 */
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { builtInApplication } from '@chronon/core/apps/index';
import type { ApplicationModule } from '@chronon/core/kernel/types';
import { z } from 'zod';
import { clusterStatus, type ClusterStatus } from '../api/schema.ts';
import { ApiError, apiQuery, type ApiTarget } from '../client/api-call.ts';
import { clusterView } from '../client/cluster-status.ts';
import type { GatewayAddress } from '../client/connect.ts';
import { loadApplication } from '../replica/app-loader.ts';
import { ENDPOINT_FILE, readEndpoint, type Endpoint } from '../supervisor/endpoint-file.ts';
import { Failure, usage } from '../supervisor/failure.ts';

export interface TargetFlags {
  readonly url?: string;
  readonly token?: string;
  readonly data?: string;
  readonly json?: boolean;
}

/** Adds the flags of `TargetFlags`. */
export function withTarget(command: Command): Command {
  return command
    .option('--url <url>', 'API of a replica or the supervisor (or CHRONON_URL)')
    .option('--token <token>', 'bearer token for --url (or CHRONON_TOKEN)')
    .option('--data <dir>', 'data directory of a cluster on this machine', './data')
    .option('--json', 'print one JSON object');
}

export interface ReplicaTarget {
  readonly id: number;
  readonly apiUrl: string;
  readonly clientUrl: string;
  readonly dataDir: string | null;
}

/** A cluster that commands can talk to. */
export interface Target {
  readonly token: string;
  /** The API named by --url, or the supervisor's. */
  readonly api: ApiTarget;
  readonly endpoint: Endpoint | null;
  /** The endpoint file's process is gone. */
  readonly stale: boolean;
}

/** Finds the cluster without asking it anything. */
export function findTarget(flags: TargetFlags): Target {
  const url = flags.url ?? process.env['CHRONON_URL'];
  if (url !== undefined && url !== '') {
    const token = flags.token ?? process.env['CHRONON_TOKEN'] ?? '';
    if (token === '') throw usage('--url needs --token (or CHRONON_TOKEN)');
    return { token, api: { url: checkedUrl(url), token }, endpoint: null, stale: false };
  }
  const dir = resolve(flags.data ?? './data');
  const state = readEndpoint(dir);
  switch (state.kind) {
    case 'none':
      throw new Failure(
        'E_NO_CLUSTER',
        `no cluster runs on ${dir} (there is no ${ENDPOINT_FILE}); start one, or name it with --data or --url`,
        1,
      );
    case 'damaged':
      throw new Failure('E_ENDPOINT', `${join(dir, ENDPOINT_FILE)} is damaged: ${state.problem}`, 1);
    case 'stale':
    case 'running': {
      const { endpoint } = state;
      const token = flags.token ?? process.env['CHRONON_TOKEN'] ?? endpoint.token;
      return { token, api: { url: endpoint.supervisorUrl, token }, endpoint, stale: state.kind === 'stale' };
    }
  }
}

/** As findTarget, but refuses a stale endpoint file. */
export function liveTarget(flags: TargetFlags): Target {
  const target = findTarget(flags);
  if (target.stale) throw staleFailure(target);
  return target;
}

export function staleFailure(target: Target): Failure {
  const { endpoint } = target;
  const dir = endpoint?.dataDir ?? '?';
  return new Failure(
    'E_STALE',
    `${join(dir, ENDPOINT_FILE)} is stale: it names process ${endpoint?.pid ?? 0}, which is gone, so the cluster on ${dir} was not stopped cleanly; start it again (nothing is lost)`,
    1,
  );
}

/** The replicas, from the endpoint file or by asking. */
export async function replicasOf(target: Target): Promise<readonly ReplicaTarget[]> {
  if (target.endpoint !== null) return target.endpoint.replicas;
  const { replicas } = await apiQuery(target.api, 'cluster.status', undefined, clusterStatus);
  return replicas.map(({ id, url }) => ({ id, apiUrl: url, clientUrl: gatewayUrl(url), dataDir: null }));
}

/** The status of the cluster from whoever answers, and whether anybody did. */
export async function statusOf(
  target: Target,
): Promise<{ readonly status: ClusterStatus | null; readonly problem: ApiError | null }> {
  let problem: ApiError | null = null;
  if (!target.stale) {
    try {
      return { status: await apiQuery(target.api, 'cluster.status', undefined, clusterStatus), problem };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem = error;
    }
  }
  if (target.endpoint === null) return { status: null, problem };
  const view = await clusterView(target.endpoint.replicas, target.token, target.endpoint.clusterId);
  return { status: view.answered > 0 ? view.status : null, problem };
}

export function gateways(replicas: readonly ReplicaTarget[]): GatewayAddress[] {
  return replicas.map(({ id, clientUrl }) => ({ id, url: clientUrl }));
}

/** A replica's API to ask: the one named, else the first that answers, the primary first. */
export async function askable(
  target: Target,
  id: number | null,
): Promise<{ readonly api: ApiTarget; readonly id: number }> {
  const { status, problem } = await statusOf(target);
  if (status === null) throw problem ?? staleFailure(target);
  const alive = status.replicas.filter((replica) => replica.status !== 'unreachable');
  const chosen =
    id === null ? (alive.find((r) => r.id === status.primary) ?? alive[0]) : status.replicas.find((r) => r.id === id);
  if (id !== null && chosen === undefined) throw usage(`there is no replica r${id}`);
  if (chosen === undefined || chosen.status === 'unreachable') {
    throw new Failure('E_UNREACHABLE', id === null ? 'no replica answers' : `r${id} does not answer`, 1);
  }
  return { api: { url: chosen.url, token: target.token }, id: chosen.id };
}

/** The application of the cluster when this process can load it, else null (then calls go by the API). */
export async function applicationOf(target: Target): Promise<ApplicationModule | null> {
  if (target.endpoint !== null) {
    const loaded = await loadApplication(target.endpoint.app);
    return 'app' in loaded ? loaded.app : null;
  }
  const { api } = await askable(target, null);
  const { name } = await apiQuery(api, 'app.describe', undefined, z.object({ name: z.string() }));
  return builtInApplication(name);
}

/** By convention the gateway listens one port above the API. */
function gatewayUrl(apiUrl: string): string {
  const url = new URL(apiUrl);
  url.port = String(Number(url.port) + 1);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

function checkedUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) throw usage(`--url ${text} is no http URL`);
  return text.replace(/\/+$/, '').replace(/\/trpc$/, '');
}
