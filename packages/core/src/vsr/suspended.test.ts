/** A machine that is suspended: its monotonic clock stands still, and the others go on without it. */
import { expect, it } from 'vitest';
import { VsrAuthority } from '../kernel/authority.ts';
import { elected, primaryId } from './testing/lab.ts';

const WINDOW_MS = 200;

it('a primary that was suspended runs no effect when it wakes up: a newer one may have run it meanwhile', () => {
  const lab = elected(3);
  const { node } = lab.r(primaryId(lab));
  lab.run(60);
  let { monotonicMs, wallMs } = node.state;
  const authority = new VsrAuthority(() => node.authorityFacts(monotonicMs, wallMs), WINDOW_MS);
  const refused = (): unknown => {
    const said = authority.mayRun(-1);
    return said.ok ? null : said.why;
  };
  expect(refused()).toBeNull();
  // The process goes on where it stopped; only the wall clock knows.
  monotonicMs += 1;
  wallMs += 60_000;
  expect(refused()).toBe('no-quorum-contact');
});

it('a wall clock that is set forward does not make a new primary wait less for the effects of the old one to end', () => {
  const lab = elected(3);
  const old = primaryId(lab);
  lab.crash(old);
  for (let i = 0; i < 400 && !lab.replicas.some((r) => r.up && r.node.state.serving); i++) lab.run(1);
  const id = primaryId(lab);
  const { node } = lab.r(id);
  lab.skewMs.set(id, 60_000);
  lab.run(5);
  const { monotonicMs, wallMs } = node.state;
  const authority = new VsrAuthority(() => node.authorityFacts(monotonicMs, wallMs), WINDOW_MS);
  expect(authority.mayRun(-1)).toEqual({ ok: false, why: 'new-primary' });
});
