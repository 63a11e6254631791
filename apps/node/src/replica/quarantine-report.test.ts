import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReplicaBench } from '@chronon/core/chaos/testing/replica-bench';
import { expect, test } from 'vitest';
import { writeQuarantineReport } from './quarantine-report.ts';

test('the report names the snapshot, the part of the log and the program that reproduce a divergence', () => {
  const directory = mkdtempSync(join(tmpdir(), 'chronon-quarantine-'));
  try {
    const bench = new ReplicaBench(1);
    bench.put(25);
    bench.until(() => bench.r(1).store.manifest.checkpoint.index === 20);
    const path = writeQuarantineReport(directory, bench.r(1), 24, 'its digest is another one');
    const report = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    expect(report).toMatchObject({
      replica: 1,
      index: 24,
      why: 'its digest is another one',
      replay: { snapshot: 20, from: 21, through: 24 },
      application: { name: 'kv' },
      node: process.version,
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
