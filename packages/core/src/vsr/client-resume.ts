/**
 * Resumes: learning, from another process, what a call came to whose caller was told `unknown`. The number is cancelled: if its command was applied the
 * cancel returns the stored reply, else the number is void for ever; either way the outcome is settled (docs/protocol.md, "Clients and sessions").
 *
 * Invariants: only numbers from the token's `from` up to its own are cancelled, in order (one behind a gap would be parked); each callback is called
 * exactly once; nothing is sent to a cluster that the token is not of, nor to one that has not named itself; a cancel states what the token knows to be
 * settled (`from`), for the session's own acknowledgement may lag a whole window behind.
 */
import { type CallToken, type Outcome, type OutcomeCallback, outcomeOf } from './client-call.ts';
import type { ClientMessage } from './client-protocol.ts';
import type { ClientSender } from './client-sender.ts';
import { REPLY } from '../reply.ts';

interface Resume {
  readonly token: CallToken;
  readonly deadlineMs: number;
  readonly callback: OutcomeCallback;
  /** Connection on which its cancels are under way; 0: must be sent (again). */
  epoch: number;
  sentMs: number;
}

export class ClientResumes {
  private resumes: Resume[] = [];

  get size(): number {
    return this.resumes.length;
  }

  add(token: CallToken, deadlineMs: number, callback: OutcomeCallback): void {
    this.resumes.push({ token, deadlineMs, callback, epoch: 0, sentMs: 0 });
  }

  /** Sends what is not under way. `cluster`: the one talked to; null before it said so. */
  send(sender: ClientSender, epoch: number, nowMs: number, cluster: string | null): void {
    for (const resume of this.resumes) {
      if (resume.epoch === epoch) continue;
      const { token } = resume;
      if (token.cluster !== undefined && cluster === null) continue;
      if (token.cluster !== undefined && token.cluster !== cluster) {
        this.end(resume, lost(token, 'the token is of another cluster'));
        continue;
      }
      for (let number = token.from ?? token.request; number <= token.request; number++) {
        if (!sender.room) return;
        sender.cancel(token.session, number, token.from ?? 0);
      }
      resume.epoch = epoch;
      resume.sentMs = nowMs;
    }
  }

  /** A reply of the log to a number of some session; true when it is one that a resume asked for. */
  onReply(message: ClientMessage): boolean {
    const asked = this.resumes.filter(({ token }) => token.session === message.session);
    for (const resume of asked) if (isAbout(message, resume.token)) this.end(resume, settled(message, resume.token));
    return asked.length > 0;
  }

  /** A transmission was refused: it is sent again once the client may send. True when it was one of these. */
  onRefusal(message: ClientMessage): boolean {
    const about = this.resumes.filter(
      ({ token }) => token.session === message.session && message.request <= token.request,
    );
    for (const resume of about) resume.epoch = 0;
    return about.length > 0;
  }

  /** Ends what is due; returns the next deadline. */
  expire(nowMs: number): number {
    for (const resume of this.resumes.filter((r) => r.deadlineMs <= nowMs)) {
      this.end(resume, unknown(resume.token, 'the cluster did not say in time'));
    }
    return this.resumes.reduce((earliest, { deadlineMs }) => Math.min(earliest, deadlineMs), Number.POSITIVE_INFINITY);
  }

  /** Marks what was sent at `staleMs` or before for sending again; true when something is under way. */
  watch(epoch: number, staleMs: number): boolean {
    let underWay = false;
    for (const resume of this.resumes) {
      if (resume.epoch !== epoch) continue;
      underWay = true;
      if (resume.sentMs <= staleMs) resume.epoch = 0;
    }
    return underWay;
  }

  close(): void {
    for (const resume of this.resumes) this.end(resume, unknown(resume.token, 'the client was closed'));
  }

  private end(resume: Resume, outcome: Outcome): void {
    this.resumes = this.resumes.filter((other) => other !== resume);
    resume.callback(outcome);
  }
}

/** An evicted session answers for all its numbers. */
function isAbout(message: ClientMessage, token: CallToken): boolean {
  return message.request === token.request || message.status === REPLY.evicted;
}

function settled(message: ClientMessage, token: CallToken): Outcome {
  if (message.status === REPLY.evicted) return lost(token, 'the session was evicted; its replies are gone');
  if (message.status === REPLY.sequence) {
    return lost(token, 'the session has acknowledged this reply, or never gave this number');
  }
  const { status, index, body } = message;
  return outcomeOf(status, index, body, token);
}

function lost(token: CallToken, message: string): Outcome {
  return { kind: 'unknown', message, token, lost: true };
}

function unknown(token: CallToken, message: string): Outcome {
  return { kind: 'unknown', message, token };
}
