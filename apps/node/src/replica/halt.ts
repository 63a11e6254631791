/**
 * How a replica process talks and ends: structured log lines on stderr, and on a halt one last line for people: code, what happened, what to do.
 *
 * Invariant: `halt` writes its line and exits once, with the exit code of its error code; nothing runs afterwards.
 */
import { writeSync } from 'node:fs';
import pino, { type Logger } from 'pino';
import { exitCodeOf, isRefusal, type ExitName } from './exit-codes.ts';

/** What the operator should do, by code. */
const REMEDIES: Partial<Record<ExitName, string>> = {
  E_CONFIG: 'mend the configuration',
  E_LOCKED: 'stop the other process, or give this one a directory of its own',
  E_DIRECTORY: 'check the path and its permissions',
  E_NOT_FORMATTED: 'check the path; if the disk was wiped, replace this replica with `chronon recover`',
  E_WIPED: 'check that the right directory is mounted; if it is lost, `chronon recover`',
  E_MANIFEST: 'both copies are unreadable: restore this replica with `chronon recover`; never format over it',
  E_MANIFEST_MISSING: 'the log is there but its manifest is not: restore the files, or `chronon recover`',
  E_CLUSTER_ID: 'this directory belongs to another cluster: check --data',
  E_REPLICA_ID: 'this directory belongs to another replica: check --data and the id',
  E_VERSION: 'use a Chronon of that version or later',
  E_LOG_CORRUPT: 'look at it with `chronon log verify`; the files are untouched',
  E_SNAPSHOT: 'start the application that this directory belongs to; the files are untouched',
  E_IO_READ: 'check the disk and its permissions',
  E_APP: 'mend the application file',
  E_CHAOS_PRODUCTION: 'start it without --enable-chaos: chaos is for directories formatted dev',
  E_DISK_KIND: 'choose disk "auto" or "sync"',
  E_PORT: 'stop what uses the port, or choose another',
  E_FSYNC: 'check the disk; on the next start the log is read back and repaired from the others',
  E_DISK_STALL: 'check the disk',
  E_ASSERT: 'this is a defect: keep the log of this process and report it',
  E_DUP_NODE: 'stop the other process of this id; a directory that was replaced is set aside with `chronon recover`',
  E_GENERATION: 'replace this replica with `chronon recover`; keep its directory, it may hold what was lost',
  E_AMNESIA: 'never start an old copy of a data directory: replace this replica with `chronon recover`',
  E_APP_VERSION: 'nothing is lost: start the program of that version on this directory',
  E_DATA_LOSS: 'see docs/operations.md, `chronon recover --accept-loss`',
};

/**
 * Structured log on stderr. Written at once, so that the order holds and nothing is lost when the process ends in the next moment: there are
 * few lines, and what strangers can cause is rate-limited. A line that the reader has no room for is dropped.
 */
export function createLogger(level: string, replica: number): Logger {
  const destination = { write: writeStderr };
  return pino({ level, base: { replica, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

let halted = false;

/** Ends the process with the exit code of `code` after one line for people. */
export function halt(id: number | null, code: string, message: string): never {
  if (!halted) {
    halted = true;
    const exitCode = exitCodeOf(code);
    const remedy = REMEDIES[code as ExitName];
    const verb = isRefusal(exitCode) ? 'does not start' : 'stops';
    const text = message.startsWith(code) ? message.slice(code.length).replace(/^[:\s]+/, '') : message;
    // eslint-disable-next-line no-control-regex -- exactly the characters that must not reach a terminal
    const line = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
    writeStderr(
      `chronon${id === null ? '' : ` r${id}`} ${verb}: ${code}: ${line}${remedy === undefined ? '' : ` (${remedy})`}\n`,
    );
  }
  process.exit(exitCodeOf(code));
}

function writeStderr(line: string): void {
  try {
    const bytes = Buffer.from(line, 'utf8');
    for (let at = 0; at < bytes.length; ) at += writeSync(2, bytes, at);
  } catch {
    // Nobody reads, or not now.
  }
}
