/** An application whose program runs several versions, and shows in every reply, effect and row which one was active: for tests of upgrades. */
import type { ApplicationModule } from '../types.ts';
import { type Table, Tables } from '../table.ts';
import { decodeValue, encodeValue } from '../values.ts';

class Notes extends Tables {
  readonly rows: Table<string, number> = this.table('rows');
}

/** Its command 1 counts; whatever body it is given. `failing`: migrating to this version throws. */
export function versionedProgram(oldest: number, newest: number, failing?: number): ApplicationModule {
  const module: ApplicationModule<Notes> = {
    name: 'notes',
    version: newest,
    oldestVersion: oldest,
    application: {
      genesis: () => new Notes(),
      apply(state, _event, ctx) {
        const count = (state.rows.get('count') ?? 0) + 1;
        state.rows.set('count', count);
        if (ctx.version > 1) ctx.log('info', `as version ${ctx.version}`);
        const from = state.rows.get('from');
        return {
          state,
          result: encodeValue(`v${ctx.version} #${count}${from === undefined ? '' : ` from v${from}`}`),
        };
      },
      query: (state) => encodeValue(state.rows.get('count') ?? 0),
      snapshot: (state) => state.stream(),
      restore(bytes) {
        const state = new Notes();
        state.restore(bytes);
        return state;
      },
      migrate(state, from, to) {
        state.rows.set('from', from);
        if (to === failing) throw new Error('the migration does not work');
        return state;
      },
    },
    commands: {},
    queries: {},
  };
  return module as unknown as ApplicationModule;
}

/** The text of a reply of it. */
export function noteOf(body: Uint8Array): string {
  return decodeValue(body) as string;
}
