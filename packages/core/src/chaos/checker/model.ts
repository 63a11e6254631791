/**
 * Sequential specifications for the checker. A state is a text: equal texts are equal states, so that the search can intern them.
 *
 * Invariants: `step` is a pure function; an operation of unknown outcome fits every state.
 */
import { HistoryError, type Operation } from './operation.ts';

export interface CheckModel {
  readonly name: string;
  readonly initial: string;
  /** Operations under different keys share no state and are judged apart. */
  keyOf(operation: Operation): string;
  /** True for what changes nothing: with an unknown outcome it says nothing. */
  isRead(operation: Operation): boolean;
  /** The state behind `operation`, or null when it cannot have come to its output in `state`. */
  step(state: string, operation: Operation): string | null;
}

/** Canonical text of a JSON value. */
export function text(value: unknown): string {
  return JSON.stringify(value ?? null);
}

/** `state` when the output is unknown or is `value`, not rejected. */
function saw(state: string, { output }: Operation, value: unknown): string | null {
  return output === null || (!output.rejected && text(output.value) === text(value)) ? state : null;
}

function unknownCall(model: string, operation: Operation): never {
  throw new HistoryError(`the ${model} model knows no operation ${JSON.stringify(operation.f)}`);
}

function fields(operation: Operation): Record<string, unknown> {
  const { input } = operation;
  if (typeof input !== 'object' || input === null)
    throw new HistoryError(`${operation.f} needs an object as its value, not ${text(input)}`);
  return input as Record<string, unknown>;
}

const keyed = (operation: Operation): string => operation.key ?? '';

/** One value a key: read, write, cas {from, to}. */
export const registerModel: CheckModel = {
  name: 'register',
  initial: text(null),
  keyOf: keyed,
  isRead: ({ f }) => f === 'read',
  step(state, operation) {
    switch (operation.f) {
      case 'read':
        return saw(state, operation, JSON.parse(state));
      case 'write':
        return text(operation.input);
      case 'cas': {
        const { from, to } = fields(operation);
        const fits = state === text(from);
        return saw(fits ? text(to) : state, operation, fits);
      }
      default:
        return unknownCall('register', operation);
    }
  },
};

/** A kv state: '' for absent, else '=' and the text itself, which may be long: it is never parsed. */
const ABSENT = '';

function present(value: unknown): string {
  return value === null ? ABSENT : `=${typeof value === 'string' ? value : text(value)}`;
}

/** One text a key, null when absent: get, put, append, delete (was it there?), cas {expected, value} (was it so?). */
export const kvModel: CheckModel = {
  name: 'kv',
  initial: ABSENT,
  keyOf: keyed,
  isRead: ({ f }) => f === 'get',
  step(state, operation) {
    const { output } = operation;
    switch (operation.f) {
      case 'get':
        return output === null || (!output.rejected && state === present(output.value)) ? state : null;
      case 'put':
        return present(operation.input);
      case 'append':
        return `${state === ABSENT ? '=' : state}${present(operation.input).slice(1)}`;
      case 'delete':
        return saw(ABSENT, operation, state !== ABSENT);
      case 'cas': {
        const { expected, value } = fields(operation);
        const fits = state === present(expected);
        return saw(fits ? present(value) : state, operation, fits);
      }
      default:
        return unknownCall('kv', operation);
    }
  },
};

/** A list a key: append a value, read the whole list. */
export const appendListModel: CheckModel = {
  name: 'append-list',
  initial: text([]),
  keyOf: keyed,
  isRead: ({ f }) => f === 'read',
  step(state, operation) {
    if (operation.f === 'read') return saw(state, operation, JSON.parse(state));
    if (operation.f !== 'append') return unknownCall('append-list', operation);
    const inner = state.slice(1, -1);
    return `[${inner}${inner === '' ? '' : ','}${text(operation.input)}]`;
  },
};

/**
 * An effect a key, from its emission to its end: emit, deliver {fence} (output true: it was applied, false: the ledger had it), acknowledge. A fence
 * older than the newest one that was let in must be refused (rejected).
 */
export const outboxModel: CheckModel = {
  name: 'outbox',
  initial: text([0, -1]),
  keyOf: keyed,
  isRead: () => false,
  step(state, operation) {
    const [stage, newest] = JSON.parse(state) as [number, number];
    switch (operation.f) {
      case 'emit':
        return stage === 0 ? text([1, newest]) : null;
      case 'deliver': {
        if (stage === 0) return null;
        const fence = Number(fields(operation)['fence'] ?? 0);
        if (fence < newest) return operation.output?.rejected === false ? null : state;
        if (operation.output?.rejected === true) return null;
        return saw(text([Math.max(stage, 2), fence]), operation, stage === 1);
      }
      case 'acknowledge':
        return stage >= 2 ? text([3, newest]) : null;
      default:
        return unknownCall('outbox', operation);
    }
  },
};
