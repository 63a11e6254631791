/** `chronon log`: verify, show or follow a log on this machine, or follow a running cluster. */
import { Command } from 'commander';
import { z } from 'zod';
import { logEntry, logRange } from '../api/schema.ts';
import { apiQuery } from '../client/api-call.ts';
import { inline, printJson, printLine, table } from './output.ts';
import { between, replicaArgument } from './parse.ts';
import { showCommand, tailOffline, verifyCommand } from './log-offline.ts';
import { askable, liveTarget, withTarget, type TargetFlags } from './target.ts';

interface TailFlags extends TargetFlags {
  readonly limit: number;
  readonly replica?: number;
  readonly follow?: boolean;
}

const page = z.object({
  entries: z.array(logEntry),
  fault: logRange.shape.fault,
  commit: logRange.shape.commit,
  last: logRange.shape.last,
});
type Page = z.output<typeof page>;

const FOLLOW_MS = 500;

const tailCommand = withTarget(new Command('tail'))
  .description('the newest entries: of a running cluster, or of a log on this machine')
  .argument('[path]', "a replica's directory (data/r1), live or stopped, or a file; without it the cluster is asked")
  .option('--limit <n>', 'how many', between(1, 1_000_000), 20)
  .option('--replica <id>', 'whose log (default: the primary)', replicaArgument)
  .option('-f, --follow', 'go on with what comes')
  .addHelpText('after', '\nExit codes: 0 shown, 1 nobody answered or the log is damaged, 2 wrong use.')
  .action(async (path: string | undefined, flags: TailFlags) => {
    if (path !== undefined) return await tailOffline(path, flags);
    const { api } = await askable(liveTarget(flags), flags.replica ?? null);
    const limit = Math.min(500, Math.max(1, flags.limit));
    let answer = await apiQuery(api, 'log.entries', { from: null, limit }, page);
    show(answer, flags);
    while (flags.follow === true) {
      await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
      const last = answer.entries.at(-1)?.index;
      const from = last === undefined ? '0' : String(BigInt(last) + 1n);
      const next = await apiQuery(api, 'log.entries', { from, limit: 500 }, page);
      if (next.entries.length === 0) continue;
      answer = next;
      show(answer, flags);
    }
  });

function show({ entries, fault, commit }: Page, flags: TailFlags): void {
  if (flags.json === true) return printJson({ entries, fault, commit });
  const rows = entries.map((e) => {
    const what = e.command === null ? e.kind : `${e.command} ${inline(e.input)}`;
    const committed = commit !== null && BigInt(e.index) <= BigInt(commit) ? '' : 'not committed';
    return [e.index, `view ${e.view}`, new Date(e.timeMs).toISOString(), e.hash.slice(0, 8), what, committed];
  });
  for (const line of table(rows)) printLine(line);
  if (fault !== null) printLine(`index ${fault.index}: ${fault.kind}`);
}

export const logCommand = new Command('log')
  .description('verify, show or follow the log')
  .addCommand(verifyCommand)
  .addCommand(showCommand)
  .addCommand(tailCommand);
