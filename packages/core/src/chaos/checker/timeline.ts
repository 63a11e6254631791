/**
 * A history as one HTML page: a lane a client, a bar an operation, the order that was found, and what could not be placed. No script, no reference to
 * anything outside; every text from the history is escaped.
 */
import type { CheckResult, Partition } from './checker.ts';
import { text } from './model.ts';
import type { Operation } from './operation.ts';

/** Bars a page shows; of a longer partition the last ones before the problem. */
const BARS_MAX = 2000;
const STEP_PX = 14;
const LANE_PX = 26;
const LABEL_PX = 90;

const STYLE = `
:root { color-scheme: light dark; --bar: #3b7dd8; --read: #5a8f3c; --bad: #d23b3b; --open: #b8862b; --ink: #1d2330; --paper: #fff; --line: #d5d9e2 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9f0; --paper: #14171f; --line: #333a48 } }
body { font: 14px/1.4 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 24px }
.lanes { overflow-x: auto; border: 1px solid var(--line); padding: 8px 0 }
.lane { position: relative; height: ${LANE_PX}px; border-bottom: 1px solid var(--line) }
.lane > b { position: sticky; left: 0; padding: 0 8px; font-weight: 600; background: var(--paper); z-index: 1 }
.op { position: absolute; top: 3px; height: ${LANE_PX - 8}px; background: var(--bar); color: #fff; font-size: 11px; overflow: hidden; white-space: nowrap; border-radius: 3px; padding: 0 4px; box-sizing: border-box }
.read { background: var(--read) } .open { background: var(--open); border-radius: 3px 0 0 3px } .bad { background: var(--bad); outline: 2px solid var(--bad) }
ol { columns: 2; font-family: ui-monospace, monospace; font-size: 12px }
table { border-collapse: collapse } td, th { text-align: left; padding: 2px 12px 2px 0 }
`;

/** The page for a result. `title`: what was checked. */
export function timeline(result: CheckResult, title: string, isRead: (operation: Operation) => boolean): string {
  const { counterexample, verdict, partitions } = result;
  const shown =
    partitions.find(({ key }) => key === counterexample?.key) ??
    partitions.reduce<Partition | null>((most, one) => (one.steps > (most?.steps ?? -1) ? one : most), null);
  const blocked = counterexample?.blocked ?? null;
  const body = [
    `<h1>${escape(title)}: ${verdict}</h1>`,
    `<p>${result.operations} operations in ${partitions.length} partitions, ${result.steps} steps.</p>`,
  ];
  if (blocked !== null) body.push(`<p><strong>Cannot be placed:</strong> ${escape(inWords(blocked))}.</p>`);
  if (shown !== null) {
    body.push(`<h2>${shown.key === '' ? 'All operations' : `Key ${escape(shown.key)}`}</h2>`);
    body.push(lanes(shown.operations, blocked, counterexample?.prefix ?? [], isRead));
  }
  if (counterexample !== null) body.push(prefixList(counterexample.prefix, blocked));
  body.push(partitionTable(partitions));
  return `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${escape(title)}</title><style>${STYLE}</style></head>\n<body>\n${body.join('\n')}\n</body></html>\n`;
}

/** One operation for a person. */
export function inWords(operation: Operation): string {
  const { client, output } = operation;
  const came = output === null ? 'unknown' : output.rejected ? `rejected ${text(output.value)}` : text(output.value);
  return `client ${client}: ${callOf(operation)} -> ${came}`;
}

function callOf({ f, key, input }: Operation): string {
  return `${f}${key === null ? '' : ` ${key}`}${input === null ? '' : ` ${text(input)}`}`;
}

function lanes(
  all: readonly Operation[],
  blocked: Operation | null,
  prefix: readonly Operation[],
  isRead: (operation: Operation) => boolean,
): string {
  const until = blocked === null ? all.length : all.filter(({ invoked }) => invoked <= blocked.returned).length;
  const operations = all.slice(Math.max(0, until - BARS_MAX), Math.max(until, BARS_MAX));
  const place = new Map(prefix.map(({ id }, i) => [id, i + 1]));
  const columns = columnsOf(operations);
  const width = LABEL_PX + (columns.size + 2) * STEP_PX;
  const clients = [...new Set(operations.map(({ client }) => client))];
  const rows = clients.map((client) => {
    const bars = operations.filter((operation) => operation.client === client);
    return `<div class="lane" style="width:${width}px"><b>${escape(client)}</b>${bars.map(bar).join('')}</div>`;
  });
  const cut =
    operations.length < all.length ? `<p>${operations.length} of ${all.length} operations are shown.</p>` : '';
  return `${cut}<div class="lanes">${rows.join('\n')}</div>`;

  function bar(operation: Operation): string {
    const from = LABEL_PX + columns.get(operation.invoked)! * STEP_PX;
    const to = columns.get(operation.returned);
    const end = to === undefined ? width : LABEL_PX + to * STEP_PX;
    const kind = operation === blocked ? ' bad' : to === undefined ? ' open' : isRead(operation) ? ' read' : '';
    const number = place.get(operation.id);
    const label = `${number === undefined ? '' : `${number}. `}${callOf(operation)}`;
    const style = `left:${from}px;width:${Math.max(STEP_PX, end - from - 1)}px`;
    return `<span class="op${kind}" style="${style}" title="${escape(inWords(operation))}">${escape(label)}</span>`;
  }
}

/** Column of each position in which something begins or ends. */
function columnsOf(operations: readonly Operation[]): Map<number, number> {
  const positions = operations.flatMap(({ invoked, returned }) =>
    returned === Number.POSITIVE_INFINITY ? [invoked] : [invoked, returned],
  );
  return new Map([...new Set(positions)].sort((a, b) => a - b).map((position, column) => [position, column]));
}

function prefixList(prefix: readonly Operation[], blocked: Operation | null): string {
  const from = Math.max(0, prefix.length - BARS_MAX);
  const items = prefix.slice(from).map((operation) => `<li>${escape(inWords(operation))}</li>`);
  const last = blocked === null ? '' : `<p>Then nothing fits: ${escape(inWords(blocked))}.</p>`;
  return `<h2>The longest linearizable prefix: ${prefix.length} operations</h2><ol start="${from + 1}">${items.join('')}</ol>${last}`;
}

function partitionTable(partitions: readonly Partition[]): string {
  const rows = partitions.map(
    ({ key, verdict, operations, steps }) =>
      `<tr><td>${key === '' ? '(all)' : escape(key)}</td><td>${verdict}</td><td>${operations.length}</td><td>${steps}</td></tr>`,
  );
  return `<h2>Partitions</h2><table><tr><th>key</th><th>verdict</th><th>operations</th><th>steps</th></tr>${rows.join('')}</table>`;
}

/** Text that can steer neither the page nor the reader: markup is escaped, control and direction characters are made visible. */
function escape(value: string): string {
  return value
    .replace(/[\p{Cc}\p{Bidi_Control}]/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
