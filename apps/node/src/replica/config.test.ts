import { describe, expect, it } from 'vitest';
import { apiUrl, clientUrl, coreConfig, loadConfig, parseConfig, type ReplicaFileInput } from './config.ts';
import { EXIT_CODES, exitCodeOf, exitName, isRefusal } from './exit-codes.ts';

const good: ReplicaFileInput = {
  id: 1,
  members: [{ id: 1, host: '127.0.0.1', peerPort: 7012, apiPort: 7010, clientPort: 7011 }],
  clusterId: '00112233445566778899aabbccddeeff',
  dataDir: '/tmp/x/r1',
  ledger: '/tmp/x/effects/ledger.jsonl',
  peerSecret: 'sixteen characters',
  tuning: { tickMs: 5 },
};

describe('configuration', () => {
  it('takes a good one, with defaults and overrides', () => {
    const parsed = loadConfig([], { CHRONON_REPLICA_CONFIG: JSON.stringify(good) });
    if ('problem' in parsed) throw new Error(parsed.problem);
    expect(parsed).toMatchObject({ app: 'bank', disk: 'auto', enableChaos: false, bindHost: '127.0.0.1' });
    expect(coreConfig(parsed, 3)).toMatchObject({ tickMs: 5, heartbeatTicks: 5, replicaId: 1, seed: 3 });
    expect(apiUrl(parsed.members[0]!)).toBe('http://127.0.0.1:7010');
    expect(clientUrl({ ...parsed.members[0]!, host: '::1' })).toBe('ws://[::1]:7011/');
  });

  it.each([
    ['no JSON', '{', 'is not JSON'],
    ['an unknown key', JSON.stringify({ ...good, colour: 1 }), 'colour'],
    [
      'a wrong member order',
      JSON.stringify({ ...good, members: [{ ...good.members[0]!, id: 2 }] }),
      'members are r1..rn',
    ],
    ['a short secret', JSON.stringify({ ...good, peerSecret: 'short' }), 'peerSecret'],
    [
      'a format for an unknown environment',
      JSON.stringify({ ...good, format: { environment: 'staging' } }),
      'format.environment',
    ],
    [
      'a token given twice',
      JSON.stringify({
        ...good,
        tokens: [{ name: 'a', role: 'viewer', token: 'x'.repeat(8), sha256: '0'.repeat(64) }],
      }),
      'tokens.0',
    ],
  ])('names the path of %s', (_, text, message) => {
    const parsed = parseConfig(text, 'FILE');
    expect('problem' in parsed && parsed.problem).toContain(message);
  });

  it('takes a first boot without a cluster id: the members make it together', () => {
    const parsed = parseConfig(JSON.stringify({ ...good, clusterId: null, format: { environment: 'dev' } }), 'FILE');
    expect(parsed).toMatchObject({ clusterId: null, format: { environment: 'dev' } });
  });

  it('says when there is none', () => {
    expect(loadConfig([], {})).toHaveProperty('problem');
    expect(loadConfig(['--config', '/does/not/exist'], {})).toHaveProperty('problem');
  });
});

describe('exit codes', () => {
  it('are distinct, and refusals are told from the rest', () => {
    const codes = Object.values(EXIT_CODES);
    expect(new Set(codes).size).toBe(codes.length);
    expect(isRefusal(EXIT_CODES.E_CLUSTER_ID) && isRefusal(EXIT_CODES.E_CONFIG)).toBe(true);
    expect(isRefusal(EXIT_CODES.OK) || isRefusal(EXIT_CODES.E_FSYNC) || isRefusal(1)).toBe(false);
    expect(exitCodeOf('E_NEVER_HEARD_OF')).toBe(EXIT_CODES.E_ASSERT);
    expect(exitName(20)).toBe('E_LOCKED');
  });
});
