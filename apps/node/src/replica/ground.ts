/** What the parts of a replica process share while it starts. */
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import type { VirtualDisk } from '@chronon/core/engine/virtual-disk';
import type { ApplicationModule } from '@chronon/core/kernel/types';
import type { Message } from '@chronon/core/vsr/messages';
import type { DirectoryLock } from '@chronon/native/lock';
import type { Logger } from 'pino';
import type { EventRing } from '@chronon/core/replica-events';
import type { Gateway } from '../transport/gateway.ts';
import type { PeerNetwork } from '../transport/peers.ts';
import type { ReplicaFile } from './config.ts';
import type { Leases } from './leases.ts';

export interface RunOptions {
  readonly file: ReplicaFile;
  readonly log: Logger;
  /** Ends the process. */
  readonly halt: (code: string, message: string) => never;
}

/** What is there before the replica: everything that can be refused without touching a file. */
export interface Ground extends RunOptions {
  readonly app: ApplicationModule;
  readonly lock: DirectoryLock;
  readonly disk: VirtualDisk;
  readonly codec: FrameCodec;
  readonly events: EventRing;
  readonly leases: Leases;
  readonly notes: string[];
}

/** What carries the replica's messages; made after it, because it needs the cluster id of its manifest. */
export interface Outlets {
  peers: PeerNetwork<Message> | null;
  gateway: Gateway | null;
}
