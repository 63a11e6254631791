/**
 * ConnectionCaps: how many connections one address may hold at a port, so that a single machine cannot take all the room there is.
 *
 * Invariants: what was admitted is released exactly once; an address without connections takes no memory.
 */
import type { Server, Socket } from 'node:net';

export class ConnectionCaps {
  private readonly perAddressMax: number;
  private readonly held = new Map<string, number>();

  constructor(perAddressMax: number) {
    this.perAddressMax = perAddressMax;
  }

  /** Counts the connection until it closes, or until the returned function is called; null: the address holds its share already. */
  admit(socket: Socket): (() => void) | null {
    const address = socket.remoteAddress ?? '';
    const count = this.held.get(address) ?? 0;
    if (count >= this.perAddressMax) return null;
    this.held.set(address, count + 1);
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      const left = (this.held.get(address) ?? 1) - 1;
      if (left > 0) this.held.set(address, left);
      else this.held.delete(address);
    };
    socket.once('close', release);
    return release;
  }
}

/** Bounds the connections of a server, all together and of one address; `onRefused` hears of each that is turned away. */
export function limitConnections(
  server: Server,
  max: number,
  perAddressMax: number,
  onRefused: () => void = () => undefined,
): void {
  const caps = new ConnectionCaps(perAddressMax);
  server.maxConnections = max;
  server.on('drop', onRefused);
  server.prependListener('connection', (socket: Socket) => {
    if (caps.admit(socket) !== null) return;
    onRefused();
    socket.destroy();
  });
}
