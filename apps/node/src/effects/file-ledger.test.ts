import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CancelSignal, type EffectRun } from '@chronon/core/kernel/effect-sink';
import { decodeLedgerLine, LedgerSink } from '@chronon/core/kernel/ledger-sink';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileLedger } from './file-ledger.ts';
import { FileLockTimeout, lockByFile, withFileLock } from './file-lock.ts';

let directory = '';
let path = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'chronon-ledger-'));
  path = join(directory, 'effects', 'ledger.jsonl');
});
const opened: FileLedger[] = [];
afterEach(async () => {
  for (const ledger of opened.splice(0)) await ledger.close();
  rmSync(directory, { recursive: true });
});
function ledgerOf(file: string): LedgerSink {
  const ledger = new FileLedger(file);
  opened.push(ledger);
  return new LedgerSink(ledger);
}

const keyOf = (n: number): string => createHash('sha256').update(String(n)).digest('hex').slice(0, 32);
function effect(n: number, view = 1, generation = 0): EffectRun {
  return {
    key: keyOf(n),
    fence: { generation, view },
    index: n,
    channel: 'receipts',
    payload: Buffer.from([n]),
    attempt: 1,
    signal: new CancelSignal(),
  };
}
const run = (ledger: LedgerSink, call: EffectRun): Promise<string | null> =>
  new Promise((resolve) => ledger.run(call, resolve));
/** (index, view) of each record. */
const records = (): number[][] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => decodeLedgerLine(line))
    .flatMap((record) => (record !== null && 'key' in record ? [[record.index, record.view]] : []));

describe('FileLedger', () => {
  it('writes each effect once, in groups', async () => {
    const ledger = ledgerOf(path);
    const results = await Promise.all(Array.from({ length: 3000 }, (_, n) => run(ledger, effect(n % 2500))));
    expect(results.every((result) => result === null)).toBe(true);
    expect(records().map(([index]) => index)).toEqual(Array.from({ length: 2500 }, (_, n) => n));
  });

  it('a primary killed between run and ack: the next one finds the key and does not run it again', async () => {
    const first = ledgerOf(path);
    await run(first, effect(1, 1));
    // The ack never reached the log. The next primary runs the same effect in a later view.
    const second = ledgerOf(path);
    expect(await run(second, { ...effect(1, 2), attempt: 2 })).toBeNull();
    expect(await run(second, effect(2, 2))).toBeNull();
    // The old one wakes up.
    expect(await run(first, effect(3, 1))).toBe('E_FENCED');
    expect(records()).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  it('goes on behind a line that was torn by a kill, and writes that effect anew', async () => {
    await run(ledgerOf(path), effect(1));
    const whole = readFileSync(path, 'utf8');
    appendFileSync(path, whole.slice(0, 70));
    const next = ledgerOf(path);
    expect(await run(next, effect(2))).toBeNull();
    expect(await run(next, effect(1))).toBeNull();
    expect(records()).toEqual([
      [1, 1],
      [2, 1],
    ]);
    expect(next.damaged).toBe(1);
  });

  it('counts a line that lacks only its newline', async () => {
    await run(ledgerOf(path), effect(1));
    writeFileSync(path, readFileSync(path, 'utf8').trimEnd());
    const next = ledgerOf(path);
    expect(await run(next, effect(1))).toBeNull();
    expect(await run(next, effect(2))).toBeNull();
    expect(records()).toEqual([
      [1, 1],
      [2, 1],
    ]);
  });

  it('refuses a file that became shorter', async () => {
    const ledger = ledgerOf(path);
    await run(ledger, effect(1));
    await run(ledger, effect(2));
    writeFileSync(path, '');
    expect(await run(ledger, effect(3))).toMatch(/^E_LEDGER: .* became shorter/);
  });

  it('two writers at once keep every line whole and every key single', async () => {
    const [a, b] = [ledgerOf(path), ledgerOf(path)];
    const all = await Promise.all(Array.from({ length: 600 }, (_, n) => run(n % 2 === 0 ? a : b, effect(n % 400))));
    expect(all.every((result) => result === null)).toBe(true);
    expect(new Set(records().map(([index]) => index)).size).toBe(400);
    expect(records().length).toBe(400);
  });
});

describe('the lock', () => {
  it('excludes, and gives up in bounded time', async () => {
    const lock = join(directory, 'l');
    await withFileLock(lock, 1000, async () => {
      await expect(withFileLock(lock, 30, () => Promise.resolve())).rejects.toBeInstanceOf(FileLockTimeout);
    });
    await withFileLock(lock, 30, () => Promise.resolve());
  });

  it('without the addon: a lock of a dead process is taken over, one of a live process is not', async () => {
    const lock = join(directory, 'l.pid');
    const child = spawn(process.execPath, ['-e', '']);
    await new Promise((resolve) => child.on('exit', resolve));
    writeFileSync(lock, JSON.stringify({ pid: child.pid, start: '1' }));
    const release = await lockByFile(lock, 1000);
    await expect(lockByFile(lock, 30)).rejects.toBeInstanceOf(FileLockTimeout);
    release();
    (await lockByFile(lock, 30))();
  });
});
