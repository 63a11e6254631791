/** A simulation as a page sees it: frames like those of a live cluster, steered by messages. */
import { expect, test } from 'vitest';
import { createWasmCodec } from '../../engine/codec/wasm.ts';
import { simulate } from '../simulator.ts';
import type { FromSimulator, ToSimulator } from './protocol.ts';
import { LiveSimulation } from './session.ts';

const codec = await createWasmCodec();

function session() {
  const posted: FromSimulator[] = [];
  const live = new LiveSimulation(codec, (message) => posted.push(message));
  const frames = () => posted.filter((message) => message.type === 'frame');
  return { live, posted, frames, last: () => frames().at(-1)! };
}

const START: ToSimulator = { type: 'start', seed: 7, replicas: 3, speed: 100 };

test('a watched run is the run of the command line, whatever its pace', () => {
  const { live, posted, frames } = session();
  live.handle(START);
  for (let i = 0; i < 10_000 && posted.at(-1)!.type !== 'ended'; i++) live.advance(1 + (i % 37));
  const end = posted.at(-1)!;
  expect(end.type === 'ended' && end.result.traceHash).toBe(simulate({ seed: 7, replicas: 3, codec }).traceHash);
  const texts = frames().flatMap(({ replicas }) => replicas.flatMap(({ events }) => events.map(({ text }) => text)));
  expect(texts.some((text) => /^view [1-9]\d*, primary r[123]$/.test(text))).toBe(true);
  expect(frames().some(({ struck }) => struck.length > 0)).toBe(true);
});

test('pause, step and resume', () => {
  const { live, last } = session();
  live.handle({ ...START, paused: true });
  live.advance(1000);
  expect(last()).toMatchObject({ atMs: 0, paused: true });
  live.handle({ type: 'step', ms: 500 });
  expect(last().atMs).toBe(500);
  live.handle({ type: 'speed', speed: 2 });
  live.handle({ type: 'resume' });
  live.advance(100);
  expect(last()).toMatchObject({ atMs: 700, paused: false });
});

test('an injected fault strikes the replica it is aimed at, and the cluster goes on', () => {
  const { live, last } = session();
  live.handle({ ...START, seed: 3, paused: true, without: Array.from({ length: 1000 }, (_, i) => i) });
  live.handle({ type: 'step', ms: 1000 });
  const primary = last().replicas.find(({ detail }) => detail?.serving === true)!;
  expect(primary.detail!.role).toBe('primary');
  live.handle({ type: 'inject', kind: 'crash', replica: primary.id, durationMs: 5000 });
  live.handle({ type: 'step', ms: 100 });
  expect(last().struck).toMatchObject([{ kind: 'crash', replica: primary.id }]);
  expect(last().replicas[primary.id - 1]).toMatchObject({ process: 'down', detail: null });
  for (let i = 0; i < 4; i++) live.handle({ type: 'step', ms: 1000 });
  const next = last().replicas.find(({ detail }) => detail?.serving === true)!;
  expect(next.id).not.toBe(primary.id);
  expect(BigInt(next.detail!.view)).toBeGreaterThan(BigInt(primary.detail!.view));
});

test('what makes no sense is refused', () => {
  const { live, posted } = session();
  const wrong: unknown[] = [
    { type: 'pause' },
    { ...START, seed: 0.5 },
    { ...START, replicas: 4 },
    { ...START, speed: Number.NaN },
    { type: 'dance' },
  ];
  for (const message of wrong) live.handle(message as ToSimulator);
  expect(posted.map((message) => message.type)).toEqual(wrong.map(() => 'refused'));
  live.handle({ ...START, paused: true });
  live.handle({ type: 'inject', kind: 'meteor', replica: 1, durationMs: 1 } as unknown as ToSimulator);
  expect(posted.at(-1)).toEqual({ type: 'refused', message: 'no fault is named "meteor"' });
});
