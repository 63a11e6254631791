import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { hostAllowed, readCookie, sameOrigin } from './guard.ts';
import { isSession, issueSession, SESSION_MS, tradeLoginToken } from './session.ts';

const SECRET = 'a secret of enough characters';
const NOW = 1_800_000_000_000;
let nonces = 0;

function token(payload: object, secret = SECRET): string {
  const text = Buffer.from(JSON.stringify(payload)).toString('base64url');
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}
const fresh = () => ({ exp: NOW + 1000, nonce: `n${++nonces}` });

test('a login token is good once', () => {
  const one = token(fresh());
  expect(tradeLoginToken(SECRET, one, NOW)).toBe('ok');
  expect(tradeLoginToken(SECRET, one, NOW)).toBe('used');
});

test('expired, foreign, changed and malformed tokens are refused', () => {
  expect(tradeLoginToken(SECRET, token({ ...fresh(), exp: NOW }), NOW)).toBe('expired');
  expect(tradeLoginToken(SECRET, token(fresh(), 'another secret, as long'), NOW)).toBe('invalid');
  const [payload, mac] = token(fresh()).split('.') as [string, string];
  const bad = [
    `${payload.slice(0, -2)}AA.${mac}`,
    `${payload}.`,
    payload,
    `${payload}.${mac}.x`,
    '',
    'x'.repeat(5000),
    token([]),
  ];
  for (const one of bad) expect(tradeLoginToken(SECRET, one, NOW)).toBe('invalid');
});

test('a session cookie holds until it expires, and is no login token, nor the other way round', () => {
  const cookie = issueSession(SECRET, NOW);
  expect(isSession(SECRET, cookie, NOW + SESSION_MS - 1)).toBe(true);
  expect(isSession(SECRET, cookie, NOW + SESSION_MS)).toBe(false);
  expect(isSession('another secret, as long', cookie, NOW)).toBe(false);
  expect(isSession(SECRET, token(fresh()), NOW)).toBe(false);
  expect(tradeLoginToken(SECRET, cookie, NOW)).toBe('invalid');
  expect(isSession(SECRET, undefined, NOW)).toBe(false);
});

test.each([
  ['127.0.0.1:4000', true],
  ['localhost', true],
  ['LOCALHOST:1', true],
  ['[::1]:4000', true],
  ['ops.example:4000', true],
  ['evil.example', false],
  ['127.0.0.1.evil.example', false],
  ['', false],
])('host %s', (host, allowed) => {
  expect(hostAllowed(host, ['ops.example'])).toBe(allowed);
});

test.each([
  [{}, false, true],
  [{}, true, false],
  [{ 'sec-fetch-site': 'same-origin' }, true, true],
  [{ 'sec-fetch-site': 'none' }, false, true],
  [{ 'sec-fetch-site': 'none' }, true, false],
  [{ 'sec-fetch-site': 'same-site' }, false, false],
  [{ 'sec-fetch-site': 'cross-site' }, false, false],
  [{ origin: 'http://127.0.0.1:4000' }, true, true],
  [{ origin: 'http://127.0.0.1:4001' }, true, false],
  [{ origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' }, true, false],
  [{ origin: 'null' }, true, false],
])('origin %j, strict %s', (headers, strict, allowed) => {
  expect(sameOrigin(new Headers({ host: '127.0.0.1:4000', ...headers }), strict)).toBe(allowed);
});

test('cookies are found by their whole name', () => {
  const headers = new Headers({ cookie: 'xa=1; a=2; b=3=4' });
  expect(readCookie(headers, 'a')).toBe('2');
  expect(readCookie(headers, 'b')).toBe('3=4');
  expect(readCookie(headers, 'c')).toBeUndefined();
});
