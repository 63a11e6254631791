/** Tables: rollback is exact, order included; the write set and the encoding are functions of what happened. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CodecError } from './errors.ts';
import { type Table, Tables } from './table.ts';

class State extends Tables {
  readonly a: Table<string, unknown> = this.table('a');
  readonly b: Table<number, unknown> = this.table('b');
}

type Step = { readonly table: 'a' | 'b'; readonly key: number; readonly value: number | null };
const step: fc.Arbitrary<Step> = fc.record({
  table: fc.constantFrom<'a' | 'b'>('a', 'b'),
  key: fc.nat({ max: 6 }),
  value: fc.option(fc.integer()),
});

function play(state: State, steps: readonly Step[]): void {
  for (const { table, key, value } of steps) {
    if (table === 'a') {
      if (value === null) state.a.delete(`k${key}`);
      else state.a.set(`k${key}`, value);
    } else if (value === null) state.b.delete(key);
    else state.b.set(key, value);
  }
}

function commit(state: State, steps: readonly Step[]): Uint8Array {
  state.begin();
  play(state, steps);
  const writes = state.writeSet().slice();
  state.commit();
  return writes;
}

describe('Tables', () => {
  it('a rolled back command leaves the same bytes, whatever it did', () => {
    fc.assert(
      fc.property(fc.array(step), fc.array(step), (before, undone) => {
        const state = new State();
        commit(state, before);
        const bytes = state.encode();
        const sizes = [state.a.size, state.b.size];
        state.begin();
        play(state, undone);
        state.rollback();
        expect(state.encode()).toEqual(bytes);
        expect([state.a.size, state.b.size]).toEqual(sizes);
      }),
    );
  });

  it('a restored state goes on as the original does', () => {
    fc.assert(
      fc.property(fc.array(fc.array(step)), fc.array(step), (commands, next) => {
        const state = new State();
        for (const steps of commands) commit(state, steps);
        const copy = new State();
        copy.restore(state.encode());
        expect(commit(copy, next)).toEqual(commit(state, next));
        expect(copy.encode()).toEqual(state.encode());
        expect([...copy.a.entries()]).toEqual([...state.a.entries()]);
      }),
    );
  });

  it('a stream gives the bytes of when it was made, whatever is committed between its pieces, and leaves no trace', () => {
    fc.assert(
      fc.property(fc.array(step), fc.array(fc.array(step)), fc.boolean(), (before, commands, abandoned) => {
        const [state, other] = [new State(), new State()];
        for (const each of [state, other]) commit(each, before);
        const expected = state.encode();
        const stream = state.stream(1);
        const got: number[] = [];
        commands.forEach((steps, i) => {
          if (abandoned && i === 2) stream.close();
          got.push(...(stream.next() ?? []));
          expect(commit(state, steps)).toEqual(commit(other, steps));
          expect([...state.a.entries(), ...state.b.entries()]).toEqual([...other.a.entries(), ...other.b.entries()]);
        });
        for (let piece = stream.next(); piece !== null; piece = stream.next()) got.push(...piece);
        if (!abandoned || commands.length < 3) expect(new Uint8Array(got)).toEqual(expected);
        expect(state.encode()).toEqual(other.encode());
      }),
    );
  });

  it('agrees with a plain object about what is there', () => {
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const state = new State();
        commit(state, steps);
        const plain: Record<string, number> = {};
        for (const { table, key, value } of steps) {
          if (table === 'a' && value !== null) plain[`k${key}`] = value;
          else if (table === 'a') delete plain[`k${key}`];
        }
        expect(Object.fromEntries(state.a.entries())).toEqual(plain);
        expect(state.a.size).toBe(Object.keys(plain).length);
      }),
    );
  });

  it('freezes rows all the way down and lets nobody write outside of a command', () => {
    const state = new State();
    state.begin();
    state.a.set('x', { list: [{ deep: 1 }] });
    state.commit();
    const row = state.a.get('x') as { list: { deep: number }[] };
    expect(() => {
      row.list[0]!.deep = 2;
    }).toThrow(TypeError);
    expect(() => state.a.set('y', 1)).toThrow(/by a command only/);
    expect(() => state.a.delete('x')).toThrow(/by a command only/);
  });

  it('refuses the bytes of other tables', () => {
    class Other extends Tables {
      readonly c: Table<string, unknown> = this.table('c');
    }
    expect(() => new Other().restore(new State().encode())).toThrow(CodecError);
    expect(() => new State().restore(new State().encode().subarray(1))).toThrow(CodecError);
  });
});
