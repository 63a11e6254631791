/**
 * Reading around unreadable blocks: a device error on a long read says nothing about most of its bytes.
 *
 * Invariant: a block that the device does not give reads as zeros, which no frame is made of, so that it is found damaged and repaired like rot; every
 * other byte is what the medium holds. What is read to be written back (`readAgreed`) was read twice and was the same.
 */
import { BLOCK_BYTES } from './constants.ts';
import { type DiskError, DiskFailure, type DiskFile, type DiskReadCallback } from './virtual-disk.ts';

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

/** Reads that may differ from the one before until the disk is given up. */
export const AGREE_TRIES = 4;

/**
 * As `readSalvaging`, for bytes that are written back and that nothing here can verify (neighbours of a damaged frame): two reads one after the other must
 * give the same, so that one bad read of sound bytes does not become what the medium holds.
 */
export function readAgreed(file: DiskFile, offset: number, length: number, callback: DiskReadCallback): void {
  let before: Uint8Array | null = null;
  const again = (left: number): void => {
    readSalvaging(file, offset, length, (error, bytes) => {
      if (error !== null || bytes === null || bytes.length !== length) {
        callback(error ?? { code: 'EIO', message: `${file.path} cannot be read at ${offset}` }, null);
      } else if (before !== null && equal(before, bytes)) callback(null, bytes);
      else if (left === 0) callback(disagreement(file, offset), null);
      else {
        before = bytes;
        again(left - 1);
      }
    });
  };
  again(AGREE_TRIES);
}

/** The same, blocking, into `bytes`. Throws DiskFailure. */
export function readAgreedSync(file: DiskFile, offset: number, bytes: Uint8Array): void {
  const before = new Uint8Array(bytes.length);
  file.readSync(offset, before);
  for (let left = AGREE_TRIES; left > 0; left--) {
    bytes.fill(0);
    file.readSync(offset, bytes);
    if (equal(before, bytes)) return;
    before.set(bytes);
  }
  throw new DiskFailure(disagreement(file, offset));
}

/** Bytes compared at a time. */
const PIECE_BYTES = 1024 * 1024;

/**
 * Reads again what `bytes` were read from, into them; true when it gave the same. Nothing is damaged that was read once only: a bad read of sound bytes makes frames
 * stand where they do not, and what is repaired behind them would go over others (simulator seed 3000736).
 */
export function readsTheSame(file: DiskFile, offset: number, bytes: Uint8Array): boolean {
  let same = true;
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const before = bytes.subarray(at, at + PIECE_BYTES);
    const piece = before.slice();
    file.readSync(offset + at, piece);
    if (equal(before, piece)) continue;
    before.set(piece);
    same = false;
  }
  return same;
}

function disagreement(file: DiskFile, offset: number): DiskError {
  return { code: 'EIO', message: `${file.path}: no two reads at ${offset} give the same bytes` };
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
