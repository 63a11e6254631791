/**
 * Two calls of etcd's v3 API over node:http2, written out: a unary gRPC call is a POST with `00 ++ length u32 big-endian ++ protobuf`, answered with the same
 * and a trailer `grpc-status`. Nothing a benchmark would have to depend on.
 */
import { connect, type ClientHttp2Session } from 'node:http2';

const HEAD_BYTES = 5;
const OK = '0';

export interface EtcdStatus {
  readonly memberId: bigint;
  readonly leader: bigint;
}

/** PutRequest {1: key, 2: value}, framed. `key` and `value` say where they stand, to be written anew for each call. */
export function putFrame(keyBytes: number, valueBytes: number): { bytes: Buffer; key: number; value: number } {
  const length = 2 + keyBytes + 1 + varintBytes(valueBytes) + valueBytes;
  const bytes = Buffer.alloc(HEAD_BYTES + length, 0x78);
  bytes[0] = 0;
  bytes.writeUInt32BE(length, 1);
  bytes[5] = 0x0a;
  bytes[6] = keyBytes;
  let at = 7 + keyBytes;
  bytes[at++] = 0x12;
  for (let rest = valueBytes; ; rest >>>= 7) {
    bytes[at++] = rest >= 0x80 ? (rest & 0x7f) | 0x80 : rest;
    if (rest < 0x80) break;
  }
  return { bytes, key: 7, value: at };
}

function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : 3;
}

export class EtcdConnection {
  private readonly session: ClientHttp2Session;

  constructor(port: number) {
    this.session = connect(`http://127.0.0.1:${port}`);
    this.session.on('error', () => undefined);
  }

  put(frame: Buffer, done: (problem: string | null) => void): void {
    this.call('/etcdserverpb.KV/Put', frame, (problem) => done(problem));
  }

  async status(): Promise<EtcdStatus> {
    return await new Promise((resolve, reject) => {
      this.call('/etcdserverpb.Maintenance/Status', Buffer.alloc(HEAD_BYTES), (problem, answer) => {
        if (problem !== null) return reject(new Error(problem));
        const fields = decode(answer.subarray(HEAD_BYTES));
        const header = decode(fields.get(1) as Buffer);
        resolve({ memberId: header.get(2) as bigint, leader: (fields.get(4) as bigint | undefined) ?? 0n });
      });
    });
  }

  close(): void {
    this.session.destroy();
  }

  private call(path: string, frame: Buffer, done: (problem: string | null, answer: Buffer) => void): void {
    const stream = this.session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks: Buffer[] = [];
    let status: string | null = null;
    let problem: string | null = null;
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('response', (headers) => (status = (headers['grpc-status'] as string | undefined) ?? status));
    stream.on('trailers', (headers) => (status = (headers['grpc-status'] as string | undefined) ?? status));
    stream.on('error', (error) => (problem = error.message));
    stream.on('close', () => {
      done(problem ?? (status === OK ? null : `grpc-status ${status}`), Buffer.concat(chunks));
    });
    stream.end(frame);
  }
}

/** Fields of a protobuf message by number: varints as bigint, blocks as bytes; the last of each number. */
function decode(bytes: Buffer): Map<number, bigint | Buffer> {
  const fields = new Map<number, bigint | Buffer>();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    if (tag % 8 === 0) fields.set(tag >> 3, varint());
    else if (tag % 8 === 2) {
      const length = Number(varint());
      fields.set(tag >> 3, bytes.subarray(at, at + length));
      at += length;
    } else throw new Error(`unexpected wire type ${tag % 8}`);
  }
  return fields;
}
