/** The log of one bare process: a file written before, opened O_DSYNC, one write in flight; it wraps round at its end and is never read. */
import fs from 'node:fs';

const FILE_BYTES = 64 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;

export class LogFile {
  writes = 0;
  bytes = 0;
  writing = false;
  private readonly fd: number;
  private at = 0;

  constructor(path: string) {
    const fd = fs.openSync(path, 'w', 0o600);
    const zeros = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; at < FILE_BYTES; at += CHUNK_BYTES) fs.writeSync(fd, zeros, 0, CHUNK_BYTES, at);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    this.fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_DSYNC);
  }

  /** Durable when `done` is called. */
  write(parts: readonly Uint8Array[], done: () => void): void {
    let length = 0;
    for (const part of parts) length += part.length;
    if (this.at + length > FILE_BYTES) this.at = 0;
    this.writing = true;
    fs.writev(this.fd, parts, this.at, (error, written) => {
      if (error !== null) throw error;
      if (written !== length) throw new Error(`short write: ${written} of ${length} bytes`);
      this.at += length;
      this.writes++;
      this.bytes += length;
      this.writing = false;
      done();
    });
  }
}
