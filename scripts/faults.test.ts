/**
 * Each row of the design's storage fault table has a test named after it. A test that is renamed or gone fails here; so does a row that the design has and this list
 * has not, where the design is at hand.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DESIGN = join(ROOT, '../shared/design/faults.md');

/** The rows, without what stands behind a name in parentheses. */
const ROWS = [
  'Torn write, last un-acked entry',
  'Short write',
  'Misdirected write',
  'Bit rot — header',
  'Bit rot — payload / middle of log',
  'Bit rot — tail',
  'Latent rot',
  'Lost writes / fsync error',
  'fsync lies / lost after ack on ≤f nodes',
  'ENOSPC',
  'EIO on read',
  'EIO on write',
  'Slow disk / stall',
  'Manifest corruption',
  'Manifest missing but log present',
  'Snapshot corrupt/partial',
  'Directory entry lost',
  'Data dir copied/rolled back',
  'Wrong cluster / node id, wrong version',
  'Two processes, one dir',
  'Disk wiped on one node',
  'Divergent state machine',
];

test('each row of the storage fault table has a test named after it', () => {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.test.ts', '*.e2e.ts'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const names = listed
    .split('\n')
    .filter((file) => file !== '' && existsSync(join(ROOT, file)))
    .flatMap((file) => [...readFileSync(join(ROOT, file), 'utf8').matchAll(/^\s*(?:it|test)\(\s*(['"`])(.*?)\1/gm)])
    .map((match) => match[2]!);
  const without = ROWS.filter(
    (row) => !names.some((name) => name.startsWith(`${row}:`) || name.startsWith(`${row} (`)),
  );
  expect(without).toEqual([]);
});

test.skipIf(!existsSync(DESIGN))('the rows are those of the design (skipped: ../shared/design is not here)', () => {
  const text = readFileSync(DESIGN, 'utf8');
  const section = text.slice(text.indexOf('\n## Storage'), text.indexOf('\n## Network'));
  const cells = [...section.matchAll(/^\| ([^|]+) \|/gm)].map((match) => match[1]!.replace(/ \([^)]*\)$/, ''));
  expect(cells.slice(1)).toEqual(ROWS);
});
