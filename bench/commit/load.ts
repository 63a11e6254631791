/**
 * Load on Chronon: the client library's sessions (as many as the window of 256 makes necessary), callbacks, no promise a put. Every put has a key and a
 * value of its own; the bytes of a slot are written anew once its reply is there.
 */
import { connect, type ChrononClient, type GatewayAddress, type Outcome } from '@chronon/node/client/connect';
import { encodePut } from '@chronon/core/apps/kv-calls';
import { SESSION_WINDOW } from '@chronon/core/reply';
import { childArgument, tell } from '../lib/child.ts';
import { ClosedLoop, type LoadOrder } from '../lib/closed-loop.ts';

export interface LoadArgument {
  readonly gateways: readonly GatewayAddress[];
  readonly token: string;
  readonly valueBytes: number;
  readonly inFlight: number;
  /** Keys to cycle through; 0: every put has a new one. */
  readonly keys: number;
}

const PUT = 1;
const TIMEOUT_MS = 30_000;
/** `key-` and twelve digits. */
const KEY_BYTES = 16;
const DIGITS = 12;

const { gateways, token, valueBytes, inFlight, keys } = childArgument<LoadArgument>();
const clients: ChrononClient[] = [];
for (let left = inFlight; left > 0; left -= SESSION_WINDOW) clients.push(connect(gateways, { token }));

let loop: ClosedLoop | null = null;
let sent = 0;
const template = {
  key: new TextEncoder().encode('key-'.padEnd(KEY_BYTES, '0')),
  value: new Uint8Array(valueBytes).fill(0x78),
};
const bodies = Array.from({ length: inFlight }, () => encodePut(template));
const callbacks = bodies.map((_, slot) => (outcome: Outcome): void => {
  if (outcome.kind === 'ok') loop?.replied(slot);
  else loop?.failed(slot, outcome.kind === 'unknown' ? 'unknown' : outcome.code);
});

function writeDigits(bytes: Uint8Array, at: number, value: number): void {
  for (let i = at + DIGITS - 1; i >= at; i--) {
    bytes[i] = 48 + (value % 10);
    value = Math.floor(value / 10);
  }
}

function send(slot: number): void {
  const body = bodies[slot]!;
  sent++;
  writeDigits(body, 2 + KEY_BYTES - DIGITS, keys === 0 ? sent : sent % keys);
  if (valueBytes >= DIGITS) writeDigits(body, 2 + KEY_BYTES, sent);
  clients[slot % clients.length]!.session.submit(PUT, body, TIMEOUT_MS, callbacks[slot]!);
}

// A first put opens each session, so that the run itself is nothing but puts.
let opened = 0;
for (const [i, { session }] of clients.entries()) {
  session.submit(PUT, encodePut({ ...template, key: new TextEncoder().encode(`open-${i}`) }), TIMEOUT_MS, (outcome) => {
    if (outcome.kind !== 'ok') throw new Error(`the first put ended as ${outcome.kind}: ${outcome.message}`);
    if (++opened === clients.length) tell({ type: 'ready' });
  });
}
process.on('message', (order: LoadOrder) => {
  loop = new ClosedLoop(order, send);
  loop.start();
});
