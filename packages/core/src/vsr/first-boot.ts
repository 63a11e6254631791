/**
 * FirstBoot: what a replica without a log does until it has one (docs/protocol.md, "First boot", "A wiped disk"). Sans-I/O: messages and ticks in, messages and one
 * outcome out.
 *
 * Invariants:
 *  - the own boot id is durable before this object exists, so before any answer;
 *  - blank replicas format only when all n say, still blank, that they know the same n boot ids: whoever formatted does not say so any more, so no two quorums
 *    ever format different founders;
 *  - a replica that the cluster does not know as a founder never formats by itself: it joins by `chronon recover`, in the place of its lost self.
 */
import { clusterIdOf } from '../engine/blank-manifest.ts';
import { type CommitIndex, NONE } from '../engine/commit-index.ts';
import type { FrameCodec } from '../engine/frame-codec.ts';
import { sameHash, ZERO_HASH } from '../engine/hash.ts';
import type { Environment } from '../engine/log-contract.ts';
import { BOOT, type Boot } from './messages.ts';

export interface FirstBootOptions {
  readonly id: number;
  readonly members: readonly number[];
  readonly bootId: Uint8Array;
  /** True after `chronon recover`: take the place of a replica that is lost. */
  readonly join: boolean;
  readonly environment: Environment;
  readonly codec: FrameCodec;
  /** Ticks between two rounds of saying who this is. */
  readonly everyTicks: number;
}

/** What to format with, or why this replica must stop. */
export type BootOutcome =
  | {
      readonly kind: 'format';
      readonly clusterId: Uint8Array;
      readonly founders: readonly Uint8Array[];
      readonly environment: Environment;
      readonly joins: {
        readonly generation: number;
        readonly incarnations: readonly number[];
        readonly standbyThrough: CommitIndex;
      } | null;
    }
  | { readonly kind: 'stop'; readonly code: 'E_WIPED' | 'E_CONFIG'; readonly message: string };

export class FirstBoot {
  outcome: BootOutcome | null = null;
  private readonly options: FirstBootOptions;
  private readonly out: { readonly to: number; readonly message: Boot }[] = [];
  /** Last word of each peer. */
  private readonly heard = new Map<number, Boot>();
  /** Boot ids of disks that were wiped since: never believed again. One a wipe during first boot, which nobody does often. */
  private readonly gone: { readonly id: number; readonly bootId: Uint8Array }[] = [];
  private ticks = 0;

  constructor(options: FirstBootOptions) {
    this.options = options;
    if (options.join && options.members.length === 1) {
      this.stop('E_WIPED', 'a cluster of one has nobody to recover from');
    }
    this.settle();
  }

  /** Messages to send, once. */
  takeOutputs(): { readonly to: number; readonly message: Boot }[] {
    return this.out.splice(0);
  }

  tick(): void {
    if (this.outcome === null && this.ticks++ % this.options.everyTicks === 0) this.broadcast();
  }

  receive(from: number, m: Boot): void {
    if (this.outcome !== null || from === this.options.id || !this.options.members.includes(from)) return;
    if (!this.sameCluster(from, m)) return;
    if (m.kind === BOOT.blank && this.isGone(from, m.bootId)) return;
    const before = this.heard.get(from);
    this.heard.set(from, m);
    switch (m.kind) {
      case BOOT.blank:
        this.onBlank(from, m.bootId, before);
        break;
      case BOOT.formatted:
        this.onFormatted(from, m);
        break;
      case BOOT.admitted:
        if (this.options.join && sameHash(m.bootId, this.options.bootId)) this.format(m, true);
        break;
      default:
    }
  }

  /** Members that have said nothing yet, this one's wait named by them. */
  get missing(): number[] {
    return this.options.members.filter((id) => id !== this.options.id && !this.heard.has(id));
  }

