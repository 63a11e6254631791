/** `chronon doctor`: looks at this machine and a data directory, says what is wrong and what to do. Changes nothing but a scratch directory for its timings. */
import fs from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import { dataDirectory, ports } from '../doctor/data.ts';
import { fileSystem, flushes, ioUring, space } from '../doctor/disk.ts';
import type { Finding } from '../doctor/finding.ts';
import { clock, clockNow, consoleFinding, kernel, limits, processor, runtime } from '../doctor/machine.ts';
import { PORT_DEFAULT } from '../supervisor/ports.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine } from './output.ts';
import { wholeNumber } from './parse.ts';

interface DoctorFlags {
  readonly data: string;
  readonly port: number;
  readonly json?: boolean;
}

const MARK = { ok: 'ok     ', warning: 'warning', problem: 'PROBLEM' } as const;

export const doctorCommand = new Command('doctor')
  .description('what is wrong with this machine or a data directory, and what to do')
  .option('--data <dir>', 'directory that holds the data, or would', './data')
  .option('--port <n>', 'base of the ports a start would use', wholeNumber, PORT_DEFAULT)
  .option('--json', 'print one JSON object: ok, findings')
  .addHelpText('after', '\nExit codes: 0 fine (there may be warnings), 1 problems were found, 2 wrong use.')
  .action(async (flags: DoctorFlags) => {
    const findings = await examine(resolve(flags.data), flags.port);
    const good = findings.every(({ level }) => level !== 'problem');
    if (flags.json === true) printJson({ ok: good, findings });
    else show(findings);
    process.exitCode = good ? EXIT.ok : EXIT.failed;
  });

async function examine(data: string, base: number): Promise<Finding[]> {
  const start = clockNow();
  const directory = existing(data);
  const state = dataDirectory(data);
  return [
    kernel(),
    runtime(),
    await processor(),
    ioUring(directory),
    fileSystem(directory),
    space(directory, state.replicas),
    ...(await flushes(directory)),
    ...limits(),
    clock(start, clockNow()),
    ...state.findings,
    await ports(base, state.replicas, state.running),
    consoleFinding(),
  ];
}

function show(findings: readonly Finding[]): void {
  for (const { level, id, what, advice } of findings) {
    printLine(`${MARK[level]}  ${id.padEnd(14)}  ${what}`);
    if (advice !== null) printLine(`${' '.repeat(MARK.ok.length + 18)}-> ${advice}`);
  }
  const count = (level: Finding['level']): number => findings.filter((finding) => finding.level === level).length;
  const [problems, warnings] = [count('problem'), count('warning')];
  printLine(
    `${problems === 0 ? 'fine' : `${problems} problem${problems === 1 ? '' : 's'}`}${warnings === 0 ? '' : `, ${warnings} warning${warnings === 1 ? '' : 's'}`}`,
  );
}

/** The directory, or the nearest one above it that exists. */
function existing(path: string): string {
  return fs.existsSync(path) && fs.statSync(path).isDirectory() ? path : existing(dirname(path));
}
