import { expect, test } from 'vitest';
import { logBytes } from '../testing.ts';
import { judge } from './protocol.ts';
import { verifyAll, type RangeAnswer } from './verify-run.ts';

const COUNT = 300;
const FRAMES_AN_ANSWER = 70;
const log = logBytes(COUNT);
type Source = (from: number) => Partial<RangeAnswer> | Promise<never>;

/** An honest replica with these bytes. */
function honest(bytes: Uint8Array, offsets = log.offsets): Source {
  return (from) => {
    const end = from + FRAMES_AN_ANSWER;
    return {
      frames: from >= COUNT ? new Uint8Array() : bytes.slice(offsets[from], end >= COUNT ? bytes.length : offsets[end]),
    };
  };
}

async function run(sources: readonly Source[], target = COUNT - 1) {
  let now = 0;
  const report = await verifyAll(
    sources.map((_, i) => i + 1),
    target,
    {
      range: async (replica, from) => {
        now += 10;
        return {
          replica,
          from: String(from),
          frames: new Uint8Array(),
          commit: String(COUNT - 1),
          fault: null,
          ...(await sources[replica - 1]!(from)),
        };
      },
      sleep: async (ms) => void (now += ms),
      now: () => now,
      report: () => undefined,
    },
  );
  return { report, judgement: judge(report) };
}

function changed(at: number, value?: number): Uint8Array {
  const bytes = log.bytes.slice();
  bytes[at] = value ?? bytes[at]! ^ 1;
  return bytes;
}

test('three equal logs verify, and the sentence names what was covered', async () => {
  const { judgement, report } = await run([honest(log.bytes), honest(log.bytes), honest(log.bytes)]);
  expect(judgement.level).toBe('verified');
  expect(judgement.sentence).toBe(
    `Verified by this browser: index 0..299 on r1, r2, r3 at hash ${report.lanes[0]!.hash}`,
  );
});

test.each([
  ['header', 8, 'header-checksum'],
  ['stated hash of the entry before', 40, 'header-checksum'],
  ['payload', 100, 'payload-hash'],
])('a changed byte in a %s is a fault with index and replica', async (_, offset, kind) => {
  for (const index of [0, 17, 69, 70, COUNT - 1]) {
    const { judgement, report } = await run([
      honest(log.bytes),
      honest(changed(log.offsets[index]! + offset)),
      honest(log.bytes),
    ]);
    expect(judgement.level).toBe('fault');
    expect(judgement.sentence).toContain(`index ${index} on r2`);
    expect(report.lanes[1]!.fault!.what).toContain(kind);
    // The others are still checked to the end.
    expect(report.lanes[0]!.verified).toBe(COUNT - 1);
  }
});

test('a size that is damaged to be huge, or to be tiny, is a fault at its own index', async () => {
  for (const value of [0xff, 0x00]) {
    const { report } = await run([honest(changed(log.offsets[30]! + 7, value === 0 ? 0x80 : value))]);
    expect(report.lanes[0]!.fault?.index).toBe(30);
  }
});

test('another log of equal length, correctly chained, is a divergence from the first entry that differs', async () => {
  const other = logBytes(COUNT, 1, 123);
  const { judgement, report } = await run([honest(log.bytes), honest(other.bytes), honest(log.bytes)]);
  expect(judgement.level).toBe('fault');
  expect(report.divergence).toEqual({ index: 123, groups: [[2], [1, 3]] });
});

test('the same log under other indexes is refused', async () => {
  const { report } = await run([(from) => honest(log.bytes)(from + 1) as Partial<RangeAnswer>]);
  expect(report.lanes[0]!.fault?.index).toBe(0);
});

test.each<[string, Source]>([
  ['an empty answer', () => ({ frames: new Uint8Array() })],
  ['an answer cut short', (from) => ({ frames: log.bytes.slice(log.offsets[from], log.offsets[from]! + 60) })],
  ['an answer that stops half way', (from) => (from >= 150 ? {} : (honest(log.bytes)(from) as Partial<RangeAnswer>))],
  ['a claim of a shorter log', () => ({ commit: '5', frames: new Uint8Array() })],
  ['an answer for another replica', (from) => ({ ...(honest(log.bytes)(from) as object), replica: 3 })],
  ['an answer from another index', (from) => ({ ...(honest(log.bytes)(from) as object), from: '0x' })],
  ['no answer', () => Promise.reject(new Error('no answer in time'))],
])('%s is not verified, and never green', async (_, source) => {
  const { judgement } = await run([honest(log.bytes), source, honest(log.bytes)]);
  expect(judgement.level).toBe('not-verified');
  expect(judgement.details.join()).toContain('r2');
  expect(judgement.sentence).toContain('index 0..299 on r1, r3');
});

test('a replica that says that its disk is damaged is red at that index', async () => {
  const source: Source = (from) =>
    from < 70 ? honest(log.bytes)(from) : { fault: { index: String(from), kind: 'payload-hash' } };
  const { judgement } = await run([honest(log.bytes), source, honest(log.bytes)]);
  expect(judgement.level).toBe('fault');
  expect(judgement.sentence).toContain('index 70 on r2');
});

test('an empty cluster is not verified', async () => {
  const { judgement } = await run([() => ({})], -1);
  expect(judgement.level).toBe('not-verified');
});

/** A replica whose log begins at `first`. */
function compacted(first: number, bytes = log.bytes): Source {
  return (from) =>
    from < first
      ? { fault: { index: String(first), kind: 'compacted' } }
      : (honest(bytes)(from) as Partial<RangeAnswer>);
}

test('logs that begin above 0 are verified from where all have begun, and the sentence says so', async () => {
  const { judgement } = await run([compacted(40), honest(log.bytes), compacted(100)]);
  expect(judgement.level).toBe('verified');
  expect(judgement.sentence).toContain('index 100..299 on r1, r2, r3');
  expect(judgement.details.join()).toContain('index 0..99 is below the checkpoint');
  const other = logBytes(COUNT, 1, 123);
  expect((await run([compacted(40), compacted(100, other.bytes)])).judgement.level).toBe('fault');
});

test('who says that its log begins behind the target is not verified', async () => {
  const { judgement } = await run([honest(log.bytes), compacted(COUNT), honest(log.bytes)]);
  expect(judgement.level).toBe('not-verified');
});
