/** Arguments of the commit benchmark. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export const USAGE = `npm run bench -- commit [--json] [--quick] [--in-flight 1,16,64,256,1024] [--runs 3] [--seconds 10] [--warm-up 3]
  [--directory DIR] [--disk auto|sync|io_uring] [--value-bytes 256] [--keys N (0: every put has a new key)]
  [--only chronon|bare] [--etcd] [--snapshot-every N] [--profile DIR (V8 profiles of the replicas)]`;

export interface CommitOptions {
  readonly json: boolean;
  readonly inFlight: readonly number[];
  readonly runs: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly directory: string;
  readonly disk: 'auto' | 'sync' | 'io_uring';
  readonly valueBytes: number;
  readonly keys: number;
  readonly only: 'chronon' | 'bare' | null;
  /** Three etcd members as well, where etcd is installed. */
  readonly etcd: boolean;
  readonly tuning: Readonly<Record<string, number>>;
  readonly profileTo: string | null;
}

/** The options, or what is wrong with the arguments. */
export function commitOptions(args: readonly string[]): CommitOptions | string {
  try {
    return read(args);
  } catch (error) {
    return (error as Error).message;
  }
}

function read(args: readonly string[]): CommitOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      'in-flight': { type: 'string', default: '1,16,64,256,1024' },
      runs: { type: 'string' },
      seconds: { type: 'string' },
      'warm-up': { type: 'string' },
      directory: { type: 'string', default: fileURLToPath(new URL('../results/', import.meta.url)) },
      disk: { type: 'string', default: 'auto' },
      'value-bytes': { type: 'string', default: '256' },
      keys: { type: 'string', default: '0' },
      only: { type: 'string' },
      etcd: { type: 'boolean', default: false },
      'snapshot-every': { type: 'string' },
      profile: { type: 'string' },
    },
  });
  const { quick, only } = values;
  const snapshotEvery = values['snapshot-every'];
  return {
    json: values.json,
    inFlight: values['in-flight'].split(',').map((text) => number('--in-flight', text, 1)),
    runs: number('--runs', values.runs ?? (quick ? '1' : '3'), 1),
    seconds: number('--seconds', values.seconds ?? (quick ? '2' : '10'), 0.1),
    warmUpSeconds: number('--warm-up', values['warm-up'] ?? (quick ? '1' : '3'), 0),
    directory: join(values.directory, `commit-${process.pid}`),
    disk: oneOf('--disk', values.disk, ['auto', 'sync', 'io_uring']),
    valueBytes: number('--value-bytes', values['value-bytes'], 4),
    keys: number('--keys', values.keys, 0),
    only: only === undefined ? null : oneOf<'chronon' | 'bare'>('--only', only, ['chronon', 'bare']),
    etcd: values.etcd,
    tuning: snapshotEvery === undefined ? {} : { snapshotEvery: number('--snapshot-every', snapshotEvery, 0) },
    profileTo: values.profile ?? null,
  };
}

function number(name: string, text: string, least: number): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= least) return value;
  throw new Error(`${name} is a number of at least ${least}, not '${text}'`);
}

function oneOf<T extends string>(name: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === text);
  if (found === undefined) throw new Error(`${name} is one of ${allowed.join(', ')}, not '${text}'`);
  return found;
}
