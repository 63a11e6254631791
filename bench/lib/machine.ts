/** What the numbers were measured on, and the processor time of processes. */
import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** Clock ticks a second of /proc (USER_HZ: 100 on every Linux that Node runs on). */
const TICKS_PER_SECOND = 100;

/** User + system time of a process, all its threads, in ms; 0 where there is no /proc or no such process. */
export function cpuMsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold spaces: fields are counted from behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** Processor, cores, kernel, memory and how busy the machine is now. */
export function machine(): Record<string, unknown> {
  return {
    node: process.version,
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    loadAverage: loadavg().map((value) => Number(value.toFixed(1))),
  };
}

const TMPFS = new Set([0x0102_1994, 0x8584_58f6]);

/** True where nothing written is durable. */
export function isMemory(directory: string): boolean {
  return TMPFS.has(statfsSync(directory).type);
}
