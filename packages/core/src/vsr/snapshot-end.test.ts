/** A replica that restarts with a log that is nothing but a snapshot: what that says of its last frame is enough to go on. */
import { expect, it } from 'vitest';
import { nobleCodec } from '../engine/codec/noble.ts';
import { NONE } from '../engine/commit-index.ts';
import { FRAME_HEADER_BYTES } from '../engine/constants.ts';
import { HEADER_RECORD_BYTES, HeaderSuffix } from '../engine/header-suffix.ts';
import type { RecoveredLog } from '../engine/log-contract.ts';
import { SOUND } from '../policy.ts';
import { elected, LAB_CONFIG, primaryId, voteOf } from './testing/lab.ts';
import { VsrNode } from './node.ts';

it.each(['hears of a view that begins there', 'has stored the vote for a view'])(
  'it can be primary at once where the log of record ends with the snapshot, when it %s: block time goes on from there',
  (how) => {
    const lab = elected(3);
    const primary = primaryId(lab);
    for (const text of ['a', 'b']) lab.submit(primary, text);
    lab.run(10);
    const { end, endHash, view, ring, primaryOf, members } = lab.r(primary).node.state;
    const [other, id] = [1, 2].map((ahead) => primaryOf.call({ members }, view + ahead)) as [number, number];
    const headers = ring.all();
    // Of the last frame recovery knows the chain hash only.
    const bytes = new Uint8Array(HEADER_RECORD_BYTES);
    bytes.set(endHash, FRAME_HEADER_BYTES);
    const ownHeaders = new HeaderSuffix(end, bytes);
    const hears = how.startsWith('hears');
    const manifest = { ...lab.r(id).manifest, view: hears ? view : view + 2, logView: view, headers };
    const log: RecoveredLog = {
      outcome: 'clean',
      manifest,
      first: end + 1,
      end,
      endHash,
      faulty: [],
      head: end,
      headHash: endHash,
      promised: end,
      connected: true,
      recoveringHead: false,
      headers: ownHeaders,
      ownHeaders,
      timeLow: 0,
      timeHigh: 0,
      notes: [],
    };
    const node = new VsrNode({
      config: { ...LAB_CONFIG, seed: 5 },
      codec: nobleCodec,
      sessions: {
        lookup: () => ({ kind: 'next' }),
        nextRequest: () => 1,
        digestAt: () => null,
        versions: { oldest: 1, newest: 1, active: 1 },
        replacement: () => null,
      },
      policy: SOUND,
      log,
      applied: end,
      appliedHash: endHash,
      appliedHeader: headers.header(end)!.slice(),
      payloadMax: 10_000,
    });
    const stored = (): void => {
      for (const output of node.takeOutputs())
        if (output.type === 'install' || output.type === 'save')
          node.step({ type: 'stored', token: output.token }, 0, 0);
    };
    node.start(log);
    stored();
    const { generation, incarnations } = manifest;
    const about = { head: end, headHash: endHash, commit: end, headers, generation, incarnations };
    const began = {
      type: 'startView',
      view: view + 1,
      logView: view,
      base: end,
      nonce: 0,
      acked: NONE,
      ...about,
    } as const;
    if (hears) node.step({ type: 'message', from: other, message: began }, 0, 0);
    stored();
    const logView = hears ? view + 1 : view;
    const message = { ...voteOf(lab, other), ...about, view: view + 2, logView, present: end, promised: end };
    node.step({ type: 'message', from: other, message }, 0, 0);
    stored();
    stored();
    expect(node.state).toMatchObject({ view: view + 2, status: 'normal', end: end + 1 });
    expect(node.state.ring.hash(end)).toEqual(endHash);
  },
);
