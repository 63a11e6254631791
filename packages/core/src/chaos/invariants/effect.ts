/**
 * Effect invariants: an effect starts only after its entry is committed, only on a replica that is the acting primary of the view it shows as fence, never
 * under an older view than another one did, and not again where it is known to have run; a
 * fencing sink never accepts an older token; each key is applied once; at rest every committed transfer has its receipt and nothing else has one.
 */
import type { EffectCall } from '../../replica-contract.ts';
import type { CanonicalLog } from '../canonical.ts';
import type { Observation, Observed } from '../observation.ts';
import { mustHold } from '../violation.ts';

export class EffectInvariants {
  private readonly canonical: CanonicalLog;
  private pending: { readonly replica: Observed; readonly effect: EffectCall }[] = [];
  /** Keys the sink has applied, with the times. */
  private readonly applied = new Map<string, number>();
  private newestFence = -1;
  private newestStarted = -1;
  /** Which process run was told, in which view, that the effect of a key has run. */
  private readonly told = new Map<string, string>();
  /** Keys that a replica gave up on. */
  private readonly dead = new Set<string>();

  constructor(canonical: CanonicalLog) {
    this.canonical = canonical;
  }

  /** A replica hands an effect to the sink. */
  starts(replica: Observed, effect: EffectCall): void {
    this.pending.push({ replica, effect });
  }

  /** A replica hears that an effect has run: what is left is to commit the acknowledgement. */
  ran(replica: Observed, effect: EffectCall): void {
    this.told.set(effect.key, runOf(replica, effect));
  }

  /** Something was handed over that `step` has not looked at. */
  get waiting(): boolean {
    return this.pending.length > 0;
  }

  step(replica: Observed, seen: Observation): void {
    if (this.pending.length === 0) return;
    const { pending } = this;
    this.pending = [];
    for (const { effect } of pending) {
      const index = this.canonical.effects.get(effect.key);
      mustHold(index === effect.index, 'effect', 'effects-start-only-after-commit', () => {
        return `r${replica.id} starts effect ${effect.key} of index ${effect.index}, committed is ${this.canonical.last} and no committed transfer emitted it`;
      });
      const fence = fenceOf(effect);
      mustHold(fence >= this.newestStarted, 'effect', 'no-effect-starts-under-an-older-view', () => {
        return `r${replica.id} starts effect ${effect.key} with fence ${fence} after one was started with ${this.newestStarted}`;
      });
      this.newestStarted = fence;
      mustHold(this.told.get(effect.key) !== runOf(replica, effect), 'effect', 'what-has-run-is-not-run-again', () => {
        return `r${replica.id} starts effect ${effect.key} again in view ${effect.fence.view}, where it was told that it has run`;
      });
      mustHold(seen.acting && seen.view === effect.fence.view, 'effect', 'effects-start-only-under-authority', () => {
        return `r${replica.id} starts effect ${effect.key} with fence ${effect.fence.view} while it is ${seen.status} in view ${seen.view}`;
      });
    }
  }

  /** The sink takes (or, by its fence, refuses) an effect. Returns whether it may be applied: false for a repeated key. */
  accepts(effect: EffectCall): boolean {
    const fence = fenceOf(effect);
    mustHold(fence >= this.newestFence, 'effect', 'an-older-fence-is-refused', () => {
      return `the sink accepted fence ${fence} after ${this.newestFence}`;
    });
    this.newestFence = fence;
    const times = (this.applied.get(effect.key) ?? 0) + 1;
    if (times > 1) return false;
    this.applied.set(effect.key, times);
    return true;
  }

  buried(key: string): void {
    this.dead.add(key);
  }

  atRest(): void {
    for (const [key, index] of this.canonical.effects) {
      mustHold(this.applied.has(key) || this.dead.has(key), 'effect', 'every-effect-ends', () => {
        return `the receipt of the transfer at ${index} is neither in the ledger nor dead, and nobody runs it any more`;
      });
    }
    for (const key of this.applied.keys()) {
      mustHold(
        this.canonical.effects.has(key),
        'effect',
        'no-effect-without-a-commit',
        () => `the ledger has key ${key}, which no committed entry emitted`,
      );
    }
  }
}

function fenceOf(effect: EffectCall): number {
  return effect.fence.generation * 2 ** 32 + effect.fence.view;
}

/** The process run that an effect is started by, in the view it is started in. */
function runOf(replica: Observed, effect: EffectCall): string {
  return `${replica.id}/${replica.run}/${effect.fence.view}`;
}
