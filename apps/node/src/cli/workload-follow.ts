/**
 * Follows the log of each replica while a long load runs: what a replica compacts away before the judgement has been read by then. The frames are kept in a
 * file a replica, so that the time and the memory of the run do not bound its length.
 *
 * Invariants: only committed, verified frames are kept, in order; a log that is not far behind is left alone, so that a short run is not disturbed; the
 * newest entries are left for the end, so that what is read of each log then ends at the newest acknowledged one.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromJson } from '@chronon/core/engine/commit-index';
import { FRAME_HEADER_BYTES } from '@chronon/core/engine/constants';
import { frame } from '@chronon/core/engine/frame';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { LogSource, type OnFrame } from './log-source.ts';
import { statusOf, type Target } from './target.ts';

/** A log is read on when so many committed entries are unread. */
const BEHIND_ENTRIES = 20_000;
/** Committed entries that are left unread. */
const LEFT_ENTRIES = 5000;
const POLL_MS = 500;
/** Frames gathered before they go to the file, bytes. */
const GATHER_BYTES = 1024 * 1024;

/** Committed frames of one replica, in a file. */
class Spool {
  readonly source: LogSource;
  private readonly fd: number;
  private gathered: Buffer[] = [];
  private gatheredBytes = 0;
  private written = 0;

  constructor(path: string, source: (keep: OnFrame) => LogSource) {
    this.fd = openSync(path, 'wx+', 0o600);
    this.source = source((bytes, at) => this.keep(Buffer.from(bytes.subarray(at, at + frame.size(bytes, at)))));
  }

  /** Hands every frame to `onFrame`, oldest first. */
  replay(onFrame: OnFrame): void {
    this.flush();
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    for (let at = 0, index = this.source.first; at < this.written; index++) {
      readSync(this.fd, header, 0, header.length, at);
      const bytes = Buffer.alloc(frame.size(header, 0));
      readSync(this.fd, bytes, 0, bytes.length, at);
      onFrame(bytes, 0, index);
      at += bytes.length;
    }
  }

  close(): void {
    closeSync(this.fd);
  }

  private keep(bytes: Buffer): void {
    this.gathered.push(bytes);
    this.gatheredBytes += bytes.length;
    if (this.gatheredBytes >= GATHER_BYTES) this.flush();
  }

  private flush(): void {
    const bytes = Buffer.concat(this.gathered);
    this.gathered = [];
    this.gatheredBytes = 0;
    for (let done = 0; done < bytes.length; ) {
      const count = writeSync(this.fd, bytes, done, bytes.length - done, this.written);
      done += count;
      this.written += count;
    }
  }
}

export class LogFollower {
  private readonly target: Target;
  private readonly codec: FrameCodec;
  private readonly from: number;
  private readonly directory = mkdtempSync(join(tmpdir(), 'chronon-follow-'));
  private readonly spools = new Map<number, Spool>();
  private running: Promise<void> | null = null;
  private stopped = false;

  /** Follows every replica's log for the entries from `from` on. */
  constructor(target: Target, codec: FrameCodec, from: number) {
    this.target = target;
    this.codec = codec;
    this.from = from;
  }

  start(): void {
    this.running = this.follow();
  }

  /** Ends the following; what was read stays for `read`. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  /** Reads a replica's log through `through` and hands over all of it. Returns the reader, and why it ended early or null. */
  async read(
    replica: { readonly id: number; readonly url: string },
    through: number,
    onFrame: OnFrame,
  ): Promise<{ readonly source: LogSource; readonly problem: string | null }> {
    const spool = this.spoolOf(replica);
    const problem = await spool.source.readThrough(through);
    spool.replay((bytes, at, index) => {
      if (index <= through) onFrame(bytes, at, index);
    });
    return { source: spool.source, problem };
  }

  /** Forgets everything. */
  close(): void {
    this.stopped = true;
    for (const spool of this.spools.values()) spool.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  private spoolOf({ id, url }: { readonly id: number; readonly url: string }): Spool {
    let spool = this.spools.get(id);
    if (spool === undefined) {
      const api = { url, token: this.target.token };
      spool = new Spool(join(this.directory, `r${id}`), (keep) => new LogSource(api, this.codec, this.from, keep));
      this.spools.set(id, spool);
    }
    return spool;
  }

  private async follow(): Promise<void> {
    while (!this.stopped) {
      const { status } = await statusOf(this.target);
      for (const replica of status?.replicas ?? []) {
        if (this.stopped || replica.status === 'unreachable') continue;
        const spool = this.spoolOf(replica);
        const commit = fromJson(replica.commit);
        if (commit - Math.max(spool.source.index, this.from) < BEHIND_ENTRIES) continue;
        // A replica that dies under the load is read on when it is back; what stays unread is told by `read`.
        await spool.source.readThrough(commit - LEFT_ENTRIES).catch(() => null);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}
