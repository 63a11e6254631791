/** Load on etcd: distinct puts to the leader by gRPC, over as many connections as keep each at CALLS_PER_CONNECTION calls. */
import { childArgument, tell } from '../lib/child.ts';
import { ClosedLoop, type LoadOrder } from '../lib/closed-loop.ts';
import { EtcdConnection, putFrame } from './grpc.ts';

const CALLS_PER_CONNECTION = 64;
const KEY_BYTES = 16;

const { port, valueBytes, inFlight } = childArgument<{
  readonly port: number;
  readonly valueBytes: number;
  readonly inFlight: number;
}>();
const connections = Array.from({ length: Math.ceil(inFlight / CALLS_PER_CONNECTION) }, () => new EtcdConnection(port));
const slots = Array.from({ length: inFlight }, () => putFrame(KEY_BYTES, valueBytes));
let loop: ClosedLoop | null = null;
let sent = 0;
const done = slots.map((_, slot) => (problem: string | null): void => {
  if (problem === null) loop?.replied(slot);
  else loop?.failed(slot, problem);
});

function send(slot: number): void {
  const { bytes, key, value } = slots[slot]!;
  const number = String(++sent).padStart(12, '0');
  bytes.write('key-', key, 'latin1');
  bytes.write(number, key + 4, 'latin1');
  if (valueBytes >= number.length) bytes.write(number, value, 'latin1');
  connections[slot % connections.length]!.put(bytes, done[slot]!);
}

await Promise.all(connections.map((connection) => connection.status()));
process.on('message', (order: LoadOrder) => {
  loop = new ClosedLoop(order, send);
  loop.start();
});
tell({ type: 'ready' });
