/**
 * Bytes of the replica messages, hand-written (docs/protocol.md). `type u8, version u8, 0 u16, 0 u32, fields`; integers little-endian, indexes that may
 * be absent as index + 1. Frames are passed on as they are: encoding returns chunks, decoding returns views, neither copies them.
 *
 * Invariants: decode of anything gives a message or a typed reason; a message decoded encodes to the very same bytes; decoding allocates no more than a
 * small multiple of its input, and accepts frames only after the codec has verified them (checksum, payload hash, chain from the first frame's own prev_hash).
 */
import { fromWire, toWire, type CommitIndex } from '../engine/commit-index.ts';
import { HASH_BYTES } from '../engine/constants.ts';
import { FrameBatch } from '../engine/frame-batch.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { frame, readU32, readU64, writeU32, writeU64 } from '../engine/frame.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from '../engine/header-suffix.ts';
import type { IndexRange } from '../engine/log-contract.ts';
import {
  BOOT,
  type Boot,
  type BootKind,
  type DoViewChange,
  type GetSnapshot,
  type Message,
  type MessageType,
  SNAPSHOTS_REPORTED_MAX,
  type SnapshotPart,
  type ReportedSnapshot,
  type SnapshotReport,
  type StartView,
} from './messages.ts';

export const MESSAGE_VERSION = 1;
/** Most damaged ranges a DoViewChange lists; a replica with more states them as one. */
export const FAULTY_RANGES_MAX = 64;
const MEMBERS_MAX = 16;
const HEAD_BYTES = 8;

const TYPE: Record<MessageType, number> = {
  prepare: 1,
  prepareOk: 2,
  commit: 3,
  commitOk: 4,
  startViewChange: 5,
  doViewChange: 6,
  startView: 7,
  requestStartView: 8,
  getState: 9,
  newState: 10,
  boot: 11,
  snapshotReport: 12,
  getSnapshot: 13,
  snapshotPart: 14,
};

const TYPES: ReadonlySet<number> = new Set(Object.values(TYPE));

/** Bytes of `message` as chunks to be sent one behind the other. */
export function encodeMessage(message: Message): Uint8Array[] {
  const w = new Writer(fixedBytes(message));
  w.u8(TYPE[message.type]);
  w.u8(MESSAGE_VERSION);
  w.skip(6);
  w.u64(message.view);
  switch (message.type) {
    case 'prepare':
      w.index(message.commit);
      return [w.done(), message.batch.bytes];
    case 'prepareOk':
      w.u64(message.first);
      w.u64(message.last);
      w.bytes(message.hash);
      return [w.done()];
    case 'commit':
      w.index(message.commit);
      w.index(message.head);
      w.u64(message.round);
      w.numbers(message.answered);
      w.numbers(message.runs);
      w.index(message.applied);
      w.bytes(message.digest);
      w.index(message.confirmed);
      w.bytes(message.confirmedDigest);
      return [w.done()];
    case 'commitOk':
      w.u64(message.round);
      w.u64(message.run);
      w.index(message.durable);
      w.index(message.applied);
      w.index(message.digestIndex);
      w.bytes(message.digest);
      w.u64(message.wallUs);
      w.u64(message.oldest);
      w.u64(message.newest);
      return [w.done()];
    case 'startViewChange':
      return [w.done()];
    case 'doViewChange':
    case 'startView':
      return encodeView(message, w);
    case 'requestStartView':
      w.u64(message.nonce);
      return [w.done()];
    case 'getState':
      w.u64(message.from);
      w.u64(message.to);
      w.u64(message.nonce);
      return [w.done()];
    case 'newState':
      w.u64(message.nonce);
      w.u64(message.canonical ? 1 : 0);
      w.index(message.commit);
      w.index(message.head);
      w.u64(message.first);
      return message.batch === null ? [w.done()] : [w.done(), message.batch.bytes];
    case 'boot':
      return encodeBoot(w, message);
    default:
      return encodeAboutSnapshots(message, w);
  }
}

