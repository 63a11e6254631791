/**
 * `chronon check`: is a recorded history linearizable? The judgement is pure and in core; here are the file, the clock and the page.
 *
 * Exit codes: 0 it is, 1 it is not (or it could not be decided), 2 usage.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { check, type CheckResult } from '@chronon/core/chaos/checker/checker';
import { HISTORY_FORMATS, type HistoryFormat, parseHistory } from '@chronon/core/chaos/checker/history';
import type { CheckModel } from '@chronon/core/chaos/checker/model';
import { CHECK_MODELS } from '@chronon/core/chaos/checker/models';
import { HistoryError, type Operation } from '@chronon/core/chaos/checker/operation';
import { inWords, timeline } from '@chronon/core/chaos/checker/timeline';
import { checkWitness, type WitnessResult } from '@chronon/core/chaos/checker/witness';
import { Argument, Command, Option } from 'commander';
import { usage } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';
import { printJson, printLine } from './output.ts';
import { between } from './parse.ts';

interface CheckFlags {
  readonly model: string;
  readonly format: HistoryFormat;
  readonly html?: string;
  readonly seconds: number;
  readonly json?: boolean;
}

/** Operations of the prefix that are printed, the last ones. */
const PREFIX_SHOWN = 10;

export const checkCommand = new Command('check')
  .description('check a recorded history for linearizability')
  .addArgument(new Argument('<file>', 'the history: our JSON lines, Jepsen etcd logs, or porcupine kv lines'))
  .addOption(
    new Option('--model <name>', 'what the object is meant to be')
      .choices([...CHECK_MODELS.keys()])
      .makeOptionMandatory(),
  )
  .addOption(new Option('--format <name>', 'format of the file').choices([...HISTORY_FORMATS]).default('auto'))
  .option('--html <file>', 'write a page that shows the history')
  .option('--seconds <n>', 'patience', between(1, 86_400), 60)
  .option('--json', 'print one JSON object')
  .addHelpText(
    'after',
    '\nThe verdict is ok, illegal, or unknown when patience or memory ends first. Exit codes: 0 ok, 1 illegal or unknown, 2 usage.',
  )
  .action((file: string, flags: CheckFlags) => {
    const model = CHECK_MODELS.get(flags.model)!;
    const { operations, result, witness, realMs } = judged(file, model, flags);
    if (flags.html !== undefined)
      writeFileSync(
        flags.html,
        timeline(result, `${basename(file)} as ${model.name}`, (operation) => model.isRead(operation)),
      );
    if (flags.json === true)
      printJson({ file, model: model.name, realMs: Math.round(realMs), ...reportOf(result, witness) });
    else show(result, witness, operations, realMs);
    process.exitCode =
      result.verdict === 'ok' && (witness === null || witness.problem === null) ? EXIT.ok : EXIT.failed;
  });

function judged(file: string, model: CheckModel, flags: CheckFlags) {
  const startedMs = performance.now();
  try {
    const operations = parseHistory(readFileSync(file, 'utf8'), flags.format);
    if (operations.length === 0) throw new HistoryError('there is no operation in it');
    const result = check(operations, model, () => performance.now() - startedMs < flags.seconds * 1000);
    // Only where the cluster told where things stand in its log.
    const witness = operations.some(({ index }) => index !== null) ? checkWitness(operations, model) : null;
    return { operations, result, witness, realMs: performance.now() - startedMs };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (error instanceof HistoryError || typeof code === 'string')
      throw usage(`${file} cannot be checked: ${(error as Error).message}`);
    throw error;
  }
}

function reportOf(result: CheckResult, witness: WitnessResult | null) {
  const { verdict, operations, partitions, steps, counterexample } = result;
  return {
    verdict,
    operations,
    partitions: partitions.map((one) => ({ ...one, operations: one.operations.length })),
    steps,
    counterexample,
    witness,
  };
}

function show(
  result: CheckResult,
  witness: WitnessResult | null,
  operations: readonly Operation[],
  realMs: number,
): void {
  const { counterexample, partitions, steps, verdict } = result;
  printLine(
    `${operations.length} operations in ${partitions.length} partitions, ${steps} steps, ${(realMs / 1000).toFixed(2)} s`,
  );
  if (counterexample !== null) {
    const { key, prefix, blocked } = counterexample;
    const from = Math.max(0, prefix.length - PREFIX_SHOWN);
    printLine(
      `${key === '' ? 'the history' : `key ${key}`}: the longest linearizable prefix has ${prefix.length} operations`,
    );
    prefix.slice(from).forEach((operation, i) => printLine(`  ${from + i + 1}. ${inWords(operation)}`));
    if (blocked !== null) printLine(`  then nothing fits: ${inWords(blocked)}`);
  }
  if (witness !== null) {
    const { problem, placed, unplaced } = witness;
    printLine(
      `the log as witness: ${problem ?? `${placed} operations fit where it has them, ${unplaced} have no place`}`,
    );
  }
  printLine(verdict);
}
