/**
 * VsrAuthority: may this replica run this effect now? It gets its facts through a port and knows no message.
 *
 * Yes only when all of these hold:
 *  1. it is the normal primary of its durable view (not abdicated, its own no-op applied);
 *  2. a quorum confirmed a round that was sent less than `windowMs` ago (counted from the sending, so that no later view can have begun by then);
 *  3. `windowMs` has passed since it became able to serve: whoever was primary before has lost (2) by then;
 *  4. a quorum confirmed the execution digest at or above the effect's index: the effect is what the majority computed;
 *  5. it is not quarantined.
 *
 * Invariant: with clocks of equal rate no two replicas are authorised at one moment. Time for which the machine was suspended counts for (2), as far as its wall
 * clock tells (vsr/freshness.ts), and not for (3). Clocks that drift, or a call that outlives its authority, are what the fence at the sink is for.
 */
import { assert } from '../assert.ts';
import type { CommitIndex } from '../engine/commit-index.ts';
import { type Policy, SOUND } from '../policy.ts';
import type { Fence } from './effect-sink.ts';

/** The facts, as they are now: an object with getters, or a fresh record for each look. All times are of one monotone clock. */
export interface AuthorityFacts {
  /** Status normal, primary of the durable view, not abdicated. */
  readonly normalPrimary: boolean;
  readonly view: number;
  readonly generation: number;
  readonly nowMs: number;
  /** When the newest round that a quorum confirmed was sent; null when none was in this view. */
  readonly quorumContactAtMs: number | null;
  /** When its own no-op of this view was applied; null before. */
  readonly viewStartedAtMs: number | null;
  /** Highest index whose D a quorum (this replica included) confirmed. */
  readonly confirmedDigestIndex: CommitIndex;
  readonly quarantined: boolean;
}

export type Refused = 'not-primary' | 'quarantined' | 'no-quorum-contact' | 'new-primary' | 'digest-unconfirmed';
export type Permission = { readonly ok: true; readonly fence: Fence } | { readonly ok: false; readonly why: Refused };

const REFUSALS: Readonly<Record<Refused, Permission>> = {
  'not-primary': { ok: false, why: 'not-primary' },
  quarantined: { ok: false, why: 'quarantined' },
  'no-quorum-contact': { ok: false, why: 'no-quorum-contact' },
  'new-primary': { ok: false, why: 'new-primary' },
  'digest-unconfirmed': { ok: false, why: 'digest-unconfirmed' },
};

export class VsrAuthority {
  private readonly facts: () => AuthorityFacts;
  private readonly windowMs: number;
  private readonly policy: Policy;

  constructor(facts: () => AuthorityFacts, windowMs: number, policy: Policy = SOUND) {
    assert(windowMs > 0, 'the authority window is a span of time');
    this.facts = facts;
    this.windowMs = windowMs;
    this.policy = policy;
  }

  /** The view in which this replica is the normal primary, or null. */
  primaryView(): number | null {
    const facts = this.facts();
    return facts.normalPrimary ? facts.view : null;
  }

  mayRun(effectIndex: number): Permission {
    const facts = this.facts();
    if (!facts.normalPrimary) return REFUSALS['not-primary'];
    const why = this.policy.skipFence ? null : this.refusal(facts, effectIndex);
    if (why !== null) return REFUSALS[why];
    return { ok: true, fence: { generation: facts.generation, view: facts.view } };
  }

  private refusal(facts: AuthorityFacts, effectIndex: number): Refused | null {
    if (facts.quarantined) return 'quarantined';
    const { nowMs, quorumContactAtMs, viewStartedAtMs } = facts;
    if (quorumContactAtMs === null || nowMs - quorumContactAtMs >= this.windowMs) return 'no-quorum-contact';
    if (viewStartedAtMs === null || nowMs - viewStartedAtMs < this.windowMs) return 'new-primary';
    return effectIndex > facts.confirmedDigestIndex ? 'digest-unconfirmed' : null;
  }
}
