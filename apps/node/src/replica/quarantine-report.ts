/**
 * What is needed to reproduce a divergence: written beside the data of a replica that was quarantined (docs/kernel.md, "Determinism"). Its newest confirmed snapshot and
 * the log behind it stay where they are: replaying them with this application on this program is what went wrong.
 */
import { join } from 'node:path';
import type { Replica } from '@chronon/core/replica';
import { toHex } from '@chronon/core/engine/hash';
import { writeAtomically } from '../supervisor/atomic-file.ts';

/** Writes `quarantine-<index>.json`; returns its path. Throws when the directory cannot be written. */
export function writeQuarantineReport(dataDir: string, replica: Replica, index: number, why: string): string {
  const { executor, node, store, ports } = replica;
  const path = join(dataDir, `quarantine-${index}.json`);
  const checkpoint = store.manifest.checkpoint.index;
  const report = {
    replica: node.state.id,
    index,
    why,
    digest: { own: toHex(executor.digest), at: executor.applied },
    agreedThrough: Math.max(-1, checkpoint),
    replay: {
      snapshot: checkpoint < 0 ? null : checkpoint,
      from: checkpoint + 1,
      through: index,
      firstHeld: store.first,
    },
    application: { name: ports.app.name, version: ports.app.version },
    node: process.version,
    v8: process.versions.v8,
    icu: process.versions['icu'] ?? null,
    at: new Date().toISOString(),
  };
  writeAtomically(path, `${JSON.stringify(report, null, 2)}\n`);
  return path;
}
