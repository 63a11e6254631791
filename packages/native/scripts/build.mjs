/**
 * Builds build/chronon_native.node with g++ directly: no Python, no node-gyp, no download.
 *
 * Headers come from the running node's own include directory, else from the npm package node-api-headers (the addon declares
 * the few libuv functions it needs itself). When it cannot build it says why in one line and exits 0, because everything has
 * a JavaScript fallback; CHRONON_REQUIRE_NATIVE=1 makes that an error. CHRONON_NATIVE_ASAN=1 builds a second binary with
 * AddressSanitizer and UBSan, for the memory tests.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const asan = process.env.CHRONON_NATIVE_ASAN === '1';
const output = join(here, 'build', asan ? 'chronon_native_asan.node' : 'chronon_native.node');

function headers() {
  const own = join(dirname(process.execPath), '..', 'include', 'node');
  if (existsSync(join(own, 'node_api.h'))) return own;
  try {
    const found = createRequire(import.meta.url)('node-api-headers').include_dir;
    if (existsSync(join(found, 'node_api.h'))) return found;
  } catch {
    // Not installed: reported below.
  }
  return null;
}

/** Null when built, else the reason in one line. */
function build() {
  if (process.platform !== 'linux') return `io_uring exists on Linux only, this is ${process.platform}`;
  const include = headers();
  if (include === null)
    return 'no node_api.h beside the node binary, and the npm package node-api-headers is not installed';
  const sources = readdirSync(join(here, 'cpp'))
    .filter((name) => name.endsWith('.cc'))
    .map((name) => join(here, 'cpp', name));
  const temporary = `${output}.${process.pid}.tmp`;
  mkdirSync(dirname(output), { recursive: true });
  const flags = asan
    ? ['-O1', '-g', '-fsanitize=address,undefined', '-fno-omit-frame-pointer', '-fno-sanitize-recover=undefined']
    : ['-O2', '-flto', '-s', '-static-libgcc', '-static-libstdc++'];
  const common =
    '-shared -fPIC -std=c++17 -Wall -Wextra -fvisibility=hidden -fno-exceptions -fno-rtti -DNAPI_VERSION=8'.split(' ');
  // Its threads may outlive the worker_thread that loaded it.
  common.push('-Wl,-z,nodelete', '-pthread');
  common.push('-DNODE_GYP_MODULE_NAME=chronon_native');
  const compiler = process.env.CXX ?? 'g++';
  const result = spawnSync(compiler, [...common, ...flags, '-isystem', include, ...sources, '-o', temporary], {
    encoding: 'utf8',
  });
  if (result.error) return `${compiler}: ${result.error.message}`;
  if (result.status !== 0) {
    rmSync(temporary, { force: true });
    const firstError = result.stderr.split('\n').find((line) => /error|fatal|undefined/.test(line));
    if (process.env.CHRONON_NATIVE_VERBOSE === '1') process.stderr.write(result.stderr);
    return `${compiler} failed: ${firstError ?? result.stderr.split('\n')[0] ?? `status ${result.status}`}`;
  }
  if (result.stderr !== '' && process.env.CHRONON_NATIVE_VERBOSE === '1') process.stderr.write(result.stderr);
  // Atomic: a process that has the old file mapped keeps it.
  renameSync(temporary, output);
  return null;
}

const reason = build();
if (reason === null) console.log(`@chronon/native: built ${output}`);
else {
  console.log(`@chronon/native: not built, plain synchronous disk will be used: ${reason}`);
  if (process.env.CHRONON_REQUIRE_NATIVE === '1') process.exitCode = 1;
}
