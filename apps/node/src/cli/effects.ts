/** `chronon effects list`: the outbox of a replica. */
import { Command } from 'commander';
import { outboxPage } from '../api/schema.ts';
import { apiQuery } from '../client/api-call.ts';
import { inline, printJson, printLine, table } from './output.ts';
import { between, replicaArgument } from './parse.ts';
import { askable, liveTarget, withTarget, type TargetFlags } from './target.ts';

interface ListFlags extends TargetFlags {
  readonly limit: number;
  readonly replica?: number;
}

const listCommand = withTarget(new Command('list'))
  .description('effects and what became of them')
  .option('--limit <n>', 'most entries', between(1, 1000), 50)
  .option('--replica <id>', 'whose outbox (default: the primary)', replicaArgument)
  .action(async (flags: ListFlags) => {
    const { api } = await askable(liveTarget(flags), flags.replica ?? null);
    const page = await apiQuery(api, 'outbox.list', { limit: flags.limit }, outboxPage);
    if (flags.json === true) return printJson(page);
    const { pending, acknowledged, dead } = page.counts;
    printLine(`r${page.replica}: ${pending} pending, ${acknowledged} acknowledged, ${dead} dead`);
    const rows = page.entries.map((e) => [
      e.id.slice(0, 12),
      e.index,
      e.channel,
      e.state,
      String(e.attempts),
      e.lastError ?? '',
      inline(e.payload),
    ]);
    for (const line of table(rows)) printLine(line);
  });

export const effectsCommand = new Command('effects').description('the outbox').addCommand(listCommand);
