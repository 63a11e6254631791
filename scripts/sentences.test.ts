/**
 * Every sentence of docs/protocol.md that says never, only or before has a test that plays it, and this is which. A sentence that is new or was changed fails here until
 * its test is named; so does a test that is renamed or gone. The same for the defects of the Rust implementation, by number.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const CORE = 'packages/core/src';
const normal = `${CORE}/vsr/scripted-normal.test.ts`;
const views = `${CORE}/vsr/scripted-views.test.ts`;
const scripted = `${CORE}/vsr/scripted.test.ts`;
const change = `${CORE}/vsr/view-change.test.ts`;
const review = `${CORE}/vsr/review.test.ts`;
const node = `${CORE}/vsr/node.test.ts`;
const choose = `${CORE}/vsr/choose.test.ts`;
const joining = `${CORE}/vsr/join.test.ts`;
const catchUp = `${CORE}/vsr/catch-up.test.ts`;
const later = `${CORE}/vsr/later-views.test.ts`;
const recover = `${CORE}/vsr/recover.test.ts`;
const first = `${CORE}/vsr/first-boot.test.ts`;
const clock = `${CORE}/vsr/cluster-time.test.ts`;
const client = `${CORE}/vsr/client.test.ts`;
const disks = `${CORE}/chaos/scripted-disks.test.ts`;
const sessions = `${CORE}/chaos/session-rules.test.ts`;
const keeper = `${CORE}/replica-keeper.test.ts`;
const boot = `${CORE}/replica-boot.test.ts`;
const upgrades = `${CORE}/replica-versions.test.ts`;
const versions = `${CORE}/kernel/versions.test.ts`;
const keys = `${CORE}/kernel/idempotency.test.ts`;

/** How a sentence begins (in its section), and the tests that play it: the beginning of their names. */
type Row = readonly [sentence: string, ...tests: readonly (readonly [file: string, name: string])[]];

