/** The bank, with someone looking over its shoulder: tells which committed commands reach the application. */
import { bank } from '../apps/bank.ts';
import type { ApplicationModule } from '../kernel/types.ts';

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
    },
  };
  return observed as unknown as ApplicationModule;
}
