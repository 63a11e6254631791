/**
 * The handshake of a peer link. The dialer says hello, the acceptor answers with its own hello and its proof, the dialer sends its proof:
 * each proof is an HMAC-SHA256 with the cluster's peer secret over who dials, and both hellos with their fresh challenges. So nobody without the secret
 * becomes a peer, nobody replays an old handshake, and who a peer is comes from the proven hello, never from a message.
 *
 * Invariants: decoding never throws and never allocates more than it got; no protocol message is processed before both proofs are checked.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from '@chronon/core/engine/frame';
import { toHex } from '@chronon/core/engine/hash';
import { SOUND } from '@chronon/core/policy';
import { type Identity, isOfCluster } from '@chronon/core/vsr/identity';

/** Versions of the peer protocol this build speaks. */
export const PROTOCOL_VERSION = { min: 1, max: 1 } as const;
export const PROOF_BYTES = 32;
export const NONCE_BYTES = 16;
export const CHALLENGE_BYTES = 32;
/** Limit of the build info, in bytes. */
const INFO_BYTES_MAX = 1024;

const MAGIC = [0x43, 0x48, 0x52, 0x50];
/** magic 4, min u16, max u16, cluster 16, from u32, to u32, run nonce 16, challenge 32, info length u16, members u16, generation u64; then an incarnation a member, then the info. */
const HELLO_BYTES = 92;
const MEMBERS_MAX = 16;
/** In the place of the cluster id: no cluster yet (first boot, or `chronon recover`). Such a link carries nothing but boot messages. */
export const NO_CLUSTER = new Uint8Array(16);

/** Stable codes of a refused handshake. */
export type RejectCode =
  | 'E_MAGIC'
  | 'E_VERSION'
  | 'E_CLUSTER_ID'
  | 'E_REPLICA_ID'
  | 'E_DUP_NODE'
  | 'E_GENERATION'
  | 'E_PEER_SECRET'
  | 'E_HANDSHAKE';

export interface Reject {
  readonly code: RejectCode;
  /** What differs, with both values. */
  readonly message: string;
  readonly min: number;
  readonly max: number;
}

/** Software facts a replica shows its peers; a mismatch is shown to people, never refused. */
export interface BuildInfo {
  readonly node: string;
  readonly v8: string;
  readonly icu: string;
  readonly app: string;
  readonly appVersion: number;
}

export interface Hello {
  readonly versionMin: number;
  readonly versionMax: number;
  readonly clusterId: Uint8Array;
  readonly from: number;
  readonly to: number;
  /** Random per process run. */
  readonly runNonce: Uint8Array;
  /** Random per connection. */
  readonly challenge: Uint8Array;
  /** Incarnations of the members and the generation, as the sender knows them. */
  readonly table: Identity;
  readonly info: string;
}

/** What this end expects of the other. */
export interface HelloExpectation {
  readonly clusterId: Uint8Array;
  readonly self: number;
  readonly members: readonly number[];
  readonly table: Identity;
  /** The peer that was dialled; null for the acceptor, which takes every member with a higher id. */
  readonly peer: number | null;
}

export function encodeHello(hello: Hello): Uint8Array {
  const info = Buffer.from(hello.info.slice(0, INFO_BYTES_MAX), 'utf8').subarray(0, INFO_BYTES_MAX);
  const { generation, incarnations } = hello.table;
  const out = new Uint8Array(HELLO_BYTES + 8 * incarnations.length + info.length);
  out.set(MAGIC, 0);
  writeU16(out, 4, hello.versionMin);
  writeU16(out, 6, hello.versionMax);
  out.set(hello.clusterId, 8);
  writeU32(out, 24, hello.from);
  writeU32(out, 28, hello.to);
  out.set(hello.runNonce, 32);
  out.set(hello.challenge, 48);
  writeU16(out, 80, info.length);
  writeU16(out, 82, incarnations.length);
  writeU64(out, 84, generation);
  for (const [i, value] of incarnations.entries()) writeU64(out, HELLO_BYTES + 8 * i, value);
  out.set(info, HELLO_BYTES + 8 * incarnations.length);
  return out;
}

/** The hello in `bytes`, or why it is none. */
export function decodeHello(bytes: Uint8Array): Hello | Reject {
  if (bytes.length < 8 || MAGIC.some((byte, i) => bytes[i] !== byte))
    return reject('E_MAGIC', 'this is not a chronon replica');
  const versionMin = readU16(bytes, 4);
  const versionMax = readU16(bytes, 6);
  if (versionMin > PROTOCOL_VERSION.max || versionMax < PROTOCOL_VERSION.min) {
    return reject(
      'E_VERSION',
      `peer speaks ${versionMin}..${versionMax}, this replica ${PROTOCOL_VERSION.min}..${PROTOCOL_VERSION.max}`,
    );
  }
  if (bytes.length < HELLO_BYTES) return reject('E_HANDSHAKE', `hello of ${bytes.length} bytes is cut off`);
  const infoBytes = readU16(bytes, 80);
  const members = readU16(bytes, 82);
  const infoAt = HELLO_BYTES + 8 * members;
  if (infoBytes > INFO_BYTES_MAX || members > MEMBERS_MAX || bytes.length !== infoAt + infoBytes)
    return reject('E_HANDSHAKE', 'hello has a wrong length');
  const generation = readU64(bytes, 84);
  const incarnations = Array.from({ length: members }, (_, i) => readU64(bytes, HELLO_BYTES + 8 * i));
  if ([generation, ...incarnations].some(Number.isNaN)) return reject('E_HANDSHAKE', 'hello has a number out of range');
  return {
    versionMin,
    versionMax,
    clusterId: bytes.slice(8, 24),
    from: readU32(bytes, 24),
    to: readU32(bytes, 28),
    runNonce: bytes.slice(32, 32 + NONCE_BYTES),
    challenge: bytes.slice(48, 48 + CHALLENGE_BYTES),
    table: { generation, incarnations },
    info: Buffer.from(bytes.subarray(infoAt)).toString('utf8'),
  };
}

