/**
 * Side effects of a replica: SideEffectManager and VsrAuthority, given their facts by the node and their outbox by the executor.
 *
 * Invariant: an effect's report is proposed like any entry of the replica itself and counts only when it commits.
 */
import { VsrAuthority } from './kernel/authority.ts';
import type { EffectSink } from './kernel/effect-sink.ts';
import { SideEffectManager } from './kernel/side-effect-manager.ts';
import { Prng } from './prng.ts';
import type { Replica } from './replica.ts';

export class ReplicaEffects {
  readonly manager: SideEffectManager;
  private readonly replica: Replica;
  private wakeDeferred = false;

  constructor(replica: Replica) {
    this.replica = replica;
    const { config, ports, node, executor } = replica;
    const authority = new VsrAuthority(
      () => node.authorityFacts(ports.monotonicMs(), ports.wallMs()),
      config.authorityWindowMs,
      ports.policy,
    );
    this.manager = new SideEffectManager(
      {
        outbox: executor.outbox,
        authority,
        sink: (channel): EffectSink | null => ports.sink(channel),
        propose: (kind, body) => replica.propose(kind, body),
        blockTimeMs: () => executor.blockTimeMs,
        wake: () => this.wake(),
        onEvent: (id, state) => ports.onEvent({ kind: 'effect', id, state }),
      },
      new Prng(config.seed + 1),
      { concurrency: config.effectConcurrency },
      ports.policy,
    );
  }

  tick(): void {
    this.manager.tick(this.replica.ports.monotonicMs());
  }

  onApplied(): void {
    this.manager.onApplied();
  }

  private wake(): void {
    if (this.wakeDeferred) return;
    this.wakeDeferred = true;
    this.replica.ports.defer(() => {
      this.wakeDeferred = false;
      this.replica.guarded(() => this.manager.pump());
    });
  }
}
