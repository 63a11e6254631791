/**
 * Sender of a session client: gathers the records of one turn and encodes them straight into one transport message.
 *
 * Invariants: on one connection numbers go out in rising order (a repeated one excepted); a call's count of transmissions grows before its bytes
 * leave; a message stays below BATCH_BYTES unless a single record is larger.
 */
import { ENVELOPE_BYTES } from '../engine/constants.ts';
import { keyBytes, KIND, writeEnvelope, writeKey } from '../engine/frame.ts';
import type { Call, CallWindow, QueryCall } from './client-call.ts';
import { CONSISTENCY, encodeQuery, requestRecordBytes, writeRequestHead } from './client-protocol.ts';
import type { SessionPort } from './client-route.ts';

/** Size at which a transport message is closed, in bytes. */
export const BATCH_BYTES = 256 * 1024;

export class ClientSender {
  /** Nonce of the register request, at once its request number. */
  nonce: number;
  /** Connection on which the register was sent (0: must be sent) and when. */
  registerEpoch = 0;
  registerMs = 0;
  private readonly port: SessionPort;
  private replica = 0;
  private epoch = 0;
  private nowMs = 0;
  /** Records this turn may still send. */
  private left = 0;
  private count = 0;
  private readonly calls: Call[] = [];
  private ackBelow = 1;
  private session = 0;
  private bytes = 0;
  /** Connection for which `resendFrom` holds. */
  private resendEpoch = 0;
  /** Lowest number that may have to be sent. */
  private resendFrom = 1;

  constructor(port: SessionPort, nonce: number) {
    this.port = port;
    this.nonce = nonce;
  }

  /** Starts a turn that may send `limit` records. */
  begin(replica: number, epoch: number, nowMs: number, limit: number): void {
    this.replica = replica;
    this.epoch = epoch;
    this.nowMs = nowMs;
    this.left = limit;
    this.count = 0;
  }

  get room(): boolean {
    return this.left > 0;
  }

  /** Ends the turn; returns how many records went out. */
  end(): number {
    this.emit();
    return this.count;
  }

  register(): void {
    if (this.registerEpoch === this.epoch) return;
    this.registerEpoch = this.epoch;
    this.registerMs = this.nowMs;
    const out = new Uint8Array(requestRecordBytes(ENVELOPE_BYTES));
    writeEnvelope(out, writeRequestHead(out, 0, ENVELOPE_BYTES), KIND.register, 0, 0, this.nonce, 0);
    this.sendNow(out);
  }

  /** Cancels a number of whichever session, everything below `ackBelow` being settled. */
  cancel(session: number, request: number, ackBelow: number): void {
    const out = new Uint8Array(requestRecordBytes(ENVELOPE_BYTES));
    writeEnvelope(out, writeRequestHead(out, 0, ENVELOPE_BYTES), KIND.cancel, 0, session, request, ackBelow);
    this.sendNow(out);
  }

  query(nonce: number, call: QueryCall): void {
    call.epoch = this.epoch;
    call.sentMs = this.nowMs;
    this.sendNow(encodeQuery(call.query, nonce, call.consistency, call.body, call.maxLagMs));
    // Any replica answers a stale one: it tells nothing of where requests may go, and takes no request's turn.
    if (call.consistency === CONSISTENCY.stale) this.left++;
  }

  /** Sends every number that is not under way on this connection, in order. */
  resend(window: CallWindow, session: number): void {
    const from = this.resendEpoch === this.epoch ? Math.max(this.resendFrom, window.ackBelow) : window.ackBelow;
    this.resendEpoch = this.epoch;
    let n = from;
    for (; n < window.next && this.room; n++) {
      const call = window.get(n);
      if (call !== null && call.epoch !== this.epoch) this.request(call, session, window.ackBelow);
    }
    this.resendFrom = n;
  }

  /** Adds one transmission of the call (its command, or its cancel) to the turn. */
  request(call: Call, session: number, ackBelow: number): void {
    call.sent++;
    call.epoch = this.epoch;
    call.sentMs = this.nowMs;
    this.session = session;
    this.ackBelow = ackBelow;
    const bytes = requestRecordBytes(payloadBytes(call));
    if (this.bytes > 0 && this.bytes + bytes > BATCH_BYTES) this.emit();
    this.calls.push(call);
    this.bytes += bytes;
    this.left--;
    this.count++;
    if (call.request >= this.resendFrom && this.resendEpoch === this.epoch) this.resendFrom = call.request + 1;
  }

  /** The call must be sent again. */
  again(call: Call): void {
    call.epoch = 0;
    if (call.request < this.resendFrom) this.resendFrom = call.request;
  }

  /** The session is gone. */
  forget(nonce: number): void {
    this.nonce = nonce;
    this.registerEpoch = 0;
    this.resendFrom = 1;
  }

  private sendNow(bytes: Uint8Array): void {
    this.emit();
    this.left--;
    this.count++;
    this.port.send(this.replica, bytes);
  }

  private emit(): void {
    const { calls } = this;
    if (calls.length === 0) return;
    const out = new Uint8Array(this.bytes);
    let at = 0;
    for (let i = 0; i < calls.length; i++) at = this.write(out, at, calls[i]!);
    calls.length = 0;
    this.bytes = 0;
    this.port.send(this.replica, out);
  }

  private write(out: Uint8Array, at: number, call: Call): number {
    const size = payloadBytes(call);
    const payload = writeRequestHead(out, at, size);
    if (call.cancelling) {
      writeEnvelope(out, payload, KIND.cancel, 0, this.session, call.request, this.ackBelow);
    } else {
      writeEnvelope(out, payload, KIND.command, call.command, this.session, call.request, this.ackBelow);
      out.set(call.body, writeKey(out, payload, call.key));
    }
    return payload + size;
  }
}

function payloadBytes(call: Call): number {
  return call.cancelling ? ENVELOPE_BYTES : ENVELOPE_BYTES + keyBytes(call.key) + call.body.length;
}
