/**
 * `npm run bench -- NAME [ARGS]`: one file a benchmark, beside this one; it reads its own arguments and prints a table or, with --json, one object.
 */
const BENCHMARKS: Readonly<Record<string, { readonly load: () => Promise<unknown>; readonly what: string }>> = {
  commit: {
    load: async () => await import('./commit.ts'),
    what: 'puts through three replica processes, beside a bare pipeline',
  },
  log: {
    load: async () => await import('./log.ts'),
    what: 'appends, sealing and recovery of the log, beside the raw device',
  },
  replica: {
    load: async () => await import('./replica.ts'),
    what: 'processor time of a put through three Replicas in one process',
  },
  simulator: {
    load: async () => await import('./simulator.ts'),
    what: 'simulated seconds a second of one core, by load',
  },
  executor: { load: async () => await import('./executor.mjs'), what: 'applies of one Executor, no disk, no network' },
  profile: { load: async () => await import('./profile.ts'), what: 'functions of V8 profiles by self time' },
};

const [name = 'commit'] = process.argv.slice(2);
const known = Object.hasOwn(BENCHMARKS, name) || name.startsWith('-');
if (known) {
  if (!name.startsWith('-')) process.argv.splice(2, 1);
  await BENCHMARKS[name.startsWith('-') ? 'commit' : name]!.load();
} else {
  const lines = Object.entries(BENCHMARKS).map(([key, { what }]) => `  ${key.padEnd(10)}${what}`);
  process.stderr.write(
    `unknown benchmark '${name}'; usage: npm run bench -- NAME [--json] [--quick]\n${lines.join('\n')}\n`,
  );
  process.exitCode = 2;
}
