/** Versions of an application: which one commands run as is replicated state, and nothing of the program's own version reaches state, snapshot or digest. */
import { describe, expect, it } from 'vitest';
import { nobleCodec } from '../engine/codec/noble.ts';
import { KIND } from '../engine/frame.ts';
import { toHex } from '../engine/hash.ts';
import { encodeVersion } from '../engine/version-entry.ts';
import { REPLY, type Reply } from '../reply.ts';
import { Executor } from './executor.ts';
import { LogBuilder } from './testing/log-builder.ts';
import { haltOf } from './testing/halt-of.ts';
import { versionedProgram } from './testing/versioned-program.ts';
import { decodeValue, encodeValue } from './values.ts';

const CLUSTER = new Uint8Array(16).fill(7);

function executorOf(oldest: number, newest: number, failing?: number) {
  const events: { index: number; version: number; ran: boolean }[] = [];
  const executor = new Executor({
    module: versionedProgram(oldest, newest, failing),
    clusterId: CLUSTER,
    codec: nobleCodec,
    reportVersion: (index, version, ran) => events.push({ index, version, ran }),
  });
  return { executor, events };
}

/** A log that several executors apply. */
class Scene {
  readonly log = new LogBuilder(nobleCodec);
  readonly executors: readonly Executor[];
  readonly replies: Reply[][];
  private request = 0;
  private readonly session: number;

  constructor(...executors: Executor[]) {
    this.executors = executors;
    this.replies = executors.map(() => []);
    this.log.add(KIND.noop);
    this.session = this.log.add(KIND.register, { request: 99 });
    this.apply();
  }

  apply(): void {
    const batch = this.log.take();
    for (const [i, executor] of this.executors.entries())
      executor.apply(batch, batch.first, batch.last, (reply) => this.replies[i]!.push(reply));
  }

  command(): unknown[] {
    const request = ++this.request;
    this.log.add(KIND.command, { command: 1, client: this.session, request, ackBelow: 1, body: encodeValue(null) });
    this.apply();
    return this.replies.map((replies) => {
      const { status, body } = replies.at(-1)!;
      return status === REPLY.ok ? decodeValue(body) : status;
    });
  }

  activate(version: number): void {
    this.log.add(KIND.activateVersion, { body: encodeVersion(version) });
    this.apply();
  }

  get digests(): Set<string> {
    return new Set(this.executors.map((executor) => toHex(executor.digest)));
  }

  get snapshots(): Set<string> {
    return new Set(this.executors.map((e) => e.snapshot().sections.collect().map(toHex).join('/')));
  }
}

describe('the active version', () => {
  it('is what commands run as, whatever newer versions the program runs; snapshots and digests are those of the older program', () => {
    const scene = new Scene(executorOf(1, 1).executor, executorOf(1, 2).executor, executorOf(1, 3).executor);
    expect(scene.snapshots.size).toBe(1);
    expect(scene.command()).toEqual(['v1 #1', 'v1 #1', 'v1 #1']);
    expect(scene.snapshots.size).toBe(1);
    expect(scene.digests.size).toBe(1);
  });

  it('changes at one index, with the migration of the state; a log that begins with it begins as that version', () => {
    const { executor, events } = executorOf(1, 3);
    const scene = new Scene(executor);
    expect(scene.command()).toEqual(['v1 #1']);
    scene.activate(3);
    expect(scene.command()).toEqual(['v3 #2 from v1']);
    expect(executor.versions).toEqual({ oldest: 1, newest: 3, active: 3 });
    expect(events).toEqual([{ index: 3, version: 3, ran: true }]);

    const fresh = new Scene(executorOf(2, 2).executor);
    fresh.activate(2);
    expect(fresh.command()).toEqual(['v2 #1']);
  });

  it('is never lowered, and a repeated activation changes nothing', () => {
    const { executor, events } = executorOf(1, 3);
    const scene = new Scene(executor);
    scene.command();
    scene.activate(2);
    scene.activate(2);
    scene.activate(1);
    expect(scene.command()).toEqual(['v2 #2 from v1']);
    expect(events).toHaveLength(1);
  });

  it('stays when the migration throws: a fault, equal everywhere, and no end of every replica', () => {
    const [one, two] = [executorOf(1, 2, 2), executorOf(1, 2, 2)];
    const scene = new Scene(one.executor, two.executor);
    scene.command();
    scene.activate(2);
    expect(one.events).toEqual([{ index: 3, version: 2, ran: false }]);
    expect(one.executor.faults).toBe(1);
    expect(scene.command()).toEqual(['v1 #2', 'v1 #2']);
    expect(scene.digests.size).toBe(1);
  });

  it.each([
    ['nothing', undefined],
    ['a promise', Promise.resolve(new Map())],
  ])('stays when migrate returns %s', (_, returned) => {
    const module = versionedProgram(1, 2);
    const application = { ...module.application, migrate: () => returned };
    const executor = new Executor({ module: { ...module, application }, clusterId: CLUSTER, codec: nobleCodec });
    const scene = new Scene(executor);
    scene.command();
    scene.activate(2);
    expect(scene.command()).toEqual(['v1 #2']);
    expect(executor.faults).toBe(1);
  });

  it('an activation that nobody can read is counted and changes nothing', () => {
    const scene = new Scene(executorOf(1, 2).executor);
    scene.log.add(KIND.activateVersion, { body: new Uint8Array([1, 2, 3]) });
    scene.apply();
    expect(scene.command()).toEqual(['v1 #1']);
  });
});

describe('a program that does not run the active version', () => {
  it('halts at the activation and at the first command of a log that it cannot begin, with its code', () => {
    const scene = new Scene(executorOf(1, 1).executor);
    expect(haltOf(() => scene.activate(2))).toBe('E_APP_VERSION');
    const tooNew = new Scene(executorOf(2, 3).executor);
    expect(haltOf(() => tooNew.command())).toBe('E_APP_VERSION');
  });

  it('refuses a snapshot of it, and names both versions and the way out', () => {
    const scene = new Scene(executorOf(1, 2).executor);
    scene.command();
    scene.activate(2);
    const [from] = scene.executors;
    const at = { index: from!.applied, chainHash: from!.appliedHash, digest: from!.digest };
    const sections = from!.snapshot().sections.collect();
    const { executor: old } = executorOf(1, 1);
    expect(() => old.restore(at, sections)).toThrow(
      /E_APP_VERSION: the snapshot at 3 is of version 2 .* this program runs version 1; .* start a program that runs version 2/,
    );
    expect(old.applied).toBe(-1);
    const { executor: newer } = executorOf(2, 3);
    newer.restore(at, sections);
    expect(newer.versions.active).toBe(2);
    expect(newer.snapshot().sections.collect()).toEqual(sections);
  });

  it('a snapshot of a log that nothing was executed of is of no version', () => {
    const scene = new Scene(executorOf(1, 1).executor);
    const [from] = scene.executors;
    const at = { index: from!.applied, chainHash: from!.appliedHash, digest: from!.digest };
    const { executor } = executorOf(2, 2);
    executor.restore(at, from!.snapshot().sections.collect());
    expect(executor.versions.active).toBe(0);
  });
});
