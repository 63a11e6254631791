/** A data directory as it lies there: whose it is, whether somebody uses it, whether its files agree. Reads only. */
import fs from 'node:fs';
import { join } from 'node:path';
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { toHex } from '@chronon/core/engine/hash';
import type { ManifestState } from '@chronon/core/engine/log-contract';
import { decodeManifest, MANIFEST_PATHS } from '@chronon/core/engine/manifest';
import { readCluster, type ClusterFile } from '../supervisor/cluster-file.ts';
import { readEndpoint } from '../supervisor/endpoint-file.ts';
import { Failure } from '../supervisor/failure.ts';
import { replicaDir } from '../supervisor/layout.ts';
import { portsOf, portUses, tryListen } from '../supervisor/ports.ts';
import { type Finding, ok, problem, warning } from './finding.ts';

export interface DataState {
  readonly findings: readonly Finding[];
  /** Replicas whose data is here; 3 for a directory that is not there yet. */
  readonly replicas: number;
  readonly running: boolean;
}

/** What there is at `dir`. */
export function dataDirectory(dir: string): DataState {
  if (!fs.existsSync(dir))
    return {
      findings: [ok('data', `${dir} does not exist yet; the first start makes it`)],
      replicas: 3,
      running: false,
    };
  let cluster: ClusterFile | null;
  try {
    fs.accessSync(dir, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    cluster = readCluster(dir);
  } catch (error) {
    const advice =
      error instanceof Failure ? 'restore the file, or choose another directory' : 'check its owner and mode';
    return { findings: [problem('data', (error as Error).message, advice)], replicas: 3, running: false };
  }
  const { finding, running } = endpointOf(dir);
  const replicas = cluster?.replicas ?? 3;
  const ids = Array.from({ length: replicas }, (_, i) => i + 1);
  const own = fs.existsSync(join(dir, MANIFEST_PATHS[0])) ? [replicaFinding(dir, null, null)] : [];
  const formatted =
    cluster?.formatted === true ? ids.map((id) => replicaFinding(replicaDir(dir, id), id, cluster)) : own;
  const identity = cluster === null ? [] : [identityOf(dir, cluster)];
  return { findings: [...identity, finding, ...formatted], replicas, running };
}

function identityOf(dir: string, cluster: ClusterFile): Finding {
  const { clusterId, replicas, environment, app, formatted } = cluster;
  const facts = { clusterId, replicas, environment, app, formatted };
  const text = `${dir}: cluster ${clusterId.slice(0, 8)}, ${replicas} replica${replicas === 1 ? '' : 's'}, ${environment}, application ${app}`;
  return formatted
    ? ok('data', text, facts)
    : warning('data', `${text}; its format was not finished`, 'start it again: the format is begun anew', facts);
}

function endpointOf(dir: string): { readonly finding: Finding; readonly running: boolean } {
  const state = readEndpoint(dir);
  switch (state.kind) {
    case 'none':
      return { finding: ok('endpoint', 'no cluster runs on it'), running: false };
    case 'running':
      return {
        finding: ok('endpoint', `a cluster runs on it, process ${state.endpoint.pid}`, { pid: state.endpoint.pid }),
        running: true,
      };
    case 'stale':
      return {
        finding: warning(
          'endpoint',
          `endpoint.json names process ${state.endpoint.pid}, which is gone: the cluster was not stopped cleanly`,
          'start it again; nothing is lost',
        ),
        running: false,
      };
    case 'damaged':
      return {
        finding: warning(
          'endpoint',
          `endpoint.json is damaged: ${state.problem}`,
          'start it again: the file is written anew',
        ),
        running: false,
      };
  }
}

/** One replica's directory: its two manifest copies, its log, who holds it. */
function replicaFinding(directory: string, id: number | null, cluster: ClusterFile | null): Finding {
  const name = id === null ? 'replica' : `r${id}`;
  if (!fs.existsSync(directory))
    return problem(
      name,
      `${directory} is missing although the cluster was formatted`,
      'restore it, or `chronon recover` this replica; never format over it (docs/operations.md)',
    );
  const copies = MANIFEST_PATHS.map((path) => manifestAt(join(directory, path)));
  const good = copies.filter((copy): copy is ManifestState => typeof copy !== 'string');
  const damaged = copies.filter((copy): copy is string => typeof copy === 'string');
  const [manifest] = good;
  if (manifest === undefined)
    return problem(
      name,
      `${directory}: no copy of the manifest can be read (${damaged.join('; ')})`,
      'the replica refuses to start (E_MANIFEST): restore it, or `chronon recover` (docs/operations.md)',
    );
  const segments = names(join(directory, 'log')).filter((file) => file.endsWith('.seg'));
  const facts = {
    clusterId: toHex(manifest.clusterId),
    environment: manifest.environment,
    view: String(manifest.view),
    logView: String(manifest.logView),
    segments: segments.length,
    snapshots: names(join(directory, 'snapshots')).filter((file) => file.endsWith('.snap')).length,
    holder: holderOf(directory),
  };
  const text = `${name}: view ${facts.view}, log view ${facts.logView}, ${facts.segments} segment${facts.segments === 1 ? '' : 's'}, ${facts.snapshots} snapshot${facts.snapshots === 1 ? '' : 's'}${facts.holder === null ? '' : `, used by process ${facts.holder}`}`;
  if (cluster?.formatted === true && facts.clusterId !== cluster.clusterId)
    return problem(
      name,
      `${text}; it is of cluster ${facts.clusterId}, the directory of ${cluster.clusterId}`,
      'bring the right directory here (E_CLUSTER_ID)',
      facts,
    );
  if (id !== null && manifest.replicaId !== id)
    return problem(
      name,
      `${text}; it is of replica r${manifest.replicaId}`,
      'bring the right directory here (E_REPLICA_ID)',
      facts,
    );
  if (names(join(directory, 'log')).includes('tail') === false)
    return problem(
      name,
      `${text}; log/tail is missing`,
      'the replica recovers its head from the others; a cluster of one needs the file back',
      facts,
    );
  if (damaged.length > 0)
    return warning(
      name,
      `${text}; one copy of the manifest is damaged: ${damaged.join('; ')}`,
      'start the replica: the copy is written again',
      facts,
    );
  return ok(name, text, facts);
}

/** The manifest in a file, or why there is none. */
function manifestAt(path: string): ManifestState | string {
  try {
    const decoded = decodeManifest(fs.readFileSync(path), nobleCodec);
    if (decoded.kind === 'ok') return decoded.state;
    return `${path}: ${decoded.kind === 'damaged' ? decoded.reason : `version ${decoded.version}`}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Pid that the lock's record names, if that process lives. */
function holderOf(directory: string): number | null {
  try {
    const { pid } = JSON.parse(fs.readFileSync(join(directory, 'lock'), 'utf8')) as { pid?: number };
    return pid !== undefined && fs.existsSync(`/proc/${pid}`) ? pid : null;
  } catch {
    return null;
  }
}

function names(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

/** Whether a start would find its ports free. */
export async function ports(base: number, replicas: number, running: boolean): Promise<Finding> {
  const facts = { base, replicas };
  if (running) return ok('ports', 'used by the cluster that runs', facts);
  const taken: string[] = [];
  for (const { port, use } of portUses(portsOf(base, replicas), true)) {
    if ((await tryListen(port, '127.0.0.1')) !== null) taken.push(`${port} (${use})`);
  }
  if (taken.length > 0)
    return problem(
      'ports',
      `in use by somebody else: ${taken.join(', ')}`,
      'stop what uses them, or start with another --port',
      { ...facts, taken },
    );
  return ok('ports', `${base} and those of ${replicas} replica${replicas === 1 ? '' : 's'} are free`, facts);
}
