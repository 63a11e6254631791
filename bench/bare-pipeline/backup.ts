/** A backup of the bare pipeline: verifies the hash chain of each batch, writes what has come, acknowledges the newest durable batch. */
import { createServer } from 'node:net';
import { childArgument, tell } from '../lib/child.ts';
import { LogFile } from './log-file.ts';
import { BATCH_HEAD_BYTES, createHash, FRAME_HEAD_BYTES, HASH_BYTES, HASHED_FROM, RecordReader } from './wire.ts';

const { file } = childArgument<{ readonly file: string }>();
const hash = await createHash();
const log = new LogFile(file);
let chain: Uint8Array = new Uint8Array(HASH_BYTES);

function verify(frames: Buffer, count: number, last: Uint8Array): void {
  let at = 0;
  for (let i = 0; i < count; i++) {
    const end = at + FRAME_HEAD_BYTES + frames.readUInt32LE(at);
    if (Buffer.compare(chain, frames.subarray(at + HASHED_FROM, at + FRAME_HEAD_BYTES)) !== 0)
      throw new Error(`frame ${frames.readUInt32LE(at + 4)} does not chain`);
    chain = hash(frames.subarray(at + HASHED_FROM, end));
    at = end;
  }
  if (at !== frames.length || Buffer.compare(chain, last) !== 0) throw new Error('the batch is not what it says');
}

const server = createServer({ noDelay: true }, (socket) => {
  let waiting: Buffer[] = [];
  let newest = 0;
  const write = (): void => {
    if (log.writing || waiting.length === 0) return;
    const parts = waiting;
    const through = newest;
    waiting = [];
    log.write(parts, () => {
      const ack = Buffer.allocUnsafe(4);
      ack.writeUInt32LE(through);
      socket.write(ack);
      write();
    });
  };
  const reader = new RecordReader(
    (chunk, at) => (chunk.length - at < BATCH_HEAD_BYTES ? 0 : BATCH_HEAD_BYTES + chunk.readUInt32LE(at)),
    (chunk, at, size) => {
      const frames = chunk.subarray(at + BATCH_HEAD_BYTES, at + size);
      verify(frames, chunk.readUInt32LE(at + 4), chunk.subarray(at + 16, at + BATCH_HEAD_BYTES));
      newest = chunk.readUInt32LE(at + 8);
      waiting.push(frames);
    },
  );
  socket.on('data', (chunk) => {
    reader.push(chunk);
    write();
  });
  socket.on('error', () => undefined);
});
server.listen(0, '127.0.0.1', () => {
  tell({ type: 'ready', port: (server.address() as { port: number }).port } as { type: string });
});
process.on('message', () => {
  tell({ type: 'stats', writes: log.writes, bytes: log.bytes } as { type: string });
});