const ROWS: Readonly<Record<string, readonly Row[]>> = {
  'Core shape': [
    [
      'Time is ticks plus an injected wall clock used only by a primary',
      [normal, 'only the primary stamps'],
      [normal, 'safety never depends on clocks'],
    ],
  ],
  'Normal path': [
    [
      'Request -> session and pipeline lookup',
      [normal, 'a replication quorum and everything before committed'],
      [sessions, 'session and pipeline lookup come before admission'],
    ],
    ['The primary writes in parallel', [normal, 'the primary’s own vote counts only when its write is durable']],
    [
      'PrepareOk carries view',
      [scripted, 'a PrepareOk counts only in that view'],
      [normal, 'a PrepareOk is sent only from status normal'],
      [normal, 'a PrepareOk counts only at a primary in status normal'],
      [review, 'a PrepareOk is sent only if every frame is durable'],
      [normal, 'the primary infers nothing about an index below first'],
      [scripted, 'around a hole a replica sends two PrepareOks'],
    ],
    ['A batch closes on bytes', [normal, 'a batch never waits a fixed delay']],
    [
      'A backup that holds an entry with view_id v',
      [change, 'a backup that gets another frame of the view it holds'],
      [scripted, 'a backup acknowledges only what it has compared'],
    ],
  ],
  'View change': [
    [
      '**Starting**',
      [scripted, 'StartViewChange changes no durable state and needs a quorum before'],
      [node, 'a replica that can send but not hear'],
    ],
    ['**DoViewChange**', [scripted, '{view, headers} are stored before the DoViewChange is sent']],
    [
      'Each of the last P + 1 indexes',
      [choose, 'the chooser fills gaps from any vote'],
      [review, 'the chooser fills gaps from another vote'],
    ],
    [
      'Across a crash its view',
      [scripted, 'across a crash its view'],
      [scripted, 'a frame still being written is left out, never nacked'],
      [review, 'a damaged slot that was promised is never nacked'],
    ],
    [
      'Each carries the table of incarnations',
      [choose, 'votes of a lower incarnation are discarded before'],
      [choose, 'votes of a lower generation are discarded before'],
      [recover, 'a wiped replica with an old DoViewChange in flight'],
    ],
    [
      '**Choosing**',
      [views, 'only those with the highest log view define the suffix'],
      [choose, 'only votes of the highest log view'],
      [node, 'rust-01'],
    ],
    [
      'An index above commit is dropped only when',
      [views, 'an index above commit is dropped only when'],
      [views, 'an index above commit is dropped when'],
      [choose, 'an index above commit is dropped only when'],
    ],
    [
      '**Installing**',
      [disks, 'first stores {view, log view, headers}; only then is the log changed'],
      [scripted, 'a log view durable before the frames'],
      [node, 'a late duplicate StartView truncates nothing'],
    ],
    [
      'Where the own log ends below the headers',
      [joining, 'is not cut before a frame tells'],
      [joining, 'loses only what was given up, frame by frame'],
      [joining, 'stays whole before anybody gives a frame'],
      [joining, 'is cut where the new view began'],
      [joining, 'holds up its primary, too'],
    ],
    [
      'Only what a confirmed snapshot holds, and nobody has frames of any more',
      [joining, 'is cut above what is certainly committed when nobody has the frames'],
    ],
    [
      '**A replica that restarts and is the primary',
      [scripted, 'a replica that restarts and is the primary of its manifest view never acts'],
      [views, 'a cluster of one persists view + 1 before it serves'],
      [node, 'a primary that commits on the others’ copies and restarts'],
    ],
    [
      'A deposed primary answers its pending clients',
      [sessions, 'a deposed primary answers pending clients'],
      [node, 'rust-06'],
    ],
  ],
  'Recovery, repair, state transfer': [
    [
      'Durable is not committed',
      [views, 'durable is not committed'],
      [disks, 'a frame read back after kill -9 but never barriered'],
      [disks, 'total power cut in mid-batch of %i'],
    ],
    [
      'Only a lost T is',
      [change, 'only a lost tail record is recovering head'],
      [views, 'only a StartView that answers a nonce of this process'],
      [scripted, 'a stranded replica in a higher view'],
    ],
    [
      'A frame counts',
      [
        disks,
        'crash at every step of an install from far behind: stale frames below the first stored header never count',
      ],
      [joining, 'is kept until a frame of the primary tells where it leaves the log'],
    ],
    [
      'So an index is taken for committed only of the log it was said of',
      [later, 'is neither fetched nor installed above what this replica knows committed'],
      [later, 'is not installed where damage hides whether the own log has another entry in its place'],
      [later, 'does not repair the log of an older one'],
      [catchUp, 'a commit that a peer knows of its own log moves nothing here'],
      [choose, 'a commit counts only of the log it was heard of'],
      [later, 'is not believed of the next one, where the entries themselves are not here'],
    ],
    [
      'Then only that one, one older',
      [keeper, 'two confirmed snapshots are kept'],
      [keeper, 'compaction while a transfer is pinned'],
    ],
    [
      'It is installed in status normal',
      [disks, 'a snapshot is never installed by a voter'],
      [keeper, 'a snapshot installed under newer acknowledged frames'],
    ],
    [
      '**First boot**',
      [boot, 'before it answers, a blank replica writes and barriers'],
      [first, 'every order of the first messages'],
    ],
    [
      'All n must be up once',
      [first, 'while one is missing each says which'],
      [first, 'with a disk wiped at any moment'],
    ],
    ['**A wiped disk** never', [recover, 'an empty directory never rejoins as itself by accident']],
    [
      '`recover` is a committed command',
      [recover, 'R is committed by a quorum that does not include the wiped replica'],
    ],
  ],
  'Clients and sessions': [
    [
      'The session table and the cached replies',
      [sessions, 'the session table and the cached replies change only at commit'],
    ],
    ['A session may have up to W requests', [sessions, 'a number ahead of the next one is parked, never reported']],
    [
      'A number is bound to its payload hash',
      [sessions, 'a repeated request gets its stored reply'],
      [sessions, 'another command under a number in the pipeline'],
    ],
    ['Parked copies live in memory only', [sessions, 'parked copies after a failover']],
    ['Session and pipeline lookup', [sessions, 'session and pipeline lookup come before admission']],
    [
      'A refusal answers one transmission',
      [client, 'is unknown with a token when a copy was never answered'],
      [client, 'a lost connection leaves the outcome open'],
    ],
    [
      'Only a primary that has applied',
      [sessions, "only a primary that has applied its own view's no-op"],
      [scripted, 'client requests are held until'],
    ],
    ['On SessionEvicted', [client, 'an evicted session'], [sessions, 'unknown after eviction']],
    ['At most 100,000 keys', [keys, 'a full table refuses a new key rather than forget one early']],
  ],
  Reads: [
    ['A round has a number', [sessions, 'a read that arrives after its round waits for the next one']],
    [
      'A replica confirms (view, round)',
      [normal, 'a replica confirms (view, round) only in status normal in that view'],
    ],
    ['`stale` reads answer on any replica', [sessions, 'maxLag bounds a stale read or fails']],
    ['A state that has applied it', [sessions, 'an answer of the process before proves nothing']],
  ],
  Time: [
    [
      'Only the primary stamps',
      [normal, 'only the primary stamps'],
      [normal, 'previous is the last entry of the adopted log'],
      [clock, 'the primary stamps with the time of the majority'],
    ],
    ['Only client commands, timers', [clock, 'a missing clock majority never delays']],
    ['A missing clock majority never delays', [clock, 'a missing clock majority never delays']],
    ['Safety never depends on clocks', [normal, 'safety never depends on clocks']],
  ],
  'Membership and versions': [
    ['Standbys replicate and apply but never vote', [recover, 'the new incarnation is a standby until']],
    ['A version is never lowered', [versions, 'is never lowered, and a repeated activation changes nothing']],
    [
      'Who meets, in its log or in a snapshot, a version',
      [upgrades, 'an old program that replays up to the activation halts there, before'],
      [upgrades, 'an old program that is sent a snapshot of the new version halts'],
    ],
    [
      'A log of which nothing was executed has version 0',
      [upgrades, 'a fresh cluster of a program that does not run version 1'],
    ],
    // Agreed and not built: "Not in this version" says so.
    ['A configuration entry is a barrier'],
    ['Epoch = index of the newest'],
    ['A replica enters an epoch only'],
  ],
};

