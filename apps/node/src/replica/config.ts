/**
 * Configuration of one replica process: one JSON object, from `--config FILE` or from the variable CHRONON_REPLICA_CONFIG (JSON or a path).
 * Whoever starts a replica (supervisor, compose, tests) writes exactly this.
 */
import { readFileSync } from 'node:fs';
import { DEFAULT_CONFIG, type ReplicaConfig } from '@chronon/core/replica-contract';
import { z } from 'zod';

const port = z.number().int().min(1).max(65_535);

/** One member of the cluster, as all others reach it. */
export const memberConfig = z.strictObject({
  id: z.number().int().min(1).max(7),
  /** Host name or address of its three ports. */
  host: z.string().min(1).max(253),
  peerPort: port,
  apiPort: port,
  clientPort: port,
});
export type MemberConfig = z.infer<typeof memberConfig>;

const hex16 = z.string().regex(/^[0-9a-f]{32}$/, 'must be 32 hex digits');

const token = z
  .strictObject({
    name: z.string().min(1).max(64),
    role: z.enum(['viewer', 'operator', 'chaos']),
    /** The token itself, or its SHA-256 (hex): exactly one. */
    token: z.string().min(8).max(512).optional(),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .optional(),
  })
  .refine((value) => (value.token === undefined) !== (value.sha256 === undefined), 'exactly one of token and sha256');

const count = z.number().int().min(0);
const tuningShape = Object.fromEntries(Object.keys(DEFAULT_CONFIG).map((key) => [key, count.optional()])) as Record<
  keyof typeof DEFAULT_CONFIG,
  z.ZodOptional<typeof count>
>;

export const replicaFile = z
  .strictObject({
    id: z.number().int().min(1).max(7),
    members: z.array(memberConfig).min(1).max(7),
    clusterName: z.string().max(64).default('chronon'),
    /** Cluster id; null takes the one of the manifest. */
    clusterId: hex16.nullable().default(null),
    /** Directory of this replica (`DIR/r<ID>`). */
    dataDir: z.string().min(1),
    /** File ledger, shared by the replicas of one data directory (`DIR/effects/ledger.jsonl`). */
    ledger: z.string().min(1),
    /** Shared by the members; at least 16 characters. */
    peerSecret: z.string().min(16).max(512),
    tokens: z.array(token).max(64).default([]),
    /** `bank`, `kv`, or the path of an ES module. */
    app: z.string().min(1).default('bank'),
    disk: z.enum(['auto', 'sync', 'io_uring']).default('auto'),
    /** Address all three ports are bound to. */
    bindHost: z.string().min(1).default('127.0.0.1'),
    /** Names beside localhost and the members' hosts by which the API may be called. */
    allowedHosts: z.array(z.string().min(1).max(253)).max(64).default([]),
    enableChaos: z.boolean().default(false),
    /** First boot: a directory that holds nothing is formatted together with those of all other members. */
    format: z
      .strictObject({ environment: z.enum(['dev', 'production']) })
      .nullable()
      .default(null),
    /** Exit when the parent process is gone. */
    exitWithParent: z.boolean().default(false),
    logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
    /** Places where this process dies on purpose, for tests; refused on production data. */
    failpoints: z
      .strictObject({
        /** kill -9 of itself after so many effects have run, before the last of them is reported. */
        killAfterEffects: z.number().int().min(1).optional(),
      })
      .default({}),
    /** Overrides of DEFAULT_CONFIG (packages/core/src/replica-contract.ts). */
    tuning: z.strictObject(tuningShape).default({}),
  })
  .superRefine((value, context) => {
    const ids = value.members.map((member) => member.id);
    if (ids.some((id, i) => id !== i + 1))
      context.addIssue({ code: 'custom', path: ['members'], message: 'members are r1..rn in order' });
    if (!ids.includes(value.id))
      context.addIssue({ code: 'custom', path: ['id'], message: `r${value.id} is no member` });
  });

/** A checked configuration. */
export type ReplicaFile = z.infer<typeof replicaFile>;
/** What may be written in the file. */
export type ReplicaFileInput = z.input<typeof replicaFile>;

/** The member this replica is. */
export function selfOf(file: ReplicaFile): MemberConfig {
  return file.members.find((member) => member.id === file.id)!;
}

/** URL of a member's control API, without a slash at the end. */
export function apiUrl(member: MemberConfig): string {
  return `http://${urlHost(member.host)}:${member.apiPort}`;
}

/** URL of a member's client gateway. */
export function clientUrl(member: MemberConfig): string {
  return `ws://${urlHost(member.host)}:${member.clientPort}/`;
}

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** The configuration, or what is wrong with it: each line names the path in the object. */
export function parseConfig(text: string, from: string): ReplicaFile | { readonly problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problem: `${from} is not JSON: ${(error as Error).message}` };
  }
  const parsed = replicaFile.safeParse(value);
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.map((issue) => `${issue.path.join('.') || '(top)'}: ${issue.message}`);
  return { problem: `${from}: ${lines.join('; ')}` };
}

/** Reads `--config FILE` or CHRONON_REPLICA_CONFIG. */
export function loadConfig(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
): ReplicaFile | { readonly problem: string } {
  const flag = argv.indexOf('--config');
  const given = flag >= 0 ? argv[flag + 1] : env['CHRONON_REPLICA_CONFIG'];
  if (given === undefined || given === '')
    return { problem: 'no configuration: give --config FILE or CHRONON_REPLICA_CONFIG' };
  if (given.trimStart().startsWith('{')) return parseConfig(given, 'CHRONON_REPLICA_CONFIG');
  try {
    return parseConfig(readFileSync(given, 'utf8'), given);
  } catch (error) {
    return { problem: `${given} cannot be read: ${(error as Error).message}` };
  }
}

/** What the core gets. */
export function coreConfig(file: ReplicaFile, seed: number): ReplicaConfig {
  const overrides = Object.fromEntries(Object.entries(file.tuning).filter(([, value]) => value !== undefined));
  return {
    ...DEFAULT_CONFIG,
    ...overrides,
    replicaId: file.id,
    clusterId: file.clusterId === null ? null : Uint8Array.from(Buffer.from(file.clusterId, 'hex')),
    seed,
  };
}
