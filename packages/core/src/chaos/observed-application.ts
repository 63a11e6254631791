/** The bank, with someone looking over its shoulder: tells which committed commands reach the application. */
import { bank } from '../apps/bank.ts';
import type { ApplicationModule } from '../kernel/types.ts';
import { SNAPSHOT_PIECE_BYTES } from './replica-settings.ts';

export function observedApplication(onApply: (index: number, session: number) => void): ApplicationModule {
  const { application } = bank;
  const observed: typeof bank = {
    ...bank,
    application: {
      ...application,
      apply: (state, event, ctx) => {
        onApply(event.index, event.session);
        return application.apply(state, event, ctx);
      },
      snapshot: (state) => state.stream(SNAPSHOT_PIECE_BYTES),
    },
  };
  return observed as unknown as ApplicationModule;
}
