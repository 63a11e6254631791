/**
 * The raw device loop as a function and as a command: builds raw-device.c with gcc when it is newer than its binary, and runs it.
 *
 *   node bench/raw-device.mjs [--bytes 4096] [--seconds 2] [--directory DIR]      prints one JSON object
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = fileURLToPath(new URL('.', import.meta.url));
const source = join(here, 'raw-device.c');
const binary = join(here, 'results', 'raw-device');

/**
 * Durable O_DIRECT writes of `bytes` each, one at a time, for `seconds`, in a file of its own in `directory`; with `pairs` each followed by one of 8 KiB in
 * another file, and counted together.
 *
 * @param {{ bytes?: number, seconds?: number, directory?: string, pairs?: boolean }} [options]
 * @returns {{ bytes: number, writes: number, seconds: number, perSecond: number, p50us: number, p99us: number, maxus: number }}
 * @throws Error when gcc is missing, or the directory's file system has no O_DIRECT
 */
export function rawDevice({ bytes = 4096, seconds = 2, directory = join(here, 'results'), pairs = false } = {}) {
  mkdirSync(join(here, 'results'), { recursive: true });
  mkdirSync(directory, { recursive: true });
  if (!existsSync(binary) || statSync(binary).mtimeMs < statSync(source).mtimeMs)
    execFileSync('gcc', ['-O2', '-Wall', '-o', binary, source]);
  const file = join(resolve(directory), `raw-device-${process.pid}.tmp`);
  const second = `${file}.second`;
  const more = pairs ? [String(64 * 1024 * 1024), second] : [];
  try {
    return JSON.parse(execFileSync(binary, [file, String(bytes), String(seconds), ...more], { encoding: 'utf8' }));
  } finally {
    rmSync(second, { force: true });
    rmSync(file, { force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      bytes: { type: 'string', default: '4096' },
      seconds: { type: 'string', default: '2' },
      directory: { type: 'string' },
    },
  });
  const { directory } = values;
  const options = { bytes: Number(values.bytes), seconds: Number(values.seconds), ...(directory ? { directory } : {}) };
  process.stdout.write(`${JSON.stringify(rawDevice(options))}\n`);
}
