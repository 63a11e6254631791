/**
 * DIR/endpoint.json: how commands find a running cluster. Written once everything listens, removed by a clean stop.
 *
 * Invariants: mode 0600, atomic; names the supervisor's pid and start time, so that a file left by a crash is recognised (a pid alone may have been
 * given to another process).
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readIfThere, writeAtomically } from './atomic-file.ts';

export const ENDPOINT_FILE = 'endpoint.json';

const endpoint = z.object({
  version: z.literal(1),
  pid: z.number().int(),
  /** Clock ticks since boot at which the process started (/proc/PID/stat), or null where there is no /proc. */
  startTime: z.string().nullable(),
  clusterId: z.string(),
  dataDir: z.string(),
  token: z.string(),
  app: z.string(),
  supervisorUrl: z.string(),
  consoleUrl: z.string().nullable(),
  replicas: z.array(
    z.object({ id: z.number().int(), apiUrl: z.string(), clientUrl: z.string(), dataDir: z.string().nullable() }),
  ),
});
export type Endpoint = z.infer<typeof endpoint>;

export type EndpointState =
  | { readonly kind: 'none' }
  | { readonly kind: 'running'; readonly endpoint: Endpoint }
  | { readonly kind: 'stale'; readonly endpoint: Endpoint }
  | { readonly kind: 'damaged'; readonly problem: string };

export function writeEndpoint(dir: string, value: Endpoint): void {
  writeAtomically(join(dir, ENDPOINT_FILE), `${JSON.stringify(value, null, 2)}\n`);
}

export function removeEndpoint(dir: string): void {
  fs.rmSync(join(dir, ENDPOINT_FILE), { force: true });
}

/** Reads the file and says whether its process still lives. */
export function readEndpoint(dir: string): EndpointState {
  const text = readIfThere(join(dir, ENDPOINT_FILE));
  if (text === null) return { kind: 'none' };
  try {
    const parsed = endpoint.safeParse(JSON.parse(text));
    if (!parsed.success) return { kind: 'damaged', problem: z.prettifyError(parsed.error) };
    return { kind: isAlive(parsed.data.pid, parsed.data.startTime) ? 'running' : 'stale', endpoint: parsed.data };
  } catch (error) {
    return { kind: 'damaged', problem: (error as Error).message };
  }
}

/** Start time of a process as the kernel states it, or null. Reading `stat` from the last ')': the name may hold anything. */
export function startTimeOf(pid: number): string | null {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function isAlive(pid: number, startTime: string | null): boolean {
  if (startTime !== null) return startTimeOf(pid) === startTime;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
