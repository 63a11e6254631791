/**
 * Scrubbing of what is stored twice: the manifest and the tail record. A damaged copy is written again at once from what this replica knows.
 *
 * Invariant: both are read and written while nothing else is, so that a copy in the middle of an update is not called damaged.
 */
import type { LogStore } from './log-store.ts';
import { decodeManifest } from './manifest.ts';
import { readSalvaging } from './salvage.ts';
import type { Damage } from './scrubber.ts';
import { decodeTail, TAIL_FILE_BYTES, TAIL_PATH } from './tail-record.ts';

type Report = (damage: Damage) => void;
type Done = (bytes: number) => void;

/** Reads both copies of the manifest back; `done` gets how many bytes were read. */
export function scrubManifest(store: LogStore, report: Report, done: Done): void {
  store.alone((release) => {
    const { files, sequence } = store.manifestFile;
    let total = 0;
    let damaged: number | null = null;
    const check = (which: number): void => {
      const file = files[which];
      if (file === undefined) {
        const end = (): void => {
          release();
          done(total);
        };
        if (damaged === null) end();
        else store.storeManifest(store.manifest, end, damaged);
        return;
      }
      file.read(0, file.size(), (error, bytes) => {
        if (store.isStopped) return;
        const decoded = bytes === null ? null : decodeManifest(bytes, store.options.codec);
        total += bytes?.length ?? 0;
        const stale = decoded?.kind === 'ok' && decoded.sequence !== sequence;
        if (decoded?.kind !== 'ok' || stale) {
          damaged ??= which;
          const reason =
            decoded?.kind === 'damaged' ? decoded.reason : (error?.message ?? 'it is not the one written last');
          report({ file: file.path, index: null, fault: reason, remedy: 'rewritten' });
        }
        check(which + 1);
      });
    };
    check(0);
  });
}

/** Reads the four copies of the tail record back. */
export function scrubTail(store: LogStore, report: Report, done: Done): void {
  store.alone((release) => {
    const { tail, worker, segments } = store;
    const end = (): void => {
      release();
      done(TAIL_FILE_BYTES);
    };
    readSalvaging(tail.options.file, 0, TAIL_FILE_BYTES, (error, bytes) => {
      if (store.isStopped) return;
      const decoded = decodeTail(bytes ?? new Uint8Array(0), store.manifest.clusterId);
      const whole = decoded.kind === 'ok' && decoded.damagedCopies === 0;
      const stale = decoded.kind === 'ok' && decoded.tail.sequence !== tail.newest;
      // Nothing may be promised while an install must settle the head; it writes both slots.
      if (tail.held || (whole && !stale)) {
        end();
        return;
      }
      const fault = whole ? 'it is not the record written last' : (error?.message ?? 'a copy is damaged');
      report({ file: TAIL_PATH, index: null, fault, remedy: 'rewritten' });
      const holder = segments.holding(worker.written);
      const { written: index, writtenHash: hash } = worker;
      const known = { index, hash, segment: holder?.base ?? 0, endOffset: holder?.end ?? 0 };
      const truth = decoded.kind === 'ok' && !stale ? decoded.tail : known;
      const put = (then: () => void): void => {
        tail.put(truth.index, truth.hash, truth.segment, truth.endOffset, (failure) => {
          if (failure === null) then();
          else store.poison(failure);
        });
      };
      put(() => put(end));
    });
  });
}
