/**
 * What waits for one peer's socket. Two lanes: control messages (heartbeats, votes, acknowledgements) leave before data (frames), so that a
 * catch-up never delays a heartbeat.
 *
 * Invariants: bytes handed to the socket and queued here stay under the limits; above them the newest message is dropped and counted: the
 * protocol re-sends what matters.
 */
import type { Socket } from 'node:net';
import type { WireFrame } from './framing.ts';

/** Bytes the socket itself may hold before the lanes fill. */
const SOCKET_BYTES_MAX = 1024 * 1024;
/** Bytes of frames that may wait, in bytes. */
export const DATA_LANE_BYTES_MAX = 32 * 1024 * 1024;
/** Bytes of control messages that may wait. */
export const CONTROL_LANE_BYTES_MAX = 8 * 1024 * 1024;

interface Lane {
  readonly frames: WireFrame[];
  bytes: number;
  readonly bytesMax: number;
}

export class SendQueue {
  /** Messages dropped since the link opened. */
  dropped = 0;
  private readonly socket: Socket;
  private readonly control: Lane = { frames: [], bytes: 0, bytesMax: CONTROL_LANE_BYTES_MAX };
  private readonly data: Lane = { frames: [], bytes: 0, bytesMax: DATA_LANE_BYTES_MAX };
  private corked = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('drain', () => {
      this.pump();
    });
  }

  get queuedBytes(): number {
    return this.control.bytes + this.data.bytes + this.socket.writableLength;
  }

  /** Sends now or later; false when it was dropped. */
  send(frame: WireFrame, isData: boolean): boolean {
    const lane = isData ? this.data : this.control;
    if (this.control.bytes + this.data.bytes === 0 && this.socket.writableLength < SOCKET_BYTES_MAX) {
      this.write(frame);
      return true;
    }
    if (lane.bytes + frame.bytes > lane.bytesMax) {
      this.dropped++;
      return false;
    }
    lane.frames.push(frame);
    lane.bytes += frame.bytes;
    this.pump();
    return true;
  }

  private pump(): void {
    while (this.socket.writableLength < SOCKET_BYTES_MAX) {
      const lane = this.control.frames.length > 0 ? this.control : this.data;
      const frame = lane.frames.shift();
      if (frame === undefined) return;
      lane.bytes -= frame.bytes;
      this.write(frame);
    }
  }

  /** Everything written in one turn of the loop goes out as one writev. */
  private write(frame: WireFrame): void {
    if (this.socket.destroyed) return;
    if (!this.corked) {
      this.corked = true;
      this.socket.cork();
      process.nextTick(() => {
        this.corked = false;
        this.socket.uncork();
      });
    }
    for (const chunk of frame.chunks) this.socket.write(chunk);
  }
}
