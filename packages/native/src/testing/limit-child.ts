/** Writes until the file size limit or the file system says no. Run by limits.test.ts: `limit-child.mjs sync|io_uring ROOT`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DiskError } from '@chronon/core/engine/virtual-disk';
import { openDisk } from '../open-disk.ts';
import { pattern } from './pattern.ts';

const [, , kind, root = '.'] = process.argv;
const disk = openDisk({ root, kind: kind as 'sync' | 'io_uring' });
const file = disk.open('f', { create: true });
const ended = (start: (done: (error: DiskError | null) => void) => void): Promise<DiskError | null> =>
  new Promise(start);
const block = pattern(32 * 1024, 1);
let good = 0;
let error: DiskError | null = null;
while (error === null && good < 4096) {
  error = await ended((done) => file.write(good * block.length, block, false, done));
  if (error === null) good++;
}
// What was written before stays usable: the failure was definite, and poisons nothing.
const barrier = await ended((done) => file.barrier(done));
const rewrite = good === 0 ? null : await ended((done) => file.write(0, block, true, done));
disk.close();
const intact = Buffer.compare(
  readFileSync(join(root, 'f')).subarray(0, good * block.length),
  Buffer.concat(Array.from({ length: good }, () => block)),
);
process.stdout.write(JSON.stringify({ good, code: error?.code ?? null, barrier, rewrite, intact: intact === 0 }));
