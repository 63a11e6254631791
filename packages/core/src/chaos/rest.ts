/** When a healed cluster has settled, when it has come to rest, and, when it does not, why not. `machines`: the healed ones. */
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

/** One primary serves, and everybody is normal in its view. */
export function settled(machines: readonly SimMachine[]): boolean {
  return unsettled(machines).length === 0;
}

/** Settled, with the same commit, applied, durable and digest everywhere, and nothing waits. */
export function atRest(world: World, machines: readonly SimMachine[]): boolean {
  return settled(machines) && restless(world, machines).length === 0;
}

export function unrest(world: World, machines: readonly SimMachine[]): string {
  const why = [...unsettled(machines), ...restless(world, machines)];
  const calls = world.clients.underWay;
  if (calls > 0) why.unshift(`${calls} calls of clients have not ended`);
  const names = machines.map(({ id }) => `r${id}`).join(', ');
  return `after ${names} were healed: ${why.join('; ') || 'the workload did not finish'}`;
}

function unsettled(machines: readonly SimMachine[]): string[] {
  const why: string[] = [];
  let serving = 0;
  let first: { readonly id: number; readonly view: number } | null = null;
  for (const machine of machines) {
    const { replica, id } = machine;
    if (!machine.alive || replica === null) {
      why.push(`r${id} is down`);
      continue;
    }
    const { status, view, logView, serving: serves } = machine.observe();
    first ??= { id, view };
    if (serves) serving++;
    if (status !== 'normal') why.push(`r${id} is in ${status} (view ${view}, log view ${logView})`);
    if (view !== first.view) why.push(`r${id} is in view ${view}, r${first.id} in ${first.view}`);
  }
  if (serving !== 1) why.push(`${serving} primaries serve`);
  return why;
}

function restless(world: World, machines: readonly SimMachine[]): string[] {
  const why: string[] = [];
  const committed = world.checks.canonical.last;
  for (const machine of machines) {
    const { replica, id } = machine;
    if (replica === null) continue;
    const { commit, applied, durable, last } = machine.observe();
    if (commit !== committed || applied !== committed || durable !== committed || last !== committed) {
      why.push(
        `r${id} has commit ${commit}, applied ${applied}, durable ${durable}, last ${last}; committed is ${committed}`,
      );
    }
    const pending = replica.executor.outbox.pendingCount;
    if (pending > 0) why.push(`${pending} effects are pending on r${id}`);
  }
  return why;
}
