/**
 * What the disk contract drives a disk with: calls as promises that check how their callback came, and a failure's code.
 */
import { expect } from 'vitest';
import { DiskFailure, type DiskError, type DiskFile, type VirtualDisk } from '@chronon/core/engine/virtual-disk';

export interface DiskContractSubject {
  readonly disk: VirtualDisk;
  /** Another disk over the same directory, after the first was closed. */
  reopen(): VirtualDisk;
  /** Simulated disks: lets the next completions happen. Real ones need none. */
  pump?(): void;
  dispose(): void;
}

export interface DiskContractFactory {
  readonly name: string;
  make(): DiskContractSubject;
}

/** Code of the DiskFailure that a blocking call throws; 'no failure' when it does not. */
export function failureOf(run: () => unknown): string {
  try {
    run();
  } catch (cause) {
    expect(cause).toBeInstanceOf(DiskFailure);
    return (cause as DiskFailure).code;
  }
  return 'no failure';
}

/** One disk under test at a time. */
export class DiskHarness {
  #subject: DiskContractSubject | null = null;

  start(factory: DiskContractFactory): void {
    this.#subject = factory.make();
  }

  stop(): void {
    this.#subject?.dispose();
    this.#subject = null;
  }

  get disk(): VirtualDisk {
    return this.#subject!.disk;
  }

  reopen(): VirtualDisk {
    return this.#subject!.reopen();
  }

  /** Runs one asynchronous call; checks that its callback comes later, and once. */
  async call<A extends unknown[]>(start: (callback: (...args: A) => void) => void): Promise<A> {
    let calls = 0;
    let result: A | null = null;
    let inside = true;
    let over = false;
    let end: () => void = () => {};
    const ended = new Promise<void>((resolve) => (end = resolve));
    // What it throws must not leave the loop below without an end.
    start((...args) => {
      expect(inside, 'a callback never runs inside its call').toBe(false);
      calls++;
      over = true;
      result = args;
      end();
    });
    inside = false;
    const pump = this.#subject?.pump?.bind(this.#subject);
    while (pump !== undefined && !over) {
      pump();
      await Promise.resolve();
    }
    await ended;
    expect(calls).toBe(1);
    return result!;
  }

  async write(file: DiskFile, at: number, bytes: Uint8Array, durable = true): Promise<DiskError | null> {
    return (await this.call<[DiskError | null]>((done) => file.write(at, bytes, durable, done)))[0];
  }

  async barrier(file: DiskFile): Promise<DiskError | null> {
    return (await this.call<[DiskError | null]>((done) => file.barrier(done)))[0];
  }

  async read(file: DiskFile, at: number, length: number): Promise<Uint8Array> {
    const [error, bytes] = await this.call<[DiskError | null, Uint8Array | null]>((done) =>
      file.read(at, length, done),
    );
    expect(error).toBeNull();
    return bytes!;
  }
}
