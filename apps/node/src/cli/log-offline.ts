/** `chronon log verify | show | tail PATH`: reads a log as it lies on the disk (docs/log-format.md, "Tools"); changes nothing, so a live one may be read. */
import fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { VerifyOptions, VerifyReport } from '@chronon/core/engine/log-verify';
import { type ShownEntry, verifyLogFile } from '@chronon/core/engine/log-verify';
import {
  lastPromised,
  type LogFiles,
  type OpenLogBytes,
  verifyLogDirectory,
  verifySegment,
} from '@chronon/core/engine/log-verify-directory';
import { Command } from 'commander';
import { chooseCodec } from '../replica/choose-codec.ts';
import { Failure } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine, say } from './output.ts';
import { between, wholeNumber } from './parse.ts';
import { ProgressBar } from './progress-bar.ts';

const ENTRIES = 20;
const FOLLOW_MS = 500;

/** A log on this machine: one file, or the `log` directory of a replica. */
interface OfflineLog {
  /** Null for the whole directory. */
  readonly file: string | null;
  readonly files: LogFiles;
}

/** Finds the log at a file, a replica's directory, or its `log` directory. */
function logAt(path: string): OfflineLog {
  const whole = resolve(path);
  if (!fs.existsSync(whole)) throw new Failure('E_PATH', `${whole} does not exist`, EXIT.usage);
  if (!fs.statSync(whole).isDirectory()) return { file: basename(whole), files: openFiles(dirname(whole)) };
  const directory = [join(whole, 'log'), whole].find((one) => fs.existsSync(join(one, 'tail')) || hasSegments(one));
  if (directory === undefined) {
    const hint = fs.existsSync(join(whole, 'r1')) ? `; name a replica's directory, e.g. ${join(path, 'r1')}` : '';
    throw new Failure('E_PATH', `${whole} holds no log${hint}`, EXIT.usage);
  }
  return { file: null, files: openFiles(directory) };
}

function verify({ file, files }: OfflineLog, options: VerifyOptions): VerifyReport {
  if (file === null) return verifyLogDirectory(files, options);
  const source = files.open(file);
  if (source === null) throw new Failure('E_PATH', `${file} is gone`, EXIT.usage);
  try {
    // Beside a tail record the file is a segment, and that says how far it must go.
    const inLog = files.list().includes('tail');
    return inLog ? verifySegment(files, file, source, options) : verifyLogFile(file, source, options);
  } finally {
    source.close();
  }
}

function hasSegments(directory: string): boolean {
  return (
    fs.existsSync(directory) &&
    fs.statSync(directory).isDirectory() &&
    fs.readdirSync(directory).some((name) => name.endsWith('.seg'))
  );
}

function openFiles(directory: string): LogFiles {
  return {
    list: () => fs.readdirSync(directory).toSorted(),
    open: (name): OpenLogBytes | null => {
      let fd: number;
      try {
        fd = fs.openSync(join(directory, name), 'r');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
        throw new Failure('E_PATH', `${join(directory, name)} cannot be read: ${(error as Error).message}`, EXIT.usage);
      }
      return {
        size: () => fs.fstatSync(fd).size,
        readSync: (offset, into) => fs.readSync(fd, into, 0, into.length, offset),
        close: () => fs.closeSync(fd),
      };
    },
  };
}

function sayDamage(report: VerifyReport): void {
  if (report.ok) return;
  const { kind, index, file, offset } = report.fault;
  say(`damaged: ${kind} at index ${index}, ${file} offset ${offset}`);
}

const EXIT_TEXT = '1 the log is damaged (kind, index, file and offset are said), 2 wrong use.';

