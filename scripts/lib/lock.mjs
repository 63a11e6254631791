/** One set-up at a time for a working tree: `npm start` beside `npm test` must not run two `npm ci`. The lock dies with its process. */
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './inputs.mjs';

const RETRY_MS = 200;
const PATH = join(tmpdir(), `chronon-setup-${createHash('sha256').update(ROOT).digest('hex').slice(0, 16)}.lock`);

/** When process `pid` started, as the kernel counts; '' where that cannot be known. Tells a re-used pid from the holder. */
function startTime(pid) {
  try {
    return (
      readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ')[19] ?? ''
    );
  } catch {
    return '';
  }
}

function isHeld(text) {
  const [pid, start] = text.split(' ');
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if (error.code !== 'EPERM') return false;
  }
  return startTime(pid) === start;
}

/** Waits for the lock; resolves to its release. */
export async function lockSetUp() {
  const mine = `${process.pid} ${startTime(process.pid)}`;
  let told = false;
  for (;;) {
    try {
      writeFileSync(PATH, mine, { flag: 'wx', mode: 0o600 });
      return () => rmSync(PATH, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    let holder = '';
    try {
      holder = readFileSync(PATH, 'utf8');
    } catch {
      continue; // Released meanwhile.
    }
    if (holder !== '' && !isHeld(holder)) {
      rmSync(PATH, { force: true });
      continue;
    }
    if (!told) process.stderr.write(`waiting for the set-up that process ${holder.split(' ')[0]} is running here\n`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