export function isReject(value: Hello | Reject): value is Reject {
  return 'code' in value;
}

/** Why a well-formed hello must be refused, or null. */
export function checkHello(hello: Hello, expected: HelloExpectation): Reject | null {
  const blank = isBlank(hello.clusterId) || isBlank(expected.clusterId);
  if (!blank && !isOfCluster(hello.clusterId, expected.clusterId, SOUND)) {
    return reject(
      'E_CLUSTER_ID',
      `peer is of cluster ${toHex(hello.clusterId)}, this replica of ${toHex(expected.clusterId)}`,
    );
  }
  if (hello.to !== expected.self)
    return reject('E_REPLICA_ID', `peer looks for r${hello.to}, this is r${expected.self}`);
  if (expected.peer !== null && hello.from !== expected.peer) {
    return reject('E_REPLICA_ID', `r${hello.from} answers where r${expected.peer} should be`);
  }
  if (!expected.members.includes(hello.from) || hello.from === expected.self) {
    return reject(
      'E_REPLICA_ID',
      `r${hello.from} is no other member (members: ${expected.members.map((id) => `r${id}`).join(', ')})`,
    );
  }
  if (expected.peer === null && hello.from < expected.self) {
    return reject('E_REPLICA_ID', `r${hello.from} dialled r${expected.self}; the higher id dials`);
  }
  return null;
}

/**
 * A replica that was replaced, or of a generation that is gone, is refused; once both proofs are checked, so that it has this end's table, proven, and stops by itself.
 */
export function checkTable(hello: Hello, expected: HelloExpectation): Reject | null {
  const { table, members } = expected;
  const said = hello.table;
  if (isBlank(hello.clusterId) || isBlank(expected.clusterId)) return null;
  if (said.incarnations.length !== members.length)
    return reject(
      'E_HANDSHAKE',
      `r${hello.from} has ${said.incarnations.length} members, this replica ${members.length}`,
    );
  if (said.generation < table.generation) {
    const generations = `generation ${said.generation}, this replica of ${table.generation}`;
    return reject('E_GENERATION', `r${hello.from} is of ${generations}: a loss was accepted without it`);
  }
  const position = members.indexOf(hello.from);
  if (said.incarnations[position]! >= table.incarnations[position]!) return null;
  const incarnations = `incarnation ${said.incarnations[position]}, and incarnation ${table.incarnations[position]} replaced it`;
  return reject('E_DUP_NODE', `r${hello.from} is of ${incarnations}`);
}

export function isBlank(clusterId: Uint8Array): boolean {
  return Buffer.compare(clusterId, NO_CLUSTER) === 0;
}

/** Proof of the end in `role` that it knows the secret, bound to both hellos. */
export function proofOf(
  secret: Uint8Array,
  role: 'dial' | 'accept',
  dialHello: Uint8Array,
  acceptHello: Uint8Array,
): Uint8Array {
  return createHmac('sha256', secret).update(`chronon peer ${role}\0`).update(dialHello).update(acceptHello).digest();
}

export function sameProof(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

export function reject(code: RejectCode, message: string): Reject {
  return { code, message, min: PROTOCOL_VERSION.min, max: PROTOCOL_VERSION.max };
}

export function encodeReject(value: Reject): Uint8Array {
  return Buffer.from(JSON.stringify(value), 'utf8');
}

/** Any bytes: what the peer said, as far as it can be read. */
export function decodeReject(bytes: Uint8Array): Reject {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof value === 'object' && value !== null) {
      const { code, message } = value as { code?: unknown; message?: unknown };
      if (typeof code === 'string' && /^E_[A-Z_]{1,24}$/.test(code) && typeof message === 'string') {
        return reject(code as RejectCode, message.slice(0, 300));
      }
    }
  } catch {
    // Falls through: a reject that cannot be read is still a reject.
  }
  return reject('E_HANDSHAKE', 'the peer refused without a readable reason');
}

/** Build info for a hello. */
export function buildInfo(app: string, appVersion: number): BuildInfo {
  const { node, v8, icu } = process.versions;
  return { node: node, v8: v8, icu: icu ?? 'none', app, appVersion };
}
