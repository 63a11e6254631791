/**
 * The determinism guard: while `apply` is on the stack, everything that differs between machines or moments throws DeterminismError, naming
 * the API, the place and the fix. Installed once per process (daemon, tests); outside of apply a guarded call costs one comparison.
 *
 * Invariants: this file alone names banned globals; enter and leave are paired by the Executor (nothing in between yields); a guarded function
 * behaves as the original whenever no apply runs.
 */

/** An application used something that is not the same on every replica. In apply it counts as a fault of the application. */
export class DeterminismError extends Error {
  override readonly name = 'DeterminismError';
  readonly code = 'E_NONDETERMINISM';
  readonly api: string;
  /** First frame of the stack outside of the guard, or "unknown place". */
  readonly place: string;
  readonly fix: string;

  constructor(api: string, fix: string) {
    super(`${api} is not deterministic and must not be used inside apply; ${fix}`);
    this.api = api;
    this.fix = fix;
    this.place = placeOf(this.stack);
  }
}

/** The Date constructor as it was at load: for values and `new Date(ms)`, which are pure. */
export const PureDate: DateConstructor = Date;

let depth = 0;

/** Called by the Executor around `apply`. */
export function enterApply(): void {
  depth++;
}

export function leaveApply(): void {
  depth--;
}

/** True while some `apply` is on the stack. */
export function insideApply(): boolean {
  return depth > 0;
}

function refuse(api: string, fix: string): void {
  if (depth > 0) throw new DeterminismError(api, fix);
}

/** Our own frames: the constructor, refuse, and the replaced functions. */
const OWN_FRAMES = /[/\\]kernel[/\\]guard\.[jt]s|new DeterminismError/;

function placeOf(stack: string | undefined): string {
  const lines = (stack ?? '').split('\n').slice(1);
  const outside = lines.find((line) => !OWN_FRAMES.test(line) && line.includes(':'));
  return outside === undefined ? 'unknown place' : outside.trim().replace(/^at /, '');
}

const FIX_TIME = 'use ctx.blockTime (milliseconds) or ctx.blockTimeNs()';
const FIX_RANDOM = 'use ctx.random() or ctx.id(); secrets come in with the command';
const FIX_LATER = 'emit an effect with ctx.emit and let its sink do it after commit';
const FIX_LOCALE = 'format outside of apply, or write the format out by hand';
const FIX_ZONE = 'use the getUTC... methods or ctx.blockTime';

/** Functions by holder (a path of global names) and why; a holder that this runtime lacks is skipped. */
const BANNED: readonly (readonly [holder: readonly string[], names: readonly string[], fix: string])[] = [
  [['performance'], ['now', 'mark', 'measure', 'timeOrigin'], FIX_TIME],
  [['Math'], ['random'], FIX_RANDOM],
  [['crypto'], ['getRandomValues', 'randomUUID'], FIX_RANDOM],
  [['process'], ['hrtime', 'uptime', 'nextTick', 'cpuUsage', 'memoryUsage'], FIX_TIME],
  [[], ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'requestAnimationFrame'], FIX_LATER],
  [[], ['fetch', 'XMLHttpRequest', 'WebSocket', 'EventSource'], FIX_LATER],
  [['Number', 'prototype'], ['toLocaleString'], FIX_LOCALE],
  [['BigInt', 'prototype'], ['toLocaleString'], FIX_LOCALE],
  [['Array', 'prototype'], ['toLocaleString'], FIX_LOCALE],
  [['String', 'prototype'], ['localeCompare', 'toLocaleLowerCase', 'toLocaleUpperCase'], FIX_LOCALE],
  [['Date', 'prototype'], ['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString'], FIX_LOCALE],
  [['Date', 'prototype'], ['getTimezoneOffset', 'toString', 'toDateString', 'toTimeString'], FIX_ZONE],
  [
    ['Intl'],
    ['DateTimeFormat', 'NumberFormat', 'Collator', 'RelativeTimeFormat', 'ListFormat', 'PluralRules'],
    FIX_LOCALE,
  ],
];

type Holder = Record<string, unknown>;
type Callable = (...args: unknown[]) => unknown;

/**
 * Replaces the banned functions of a global object by guarded ones. Returns what takes the guard off again. Installing twice is harmless: the
 * second guard wraps the first.
 */
export function installGuard(globals: object): () => void {
  const undo: (() => void)[] = [];
  const root = globals as Holder;
  for (const [path, names, fix] of BANNED) {
    const holder = path.reduce<unknown>((at, name) => (at as Holder | undefined)?.[name], root);
    if (holder === undefined || holder === null) continue;
    for (const name of names) {
      const original = (holder as Holder)[name];
      if (typeof original !== 'function') continue;
      const api = [...path.filter((part) => part !== 'prototype'), name].join('.');
      replace(holder, name, guarded(original as Callable, api, fix), undo);
    }
  }
  if (typeof root['Date'] === 'function') replace(root, 'Date', guardedDate(root['Date'] as DateConstructor), undo);
  return () => {
    for (const step of undo.reverse()) step();
  };
}

function replace(holder: object, name: string, value: unknown, undo: (() => void)[]): void {
  const own = Object.getOwnPropertyDescriptor(holder, name);
  if (own !== undefined && own.configurable === false) return;
  Object.defineProperty(holder, name, {
    value,
    writable: true,
    enumerable: own?.enumerable ?? false,
    configurable: true,
  });
  undo.push(() => {
    if (own === undefined) Reflect.deleteProperty(holder, name);
    else Object.defineProperty(holder, name, own);
  });
}

/** A proxy keeps statics (`process.hrtime.bigint`), `new`, `instanceof` and the name of the original. */
function guarded(original: Callable, api: string, fix: string): Callable {
  return new Proxy(original, {
    apply(target, self: unknown, args: unknown[]): unknown {
      refuse(`${api}()`, fix);
      return Reflect.apply(target, self, args);
    },
    construct(target, args: unknown[], newTarget): object {
      refuse(`new ${api}()`, fix);
      return Reflect.construct(target, args, newTarget) as object;
    },
    get(target, key): unknown {
      const value: unknown = Reflect.get(target, key);
      if (key === 'bigint') refuse(`${api}.bigint()`, fix);
      return value;
    },
  });
}

function guardedDate(original: DateConstructor): DateConstructor {
  const now = guarded(original.now as Callable, 'Date.now', FIX_TIME);
  return new Proxy(original, {
    apply(target): string {
      refuse('Date()', FIX_TIME);
      return target();
    },
    construct(target, args: unknown[], newTarget): object {
      if (args.length === 0) refuse('new Date()', FIX_TIME);
      if (args.length > 1 || typeof args[0] === 'string')
        refuse('new Date(local time)', 'use new Date(milliseconds) or Date.UTC');
      return Reflect.construct(target, args, newTarget) as object;
    },
    get(target, key): unknown {
      return key === 'now' ? now : Reflect.get(target, key);
    },
  });
}
