/** The checker on histories made here: valid ones of every model, broken ones, and the formats. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../../prng.ts';
import { check } from './checker.ts';
import { parseHistory } from './history.ts';
import { type CheckModel, kvModel, registerModel } from './model.ts';
import { CHECK_MODELS } from './models.ts';
import type { Operation } from './operation.ts';
import { brokenHistory, validHistory } from './testing/generated.ts';
import { timeline } from './timeline.ts';
import { checkWitness } from './witness.ts';

const MODELS = [...CHECK_MODELS.values()];
const seeds = fc.integer({ min: 0, max: 2 ** 31 });

describe.each(MODELS)('the $name model', (model) => {
  test('search and witness accept what a linearizable object did', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const history = validHistory(model, new Prng(seed));
        expect(check(history, model).verdict).toBe('ok');
        expect(checkWitness(history, model)).toMatchObject({ ok: true, problem: null });
      }),
      { numRuns: 60, seed: 4 },
    );
  });

  test('a broken history is illegal only if the witness fails, and what the witness accepts is ok', () => {
    let illegal = 0;
    fc.assert(
      fc.property(seeds, (seed) => {
        const history = brokenHistory(model, new Prng(seed));
        const { verdict, counterexample } = check(history, model);
        const witness = checkWitness(history, model);
        if (verdict === 'illegal') {
          illegal++;
          expect(counterexample).not.toBeNull();
          expect(prefixIsLegal(counterexample!.prefix, model)).toBe(true);
        }
        expect(verdict === 'illegal' && witness.ok).toBe(false);
        expect(witness.ok && verdict !== 'ok').toBe(false);
      }),
      { numRuns: 60, seed: 5 },
    );
    expect(illegal).toBeGreaterThan(20);
  });
});

/** The prefix of a counterexample is what it says: allowed by the model and by real time. */
function prefixIsLegal(prefix: readonly Operation[], model: CheckModel): boolean {
  let state = model.initial;
  let newest = -1;
  for (const operation of prefix) {
    const after = model.step(state, operation);
    if (after === null || operation.returned < newest) return false;
    newest = Math.max(newest, operation.invoked);
    state = after;
  }
  return true;
}

const line = (fields: object): string => JSON.stringify(fields);
const invoke = (client: number, f: string, value: unknown = null, key = 'x'): string =>
  line({ type: 'invoke', client, f, key, value });
const ok = (client: number, value: unknown = null): string => line({ type: 'ok', client, value });

test('a stale read is illegal, and the read is named', () => {
  const history = [invoke(1, 'write', 1), ok(1), invoke(1, 'write', 2), ok(1), invoke(2, 'read'), ok(2, 1)];
  const { verdict, counterexample } = check(parseHistory(history.join('\n')), registerModel);
  expect(verdict).toBe('illegal');
  expect(counterexample!.prefix.map(({ input }) => input)).toEqual([1, 2]);
  expect(counterexample!.blocked).toMatchObject({ f: 'read', client: '2' });
});

test('a write of unknown outcome may take effect much later, once, or never', () => {
  const lost = [invoke(1, 'write', 1), line({ type: 'info', client: 1 })];
  const read = (value: unknown): string[] => [invoke(2, 'read'), ok(2, value)];
  const verdict = (...lines: string[]): string => check(parseHistory(lines.join('\n')), registerModel).verdict;
  expect(verdict(...lost, ...read(null), ...read(1))).toBe('ok');
  expect(verdict(...lost, ...read(null), ...read(null))).toBe('ok');
  expect(verdict(...lost, ...read(1), ...read(null))).toBe('illegal');
});

test('intervals that touch overlap; one after the other they do not', () => {
  const write = { client: '1', f: 'write', key: null, input: 1, output: { rejected: false, value: null }, index: null };
  const read = {
    client: '2',
    f: 'read',
    key: null,
    input: null,
    output: { rejected: false, value: null },
    index: null,
  };
  const at = (gap: number): Operation[] => [
    { ...write, id: 0, invoked: 0, returned: 10 },
    { ...read, id: 1, invoked: 10 + gap, returned: 20 },
  ];
  expect(check(at(0), registerModel).verdict).toBe('ok');
  expect(check(at(1), registerModel).verdict).toBe('illegal');
});

test('without patience the verdict is unknown, which is no pass', () => {
  const history = [invoke(1, 'write', 1), ok(1)].join('\n');
  expect(check(parseHistory(history), registerModel, () => false).verdict).toBe('unknown');
});

test('what cannot be read is refused with its line', () => {
  expect(() => parseHistory('{"type":"ok","client":1}')).toThrow('line 1: of 1 ends without having been invoked');
  expect(() => parseHistory(`${invoke(1, 'read')}\n{"type":"perhaps","client":1}`)).toThrow('line 2: "type" is');
  expect(() => parseHistory(`${invoke(1, 'read')}\n${invoke(1, 'read')}`)).toThrow('line 2: of 1 is invoked while');
  expect(() => parseHistory('{:process nonsense}')).toThrow('line 1: not a line of a porcupine history');
  expect(() => check(parseHistory(`${invoke(1, 'jump')}\n${ok(1)}`), kvModel)).toThrow('knows no operation "jump"');
});

test('the page escapes what the history says', () => {
  const evil = '<script>alert("x")</script>\u202e';
  const history = [invoke(1, 'put', evil, evil), ok(1), invoke(2, 'get', null, evil), ok(2, `${evil}!`)].join('\n');
  const result = check(parseHistory(history), kvModel);
  const page = timeline(result, evil, (operation) => kvModel.isRead(operation));
  expect(result.verdict).toBe('illegal');
  expect(page).not.toContain('<script');
  expect(page).not.toContain('\u202e');
  expect(page).toContain('Cannot be placed');
});
