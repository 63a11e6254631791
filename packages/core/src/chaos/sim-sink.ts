/**
 * SimSink: the outside world that effects reach: a ledger that keeps key and fence with each record. It is slow, it fails, and it answers callers that
 * are long dead.
 */
import type { EffectCall, EffectSink } from '../replica-contract.ts';
import type { Prng } from '../prng.ts';
import type { EventQueue } from './event-queue.ts';
import type { EffectInvariants } from './invariants/effect.ts';
import type { Sometimes, Statistics } from './sometimes.ts';

const DELAY_LOW_US = 200;
const DELAY_HIGH_US = 20_000;

export class SimSink {
  /** Chance that a call fails, before or after the record was written. */
  failureRate: number;
  private readonly queue: EventQueue;
  private readonly prng: Prng;
  private readonly invariants: EffectInvariants;
  private readonly statistics: Statistics;
  private readonly sometimes: Sometimes;
  private newestFence = -1;

  constructor(
    queue: EventQueue,
    prng: Prng,
    failureRate: number,
    invariants: EffectInvariants,
    statistics: Statistics,
    sometimes: Sometimes,
  ) {
    this.queue = queue;
    this.prng = prng;
    this.failureRate = failureRate;
    this.invariants = invariants;
    this.statistics = statistics;
    this.sometimes = sometimes;
  }

  /** The sink as one process run sees it; `enter` delivers answers to that run, if it still lives. */
  for(
    enter: (task: () => void) => void,
    onStart: (effect: EffectCall) => void,
    onRan: (effect: EffectCall) => void,
  ): EffectSink {
    return {
      name: 'sim-ledger',
      run: (effect, done) => {
        onStart(effect);
        const half = (): number => this.prng.range(DELAY_LOW_US, DELAY_HIGH_US);
        this.queue.after(half(), () => {
          const answer = this.arrive(effect);
          this.queue.after(half(), () =>
            enter(() => {
              if (answer === null) onRan(effect);
              done(answer);
            }),
          );
        });
      },
    };
  }

  private arrive(effect: EffectCall): string | null {
    if (this.prng.chance(this.failureRate)) return 'the ledger is not reachable';
    const fence = effect.fence.generation * 2 ** 32 + effect.fence.view;
    if (fence < this.newestFence) {
      this.statistics.effectsFenced++;
      return 'E_FENCED: a newer primary has written';
    }
    this.newestFence = fence;
    if (this.invariants.accepts(effect)) this.statistics.effectsRun++;
    else {
      this.statistics.effectsRepeated++;
      this.sometimes.reached('effect-run-twice');
    }
    return this.prng.chance(this.failureRate) ? 'the answer of the ledger was lost' : null;
  }
}
