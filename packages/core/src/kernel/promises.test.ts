/**
 * An application that is asynchronous by mistake: a fault or a failed query, and no end of the process. A rejection that nobody takes ends a replica, at every replay
 * again, on all of them; here it fails the run of the tests.
 */
import { expect, it } from 'vitest';
import { nobleCodec } from '../engine/codec/noble.ts';
import { KIND } from '../engine/frame.ts';
import { encodeVersion } from '../engine/version-entry.ts';
import { REPLY, type Reply } from '../reply.ts';
import { Executor } from './executor.ts';
import { LogBuilder } from './testing/log-builder.ts';
import { versionedProgram } from './testing/versioned-program.ts';
import type { ApplicationModule } from './types.ts';
import { encodeValue } from './values.ts';

const module = versionedProgram(1, 2);
const failing = async (): Promise<never> => {
  await Promise.resolve();
  throw new Error('later');
};

/** An executor of the program with other methods, and a log that has a session. */
function sceneOf(methods: Record<string, unknown>) {
  const application = { ...module.application, ...methods } as ApplicationModule['application'];
  const options = { clusterId: new Uint8Array(16).fill(7), codec: nobleCodec };
  const executor = new Executor({ module: { ...module, application }, ...options });
  const log = new LogBuilder(nobleCodec);
  const replies: Reply[] = [];
  const run = (): Reply | undefined => {
    const batch = log.take();
    executor.apply(batch, batch.first, batch.last, (reply) => replies.push(reply));
    return replies.at(-1);
  };
  log.add(KIND.noop);
  const session = log.add(KIND.register, { request: 99 });
  run();
  const command = (request: number): Reply | undefined => {
    log.add(KIND.command, { command: 1, client: session, request, ackBelow: 1, body: encodeValue(null) });
    return run();
  };
  return { executor, log, run, command };
}

/** Rejections that nobody takes are reported by now. */
const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

it.each([
  ['apply', failing],
  ['the state', (state: unknown) => ({ state: failing(), was: state })],
  ['the result', (state: unknown) => ({ state, result: failing() })],
  ['the effects', (state: unknown) => ({ state, effects: failing() })],
])('a promise as %s that is rejected later is a fault', async (_, apply) => {
  const { command } = sceneOf({ apply });
  expect(command(1)?.status).toBe(REPLY.fault);
  await later();
});

it('a migration whose promise is rejected later is a fault', async () => {
  const { executor, log, run, command } = sceneOf({ migrate: failing });
  command(1);
  log.add(KIND.activateVersion, { body: encodeVersion(2) });
  run();
  expect([executor.faults, executor.versions.active]).toEqual([1, 1]);
  await later();
});

it('a query whose promise is rejected later has failed', async () => {
  const { executor } = sceneOf({ query: failing });
  expect(executor.query(1, new Uint8Array(0)).ok).toBe(false);
  await later();
});
