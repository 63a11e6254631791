/** Fields of one raw frame, read by this browser from its bytes (docs/log-format.md, "Frame"). For display; verification is the Worker's. */
import { ENVELOPE_BYTES, FRAME_HEADER_BYTES } from '@chronon/core/engine/constants';
import { frame, OFFSET, readU32, SCHEMA } from '@chronon/core/engine/frame';

export interface RawField {
  readonly bytes: string;
  readonly name: string;
  readonly value: string;
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Header fields in the order of the format; null when there is not even a header. */
export function rawFields(b: Uint8Array): RawField[] | null {
  if (b.length < FRAME_HEADER_BYTES) return null;
  const view = new DataView(b.buffer, b.byteOffset, b.byteLength);
  const u64 = (offset: number) => view.getBigUint64(offset, true).toString();
  return [
    { bytes: '0..4', name: 'header_checksum', value: readU32(b, 0).toString(16).padStart(8, '0') },
    { bytes: '4..8', name: 'payload_size', value: String(frame.payloadSize(b, 0)) },
    { bytes: '8..16', name: 'index', value: u64(OFFSET.index) },
    { bytes: '16..24', name: 'view_id', value: u64(OFFSET.view) },
    { bytes: '24..32', name: 'stream_id', value: u64(OFFSET.stream) },
    { bytes: '32..48', name: 'prev_hash', value: hex(frame.prevHash(b, 0)) },
    { bytes: '48..64', name: 'payload_hash', value: hex(frame.payloadHash(b, 0)) },
    { bytes: '64..72', name: 'timestamp_ns', value: u64(OFFSET.timestamp) },
    { bytes: '72..74', name: 'flags', value: `0x${frame.flags(b, 0).toString(16).padStart(4, '0')}` },
    { bytes: '74..76', name: 'schema_version', value: String(frame.schema(b, 0)) },
    { bytes: '76..80', name: 'reserved', value: String(readU32(b, OFFSET.reserved)) },
  ];
}

export interface HexLine {
  readonly offset: string;
  readonly hex: string;
  readonly text: string;
  /** True inside the 32-byte envelope that precedes the body. */
  readonly envelope: boolean;
}

/** Payload as lines of 16 bytes, at most `linesMax` of them. */
export function hexDump(b: Uint8Array, linesMax: number): HexLine[] {
  const payload = frame.payload(b, 0);
  const envelopeEnd = frame.schema(b, 0) === SCHEMA.envelope ? ENVELOPE_BYTES : 0;
  const lines: HexLine[] = [];
  for (let at = 0; at < payload.length && lines.length < linesMax; at += 16) {
    const row = payload.subarray(at, at + 16);
    lines.push({
      offset: at.toString(16).padStart(4, '0'),
      hex: Array.from(row, (byte) => byte.toString(16).padStart(2, '0')).join(' '),
      text: Array.from(row, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '·')).join(''),
      envelope: at < envelopeEnd,
    });
  }
  return lines;
}
