/**
 * SnapshotStream: the canonical bytes of a state in pieces, each made when it is asked for, while commands go on changing the state.
 *
 * Invariants: the bytes are those of the state when the stream was made, whatever is applied meanwhile; making the stream, and each piece, is a bounded
 * amount of work; a stream is closed exactly once, at its end or when it is given up.
 */
import { assert } from '../assert.ts';
import { ByteWriter } from './bytes.ts';
import type { VersionedMap } from './versioned-map.ts';

/** A piece is cut off once it has so many bytes; one value or reply larger than that makes it longer. */
export const PIECE_BYTES = 32 * 1024;
/** Rows that a piece's worth of tidying up moves. */
export const TIDY_ROWS = 512;

export interface SnapshotStream {
  /** The next piece, valid until the next call; null at the end. An empty one is work without bytes: go on. */
  next(): Uint8Array | null;
  /** Gives the stream up. Harmless at its end. */
  close(): void;
}

const EMPTY = new Uint8Array(0);

/** A stream of what a generator yields; `close` is called once, at the end or before it. */
export function streamOf(pieces: Iterator<Uint8Array>, close: () => void): SnapshotStream {
  let open = true;
  const end = (): void => {
    if (!open) return;
    open = false;
    close();
  };
  return {
    next() {
      if (!open) return null;
      const piece = pieces.next();
      if (piece.done !== true) return piece.value;
      end();
      return null;
    },
    close: end,
  };
}

/** A map as of now: its size, then each entry as `encode` writes it; the map is free again at the end. */
export function streamOfMap<Key, Value>(
  map: VersionedMap<Key, Value>,
  pieceBytes: number,
  encode: (w: ByteWriter, key: Key, value: Value) => void,
): SnapshotStream {
  const { size, entries } = map.freeze();
  let held = true;
  const release = (): void => {
    if (held) map.release();
    held = false;
  };
  const pieces = function* (): Generator<Uint8Array> {
    const w = new ByteWriter(2 * pieceBytes);
    w.varint(size);
    for (const [key, value] of entries) {
      encode(w, key, value);
      if (w.length < pieceBytes) continue;
      yield w.view();
      w.reset();
    }
    yield w.view();
    release();
    while (!map.settle(TIDY_ROWS)) yield EMPTY;
  };
  return streamOf(pieces(), () => {
    release();
    map.settle(Number.POSITIVE_INFINITY);
  });
}

/** Streams one behind the other. */
export function joined(...streams: SnapshotStream[]): SnapshotStream {
  let at = 0;
  return {
    next() {
      for (; at < streams.length; at++) {
        const piece = streams[at]!.next();
        if (piece !== null) return piece;
      }
      return null;
    },
    close() {
      for (const stream of streams) stream.close();
      at = streams.length;
    },
  };
}

/** Bytes that are there already, in pieces. */
export function streamOfBytes(bytes: Uint8Array): SnapshotStream {
  let at = 0;
  return {
    next() {
      if (at >= bytes.length) return null;
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      at += piece.length;
      return piece;
    },
    close() {
      at = bytes.length;
    },
  };
}

/** All bytes of a stream in one piece: for tests and for what is known to be small. */
export function collect(stream: SnapshotStream): Uint8Array {
  const w = new ByteWriter(4096);
  for (let piece = stream.next(); piece !== null; piece = stream.next()) w.bytes(piece);
  return w.copy();
}

/** The sections of one snapshot, one stream behind the other. */
export class SectionStream {
  private readonly streams: readonly SnapshotStream[];
  private at = 0;

  constructor(streams: readonly SnapshotStream[]) {
    this.streams = streams;
  }

  /** Section of the piece that `next` gave last. */
  get section(): number {
    return this.at;
  }

  next(): Uint8Array | null {
    if (this.at >= this.streams.length) return null;
    const piece = this.streams[this.at]!.next();
    if (piece !== null) return piece;
    this.at++;
    return this.at < this.streams.length ? EMPTY : null;
  }

  close(): void {
    for (const stream of this.streams) stream.close();
    this.at = this.streams.length;
  }

  /** All sections whole. */
  collect(): Uint8Array[] {
    assert(this.at === 0, 'nothing was taken from the stream');
    const out = this.streams.map((stream) => collect(stream));
    this.at = this.streams.length;
    return out;
  }
}
