/** The machine and this Node: versions, processor, limits, clock. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { loadNative } from '@chronon/native/native-binding';
import { RING_ARENA_BYTES } from '@chronon/native/io-uring-disk';
import { chooseCodec } from '../replica/choose-codec.ts';
import { consoleBuilt } from '../supervisor/layout.ts';
import { type Finding, ok, problem, warning } from './finding.ts';

const NODE_MIN = [20, 20] as const;
/** Majors the tests run on. */
const NODE_TESTED = [20, 22, 24];
const FILES_MIN = 1024;
/** Bit of a capability set (capabilities(7)). */
const CAP_IPC_LOCK = 14n;
/** How far wall clock and monotonic clock may part while the doctor looks, ms. */
const STEP_MS = 20;
/** By level, as the addon counts them. */
const SIMD_NAMES = ['portable code', 'SSE4.2', 'AVX2', 'AVX-512'];

export function kernel(): Finding {
  const facts = {
    platform: process.platform,
    release: os.release(),
    arch: process.arch,
    cores: os.availableParallelism(),
  };
  const text = `${os.type()} ${os.release()} on ${process.arch}, ${facts.cores} core${facts.cores === 1 ? '' : 's'}, ${Math.round(os.totalmem() / 2 ** 30)} GiB of memory`;
  if (process.platform !== 'linux')
    return warning('kernel', text, 'fit for trying out; io_uring, flock and the tests of durability need Linux', facts);
  return ok('kernel', text, facts);
}

export function runtime(): Finding {
  const { node, v8 } = process.versions;
  const icu = process.versions['icu'] ?? null;
  const facts = { node, v8, icu, flags: process.execArgv };
  const text = `Node ${node}, V8 ${v8}, ICU ${icu ?? 'none'}`;
  const [major = 0, minor = 0] = node.split('.').map(Number);
  if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1]))
    return problem('node', text, `install Node ${NODE_MIN.join('.')} or later, the same on every replica`, facts);
  if (!NODE_TESTED.includes(major))
    return warning('node', text, `Chronon is tested on Node ${NODE_TESTED.join(', ')}`, facts);
  return ok('node', `${text} (keep them equal on all replicas)`, facts);
}

export async function processor(): Promise<Finding> {
  const { codec, reason } = await chooseCodec();
  const { binding } = loadNative();
  const level = binding === null ? null : binding.simd();
  const facts = { codec: codec.backend, simd: level, model: os.cpus()[0]?.model ?? null };
  const how = level === null ? '' : ` with ${SIMD_NAMES[level] ?? `level ${level}`}`;
  const text = `frames are hashed by the ${codec.backend} codec${how}`;
  if (reason !== null)
    return warning(
      'codec',
      `${text}: ${reason}`,
      'install g++ and run `npm run setup`: five to ten times less processor time',
      facts,
    );
  if (level === 0)
    return warning(
      'codec',
      text,
      'this processor has neither AVX2 nor SSE4.2: hashing costs several times as much',
      facts,
    );
  return ok('codec', text, facts);
}

/** Soft limits of this process, as its children will have them. */
export function limits(): Finding[] {
  const files = limitOf('Max open files');
  const locked = limitOf('Max locked memory');
  const findings: Finding[] = [];
  if (files !== null && files < FILES_MIN)
    findings.push(
      problem('nofile', `only ${files} files may be open`, `raise it to at least ${FILES_MIN}: ulimit -n`, {
        nofile: files,
      }),
    );
  else findings.push(ok('nofile', `${files ?? 'any number of'} files may be open`, { nofile: files }));
  const mayLock = mayLockMemory(read('/proc/self/status'));
  if (!mayLock && locked !== null && locked < RING_ARENA_BYTES)
    findings.push(
      warning(
        'memlock',
        `only ${Math.floor(locked / 1024)} KiB may be locked in memory: io_uring works without registered pages`,
        'raise it: ulimit -l 65536, or ulimits.memlock of the container',
        { memlock: locked },
      ),
    );
  else
    findings.push(
      ok(
        'memlock',
        mayLock
          ? 'memory may be locked (CAP_IPC_LOCK)'
          : `${locked === null ? 'any amount of memory' : `${Math.floor(locked / 1024)} KiB`} may be locked`,
        { memlock: locked },
      ),
    );
  return findings;
}

/** Whether a process with this /proc/PID/status is above the limit of locked memory. Root in a container is not. */
export function mayLockMemory(status: string): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_IPC_LOCK) & 1n) === 1n;
}

/** A soft limit in its unit; null: unlimited, or unknown here. */
function limitOf(name: string): number | null {
  const line = read('/proc/self/limits')
    .split('\n')
    .find((one) => one.startsWith(name));
  const value = line?.slice(name.length).trim().split(/\s+/)[0];
  return value === undefined || value === 'unlimited' ? null : Number(value);
}

/** Both clocks, read one right after the other. */
export interface ClockReading {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

export function clockNow(): ClockReading {
  return { wallMs: Date.now(), monotonicMs: performance.now() };
}

/** Judges the clock by what it did from `start` to `now`, and by what the system says about its synchronisation. */
export function clock(start: ClockReading, now: ClockReading): Finding {
  const passedMs = now.monotonicMs - start.monotonicMs;
  // Never -0.
  const partedMs = Math.round(now.wallMs - start.wallMs - passedMs) || 0;
  const synchronised = isSynchronised();
  const source = read('/sys/devices/system/clocksource/clocksource0/current_clocksource') || null;
  const facts = { synchronised, source, partedMs, passedMs: Math.round(passedMs) };
  const text = `clock source ${source ?? 'unknown'}, ${synchronised === null ? 'synchronisation unknown' : synchronised ? 'synchronised' : 'NOT synchronised'}`;
  if (Math.abs(partedMs) > STEP_MS)
    return warning(
      'clock',
      `${text}; the wall clock moved ${partedMs} ms against the monotonic one within ${Math.round(passedMs)} ms`,
      'something steps the clock: let one daemon (chrony, systemd-timesyncd) slew it',
      facts,
    );
  if (synchronised === false)
    return warning(
      'clock',
      text,
      'start chrony or systemd-timesyncd: block times of commands follow the majority of clocks (safety does not depend on them)',
      facts,
    );
  return ok('clock', text, facts);
}

/** Whether the system says that its clock is synchronised; null where nobody tells. */
function isSynchronised(): boolean | null {
  if (fs.existsSync('/run/systemd/timesync/synchronized')) return true;
  try {
    const text = execFileSync('timedatectl', ['show', '-p', 'NTPSynchronized', '--value'], {
      encoding: 'utf8',
      timeout: 2000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    return text === 'yes' ? true : text === 'no' ? false : null;
  } catch {
    return null;
  }
}

export function consoleFinding(): Finding {
  return consoleBuilt()
    ? ok('console', 'the console is built')
    : warning('console', 'the console is not built', 'run `npm run setup`; replicas run without it');
}

function read(path: string): string {
  try {
    return fs.readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
