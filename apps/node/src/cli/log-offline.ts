/** `chronon log verify | show PATH`: reads a log as it lies on the disk (docs/log-format.md, "Tools"); changes nothing, so a live one may be read. */
import fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { LogBytes } from '@chronon/core/engine/log-reader';
import {
  verifyLogDirectory,
  verifyLogFile,
  type LogFiles,
  type ShownEntry,
  type VerifyOptions,
  type VerifyReport,
} from '@chronon/core/engine/log-verify';
import { Command } from 'commander';
import { chooseCodec } from '../replica/choose-codec.ts';
import { Failure } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine, say } from './output.ts';
import { wholeNumber } from './parse.ts';

const ENTRIES = 20;

/** Verifies a file, a replica's directory, or its `log` directory. */
async function verify(path: string, options: Omit<VerifyOptions, 'codec'>): Promise<VerifyReport> {
  const { codec } = await chooseCodec();
  const whole = resolve(path);
  if (!fs.existsSync(whole)) throw new Failure('E_PATH', `${whole} does not exist`, EXIT.usage);
  if (!fs.statSync(whole).isDirectory()) {
    const files = openFiles(dirname(whole));
    try {
      return verifyLogFile(basename(whole), files.open(basename(whole)), { ...options, codec });
    } finally {
      files.close();
    }
  }
  const directory = [join(whole, 'log'), whole].find((one) => fs.existsSync(join(one, 'tail')) || hasSegments(one));
  if (directory === undefined) {
    const hint = fs.existsSync(join(whole, 'r1')) ? `; name a replica's directory, e.g. ${join(path, 'r1')}` : '';
    throw new Failure('E_PATH', `${whole} holds no log${hint}`, EXIT.usage);
  }
  const files = openFiles(directory);
  try {
    return verifyLogDirectory(files, { ...options, codec });
  } finally {
    files.close();
  }
}

function hasSegments(directory: string): boolean {
  return (
    fs.existsSync(directory) &&
    fs.statSync(directory).isDirectory() &&
    fs.readdirSync(directory).some((name) => name.endsWith('.seg'))
  );
}

function openFiles(directory: string): LogFiles & { close(): void } {
  const open: number[] = [];
  return {
    list: () => fs.readdirSync(directory).toSorted(),
    open: (name): LogBytes => {
      const fd = fs.openSync(join(directory, name), 'r');
      open.push(fd);
      return {
        size: () => fs.fstatSync(fd).size,
        readSync: (offset, into) => fs.readSync(fd, into, 0, into.length, offset),
      };
    },
    close: () => {
      for (const fd of open.splice(0)) fs.closeSync(fd);
    },
  };
}

function progress(done: number, total: number): void {
  if (process.stderr.isTTY && total > 0)
    process.stderr.write(`\r${Math.floor((100 * done) / total)} % of ${total} bytes${done >= total ? '\n' : ''}`);
}

export const verifyCommand = new Command('verify')
  .description('check every frame: checksums, payload hashes, indexes, chain, and what the tail record promises')
  .argument('<path>', "a replica's directory (data/r1), or a file")
  .option('--json', 'print one JSON object')
  .addHelpText(
    'after',
    '\nExit codes: 0 everything holds, 1 damage (its kind, index and offset are printed), 2 wrong use.',
  )
  .action(async (path: string, flags: { readonly json?: boolean }) => {
    const report = await verify(path, { onProgress: progress });
    if (flags.json === true) printJson(report);
    else {
      const range =
        report.firstIndex === null ? 'no entry' : `entries ${report.firstIndex} to ${report.lastIndex ?? '?'}`;
      printLine(`format ${report.format}: ${report.entries} intact, ${range}, chain hash ${report.tailHash}`);
      if (!report.ok)
        say(
          `damaged: ${report.fault.kind} at index ${report.fault.index}, ${report.fault.file} offset ${report.fault.offset}`,
        );
    }
    process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  });

interface ShowFlags {
  readonly from: number;
  readonly limit: number;
  readonly json?: boolean;
}

export const showCommand = new Command('show')
  .description('entries as they lie on the disk, one a line')
  .argument('<path>', "a replica's directory (data/r1), or a file")
  .option('--from <index>', 'first entry', wholeNumber, 0)
  .option('--limit <n>', 'most entries', wholeNumber, ENTRIES)
  .option('--json', 'one JSON object a line, every field of the header')
  .addHelpText('after', '\nExit codes: 0 shown, 1 the log is damaged, 2 wrong use.')
  .action(async (path: string, flags: ShowFlags) => {
    const onEntry = (entry: ShownEntry): void => {
      if (flags.json === true) return printJson(entry);
      const time = new Date(Number(BigInt(entry.timestamp_ns) / 1_000_000n)).toISOString();
      printLine(`${entry.index}  view ${entry.view}  ${time}  ${entry.payload_size} bytes  ${entry.chain_hash}`);
    };
    const report = await verify(path, { from: BigInt(flags.from), limit: flags.limit, onEntry });
    if (!report.ok)
      say(
        `damaged: ${report.fault.kind} at index ${report.fault.index}, ${report.fault.file} offset ${report.fault.offset}`,
      );
    process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  });
