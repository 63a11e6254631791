/**
 * FrameFetch: finds and reads frames of a segment on the medium while the log runs, by walking from the nearest mark.
 *
 * Invariants: what is handed out is verified; a frame that cannot be read is named by index, and where it stands if that is known; nothing is called damaged that was
 * read once only, as it would be repaired where a bad read showed it.
 */
import { FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX } from './constants.ts';
import { FrameBatch } from './frame-batch.ts';
import type { FrameCodec } from './frame-codec.ts';
import { frame, OFFSET, readU32 } from './frame.ts';
import { readSalvaging } from './salvage.ts';
import type { Segment } from './segment.ts';

/** Bytes read at once while walking. */
const WALK_BYTES = 128 * 1024;

/** What a read found where a frame should stand. */
export interface FoundDamage {
  readonly index: number;
  readonly offset: number;
  readonly fault: string;
}

export type Located =
  | { readonly kind: 'found'; readonly offset: number; readonly chunk: Uint8Array; readonly at: number }
  | ({ readonly kind: 'damaged' } & FoundDamage);

export type Fetched =
  /** `offset` is that of the first frame. */
  | { readonly kind: 'frames'; readonly batch: FrameBatch; readonly offset: number }
  | ({ readonly kind: 'damaged' } & FoundDamage);

export class FrameFetch {
  private readonly codec: FrameCodec;

  constructor(codec: FrameCodec) {
    this.codec = codec;
  }

  /** Where the frame of `index` stands; `chunk` holds its header at `at` and `ahead` bytes more where the segment has them. */
  locate(segment: Segment, index: number, ahead: number, callback: (located: Located) => void): void {
    this.locateOnce(segment, index, ahead, (located) => {
      if (located.kind === 'damaged') this.locateOnce(segment, index, ahead, callback);
      else callback(located);
    });
  }

  private locateOnce(segment: Segment, index: number, ahead: number, callback: (located: Located) => void): void {
    const mark = segment.marks.find(index) ?? { index: segment.base, offset: 64 };
    const walk = (from: number, offset: number): void => {
      const length = Math.min(segment.end - offset, WALK_BYTES + ahead);
      if (length < FRAME_HEADER_BYTES) {
        callback({ kind: 'damaged', index: from, offset, fault: 'incomplete' });
        return;
      }
      readSalvaging(segment.file, offset, length, (error, chunk) => {
        if (error !== null || chunk === null) {
          callback({ kind: 'damaged', index: from, offset, fault: error?.message ?? 'nothing was read' });
          return;
        }
        let at = 0;
        let current = from;
        while (at + FRAME_HEADER_BYTES <= chunk.length) {
          const fault = this.headerFault(chunk, at, current);
          if (fault !== null) {
            callback({ kind: 'damaged', index: current, offset: offset + at, fault });
            return;
          }
          if (current === index) {
            callback({ kind: 'found', offset: offset + at, chunk, at });
            return;
          }
          at += frame.size(chunk, at);
          current++;
        }
        if (at === 0) callback({ kind: 'damaged', index: current, offset, fault: 'incomplete' });
        else walk(current, offset + at);
      });
    };
    walk(mark.index, mark.offset);
  }

  /**
   * Verified frames from `from` on, at least one, about `maxBytes`, none above `written` or the segment's last: where a write is in flight, or was cut off, the
   * medium may hold older frames that chain just as well.
   */
  read(segment: Segment, from: number, written: number, maxBytes: number, callback: (fetched: Fetched) => void): void {
    this.readOnce(segment, from, written, maxBytes, (fetched) => {
      if (fetched.kind === 'damaged') this.readOnce(segment, from, written, maxBytes, callback);
      else callback(fetched);
    });
  }

  private readOnce(
    segment: Segment,
    from: number,
    written: number,
    maxBytes: number,
    callback: (fetched: Fetched) => void,
  ): void {
    const last = Math.min(written, segment.last);
    this.locateOnce(segment, from, maxBytes, (located) => {
      if (located.kind === 'damaged') {
        callback(located);
        return;
      }
      const { offset, chunk, at } = located;
      const want = Math.min(Math.max(maxBytes, frame.size(chunk, at)), segment.end - offset);
      if (at + want <= chunk.length) {
        callback(this.verified(chunk.subarray(at, at + want), from, last, offset));
        return;
      }
      readSalvaging(segment.file, offset, want, (error, bytes) => {
        if (error !== null || bytes === null) {
          callback({ kind: 'damaged', index: from, offset, fault: error?.message ?? 'nothing was read' });
        } else callback(this.verified(bytes, from, last, offset));
      });
    });
  }

  private verified(bytes: Uint8Array, from: number, last: number, offset: number): Fetched {
    if (bytes.length < FRAME_HEADER_BYTES) return { kind: 'damaged', index: from, offset, fault: 'incomplete' };
    const chain = frame.prevHash(bytes, 0).slice();
    const result = this.codec.verify(bytes, 0, bytes.length, from, chain);
    if (result.count === 0) return { kind: 'damaged', index: from, offset, fault: result.fault ?? 'empty' };
    const batch = new FrameBatch(bytes.slice(0, result.end), result.count, chain);
    return { kind: 'frames', batch: batch.last <= last ? batch : batch.slice(from, last), offset };
  }

  private headerFault(chunk: Uint8Array, at: number, index: number): string | null {
    const stated = readU32(chunk, at);
    if (stated !== this.codec.crc32c(chunk, at + OFFSET.payloadSize, at + FRAME_HEADER_BYTES)) return 'header-checksum';
    if (frame.index(chunk, at) !== index) return 'index-gap';
    return frame.payloadSize(chunk, at) > PAYLOAD_BYTES_MAX ? 'too-large' : null;
  }
}
