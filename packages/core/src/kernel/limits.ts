/** Bounds of what one command may produce. Going over one is a fault of the application (rolled back, counted), the same on every replica. */
import { assert } from '../assert.ts';
import { PAYLOAD_BYTES_MAX } from '../engine/constants.ts';
import { EFFECTS_PER_ENTRY_MAX } from './outbox.ts';

/** Result of a command, in bytes: 256 kept replies of a session must stay a reasonable amount. */
export const RESULT_BYTES_MAX = 256 * 1024;
/** Payload of one effect, in bytes. */
export const EFFECT_PAYLOAD_BYTES_MAX = 64 * 1024;
/** Message of a log effect, in UTF-16 units. */
export const LOG_MESSAGE_CHARS_MAX = 1024;
/** Channel names. */
export const CHANNEL = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Code of a rejection. */
export const REJECT_CODE = /^[A-Za-z][A-Za-z0-9_]{0,63}$/;

assert(RESULT_BYTES_MAX <= PAYLOAD_BYTES_MAX, 'a result travels like a payload');
assert(
  EFFECTS_PER_ENTRY_MAX * EFFECT_PAYLOAD_BYTES_MAX <= 4 * PAYLOAD_BYTES_MAX,
  'the effects of an entry fit in memory many times',
);
