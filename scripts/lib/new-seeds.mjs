/**
 * Seeds that no run has seen before: which ones follows from the commit, so that each commit looks at other worlds and anybody can run the same again.
 */
import { run } from './child.mjs';
import { ROOT } from './inputs.mjs';

export const NEW_SEEDS = 200;
/** Below lie the seeds that tests and people name. */
const FROM = 100_000_000;
/** So many runs have no seed in common; all of them lie below 2^32: a generator folds its seed to so many bits, and beyond them worlds would come again. */
const RUNS = 0x100_0000;

/** First of the new seeds of a commit hash, or of any other text. */
export function firstNewSeed(text) {
  const hex = /^[0-9a-f]{40,64}$/.test(text) ? text : Buffer.from(text).toString('hex');
  let number = 0;
  for (const digit of hex) number = (number * 16 + Number.parseInt(digit, 16)) % RUNS;
  return FROM + number * NEW_SEEDS;
}

/** What the new seeds of this tree follow from: `{source, first}`. Without a commit it is the day. */
export async function newSeeds(today = new Date()) {
  const { code, stdout } = await run('git', ['rev-parse', 'HEAD'], { cwd: ROOT });
  const commit = stdout.trim();
  if (code === 0 && /^[0-9a-f]{40,64}$/.test(commit))
    return { source: `commit ${commit.slice(0, 12)}`, first: firstNewSeed(commit) };
  const day = today.toISOString().slice(0, 10);
  return { source: day, first: firstNewSeed(day) };
}

/** Arguments of the CLI that run them. */
export function simulateArgs(first) {
  return [
    'simulate',
    '--seeds',
    String(NEW_SEEDS),
    '--first-seed',
    String(first),
    '--replicas',
    '3,5,7',
    '--no-shrink',
  ];
}