/** Sentences of the document that say never, only or before, by section. Tables and drawings say nothing of the kind. */
function sentences(document: string): { readonly section: string; readonly text: string }[] {
  const found: { section: string; text: string }[] = [];
  let section = '';
  let block = '';
  const close = (): void => {
    const parts = block.replace(/^(- |\d+\. )/, '').split(/(?<=[.!?])\s+(?=[A-Z*`({])/);
    for (const text of parts) if (/\b(never|only|before)\b/i.test(text)) found.push({ section, text });
    block = '';
  };
  for (const line of document.split('\n')) {
    const starts = /^(#|- |\d+\. |\||```|\s*$)/.test(line);
    if (starts) close();
    if (line.startsWith('#')) section = line.replace(/^#+ /, '');
    else if (!line.startsWith('|')) block = `${block} ${line.trim()}`.trim();
  }
  close();
  return found;
}

test('each sentence of docs/protocol.md that says never, only or before has its test, and each test named here exists', () => {
  const document = read('docs/protocol.md');
  const rows = Object.entries(ROWS).flatMap(([section, list]) => list.map((row) => ({ section, row, used: 0 })));
  const without: string[] = [];
  for (const { section, text } of sentences(document)) {
    if (section === 'Not in this version') continue;
    const row = rows.find((r) => r.section === section && text.startsWith(r.row[0]));
    if (row === undefined) without.push(`${section}: ${text}`);
    else row.used++;
  }
  expect(without).toEqual([]);
  expect(rows.filter(({ used }) => used !== 1).map(({ section, row }) => `${section}: ${row[0]}`)).toEqual([]);
  const untested = rows.filter(({ row }) => row.length === 1).length;
  expect(untested).toBe(3);
  const gone = rows.flatMap(({ row: [, ...tests] }) =>
    tests.filter(([file, name]) => !/['"`]/.test(before(read(file), name))).map(([file, name]) => `${file}: ${name}`),
  );
  expect(gone).toEqual([]);
});

/** The character in front of the first occurrence of `name`: a quote where it begins the name of a test. */
function before(text: string, name: string): string {
  for (let at = text.indexOf(name); at > 0; at = text.indexOf(name, at + 1))
    if (/['"`]/.test(text[at - 1]!)) return text[at - 1]!;
  return '';
}

test('each defect of the Rust implementation has a test with its number in the name', () => {
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', `${CORE}/*.test.ts`], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const names = files
    .split('\n')
    .filter((file) => file !== '')
    .flatMap((file) => [...read(file).matchAll(/^\s*(?:it|test)\(\s*(['"`])(.*)\1/gm)].map((match) => match[2]!))
    .join('\n');
  const numbers = Array.from({ length: 15 }, (_, i) => `rust-${String(i + 1).padStart(2, '0')}`);
  expect(numbers.filter((number) => !names.includes(number))).toEqual([]);
});