function encodeView(message: DoViewChange | StartView, w: Writer): Uint8Array[] {
  switch (message.type) {
    case 'doViewChange':
      w.u64(message.logView);
      w.index(message.head);
      w.bytes(message.headHash);
      w.index(message.commit);
      w.index(message.present);
      w.index(message.promised);
      w.u64(message.generation);
      w.numbers(message.incarnations);
      w.numbers(message.faulty.flatMap((range) => [range.from, range.to]));
      return [w.headers(message.headers), message.headers.bytes];
    case 'startView':
      w.u64(message.logView);
      w.index(message.base);
      w.index(message.head);
      w.bytes(message.headHash);
      w.index(message.commit);
      w.u64(message.nonce);
      w.index(message.acked);
      w.u64(message.generation);
      w.numbers(message.incarnations);
      return [w.headers(message.headers), message.headers.bytes];
  }
}

function encodeAboutSnapshots(message: SnapshotReport | GetSnapshot | SnapshotPart, w: Writer): Uint8Array[] {
  switch (message.type) {
    case 'snapshotReport':
      w.u64(message.first);
      w.index(message.lacks);
      w.u64(message.held.length);
      for (const { index, state, file, confirmed } of message.held) {
        w.u64(index);
        w.bytes(state);
        w.bytes(file);
        w.u64(confirmed ? 1 : 0);
      }
      return [w.done()];
    case 'getSnapshot':
      w.u64(message.index);
      w.bytes(message.file);
      w.u64(message.offset);
      w.u64(message.length);
      w.u64(message.nonce);
      return [w.done()];
    case 'snapshotPart':
      w.u64(message.index);
      w.u64(message.offset);
      w.u64(message.nonce);
      return [w.done(), message.bytes];
  }
}

function encodeBoot(w: Writer, message: Boot): Uint8Array[] {
  w.u64(message.kind);
  w.u64(message.environment === 'production' ? 1 : 0);
  w.bytes(message.bootId);
  w.bytes(message.clusterId);
  w.u64(message.generation);
  w.index(message.through);
  w.numbers(message.incarnations);
  for (const founder of message.founders) w.bytes(founder);
  return [w.done()];
}

/** Why bytes are no message. Closed set. */
export type CodecErrorCode = 'E_MESSAGE_VERSION' | 'E_MESSAGE_TYPE' | 'E_MESSAGE';

export type Decoded = { readonly message: Message } | { readonly code: CodecErrorCode; readonly error: string };

/** Reads one message; `bytes` may be kept by it (frames and headers are views). */
export function decodeMessage(bytes: Uint8Array, codec: FrameCodec): Decoded {
  const r = new Reader(bytes);
  const type = r.u8();
  const version = r.u8();
  if (version !== MESSAGE_VERSION) {
    const error = `message version ${version}, this replica speaks ${MESSAGE_VERSION}`;
    return { code: 'E_MESSAGE_VERSION', error };
  }
  if (!TYPES.has(type)) return { code: 'E_MESSAGE_TYPE', error: `message type ${type} is unknown` };
  r.zeros(6);
  const view = r.u64();
  const message = decodeBody(type, view, r, codec);
  if (typeof message === 'string') return { code: 'E_MESSAGE', error: message };
  if (!r.failed) return { message };
  return { code: 'E_MESSAGE', error: `message of type ${type} is cut off or out of range` };
}

function decodeCommit(view: number, r: Reader): Message | string {
  return r.end({
    type: 'commit',
    view,
    commit: r.index(),
    head: r.index(),
    round: r.u64(),
    answered: r.numbers(MEMBERS_MAX),
    runs: r.numbers(MEMBERS_MAX),
    applied: r.index(),
    digest: r.hash(),
    confirmed: r.index(),
    confirmedDigest: r.hash(),
  });
}

