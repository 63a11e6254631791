/**
 * The primary of the bare pipeline: what has come while the disk was busy is one batch; it is hashed, sent to both backups and written at once, and
 * answered when it is durable on two of three. No sessions, no apply, no tail record, no elections: the floor that Chronon is measured against.
 */
import { createServer, connect, type Socket } from 'node:net';
import { childArgument, tell } from '../lib/child.ts';
import { LogFile } from './log-file.ts';
import {
  BATCH_HEAD_BYTES,
  createHash,
  FRAME_HEAD_BYTES,
  HASH_BYTES,
  HASHED_FROM,
  PUT_HEAD_BYTES,
  RecordReader,
} from './wire.ts';

const { file, backups } = childArgument<{ readonly file: string; readonly backups: readonly number[] }>();
/** Room of one batch; more waits for the next. */
const BATCH_BYTES_MAX = 1024 * 1024;

interface Batch {
  readonly sequence: number;
  /** Replies, ready to be sent. */
  readonly replies: Buffer;
}

const hash = await createHash();
const log = new LogFile(file);
/** Newest durable batch of this process and of each backup. */
const durable = [0, ...backups.map(() => 0)];
const links: Socket[] = [];
let client: Socket | null = null;
let chain: Uint8Array = new Uint8Array(HASH_BYTES);
let index = 0;
let sequence = 0;
let unanswered: Batch[] = [];
/** Puts that have come, laid out as frames behind room for the head of their batch. */
let gathering = Buffer.allocUnsafe(BATCH_BYTES_MAX);
let gathered = BATCH_HEAD_BYTES;
let slots: number[] = [];

function gather(chunk: Buffer, at: number, size: number): void {
  const length = size - PUT_HEAD_BYTES;
  if (gathered + FRAME_HEAD_BYTES + length > gathering.length) {
    const larger = Buffer.allocUnsafe(2 * gathering.length);
    gathering.copy(larger, 0, 0, gathered);
    gathering = larger;
  }
  gathering.writeUInt32LE(length, gathered);
  gathering.writeUInt32LE(++index, gathered + 4);
  chunk.copy(gathering, gathered + FRAME_HEAD_BYTES, at + PUT_HEAD_BYTES, at + size);
  gathered += FRAME_HEAD_BYTES + length;
  slots.push(chunk.readUInt32LE(at + 4));
}

function seal(): void {
  if (log.writing || slots.length === 0) return;
  const batch = gathering.subarray(0, gathered);
  for (let at = BATCH_HEAD_BYTES; at < gathered; ) {
    const end = at + FRAME_HEAD_BYTES + batch.readUInt32LE(at);
    batch.set(chain, at + HASHED_FROM);
    chain = hash(batch.subarray(at + HASHED_FROM, end));
    at = end;
  }
  const own = ++sequence;
  batch.writeUInt32LE(gathered - BATCH_HEAD_BYTES, 0);
  batch.writeUInt32LE(slots.length, 4);
  batch.writeUInt32LE(own, 8);
  batch.writeUInt32LE(0, 12);
  batch.set(chain, 16);
  const replies = Buffer.allocUnsafe(4 * slots.length);
  for (let i = 0; i < slots.length; i++) replies.writeUInt32LE(slots[i]!, 4 * i);
  unanswered.push({ sequence: own, replies });
  gathering = Buffer.allocUnsafe(Math.max(64 * 1024, 2 * gathered));
  gathered = BATCH_HEAD_BYTES;
  slots = [];
  for (const link of links) link.write(batch);
  log.write([batch.subarray(BATCH_HEAD_BYTES)], () => {
    durable[0] = own;
    answer();
    seal();
  });
}

/** Answers everything that two of three have. */
function answer(): void {
  const committed = [...durable].sort((a, b) => b - a)[1]!;
  let done = 0;
  while (done < unanswered.length && unanswered[done]!.sequence <= committed)
    client?.write(unanswered[done++]!.replies);
  if (done > 0) unanswered = unanswered.slice(done);
}

for (const [i, port] of backups.entries()) {
  const link = connect({ port, host: '127.0.0.1', noDelay: true });
  await new Promise((resolve, reject) => link.once('connect', resolve).once('error', reject));
  const acks = new RecordReader(
    (chunk, at) => (chunk.length - at < 4 ? 0 : 4),
    (chunk, at) => {
      durable[i + 1] = chunk.readUInt32LE(at);
    },
  );
  link.on('data', (chunk) => {
    acks.push(chunk);
    answer();
  });
  link.on('error', () => undefined);
  links.push(link);
}

const server = createServer({ noDelay: true }, (socket) => {
  client = socket;
  const puts = new RecordReader(
    (chunk, at) => (chunk.length - at < PUT_HEAD_BYTES ? 0 : PUT_HEAD_BYTES + chunk.readUInt32LE(at)),
    gather,
  );
  socket.on('data', (chunk) => {
    puts.push(chunk);
    seal();
  });
  socket.on('error', () => undefined);
});
server.listen(0, '127.0.0.1', () => {
  tell({ type: 'ready', port: (server.address() as { port: number }).port } as { type: string });
});
process.on('message', () => {
  tell({ type: 'stats', writes: log.writes, bytes: log.bytes, index } as { type: string });
});
