/**
 * Reading around unreadable blocks: a device error on a long read says nothing about most of its bytes.
 *
 * Invariant: a block that the device does not give reads as zeros, which no frame is made of, so that it is found damaged and repaired like rot; every
 * other byte is what the medium holds.
 */
import { BLOCK_BYTES } from './constants.ts';
import type { DiskFile, DiskReadCallback } from './virtual-disk.ts';

/** As `file.read`, but blocks with a device error are zeros. Fails with that error only when no block can be read. */
export function readSalvaging(file: DiskFile, offset: number, length: number, callback: DiskReadCallback): void {
  file.read(offset, length, (error, bytes) => {
    if (error === null || error.code !== 'EIO') {
      callback(error, bytes);
      return;
    }
    const salvaged = new Uint8Array(length);
    let got = 0;
    const next = (at: number): void => {
      if (at >= length) {
        if (got === 0) callback(error, null);
        else callback(null, salvaged);
        return;
      }
      const size = Math.min(BLOCK_BYTES - ((offset + at) % BLOCK_BYTES), length - at);
      file.read(offset + at, size, (_, part) => {
        if (part !== null) {
          salvaged.set(part, at);
          got += part.length;
        }
        next(at + size);
      });
    };
    next(0);
  });
}
