/** Load on the bare pipeline: one connection, distinct payloads, one socket write for all puts of a turn. */
import { connect } from 'node:net';
import { childArgument } from '../lib/child.ts';
import { ClosedLoop, type LoadOrder } from '../lib/closed-loop.ts';
import { PUT_HEAD_BYTES, RecordReader } from './wire.ts';

const { port, valueBytes } = childArgument<{ readonly port: number; readonly valueBytes: number }>();
const RECORD_BYTES = PUT_HEAD_BYTES + valueBytes;

const socket = connect({ port, host: '127.0.0.1', noDelay: true });
await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
let loop: ClosedLoop | null = null;
let sent = 0;
let out = Buffer.allocUnsafe(0);
let filled = 0;

function send(slot: number): void {
  if (filled === 0)
    process.nextTick(() => {
      socket.write(out.subarray(0, filled));
      out = Buffer.allocUnsafe(out.length);
      filled = 0;
    });
  out.writeUInt32LE(valueBytes, filled);
  out.writeUInt32LE(slot, filled + 4);
  out.fill(0x78, filled + PUT_HEAD_BYTES, filled + RECORD_BYTES);
  out.writeUInt32LE(++sent, filled + PUT_HEAD_BYTES);
  filled += RECORD_BYTES;
}

const replies = new RecordReader(
  (chunk, at) => (chunk.length - at < 4 ? 0 : 4),
  (chunk, at) => loop?.replied(chunk.readUInt32LE(at)),
);
socket.on('data', (chunk) => {
  replies.push(chunk);
});
process.on('message', (order: LoadOrder) => {
  out = Buffer.allocUnsafe(order.inFlight * RECORD_BYTES);
  loop = new ClosedLoop(order, send);
  loop.start();
});
