/**
 * The bank as programs of several versions, with someone looking over its shoulder: what clients get is the same in all of them, but what is emitted, kept and
 * written to a snapshot depends on the active version, so that a replica that runs another one differs.
 */
import { bank, BankState } from '../apps/bank.ts';
import type { VersionRange } from '../engine/version-entry.ts';
import { CodecError } from '../kernel/errors.ts';
import type { Table } from '../kernel/table.ts';
import type { ApplicationModule } from '../kernel/types.ts';
import { SNAPSHOT_PIECE_BYTES } from './replica-settings.ts';

/** Row of the version that the state is of; version 1 has none. */
const ROW = 'version';

class VersionedState extends BankState {
  private readonly kept: Table<string, number> = this.table('kept');

  get version(): number {
    return this.kept.get(ROW) ?? 1;
  }

  set version(value: number) {
    this.kept.set(ROW, value);
  }
}

function genesis(version: number): VersionedState {
  const state = new VersionedState();
  if (version === 1) return state;
  state.begin();
  state.version = version;
  state.commit();
  return state;
}

/** `onApply` hears which committed commands reach the application, and as which version. */
export function versionedBank(
  program: VersionRange,
  onApply: (index: number, session: number, version: number) => void,
): ApplicationModule {
  const { application } = bank;
  const module: ApplicationModule<VersionedState> = {
    ...bank,
    version: program.newest,
    oldestVersion: program.oldest,
    application: {
      genesis,
      apply: (state, event, ctx) => {
        onApply(event.index, event.session, ctx.version);
        const { result } = application.apply(state, event, ctx);
        if (ctx.version > 1) ctx.log('info', `as version ${ctx.version} on a state of ${state.version}`);
        return result === undefined ? { state } : { state, result };
      },
      query: (state, query, body) => application.query(state, query, body),
      snapshot: (state) => state.stream(SNAPSHOT_PIECE_BYTES),
      restore: (bytes, version) => {
        const state = new VersionedState();
        state.restore(bytes);
        if (state.version !== version) throw new CodecError(`a state of version ${state.version}, not ${version}`);
        return state;
      },
      migrate: (state, _from, to) => {
        state.version = to;
        return state;
      },
    },
  };
  return module as unknown as ApplicationModule;
}
