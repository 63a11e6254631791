/** Where snapshots are, relative to the disk's root. */

export const SNAPSHOT_DIRECTORY = 'snapshots';

export function snapshotPath(index: number): string {
  return `${SNAPSHOT_DIRECTORY}/${String(index).padStart(20, '0')}.snap`;
}

/** A snapshot that is being fetched; what is in it is checked before it is used. */
export function snapshotPartPath(index: number): string {
  return `${snapshotPath(index)}.part`;
}

/** Indexes among the names of the directory, ascending. */
export function snapshotIndexes(names: readonly string[]): number[] {
  return names
    .filter((name) => /^\d{20}\.snap$/.test(name))
    .map((name) => Number(name.slice(0, 20)))
    .sort((a, b) => a - b);
}

/** The snapshot that a file of this name is a fetched part of, or null. */
export function snapshotPartIndex(name: string): number | null {
  return /^\d{20}\.snap\.part$/.test(name) ? Number(name.slice(0, 20)) : null;
}
