/** Writing whole snapshots in the engine's tests. */
import { FRAME_HEADER_BYTES } from '../constants.ts';
import { writeHeader } from '../frame.ts';
import { toHex } from '../hash.ts';
import type { SnapshotStore } from '../snapshot-file.ts';
import type { SnapshotMeta } from '../snapshot-format.ts';
import { CLUSTER } from './log-harness.ts';

export function snapshotMeta(index: number): SnapshotMeta {
  const fill = (value: number): Uint8Array => new Uint8Array(16).fill(value);
  const frameHeader = new Uint8Array(FRAME_HEADER_BYTES);
  writeHeader(frameHeader, 0, 0, index, 3, 5, 6, 0);
  return { clusterId: CLUSTER, index, frameHeader, chainHash: fill(4), digest: fill(8) };
}

/** Writes sections in pieces of `pieceBytes`, as fast as the disk takes them; the result comes by pumping the disk. */
export function writeSnapshot(
  store: SnapshotStore,
  index: number,
  sections: readonly Uint8Array[],
  pieceBytes: number,
  onEnd: (result: string) => void,
): void {
  let [section, at] = [0, 0];
  const feed = (): void => {
    if (typeof writer === 'string') return;
    while (writer.ready) {
      if (section === sections.length) {
        writer.finish();
        return;
      }
      const bytes = sections[section]!;
      if (at < bytes.length) at += writer.append(section, bytes.subarray(0, at + pieceBytes), at);
      if (at >= bytes.length) [section, at] = [section + 1, 0];
    }
  };
  const end = (result: { readonly digest: Uint8Array } | { readonly problem: string }): void =>
    onEnd('digest' in result ? toHex(result.digest) : result.problem);
  const writer = store.write(snapshotMeta(index), sections.length, feed, end);
  if (typeof writer === 'string') onEnd(writer);
  else feed();
}