export const verifyCommand = new Command('verify')
  .description('check every frame: checksums, payload hashes, indexes, chain, and what the tail record promises')
  .argument('<path>', "a replica's directory (data/r1), live or stopped, or a file; logs of version 1 too")
  .option('--json', 'print one JSON object')
  .addHelpText('after', `\nExit codes: 0 everything holds, ${EXIT_TEXT}`)
  .action(async (path: string, flags: { readonly json?: boolean }) => {
    const { codec } = await chooseCodec();
    const bar = new ProgressBar('verifying');
    const report = verify(logAt(path), { codec, onProgress: (done, total) => bar.show(done, total) });
    bar.end();
    if (flags.json === true) printJson(report);
    else {
      const range =
        report.firstIndex === null ? 'no entry' : `entries ${report.firstIndex} to ${report.lastIndex ?? '?'}`;
      printLine(`format ${report.format}: ${report.entries} intact, ${range}, chain hash ${report.tailHash}`);
      sayDamage(report);
    }
    process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  });

function printEntry(entry: ShownEntry, json: boolean): void {
  if (json) return printJson(entry);
  const time = new Date(Number(BigInt(entry.timestamp_ns) / 1_000_000n)).toISOString();
  printLine(`${entry.index}  view ${entry.view}  ${time}  ${entry.payload_size} bytes  ${entry.chain_hash}`);
}

interface ShowFlags {
  readonly from: number;
  readonly limit: number;
  readonly json?: boolean;
}

export const showCommand = new Command('show')
  .description('entries as they lie on the disk, one a line')
  .argument('<path>', "a replica's directory (data/r1), live or stopped, or a file")
  .option('--from <index>', 'first entry', wholeNumber, 0)
  .option('--limit <n>', 'most entries', between(1, 2 ** 40), ENTRIES)
  .option('--json', 'one JSON object a line, every field of the header')
  .addHelpText('after', `\nExit codes: 0 shown, ${EXIT_TEXT}`)
  .action(async (path: string, flags: ShowFlags) => {
    const { codec } = await chooseCodec();
    const onEntry = (entry: ShownEntry): void => printEntry(entry, flags.json === true);
    const report = verify(logAt(path), { codec, from: BigInt(flags.from), limit: flags.limit, onEntry });
    sayDamage(report);
    process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  });

/** The newest entries at `path`, and, with `follow`, what comes. */
export async function tailOffline(
  path: string,
  flags: { readonly limit: number; readonly follow?: boolean; readonly json?: boolean },
): Promise<void> {
  const { codec } = await chooseCodec();
  const log = logAt(path);
  let next = 0n;
  const onEntry = (entry: ShownEntry): void => {
    next = BigInt(entry.index) + 1n;
    printEntry(entry, flags.json === true);
  };
  const report =
    log.file === null ? tailOf(log, flags.limit, { codec, onEntry }) : lastOf(log, flags.limit, { codec, onEntry });
  sayDamage(report);
  process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  while (flags.follow === true && log.file === null && report.ok) {
    await new Promise((done) => setTimeout(done, FOLLOW_MS));
    const last = lastPromised(log.files);
    if (last === null || last < next) continue;
    const more = verify(log, { codec, from: next, limit: Number(last - next) + 1, onEntry });
    sayDamage(more);
    if (!more.ok) {
      process.exitCode = EXIT.failed;
      return;
    }
  }
}

type ShowOptions = Required<Pick<VerifyOptions, 'codec' | 'onEntry'>>;

/** The last entries of a directory: only the segments that hold them are read. */
function tailOf(log: OfflineLog, limit: number, { codec, onEntry }: ShowOptions): VerifyReport {
  const last = lastPromised(log.files);
  if (last === null) return verify(log, { codec });
  const from = last - BigInt(limit) + 1n;
  return verify(log, { codec, from: from < 0n ? 0n : from, limit, onEntry });
}

/** The last entries of one file, which says only at its end how many it has. */
function lastOf(log: OfflineLog, limit: number, { codec, onEntry }: ShowOptions): VerifyReport {
  const kept: ShownEntry[] = [];
  const report = verify(log, {
    codec,
    onEntry: (entry) => {
      kept.push(entry);
      if (kept.length > limit) kept.shift();
    },
  });
  for (const entry of kept) onEntry(entry);
  return report;
}
