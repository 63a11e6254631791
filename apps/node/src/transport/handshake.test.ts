import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkHello,
  checkTable,
  decodeHello,
  decodeReject,
  encodeHello,
  encodeReject,
  isReject,
  NO_CLUSTER,
  reject,
  type Hello,
} from './handshake.ts';

const clusterId = new Uint8Array(16).fill(3);
const hello: Hello = {
  versionMin: 1,
  versionMax: 1,
  clusterId,
  from: 3,
  to: 1,
  runNonce: new Uint8Array(16).fill(1),
  challenge: new Uint8Array(32).fill(2),
  table: { generation: 1, incarnations: [1, 1, 2] },
  info: '{"node":"20"}',
};
const table = { generation: 1, incarnations: [1, 1, 2] };
const expected = { clusterId, self: 1, members: [1, 2, 3], table, peer: null };

describe('hello', () => {
  it('survives the wire', () => {
    expect(decodeHello(encodeHello(hello))).toEqual(hello);
  });

  it('is decoded from any bytes without a throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(isReject(decodeHello(bytes))).toBe(true);
        expect(decodeReject(bytes).code).toBe('E_HANDSHAKE');
      }),
    );
    const good = encodeHello(hello);
    for (let length = 0; length < good.length; length++)
      expect(isReject(decodeHello(good.subarray(0, length)))).toBe(true);
  });

  it.each([
    ['another cluster', { clusterId: new Uint8Array(16).fill(9) }, 'E_CLUSTER_ID'],
    ['another addressee', { to: 2 }, 'E_REPLICA_ID'],
    ['no member', { from: 9 }, 'E_REPLICA_ID'],
    ['itself', { from: 1 }, 'E_REPLICA_ID'],
  ])('of %s is refused', (_, change, code) => {
    expect(checkHello({ ...hello, ...change }, expected)?.code).toBe(code);
  });

  it('of a good peer is taken; the one that was not dialled, or dials the wrong way, is not', () => {
    expect(checkHello(hello, expected)).toBeNull();
    expect(checkHello({ ...hello, from: 2 }, { ...expected, peer: 3 })?.code).toBe('E_REPLICA_ID');
    expect(checkHello({ ...hello, from: 1, to: 3 }, { ...expected, self: 3 })?.message).toContain(
      'the higher id dials',
    );
  });

  it.each([
    ['an incarnation that was replaced', { table: { generation: 1, incarnations: [1, 1, 1] } }, 'E_DUP_NODE'],
    ['a generation that is gone', { table: { generation: 0, incarnations: [1, 1, 2] } }, 'E_GENERATION'],
  ])('of %s is refused once it is proven', (_, change, code) => {
    expect(checkTable({ ...hello, ...change }, expected)?.code).toBe(code);
    expect(checkTable({ ...hello, ...change, clusterId: NO_CLUSTER }, expected)).toBeNull();
    expect(checkTable(hello, expected)).toBeNull();
  });

  it('of one that belongs to no cluster yet is taken: its link carries boot messages only', () => {
    expect(checkHello({ ...hello, clusterId: NO_CLUSTER }, expected)).toBeNull();
    expect(checkHello(hello, { ...expected, clusterId: NO_CLUSTER })).toBeNull();
  });

  it('of an unknown protocol version names both ranges', () => {
    const bytes = encodeHello({ ...hello, versionMin: 7, versionMax: 9 });
    expect(decodeHello(bytes)).toMatchObject({ code: 'E_VERSION', message: 'peer speaks 7..9, this replica 1..1' });
  });

  it('rejects survive the wire', () => {
    const value = reject('E_CLUSTER_ID', 'a and b');
    expect(decodeReject(encodeReject(value))).toEqual(value);
  });
});
