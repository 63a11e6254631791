/**
 * What a replica's directory is before it has a log: the boot file, and the way from a blank directory to a formatted one (vsr/first-boot.ts). The daemon and the
 * simulator drive it like a Replica, until `ready`.
 *
 * Invariants: the boot id is written and barriered before the first message; a directory that holds a manifest or a log is never booted; the boot file is gone, durably,
 * before a formatted replica says anything, so that a directory that loses its manifest later is not taken for one that has promised nothing.
 */
import { blankManifest } from './engine/blank-manifest.ts';
import { crc32c } from './engine/codec/crc32c.ts';
import { BLOCK_BYTES, HASH_BYTES } from './engine/constants.ts';
import type { FrameCodec } from './engine/frame-codec.ts';
import { readU32, writeU32 } from './engine/frame.ts';
import type { Environment } from './engine/log-contract.ts';
import { LogStore } from './engine/log-store.ts';
import { MANIFEST_PATHS } from './engine/manifest.ts';
import { LOG_DIRECTORY, segmentBase } from './engine/segment.ts';
import { DiskFailure, type VirtualDisk } from './engine/virtual-disk.ts';
import { FirstBoot } from './vsr/first-boot.ts';
import type { Message } from './vsr/messages.ts';

export const BOOT_PATH = 'boot';

/** "BOOT", little-endian. */
const MAGIC = 0x544f_4f42;
const VERSION = 1;
const AT = { magic: 0, version: 4, bootId: 8, join: 24, checksum: 28 } as const;
const RECORD_BYTES = 32;

/** What is said before there is a log. */
export interface BootFile {
  readonly bootId: Uint8Array;
  /** Written by `chronon recover`: this directory takes the place of a lost one. */
  readonly join: boolean;
}

export interface BootPorts {
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  send(to: number, message: Message): void;
  /** Sixteen random bytes. */
  random16(): Uint8Array;
}

export interface BootConfig {
  readonly replicaId: number;
  readonly members: readonly number[];
  readonly environment: Environment;
  /** Ticks between two rounds of messages. */
  readonly everyTicks: number;
}

export interface BootProblem {
  readonly code: string;
  readonly message: string;
}

/** Starts the boot of a blank directory; null for one that has a manifest or a log. Throws DiskFailure. Blocking. */
export function openBoot(config: BootConfig, ports: BootPorts): ReplicaBoot | null {
  const { disk } = ports;
  const names = disk.list('');
  const formatted = names.some((name) => (MANIFEST_PATHS as readonly string[]).includes(name));
  if (formatted && names.includes(BOOT_PATH)) removeBootFile(disk);
  if (formatted || disk.list(LOG_DIRECTORY).some((name) => segmentBase(name) !== null)) return null;
  const found = names.includes(BOOT_PATH) ? readBootFile(disk) : null;
  const file = found ?? { bootId: ports.random16(), join: false };
  // Also what was read: it may only be in a cache.
  writeBootFile(disk, file);
  return new ReplicaBoot(config, ports, file);
}

/** Written again and barriered. */
export function writeBootFile(disk: VirtualDisk, value: BootFile): void {
  const block = new Uint8Array(BLOCK_BYTES);
  writeU32(block, AT.magic, MAGIC);
  writeU32(block, AT.version, VERSION);
  block.set(value.bootId, AT.bootId);
  writeU32(block, AT.join, value.join ? 1 : 0);
  writeU32(block, AT.checksum, crc32c(block, 0, AT.checksum));
  const file = disk.open(BOOT_PATH, { create: true });
  file.writeSync(0, block);
  file.barrierSync();
  file.close();
  disk.syncDirectorySync('');
}

/** Null for one that a crash left unfinished: it was never sent. */
function readBootFile(disk: VirtualDisk): BootFile | null {
  const file = disk.open(BOOT_PATH);
  const bytes = new Uint8Array(RECORD_BYTES);
  const got = file.readSync(0, bytes);
  file.close();
  return decodeBootFile(bytes.subarray(0, got));
}

/** Null for bytes that are no whole boot file. */
export function decodeBootFile(bytes: Uint8Array): BootFile | null {
  if (bytes.length < RECORD_BYTES || readU32(bytes, AT.magic) !== MAGIC || readU32(bytes, AT.version) !== VERSION)
    return null;
  if (readU32(bytes, AT.checksum) !== crc32c(bytes, 0, AT.checksum)) return null;
  return { bootId: bytes.slice(AT.bootId, AT.bootId + HASH_BYTES), join: readU32(bytes, AT.join) === 1 };
}

function removeBootFile(disk: VirtualDisk): void {
  disk.unlinkSync(BOOT_PATH);
  disk.syncDirectorySync('');
}

export class ReplicaBoot {
  /** True once the directory is formatted: open the replica. */
  ready = false;
  /** Why the replica must stop; null while it need not. */
  problem: BootProblem | null = null;
  private readonly config: BootConfig;
  private readonly ports: BootPorts;
  private readonly file: BootFile;
  private readonly boot: FirstBoot;

  constructor(config: BootConfig, ports: BootPorts, file: BootFile) {
    this.config = config;
    this.ports = ports;
    this.file = file;
    this.boot = new FirstBoot({
      id: config.replicaId,
      members: config.members,
      bootId: file.bootId,
      join: file.join,
      environment: config.environment,
      codec: ports.codec,
      everyTicks: config.everyTicks,
    });
    this.drain();
  }

  tick(): void {
    this.boot.tick();
    this.drain();
  }

  receive(from: number, message: Message): void {
    if (message.type === 'boot') this.boot.receive(from, message);
    this.drain();
  }

  /** What it waits for, for the operator. */
  describe(): string {
    return this.boot.describe();
  }

  private drain(): void {
    for (const { to, message } of this.boot.takeOutputs()) this.ports.send(to, message);
    const { outcome } = this.boot;
    if (outcome === null || this.ready || this.problem !== null) return;
    if (outcome.kind === 'stop') {
      this.problem = { code: outcome.code, message: outcome.message };
      return;
    }
    const { clusterId, founders, environment, joins } = outcome;
    const facts = { clusterId, replicaId: this.config.replicaId, bootId: this.file.bootId, founders, environment };
    const manifest = blankManifest(joins === null ? facts : { ...facts, joins });
    try {
      const refusal = LogStore.format(this.ports.disk, this.ports.codec, manifest);
      if (refusal === null) removeBootFile(this.ports.disk);
      this.problem = refusal;
      this.ready = refusal === null;
    } catch (error) {
      if (!(error instanceof DiskFailure)) throw error;
      this.problem = { code: 'E_IO_WRITE', message: `the directory cannot be formatted: ${error.message}` };
    }
  }
}
