/** Figures of other systems, measured elsewhere: for orientation only. Only what was measured in the same run may be compared in earnest. */
export interface Reference {
  readonly name: string;
  readonly note: string;
  readonly putsPerSecond: Readonly<Record<number, number>>;
  readonly p50Ms: Readonly<Record<number, number>>;
}

export const REFERENCES: readonly Reference[] = [
  {
    name: 'etcd 3.4',
    note: 'reference, not measured in this run: etcd 3.4 with three members on another such machine, 256 B puts',
    putsPerSecond: { 1: 920, 16: 3840, 64: 6480, 256: 8140 },
    p50Ms: { 1: 1, 16: 3.9, 64: 9.2, 256: 29 },
  },
  {
    name: 'bare Node pipeline (reference)',
    note: 'reference, not measured in this run: a bare Node pipeline like bench/bare-pipeline on another such machine',
    putsPerSecond: { 1: 1800, 16: 21_000, 64: 60_000, 256: 118_000, 1024: 195_000 },
    p50Ms: { 1: 0.5, 16: 0.7, 64: 1, 256: 2, 1024: 5 },
  },
];
