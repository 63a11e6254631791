/** `chronon doctor`: what this machine offers, and what is missing and why. */
import fs from 'node:fs';
import os from 'node:os';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import { memoryFileSystem, probe } from '@chronon/native/probe';
import { consoleBuilt } from '../supervisor/layout.ts';
import { printJson, printLine, table } from './output.ts';

const FSYNC_ROUNDS = 50;

export const doctorCommand = new Command('doctor')
  .description('what this machine offers: disk, io_uring, Node')
  .option('--data <dir>', 'directory that would hold the data', './data')
  .option('--json', 'print one JSON object')
  .action((flags: { readonly data: string; readonly json?: boolean }) => {
    const directory = existing(resolve(flags.data));
    const ring = probe(directory);
    const report = {
      node: process.version,
      v8: process.versions.v8,
      icu: process.versions['icu'] ?? null,
      platform: `${process.platform} ${process.arch} ${os.release()}`,
      cores: os.availableParallelism(),
      directory,
      disk: ring.ok ? 'io_uring' : 'sync',
      ioUringReason: ring.reason,
      memoryFileSystem: memoryFileSystem(directory),
      dsyncWriteMs: dsyncMs(directory),
      consoleBuilt: consoleBuilt(),
      nodeFlags: process.execArgv,
    };
    if (flags.json === true) return printJson(report);
    const rows = Object.entries(report).map(([name, value]) => [
      name,
      value === null ? '-' : Array.isArray(value) ? value.join(' ') : String(value),
    ]);
    for (const line of table(rows)) printLine(line);
  });

/** The directory, or the nearest one above it that exists. */
function existing(path: string): string {
  return fs.existsSync(path) ? path : existing(dirname(path));
}

/** Median time of a 4 KiB O_DSYNC write, ms; null where the directory cannot be written. */
function dsyncMs(directory: string): number | null {
  const path = `${directory}/.doctor-${process.pid}`;
  try {
    const fd = fs.openSync(
      path,
      fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_WRONLY | fs.constants.O_DSYNC,
      0o600,
    );
    const block = Buffer.alloc(4096, 1);
    const times: number[] = [];
    for (let i = 0; i < FSYNC_ROUNDS; i++) {
      const start = performance.now();
      fs.writeSync(fd, block, 0, block.length, 0);
      times.push(performance.now() - start);
    }
    fs.closeSync(fd);
    return Number(times.sort((a, b) => a - b)[FSYNC_ROUNDS / 2]!.toFixed(3));
  } catch {
    return null;
  } finally {
    fs.rmSync(path, { force: true });
  }
}
