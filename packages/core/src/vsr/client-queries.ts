/**
 * Queries of a session client. They change nothing: one may be sent any number of times, and one without an answer simply has none.
 *
 * Invariants: a nonce is used once; each callback is called exactly once; a query is under way on at most one connection.
 */
import type { QueryCall } from './client-call.ts';
import { type ClientMessage, CONSISTENCY } from './client-protocol.ts';
import type { ClientSender } from './client-sender.ts';

const NOTHING = new Uint8Array(0);

export class ClientQueries {
  private readonly calls = new Map<number, QueryCall>();
  private nextNonce = 1;

  get size(): number {
    return this.calls.size;
  }

  add(call: QueryCall): void {
    this.calls.set(this.nextNonce++, call);
  }

  /** Stale ones go to whatever replica there is, the others where requests may go. */
  send(sender: ClientSender, epoch: number): void {
    for (const [nonce, call] of this.calls) {
      if (call.epoch === epoch) continue;
      if (sender.room || call.consistency === CONSISTENCY.stale) sender.query(nonce, call);
    }
  }

  /** Ends the query; true when only a serving primary answers so. */
  answer(message: ClientMessage): boolean {
    const call = this.calls.get(message.request);
    if (call === undefined) return false;
    this.calls.delete(message.request);
    if (message.status === 0) call.callback({ kind: 'ok', index: message.index, body: message.body });
    else reject(call, 'rejected', 'the application rejected the query', message.body);
    return call.consistency === CONSISTENCY.linearizable;
  }

  /** The query must be sent again; returns its consistency, or null when there is no such query. `lagged`: the replica lacks too much for it. */
  again(nonce: number, lagged: boolean): number | null {
    const call = this.calls.get(nonce);
    if (call === undefined) return null;
    call.epoch = 0;
    call.lagged = lagged;
    return call.consistency;
  }

  refuse(nonce: number): void {
    const call = this.calls.get(nonce);
    if (call === undefined) return;
    this.calls.delete(nonce);
    reject(call, 'invalid', 'the replica refused the query');
  }

  /** Ends what is due; returns the next deadline. */
  expire(nowMs: number): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const [nonce, call] of this.calls) {
      if (call.deadlineMs > nowMs) {
        earliest = Math.min(earliest, call.deadlineMs);
        continue;
      }
      this.calls.delete(nonce);
      if (call.lagged) reject(call, 'lag', `no replica that was asked lacks at most ${call.maxLagMs} ms`);
      else reject(call, 'timeout', 'no answer before the deadline');
    }
    return earliest;
  }

  /** Marks what was sent at `staleMs` or before for sending again; true when something is under way. */
  watch(epoch: number, staleMs: number): boolean {
    let underWay = false;
    for (const call of this.calls.values()) {
      if (call.epoch !== epoch) continue;
      underWay = true;
      if (call.sentMs <= staleMs) call.epoch = 0;
    }
    return underWay;
  }

  close(): void {
    for (const call of this.calls.values()) reject(call, 'closed', 'the client was closed');
    this.calls.clear();
  }
}

function reject(call: QueryCall, code: string, message: string, body: Uint8Array = NOTHING): void {
  call.callback({ kind: 'rejected', code, body, message });
}
