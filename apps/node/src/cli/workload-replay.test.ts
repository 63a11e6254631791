/** The judge of `chronon workload` must notice what it is there for. */
import { bank } from '@chronon/core/apps/bank';
import { BankModel } from '@chronon/core/apps/models/bank-model';
import { ENVELOPE_BYTES, FRAME_HEADER_BYTES } from '@chronon/core/engine/constants';
import { frameBytes, KIND, writeEnvelope, writeHeader, type EntryKind } from '@chronon/core/engine/frame';
import { encodeValue } from '@chronon/core/kernel/values';
import { REPLY } from '@chronon/core/reply';
import { expect, it } from 'vitest';
import { operationKey, Replay, type Operation } from './workload-replay.ts';

const SESSION = 1;
const deposit = bank.commands['deposit']!;
const body = (cents: number): Uint8Array => deposit.encode({ account: 'a', cents });

function entry(index: number, kind: EntryKind, request: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const size = ENVELOPE_BYTES + payload.length;
  const bytes = new Uint8Array(frameBytes(size));
  writeHeader(bytes, 0, size, index, 1, 0, 0, 0);
  writeEnvelope(bytes, FRAME_HEADER_BYTES, kind, deposit.number, kind === KIND.register ? 0 : SESSION, request, 1);
  bytes.set(payload, FRAME_HEADER_BYTES + ENVELOPE_BYTES);
  return bytes;
}

function operation(request: number, index: number, cents: number, balance: number): Operation {
  const reply = encodeValue({ account: 'a', balance });
  return { session: SESSION, request, body: body(cents), outcome: 'applied', status: REPLY.ok, index, reply };
}

function judge(log: readonly Uint8Array[], operations: readonly Operation[]): readonly string[] {
  const replay = new Replay(
    bank,
    new BankModel(),
    new Map(operations.map((one) => [operationKey(one.session, one.request), one])),
  );
  log.forEach((bytes, index) => replay.take(bytes, 0, index));
  replay.finish();
  return replay.problems;
}

const noop = entry(0, KIND.noop, 0);
const register = entry(1, KIND.register, 99);
const command = (index: number, request: number, cents: number): Uint8Array =>
  entry(index, KIND.command, request, body(cents));

it('finds nothing wrong with a right log', () => {
  const operations = [operation(1, 2, 5, 5), operation(2, 3, 7, 12), operation(4, 5, 1, 13)];
  const cancelled: Operation = { ...operation(3, 0, 9, 0), outcome: 'absent' };
  expect(
    judge(
      [noop, register, command(2, 1, 5), command(3, 2, 7), entry(4, KIND.cancel, 3), command(5, 4, 1)],
      [...operations, cancelled],
    ),
  ).toEqual([]);
});

it.each([
  ['a lost command', [noop, register], [operation(1, 2, 5, 5)], /in the log 0 times/],
  [
    'a doubled command',
    [noop, register, command(2, 1, 5), command(3, 1, 5)],
    [operation(1, 2, 5, 5)],
    /in the log 2 times/,
  ],
  [
    'a wrong reply',
    [noop, register, command(2, 1, 5)],
    [operation(1, 2, 5, 6)],
    /the reply was .*6.*the model says .*5/,
  ],
  ['another index', [noop, register, command(2, 1, 5)], [operation(1, 3, 5, 5)], /acknowledged at 3, stands at 2/],
  ['another payload', [noop, register, command(2, 1, 6)], [operation(1, 2, 5, 5)], /another payload/],
  [
    'a failed command that happened',
    [noop, register, command(2, 1, 5)],
    [{ ...operation(1, 0, 5, 0), outcome: 'absent' as const }],
    /reported as failed/,
  ],
])('finds %s', (_name, log, operations, problem) => {
  expect(judge(log, operations).join('\n')).toMatch(problem);
});
