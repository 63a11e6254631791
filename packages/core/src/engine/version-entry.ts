/**
 * Body of an activate-version entry: "from here on, commands run as version V of the application" (docs/protocol.md, "Versions"). version u64.
 *
 * Versions count from 1; 0 stands for "nothing was executed yet".
 */
import { readU64, writeU64 } from './frame.ts';

/** The versions of the application that a program can run. */
export interface VersionRange {
  readonly oldest: number;
  readonly newest: number;
}

const BYTES = 8;

export function encodeVersion(version: number): Uint8Array {
  const out = new Uint8Array(BYTES);
  writeU64(out, 0, version);
  return out;
}

/** Null for bytes that are none. */
export function decodeVersion(bytes: Uint8Array): number | null {
  if (bytes.length !== BYTES) return null;
  const version = readU64(bytes, 0);
  return Number.isNaN(version) || version < 1 ? null : version;
}

/** What a log runs as when its first command is executed before any version was activated. */
export const FIRST_VERSION = 1;

/** True when the program can run a log whose active version is `active` (0: nothing executed yet, so what comes first decides). */
export function runs(range: VersionRange, active: number): boolean {
  return active === 0 || (active >= range.oldest && active <= range.newest);
}

/** "version 2" or "versions 1 to 3". */
export function rangeText({ oldest, newest }: VersionRange): string {
  return oldest === newest ? `version ${newest}` : `versions ${oldest} to ${newest}`;
}
