/**
 * The manifest: identity and vote of a replica, in two copies `manifest.a` and `manifest.b` (docs/log-format.md, "Manifest").
 *
 * Invariants: every update goes to both copies, each behind its own barrier, and counts only after the second; log view <= view; the newest valid
 * copy wins; a copy of an unknown version is never overwritten.
 */
import { assert } from '../assert.ts';
import { fromWire, toWire } from './commit-index.ts';
import { BLOCK_BYTES, HASH_BYTES } from './constants.ts';
import type { FrameCodec } from './frame-codec.ts';
import { readU32, readU64, writeU32, writeU64 } from './frame.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from './header-suffix.ts';
import type { ManifestState } from './log-contract.ts';

export const MANIFEST_PATHS = ['manifest.a', 'manifest.b'] as const;
export const MANIFEST_VERSION = 3;

/** "CHRM", little-endian. */
const MAGIC = 0x4d524843;
const FIXED_BYTES = 184;
/** Id u64, incarnation u64, boot id of the founder. */
const MEMBER_BYTES = 32;
/** Bounds that keep a damaged length from being believed. */
const MEMBERS_MAX = 64;
const HEADERS_MAX = 1 << 20;
const AT = {
  magic: 0,
  version: 4,
  sequence: 8,
  length: 16,
  environment: 20,
  clusterId: 24,
  bootId: 40,
  replicaId: 56,
  memberCount: 60,
  generation: 64,
  epoch: 72,
  view: 80,
  logView: 88,
  checkpointIndex: 96,
  checkpointHash: 104,
  checkpointDigest: 120,
  headerFirst: 136,
  headerCount: 144,
  standbyThrough: 152,
  junctionIndex: 160,
  junctionHash: 168,
} as const;

export type ManifestDecoded =
  | { readonly kind: 'ok'; readonly sequence: number; readonly state: ManifestState }
  | { readonly kind: 'damaged'; readonly reason: string }
  | { readonly kind: 'version'; readonly version: number };

/** Bytes of the file with so many members and headers. */
export function manifestBytes(members: number, headers: number): number {
  const length = FIXED_BYTES + MEMBER_BYTES * members + HEADER_RECORD_BYTES * headers + HASH_BYTES;
  return Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES;
}

/** The file: fields, members, headers, BLAKE3-128 of all that; zeros to whole blocks. */
export function encodeManifest(state: ManifestState, sequence: number, codec: FrameCodec): Uint8Array {
  assert(state.logView <= state.view, `log view ${state.logView} is not above view ${state.view}`);
  assert(
    state.members.length === state.incarnations.length && state.members.length === state.founders.length,
    'one incarnation and one founder a member',
  );
  assert(state.members.length <= MEMBERS_MAX, 'members fit');
  assert(state.headers.count <= HEADERS_MAX, 'headers fit');
  const checked = FIXED_BYTES + MEMBER_BYTES * state.members.length + state.headers.bytes.length;
  const length = checked + HASH_BYTES;
  const bytes = new Uint8Array(Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES);
  writeU32(bytes, AT.magic, MAGIC);
  writeU32(bytes, AT.version, MANIFEST_VERSION);
  writeU64(bytes, AT.sequence, sequence);
  writeU32(bytes, AT.length, length);
  writeU32(bytes, AT.environment, state.environment === 'production' ? 1 : 0);
  set16(bytes, AT.clusterId, state.clusterId);
  set16(bytes, AT.bootId, state.bootId);
  writeU32(bytes, AT.replicaId, state.replicaId);
  writeU32(bytes, AT.memberCount, state.members.length);
  writeU64(bytes, AT.generation, state.generation);
  writeU64(bytes, AT.epoch, state.epoch);
  writeU64(bytes, AT.view, state.view);
  writeU64(bytes, AT.logView, state.logView);
  writeU64(bytes, AT.checkpointIndex, toWire(state.checkpoint.index));
  set16(bytes, AT.checkpointHash, state.checkpoint.hash);
  set16(bytes, AT.checkpointDigest, state.checkpoint.digest);
  writeU64(bytes, AT.headerFirst, state.headers.first);
  writeU32(bytes, AT.headerCount, state.headers.count);
  writeU64(bytes, AT.standbyThrough, toWire(state.standbyThrough));
  writeU64(bytes, AT.junctionIndex, toWire(state.junction.index));
  set16(bytes, AT.junctionHash, state.junction.hash);
  for (let i = 0; i < state.members.length; i++) {
    const at = FIXED_BYTES + i * MEMBER_BYTES;
    writeU64(bytes, at, state.members[i]!);
    writeU64(bytes, at + 8, state.incarnations[i]!);
    set16(bytes, at + 16, state.founders[i]!);
  }
  bytes.set(state.headers.bytes, checked - state.headers.bytes.length);
  codec.hash(bytes, 0, checked, bytes, checked);
  return bytes;
}

