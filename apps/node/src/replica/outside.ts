/** What the control API reaches outside this process: the cluster (as a client) and the parent process. */
import type { QueryOutcome } from '@chronon/core/vsr/client';
import type { CallPort, SupervisorMessage } from '../api/host.ts';
import type { ChrononClient } from '../client/connect.ts';

/** Single calls through one session of this process; the client exists from the first call on. */
export function callPort(connect: () => ChrononClient): CallPort & { close(): void } {
  let client: ChrononClient | null = null;
  return {
    submit: (command, body, timeoutMs, idempotencyKey) =>
      (client ??= connect()).submitRaw(command, body, {
        timeoutMs,
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      }),
    resume: (token, timeoutMs) => (client ??= connect()).resumeRaw(token, timeoutMs),
    query: (query, body, consistency, timeoutMs, maxLagMs) =>
      new Promise<QueryOutcome>((resolve) => {
        (client ??= connect()).session.query(
          query,
          body,
          { consistency, timeoutMs, ...(maxLagMs === undefined ? {} : { maxLagMs }) },
          resolve,
        );
      }),
    close: () => client?.close(),
  };
}

/** Messages to the parent by IPC; null without a channel. */
export function supervisorPort(): ((message: SupervisorMessage) => Promise<void>) | null {
  if (process.send === undefined) return null;
  return (message) =>
    new Promise((resolve, reject) => {
      if (process.send === undefined || !process.connected) return reject(new Error('the supervisor is gone'));
      process.send(message, undefined, {}, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
}
