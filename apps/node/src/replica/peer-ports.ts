/** The peer port of a replica process: for its first boot, and for its life. */
import { randomBytes } from 'node:crypto';
import { decodeMessage, encodeMessage } from '@chronon/core/vsr/codec';
import type { Identity } from '@chronon/core/vsr/identity';
import type { Message } from '@chronon/core/vsr/messages';
import { buildInfo } from '../transport/handshake.ts';
import { PeerNetwork } from '../transport/peers.ts';
import { selfOf } from './config.ts';
import type { Ground, RunOptions } from './ground.ts';

export interface PeerOwner {
  /** Null: no cluster yet. */
  readonly clusterId: Uint8Array | null;
  /** The table of incarnations, for each handshake. */
  identity(): Identity;
  receive(from: number, message: Message): void;
  /** The table of a peer that shook hands. */
  onIdentity?(from: number, table: Identity): void;
}

/** Binds the peer port and dials. */
export async function listenToPeers(ground: Ground, owner: PeerOwner): Promise<PeerNetwork<Message>> {
  const { file, log, codec, leases, halt, app } = ground;
  const self = selfOf(file);
  const network = new PeerNetwork<Message>({
    identity: {
      self: file.id,
      members: file.members.map((member) => member.id),
      clusterId: owner.clusterId,
      table: () => owner.identity(),
      runNonce: randomBytes(16),
      secret: Buffer.from(file.peerSecret, 'utf8'),
      info: JSON.stringify(buildInfo(app.name, app.version)),
    },
    peers: file.members
      .filter((member) => member !== self)
      .map(({ id, host, peerPort }) => ({ id, host, port: peerPort })),
    bindHost: file.bindHost,
    port: self.peerPort,
    crc32c: (bytes, start, end) => codec.crc32c(bytes, start, end),
    codec: {
      encode: encodeMessage,
      decode: (bytes) => decodeMessage(bytes, codec),
      isData: ({ type }) => type === 'prepare' || type === 'newState',
      isBoot: ({ type }) => type === 'boot',
    },
    log,
    random: Math.random,
    receive: (from, message) => owner.receive(from, message),
    onIdentity: (from, table) => owner.onIdentity?.(from, table),
    isCut: (from, to) => leases.isCut(from, to),
  });
  await bind('peer', self.peerPort, network, halt);
  return network;
}

/** Binds a port, or halts. */
export async function bind(
  what: string,
  port: number,
  server: { listen(): Promise<void> },
  halt: RunOptions['halt'],
): Promise<void> {
  try {
    await server.listen();
  } catch (error) {
    halt('E_PORT', `the ${what} port ${port} cannot be bound: ${(error as Error).message}`);
  }
}
