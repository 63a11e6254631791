/**
 * Child processes of the scripts: each in its own process group, so that a stop reaches everything it started; one place for signals.
 *
 * Invariants: after `stopAll` no group started here lives; a stop signal is handled once however often it arrives.
 */
import { spawn } from 'node:child_process';

/** Children that have not ended. */
const running = new Set();
const OUTPUT_CHARS_MAX = 1_000_000;
const STOP_GRACE_MS = 5000;

let stopping = false;

/**
 * Runs a command to its end. Captures stdout and stderr (the last million characters of both together, and stdout alone);
 * `onLine` sees each line as it comes. Never rejects: a command that cannot be started ends with code 127.
 */
export function run(command, args, { cwd, env, onLine } = {}) {
  return new Promise((resolve) => {
    if (stopping) return; // The process is about to exit.
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    running.add(child);
    let output = '';
    let stdout = '';
    let rest = '';
    const take = (chunk, isStdout) => {
      output = (output + chunk).slice(-OUTPUT_CHARS_MAX);
      if (isStdout) stdout = (stdout + chunk).slice(-OUTPUT_CHARS_MAX);
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (onLine) for (const line of lines) onLine(line);
    };
    child.stdout.setEncoding('utf8').on('data', (chunk) => take(chunk, true));
    child.stderr.setEncoding('utf8').on('data', (chunk) => take(chunk, false));
    const end = (code, note) => {
      running.delete(child);
      if (note) take(`${note}\n`, false);
      resolve({ code, output, stdout });
    };
    child.on('error', (error) => end(127, `${command}: ${error.message}`));
    child.on('close', (code, signal) => end(code ?? 1, signal ? `${command} was ended by ${signal}` : ''));
  });
}

function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Already gone.
  }
}

/** Stops every child's whole group: SIGTERM, then SIGKILL after a grace period. */
export async function stopAll() {
  stopping = true;
  const children = [...running].filter((child) => child.pid !== undefined);
  const gone = Promise.all(children.map((child) => new Promise((resolve) => child.once('close', resolve))));
  for (const child of children) killGroup(child, 'SIGTERM');
  if (children.length > 0) {
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, STOP_GRACE_MS).unref())]);
    for (const child of children) killGroup(child, 'SIGKILL');
  }
}

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Until the returned function is called, a stop signal ends all children and then the process with `exitCode`. Also when the parent
 * goes away: npm killed with -9 (or by a SIGHUP it does not pass on) must not leave this process behind.
 */
export function stopOnSignals(exitCode, cleanUp = () => {}) {
  const onSignal = () => {
    if (stopping) return;
    void stopAll().then(() => {
      cleanUp();
      process.exit(exitCode);
    });
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return () => {
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
  };
}

/** Turns the death of npm, our parent, into a SIGTERM of our own. Nothing outside npm: a shell may well end before us. */
export function stopWithNpm() {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    process.kill(process.pid, 'SIGTERM');
  }, 500).unref();
}