/** Decodes one copy; never throws. */
export function decodeManifest(bytes: Uint8Array, codec: FrameCodec): ManifestDecoded {
  if (bytes.length < FIXED_BYTES + HASH_BYTES) return damaged(`it has ${bytes.length} bytes only`);
  if (readU32(bytes, AT.magic) !== MAGIC) return damaged('it does not begin like a manifest');
  const length = readU32(bytes, AT.length);
  if (length < FIXED_BYTES + HASH_BYTES || length > bytes.length)
    return damaged(`it states a length of ${length} bytes`);
  const checked = length - HASH_BYTES;
  const checksum = new Uint8Array(HASH_BYTES);
  codec.hash(bytes, 0, checked, checksum, 0);
  for (let i = 0; i < HASH_BYTES; i++)
    if (bytes[checked + i] !== checksum[i]) return damaged('its checksum does not match');
  const version = readU32(bytes, AT.version);
  if (version !== MANIFEST_VERSION) return { kind: 'version', version };
  const members = readU32(bytes, AT.memberCount);
  const headers = readU32(bytes, AT.headerCount);
  const fits = members <= MEMBERS_MAX && headers <= HEADERS_MAX;
  if (!fits || checked !== FIXED_BYTES + members * MEMBER_BYTES + headers * HEADER_RECORD_BYTES) {
    return damaged('its counts do not add up');
  }
  const state = decodeFields(bytes, members, headers);
  return state === null
    ? damaged('a field is out of range')
    : { kind: 'ok', sequence: readU64(bytes, AT.sequence), state };
}

function decodeFields(bytes: Uint8Array, memberCount: number, headerCount: number): ManifestState | null {
  const members: number[] = [];
  const incarnations: number[] = [];
  const founders: Uint8Array[] = [];
  for (let i = 0; i < memberCount; i++) {
    members.push(readU64(bytes, FIXED_BYTES + i * MEMBER_BYTES));
    incarnations.push(readU64(bytes, FIXED_BYTES + i * MEMBER_BYTES + 8));
    founders.push(take16(bytes, FIXED_BYTES + i * MEMBER_BYTES + 16));
  }
  const numbers = [
    AT.sequence,
    AT.generation,
    AT.epoch,
    AT.view,
    AT.logView,
    AT.checkpointIndex,
    AT.headerFirst,
    AT.standbyThrough,
    AT.junctionIndex,
  ];
  const read = numbers.map((at) => readU64(bytes, at));
  if ([...members, ...incarnations, ...read].some((value) => Number.isNaN(value))) return null;
  const view = readU64(bytes, AT.view);
  const logView = readU64(bytes, AT.logView);
  if (logView > view) return null;
  const headersAt = FIXED_BYTES + memberCount * MEMBER_BYTES;
  return {
    clusterId: take16(bytes, AT.clusterId),
    replicaId: readU32(bytes, AT.replicaId),
    bootId: take16(bytes, AT.bootId),
    founders,
    incarnations,
    standbyThrough: fromWire(readU64(bytes, AT.standbyThrough)),
    environment: readU32(bytes, AT.environment) === 1 ? 'production' : 'dev',
    generation: readU64(bytes, AT.generation),
    epoch: readU64(bytes, AT.epoch),
    members,
    view,
    logView,
    headers: new HeaderSuffix(
      readU64(bytes, AT.headerFirst),
      bytes.slice(headersAt, headersAt + headerCount * HEADER_RECORD_BYTES),
    ),
    junction: { index: fromWire(readU64(bytes, AT.junctionIndex)), hash: take16(bytes, AT.junctionHash) },
    checkpoint: {
      index: fromWire(readU64(bytes, AT.checkpointIndex)),
      hash: take16(bytes, AT.checkpointHash),
      digest: take16(bytes, AT.checkpointDigest),
    },
  };
}

function set16(bytes: Uint8Array, at: number, value: Uint8Array): void {
  assert(value.length === HASH_BYTES, 'ids and hashes have 16 bytes');
  bytes.set(value, at);
}

function take16(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.slice(at, at + HASH_BYTES);
}

function damaged(reason: string): ManifestDecoded {
  return { kind: 'damaged', reason };
}
