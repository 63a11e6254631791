/**
 * First boot of a replica process: while its directory has no log, it talks to the other members over the peer port about nothing but that (core, replica-boot.ts).
 *
 * Invariant: resolves only with a formatted directory; whatever stands against one ends in `halt`.
 */
import { randomBytes } from 'node:crypto';
import { type BootConfig, openBoot, type ReplicaBoot } from '@chronon/core/replica-boot';
import { DiskFailure } from '@chronon/core/engine/virtual-disk';
import { BOOT_PATH } from '@chronon/core/replica-boot';
import { DEFAULT_CONFIG } from '@chronon/core/replica-contract';
import type { Message } from '@chronon/core/vsr/messages';
import type { PeerNetwork } from '../transport/peers.ts';
import type { Ground } from './ground.ts';
import { listenToPeers } from './peer-ports.ts';

/** How often it says again what it waits for. */
const SAY_EVERY_MS = 10_000;

export async function firstBoot(ground: Ground): Promise<void> {
  const { file, disk, halt } = ground;
  // Only where it was asked for, or where `chronon recover` has prepared the directory: elsewhere an empty directory is a mistake, and opening it says so.
  if (file.format === null && !disk.list('').includes(BOOT_PATH)) return;
  let peers: PeerNetwork<Message> | null = null;
  const config: BootConfig = {
    replicaId: file.id,
    members: file.members.map(({ id }) => id),
    environment: file.format?.environment ?? 'dev',
    everyTicks: 2 * DEFAULT_CONFIG.heartbeatTicks,
  };
  let boot: ReplicaBoot | null;
  try {
    boot = openBoot(config, {
      disk,
      codec: ground.codec,
      send: (to, message) => peers?.send(to, message),
      random16: () => new Uint8Array(randomBytes(16)),
    });
  } catch (error) {
    if (error instanceof DiskFailure) return halt('E_IO_WRITE', `${file.dataDir}: ${error.message}`);
    throw error;
  }
  if (boot === null) return;
  const booting = boot;
  if (!booting.ready && booting.problem === null) {
    peers = await listenToPeers(ground, {
      clusterId: null,
      identity: () => ({ generation: 0, incarnations: file.members.map(() => 0) }),
      receive: (from, message) => booting.receive(from, message),
    });
    await waitFor(ground, booting);
    peers.close();
  }
  if (booting.problem !== null) halt(booting.problem.code, `${file.dataDir}: ${booting.problem.message}`);
}

async function waitFor(ground: Ground, boot: ReplicaBoot): Promise<void> {
  let said = '';
  let saidMs = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      boot.tick();
      const now = performance.now();
      const text = boot.describe();
      if (text !== said || now - saidMs >= SAY_EVERY_MS) {
        said = text;
        saidMs = now;
        ground.log.info({ event: 'boot' }, ground.events.add('boot', text).text);
      }
      if (!boot.ready && boot.problem === null) return;
      clearInterval(timer);
      resolve();
    }, DEFAULT_CONFIG.tickMs);
  });
}
