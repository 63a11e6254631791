/**
 * DIR/cluster.json: what a data directory was formatted with, and the cluster's secrets. Written once, then only to mark it as formatted.
 *
 * Invariants: a directory that holds something else is never touched; `formatted` is set only after every replica's directory is on disk, and only an
 * unfinished format is ever begun again (a replica's directory that is lost later is not quietly made anew).
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { clusterIdOf } from '@chronon/core/engine/blank-manifest';
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { toHex } from '@chronon/core/engine/hash';
import { z } from 'zod';
import { readIfThere, writeAtomically } from './atomic-file.ts';
import { Failure, usage } from './failure.ts';
import { ledgerPath } from './layout.ts';
import { newSecrets, type Secrets } from './shared-secrets.ts';

export const CLUSTER_FILE = 'cluster.json';
/** Names the directory's lock may leave (native/lock). */
const LOCK_FILES = ['lock', 'lock.pid'];
/** Sizes a cluster may have. */
export const SIZES = [1, 3, 5, 7] as const;

const hex16 = z.string().regex(/^[0-9a-f]{32}$/);
const clusterFile = z.object({
  version: z.literal(1),
  clusterId: hex16,
  /** Boot ids of the directories it was formatted with: the cluster id is their hash. */
  founders: z.array(hex16).min(1).max(7),
  replicas: z.number().int().min(1).max(7),
  environment: z.enum(['dev', 'production']),
  app: z.string().min(1),
  /** Bearer token of people and tools (all roles), 256 bits. */
  token: z.string().min(32),
  /** Bearer token of the supervisor's children towards it, 256 bits. */
  peerSecret: z.string().min(32),
  /** Key of the console's login tokens. */
  consoleSecret: z.string().min(32),
  formatted: z.boolean(),
});
export type ClusterFile = z.infer<typeof clusterFile>;

export interface WantedCluster {
  /** Null: what the directory has, else 3. */
  readonly replicas: number | null;
  readonly environment: 'dev' | 'production' | null;
  readonly app: string | null;
}

export function checkSize(replicas: number): void {
  if ((SIZES as readonly number[]).includes(replicas)) return;
  throw usage(`a cluster has ${SIZES.join(', ')} replicas, not ${replicas}`);
}

/** Before the first boot nobody knows the cluster's id, nor who its founders are. */
const UNKNOWN_ID = '0'.repeat(32);

/** The description of a directory that its replica will format together with the others (first boot). */
export function unbootedCluster(wanted: WantedCluster & { readonly replicas: number }, secrets: Secrets): ClusterFile {
  const { replicas } = wanted;
  const founders = Array.from({ length: replicas }, () => UNKNOWN_ID);
  return { ...newCluster(wanted), ...secrets, clusterId: UNKNOWN_ID, founders };
}

/** A fresh description with new ids and secrets. */
export function newCluster(wanted: WantedCluster): ClusterFile {
  const replicas = wanted.replicas ?? 3;
  const founders = Array.from({ length: replicas }, () => new Uint8Array(randomBytes(16)));
  return {
    version: 1,
    clusterId: toHex(clusterIdOf(founders, nobleCodec)),
    founders: founders.map(toHex),
    replicas,
    environment: wanted.environment ?? 'dev',
    app: wanted.app ?? 'bank',
    ...newSecrets(),
    formatted: false,
  };
}

/** Makes the directory, or refuses one that cannot be used or is not ours. Touches nothing of a foreign one. */
export function prepareDirectory(dir: string): void {
  try {
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
    fs.accessSync(dir, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
  } catch (error) {
    throw new Failure('E_DIRECTORY', `${dir} cannot be used: ${(error as Error).message}`);
  }
  if (!fs.statSync(dir).isDirectory()) throw new Failure('E_DIRECTORY', `${dir} is no directory`);
  const names = fs
    .readdirSync(dir)
    .filter((name) => !LOCK_FILES.includes(name) && !name.endsWith('.tmp') && !isLedgerMount(dir, name));
  if (names.length === 0 || names.includes(CLUSTER_FILE)) return;
  throw new Failure(
    'E_DIRECTORY',
    `${dir} holds ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''} but no ${CLUSTER_FILE}: it is not a data directory of Chronon; choose an empty one with --data`,
  );
}

/** The folder of the effects' ledger, which may be a volume that all replicas share and is there before anything else. */
function isLedgerMount(dir: string, name: string): boolean {
  const path = join(dir, name);
  if (path !== dirname(ledgerPath(dir)) || !fs.statSync(path).isDirectory()) return false;
  return fs.readdirSync(path).every((file) => file.startsWith(basename(ledgerPath(dir))));
}

/** The description of a directory, or null when it is new. */
export function readCluster(dir: string): ClusterFile | null {
  const path = join(dir, CLUSTER_FILE);
  const text = readIfThere(path);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Failure('E_DIRECTORY', `${path} is damaged: ${(error as Error).message}`);
  }
  const parsed = clusterFile.safeParse(value);
  if (parsed.success) return parsed.data;
  const version = (value as { version?: unknown } | null)?.version;
  if (version !== 1)
    throw new Failure('E_VERSION', `${path} has version ${String(version)}; this Chronon reads version 1`);
  throw new Failure('E_DIRECTORY', `${path} is damaged: ${z.prettifyError(parsed.error)}`);
}

export function writeCluster(dir: string, cluster: ClusterFile): void {
  writeAtomically(join(dir, CLUSTER_FILE), `${JSON.stringify(cluster, null, 2)}\n`);
}

/** Refuses a start that asks for something else than the directory was formatted with; both are named. */
export function checkWanted(dir: string, cluster: ClusterFile, wanted: WantedCluster): void {
  if (wanted.replicas !== null && wanted.replicas !== cluster.replicas) {
    throw usage(`${dir} was formatted with ${cluster.replicas} replicas, --replicas says ${wanted.replicas}`);
  }
  if (wanted.environment !== null && wanted.environment !== cluster.environment) {
    throw usage(
      `${dir} was formatted for environment ${cluster.environment}, --environment says ${wanted.environment}`,
    );
  }
  if (wanted.app !== null && wanted.app !== cluster.app) {
    throw usage(`${dir} was formatted for application ${cluster.app}, --app says ${wanted.app}`);
  }
}
