/** When a healed cluster has come to rest, and, when it does not, why not. */
import type { World } from './world.ts';

/** One primary serves, everybody is normal in its view with the same commit, applied, durable and digest, and nothing waits. */
export function atRest(world: World): boolean {
  return reasons(world).length === 0;
}

export function unrest(world: World): string {
  const calls = world.clients.underWay;
  const why = reasons(world);
  if (calls > 0) why.unshift(`${calls} calls of clients have not ended`);
  return `after the world was healed: ${why.join('; ') || 'the workload did not finish'}`;
}

function reasons(world: World): string[] {
  const why: string[] = [];
  const { machines, checks } = world;
  let serving = 0;
  for (const machine of machines) {
    const { replica, id } = machine;
    if (!machine.alive || replica === null) {
      why.push(`r${id} is down`);
      continue;
    }
    const seen = machine.observe();
    if (seen.serving) serving++;
    const first = machines[0]!.replica === null ? seen : machines[0]!.observe();
    if (seen.status !== 'normal') why.push(`r${id} is in ${seen.status} (view ${seen.view}, log view ${seen.logView})`);
    if (seen.view !== first.view) why.push(`r${id} is in view ${seen.view}, r1 in ${first.view}`);
    const committed = checks.canonical.last;
    if (
      seen.commit !== committed ||
      seen.applied !== committed ||
      seen.durable !== committed ||
      seen.last !== committed
    ) {
      const { commit, applied, durable, last } = seen;
      why.push(
        `r${id} has commit ${commit}, applied ${applied}, durable ${durable}, last ${last}; committed is ${committed}`,
      );
    }
    const { pending } = replica.executor.outbox.counts;
    if (pending > 0) why.push(`${pending} effects are pending on r${id}`);
  }
  if (serving !== 1) why.push(`${serving} primaries serve`);
  return why;
}