  /** What this replica waits for, for the operator. */
  describe(): string {
    const { id, members, join } = this.options;
    const names = this.missing.map((peer) => `r${peer}`).join(', ');
    if (!join) return names === '' ? 'first boot: all members answer' : `first boot: waiting for ${names}`;
    const others = members.filter((peer) => peer !== id);
    const quorum = Math.floor(members.length / 2) + 1;
    const answer = others.length - this.missing.length;
    const needs = `its replacement needs ${quorum} of ${others.map((peer) => `r${peer}`).join(', ')}`;
    return answer < quorum
      ? `recovering r${id}: ${needs}; waiting for ${names} (the only other way is --accept-loss)`
      : `recovering r${id}: ${needs}; waiting for them to commit it`;
  }

  private sameCluster(from: number, m: Boot): boolean {
    const { members, environment, id } = this.options;
    if (m.founders.length !== members.length) {
      this.stop('E_CONFIG', `r${from} is configured for ${m.founders.length} replicas, r${id} for ${members.length}`);
      return false;
    }
    const blank = m.kind === BOOT.blank && !this.options.join;
    if (blank && m.environment !== environment) {
      this.stop('E_CONFIG', `r${from} is to be formatted for ${m.environment}, r${id} for ${environment}`);
      return false;
    }
    return true;
  }

  private onBlank(from: number, bootId: Uint8Array, before: Boot | undefined): void {
    const known = before?.kind === BOOT.blank ? before.bootId : null;
    const news = known === null || !sameHash(known, bootId);
    if (known !== null && news) this.gone.push({ id: from, bootId: known });
    // Whoever learns something says so at once: no round of waiting a message.
    if (news) this.broadcast();
    this.settle();
  }

  /** True for a boot id that another one has taken the place of: a late message of a disk that was wiped. */
  private isGone(id: number, bootId: Uint8Array): boolean {
    return this.gone.some((old) => old.id === id && sameHash(old.bootId, bootId));
  }

  private onFormatted(from: number, m: Boot): void {
    const { id, members, bootId, join } = this.options;
    if (join) return;
    if (sameHash(m.founders[members.indexOf(id)]!, bootId)) {
      this.format(m, false);
      return;
    }
    this.stop(
      'E_WIPED',
      `the directory of r${id} is empty, but r${from} is formatted and knows another r${id}: its disk was wiped or the wrong directory is mounted. ` +
        `If it is lost, replace it: chronon recover --replica ${id}`,
    );
  }

  private format(m: Boot, joins: boolean): void {
    const { clusterId, founders, environment, generation, incarnations, through } = m;
    this.outcome = {
      kind: 'format',
      clusterId,
      founders,
      environment,
      joins: joins ? { generation, incarnations, standbyThrough: through } : null,
    };
  }

  /** Formats once everybody, blank still, knows the same boot ids. */
  private settle(): void {
    const { members, join, codec, environment } = this.options;
    if (join || this.outcome !== null) return;
    const founders = this.founders();
    if (founders.some((bootId) => sameHash(bootId, ZERO_HASH))) return;
    const agrees = members.every((id) => {
      const word = this.heard.get(id);
      return (
        id === this.options.id ||
        (word?.kind === BOOT.blank && word.founders.every((f, i) => sameHash(f, founders[i]!)))
      );
    });
    if (!agrees) return;
    this.outcome = { kind: 'format', clusterId: clusterIdOf(founders, codec), founders, environment, joins: null };
  }

  /** Boot ids as this replica knows them; zeros for those it has not heard of. */
  private founders(): Uint8Array[] {
    return this.options.members.map((id) => {
      if (id === this.options.id) return this.options.bootId;
      const word = this.heard.get(id);
      return word?.kind === BOOT.blank ? word.bootId : ZERO_HASH;
    });
  }

  private broadcast(): void {
    const { id, members, bootId, join, environment } = this.options;
    const message: Boot = {
      type: 'boot',
      view: 0,
      kind: join ? BOOT.join : BOOT.blank,
      environment,
      bootId,
      clusterId: ZERO_HASH,
      founders: this.founders(),
      generation: 0,
      incarnations: members.map(() => 0),
      through: NONE,
    };
    for (const to of members) if (to !== id) this.out.push({ to, message });
  }

  private stop(code: 'E_WIPED' | 'E_CONFIG', message: string): void {
    this.outcome = { kind: 'stop', code, message };
  }
}