function decodeBody(type: number, view: number, r: Reader, codec: FrameCodec): Message | string {
  switch (type) {
    case TYPE.prepare: {
      const commit = r.index();
      const batch = r.failed ? 'cut off' : readBatch(r.rest(), codec);
      return typeof batch === 'string' ? `prepare: ${batch}` : { type: 'prepare', view, commit, batch };
    }
    case TYPE.prepareOk:
      return r.end({ type: 'prepareOk', view, first: r.u64(), last: r.u64(), hash: r.hash() });
    case TYPE.commit:
      return decodeCommit(view, r);
    case TYPE.commitOk:
      return r.end({
        type: 'commitOk',
        view,
        round: r.u64(),
        run: r.u64(),
        durable: r.index(),
        applied: r.index(),
        digestIndex: r.index(),
        digest: r.hash(),
        wallUs: r.u64(),
        oldest: r.u64(),
        newest: r.u64(),
      });
    case TYPE.startViewChange:
      return r.end({ type: 'startViewChange', view });
    case TYPE.doViewChange:
      return decodeDoViewChange(view, r);
    case TYPE.startView: {
      const logView = r.u64();
      const base = r.index();
      const head = r.index();
      const headHash = r.hash();
      const commit = r.index();
      const nonce = r.u64();
      const acked = r.index();
      const generation = r.u64();
      const incarnations = r.numbers(MEMBERS_MAX);
      const headers = r.headers();
      const log = { logView, base, head, headHash, commit, headers };
      return { type: 'startView', view, ...log, nonce, acked, generation, incarnations };
    }
    case TYPE.requestStartView:
      return r.end({ type: 'requestStartView', view, nonce: r.u64() });
    case TYPE.getState:
      return r.end({ type: 'getState', view, from: r.u64(), to: r.u64(), nonce: r.u64() });
    case TYPE.newState: {
      const nonce = r.u64();
      const canonical = r.flag();
      const commit = r.index();
      const head = r.index();
      const first = r.u64();
      if (r.failed) return 'newState cut off';
      const rest = r.rest();
      const batch = rest.length === 0 ? null : readBatch(rest, codec);
      return typeof batch === 'string'
        ? `newState: ${batch}`
        : { type: 'newState', view, nonce, canonical, commit, head, first, batch };
    }
    default:
      return decodeAboutSnapshots(type, view, r);
  }
}

function decodeAboutSnapshots(type: number, view: number, r: Reader): Message | string {
  switch (type) {
    case TYPE.snapshotReport: {
      const first = r.u64();
      const lacks = r.index();
      const count = r.u64();
      if (r.failed || count > SNAPSHOTS_REPORTED_MAX) return `a report of ${count} snapshots, or cut off`;
      const held: ReportedSnapshot[] = [];
      for (let i = 0; i < count; i++)
        held.push({ index: r.u64(), state: r.hash(), file: r.hash(), confirmed: r.flag() });
      return r.end({ type: 'snapshotReport', view, first, lacks, held });
    }
    case TYPE.getSnapshot: {
      const [index, file] = [r.u64(), r.hash()];
      return r.end({ type: 'getSnapshot', view, index, file, offset: r.u64(), length: r.u64(), nonce: r.u64() });
    }
    case TYPE.snapshotPart: {
      const [index, offset, nonce] = [r.u64(), r.u64(), r.u64()];
      return { type: 'snapshotPart', view, index, offset, nonce, bytes: r.rest() };
    }
    case TYPE.boot:
      return view === 0 ? decodeBoot(r) : 'boot: it belongs to no view';
    default:
      return `message type ${type} is unknown`;
  }
}

function decodeDoViewChange(view: number, r: Reader): Message | string {
  const logView = r.u64();
  const head = r.index();
  const headHash = r.hash();
  const commit = r.index();
  const present = r.index();
  const promised = r.index();
  const generation = r.u64();
  const incarnations = r.numbers(MEMBERS_MAX);
  const pairs = r.numbers(2 * FAULTY_RANGES_MAX);
  if (pairs.length % 2 !== 0) return 'doViewChange: half a range';
  const faulty: IndexRange[] = [];
  for (let i = 0; i + 1 < pairs.length; i += 2) faulty.push({ from: pairs[i]!, to: pairs[i + 1]! });
  return {
    type: 'doViewChange',
    view,
    logView,
    head,
    headHash,
    commit,
    present,
    promised,
    faulty,
    headers: r.headers(),
    generation,
    incarnations,
  };
}

function decodeBoot(r: Reader): Message | string {
  const kind = r.u64();
  if (kind > BOOT.admitted) return `boot: kind ${kind} is unknown`;
  const environment = r.flag() ? 'production' : 'dev';
  const bootId = r.hash();
  const clusterId = r.hash();
  const generation = r.u64();
  const through = r.index();
  const incarnations = r.numbers(MEMBERS_MAX);
  const founders = incarnations.map(() => r.hash());
  return r.end({
    type: 'boot',
    view: 0,
    kind: kind as BootKind,
    environment,
    bootId,
    clusterId,
    founders,
    generation,
    incarnations,
    through,
  });
}

