/** `snapshots.list`, `create`, `verify`: the snapshots of one replica (docs/log-format.md, "Snapshot"). */
import { toHex } from '@chronon/core/engine/hash';
import { z } from 'zod';
import { apiError } from './errors.ts';
import { snapshotCheck, snapshotList } from './schema.ts';
import { operatorProcedure, router, viewerProcedure } from './trpc.ts';

/** A pass over the snapshots may take so long. */
const VERIFY_MS = 60_000;

export const snapshotRouter = router({
  list: viewerProcedure.output(snapshotList).query(({ ctx }) => {
    const { host } = ctx;
    return {
      replica: host.id,
      first: host.detail().first,
      snapshots: host.replica.snapshots.list().map(({ index, state, file, confirmed }) => ({
        index: String(index),
        state: toHex(state),
        file: toHex(file),
        confirmed,
      })),
    };
  }),

  /** Proposes a checkpoint entry: every replica takes a snapshot behind it. */
  create: operatorProcedure.output(z.object({ replica: z.number().int() })).mutation(({ ctx }) => {
    const { host } = ctx;
    if (!host.replica.snapshots.create()) {
      const { primary } = host.detail();
      throw apiError('E_NOT_PRIMARY', `r${host.id} is not a serving primary; ask r${primary}`, { primary });
    }
    return { replica: host.id };
  }),

  verify: viewerProcedure.output(snapshotCheck).query(async ({ ctx }) => {
    const { host } = ctx;
    const checked = host.replica.snapshots.list().length;
    const damage = await new Promise<{ readonly file: string; readonly fault: string }[]>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(apiError('E_LOG_READ', `the snapshots were not read within ${VERIFY_MS / 1000} s`)),
        VERIFY_MS,
      );
      host.replica.snapshots.verify((found) => {
        clearTimeout(timer);
        resolve(found);
      });
    });
    return { replica: host.id, checked, damage };
  }),
});
