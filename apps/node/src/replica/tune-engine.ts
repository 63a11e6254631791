/**
 * V8's settings for a process that does few things very often; imported before anything that runs. Code is compiled for speed after a third of the usual
 * work: with one client waiting, that is seconds instead of half a minute of slow replies after a start (measured: a quarter less processor time a
 * command at one in flight, a tenth at 256). What only a command-line flag can set is in `supervisor/layout.ts`, REPLICA_FLAGS.
 */
import { setFlagsFromString } from 'node:v8';

setFlagsFromString('--interrupt-budget=20000');
