/** Damages one byte of a replica's log on its disk, at a place given by index and part of the frame. */
import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const SEGMENT_HEADER_BYTES = 64;
const FRAME_HEADER_BYTES = 80;

/** Offset of each frame in the first segment; ends at the first zeros. */
function frameOffsets(bytes: Buffer): number[] {
  const offsets: number[] = [];
  let at = SEGMENT_HEADER_BYTES;
  for (let index = 0; at + FRAME_HEADER_BYTES <= bytes.length; index++) {
    if (bytes.readUInt32LE(at) === 0 || bytes.readBigUInt64LE(at + 8) !== BigInt(index)) break;
    offsets.push(at);
    at += (FRAME_HEADER_BYTES + bytes.readUInt32LE(at + 4) + 7) & ~7;
  }
  return offsets;
}

/** Flips one bit of the frame at `index` (negative: from the end) and returns the index. */
export function damage(dataDir: string, replica: number, index: number, part: 'header' | 'payload'): number {
  const dir = join(dataDir, `r${replica}`, 'log');
  const name = readdirSync(dir)
    .filter((file) => file.endsWith('.seg'))
    .sort()[0]!;
  const bytes = readFileSync(join(dir, name));
  const offsets = frameOffsets(bytes);
  const chosen = index < 0 ? offsets.length + index : index;
  const at = offsets[chosen]! + (part === 'header' ? 20 : FRAME_HEADER_BYTES + 10);
  const file = openSync(join(dir, name), 'r+');
  try {
    writeSync(file, Buffer.from([bytes[at]! ^ 0x10]), 0, 1, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return chosen;
}