function readBatch(bytes: Uint8Array, codec: FrameCodec): FrameBatch | string {
  if (bytes.length < 80) return 'no frame';
  const first = frame.index(bytes, 0);
  if (Number.isNaN(first)) return 'index above 2^53';
  const chain = frame.prevHash(bytes, 0).slice();
  const result = codec.verify(bytes, 0, bytes.length, first, chain);
  if (result.fault !== null) return `frame ${first + result.count}: ${result.fault}`;
  return new FrameBatch(bytes, result.count, chain);
}

function fixedBytes(message: Message): number {
  switch (message.type) {
    case 'doViewChange':
      return 160 + 8 * (message.incarnations.length + 2 * message.faulty.length + 8);
    case 'boot':
      return 160 + 24 * message.incarnations.length;
    case 'startView':
      return 160 + 8 * (message.incarnations.length + 8);
    case 'snapshotReport':
      return 64 + 48 * message.held.length;
    default:
      return 256;
  }
}

class Writer {
  private readonly out: Uint8Array;
  private at = 0;

  constructor(capacity: number) {
    this.out = new Uint8Array(capacity);
  }
  u8(value: number): void {
    this.out[this.at++] = value;
  }
  skip(bytes: number): void {
    this.at += bytes;
  }
  u64(value: number): void {
    writeU64(this.out, this.at, value);
    this.at += 8;
  }
  index(value: CommitIndex): void {
    this.u64(toWire(value));
  }
  bytes(value: Uint8Array): void {
    this.out.set(value, this.at);
    this.at += value.length;
  }
  numbers(values: readonly number[]): void {
    this.u64(values.length);
    for (const value of values) this.u64(value);
  }
  /** Head of a header suffix: first index and count; the records follow as the next chunk. */
  headers(suffix: HeaderSuffix): Uint8Array {
    this.u64(suffix.first);
    writeU32(this.out, this.at, suffix.count);
    this.at += 8;
    return this.done();
  }
  done(): Uint8Array {
    return this.out.subarray(0, this.at);
  }
}

class Reader {
  private readonly b: Uint8Array;
  private at = 0;
  failed = false;

  constructor(bytes: Uint8Array) {
    this.b = bytes;
    if (bytes.length < HEAD_BYTES + 8) this.failed = true;
  }
  private take(bytes: number): number {
    if (this.failed || this.b.length - this.at < bytes) {
      this.failed = true;
      return -1;
    }
    const at = this.at;
    this.at += bytes;
    return at;
  }
  u8(): number {
    const at = this.take(1);
    return at < 0 ? 0 : this.b[at]!;
  }
  /** Reserved bytes: what they may once mean is not known here. */
  zeros(bytes: number): void {
    const at = this.take(bytes);
    for (let i = at; at >= 0 && i < at + bytes; i++) if (this.b[i] !== 0) this.failed = true;
  }
  flag(): boolean {
    const value = this.u64();
    if (value > 1) this.failed = true;
    return value === 1;
  }
  u64(): number {
    const at = this.take(8);
    const value = at < 0 ? 0 : readU64(this.b, at);
    if (!Number.isNaN(value)) return value;
    this.failed = true;
    return 0;
  }
  index(): CommitIndex {
    return fromWire(this.u64());
  }
  hash(): Uint8Array {
    const at = this.take(HASH_BYTES);
    return at < 0 ? new Uint8Array(HASH_BYTES) : this.b.slice(at, at + HASH_BYTES);
  }
  numbers(max: number): number[] {
    const count = this.u64();
    if (count > max) this.failed = true;
    const values: number[] = [];
    for (let i = 0; i < count && !this.failed; i++) values.push(this.u64());
    return values;
  }
  headers(): HeaderSuffix {
    const first = this.u64();
    const at = this.take(8);
    if (at < 0) return HeaderSuffix.EMPTY;
    const count = readU32(this.b, at);
    const rest = this.rest();
    const whole = rest.length === count * HEADER_RECORD_BYTES && readU32(this.b, at + 4) === 0;
    if (whole && Number.isSafeInteger(first + count)) return new HeaderSuffix(first, rest);
    this.failed = true;
    return HeaderSuffix.EMPTY;
  }
  rest(): Uint8Array {
    const at = this.at;
    this.at = this.b.length;
    return this.b.subarray(at);
  }
  /** `message`, provided nothing is left behind it. */
  end(message: Message): Message | string {
    return this.at === this.b.length || this.failed ? message : `${message.type} has bytes behind it`;
  }
}
