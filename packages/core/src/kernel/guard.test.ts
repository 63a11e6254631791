/** The determinism guard: silent outside of apply, loud inside, and gone when taken off. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DeterminismError, enterApply, installGuard, leaveApply } from './guard.ts';
import { decodeValue, encodeValue } from './values.ts';

/** What the guard must know of, on a global object of our own: the runner's timers stay as they are. */
function sandbox() {
  const calls: string[] = [];
  const record =
    (name: string) =>
    (...args: unknown[]): string => {
      calls.push(`${name}(${args.join()})`);
      return name;
    };
  const globals = {
    Date,
    Math: { random: record('random'), sqrt: Math.sqrt },
    performance: { now: record('now') },
    crypto: { randomUUID: record('randomUUID'), getRandomValues: record('getRandomValues') },
    setTimeout: record('setTimeout'),
    fetch: record('fetch'),
    process: { hrtime: Object.assign(record('hrtime'), { bigint: record('bigint') }) },
  };
  return { globals, calls };
}

function inApply(act: () => unknown): unknown {
  enterApply();
  try {
    return act();
  } finally {
    leaveApply();
  }
}

describe('installGuard', () => {
  let box: ReturnType<typeof sandbox>;
  let uninstall: () => void;
  beforeEach(() => {
    box = sandbox();
    uninstall = installGuard(box.globals);
  });
  afterEach(() => uninstall());

  it.each<[string, (g: ReturnType<typeof sandbox>['globals']) => unknown]>([
    ['new Date()', (g) => new g.Date()],
    ['Date()', (g) => g.Date()],
    ['Date.now()', (g) => g.Date.now()],
    ['new Date(local time)', (g) => new g.Date('2020-01-01 10:00')],
    ['Math.random()', (g) => g.Math.random()],
    ['performance.now()', (g) => g.performance.now()],
    ['crypto.randomUUID()', (g) => g.crypto.randomUUID()],
    ['crypto.getRandomValues()', (g) => g.crypto.getRandomValues()],
    ['setTimeout()', (g) => g.setTimeout()],
    ['fetch()', (g) => g.fetch()],
    ['process.hrtime()', (g) => g.process.hrtime()],
    ['process.hrtime.bigint()', (g) => g.process.hrtime.bigint()],
  ])('%s is refused inside apply and works outside', (api, act) => {
    let error: unknown;
    try {
      inApply(() => act(box.globals));
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(DeterminismError);
    expect((error as DeterminismError).api).toBe(api);
    expect((error as DeterminismError).place).toContain('guard.test.ts');
    expect((error as DeterminismError).fix.length).toBeGreaterThan(10);
    expect(() => act(box.globals)).not.toThrow();
  });

  it('lets pure things through, and keeps instanceof and values working', () => {
    const { Date: Guarded, Math: guardedMath } = box.globals;
    inApply(() => {
      const date = new Guarded(5);
      expect(date).toBeInstanceOf(Guarded);
      expect(date).toBeInstanceOf(Date);
      expect(decodeValue(encodeValue(date))).toEqual(date);
      expect(Guarded.UTC(2020, 1)).toBe(Date.UTC(2020, 1));
      expect(guardedMath.sqrt(4)).toBe(2);
    });
  });

  it('covers locale and zone of the shared prototypes, and is gone when taken off', () => {
    const original = Object.getOwnPropertyDescriptor(Date.prototype, 'toLocaleString');
    const shared = installGuard({ Date, String, Number });
    expect(() => inApply(() => new Date(0).toLocaleString())).toThrow(DeterminismError);
    expect(() => inApply(() => 'a'.localeCompare('b'))).toThrow(DeterminismError);
    expect(() => inApply(() => (5).toLocaleString())).toThrow(DeterminismError);
    expect(new Date(0).toLocaleString()).toBeTypeOf('string');
    shared();
    expect(Object.getOwnPropertyDescriptor(Date.prototype, 'toLocaleString')).toEqual(original);
    uninstall();
    expect(inApply(() => box.globals.Math.random())).toBe('random');
    expect(box.globals.Date).toBe(Date);
  });
});
