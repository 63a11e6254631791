/** Which events of a replica are a rare state that a large run must have met (sometimes.ts). */
import type { ReplicaEvent } from '../replica-contract.ts';
import type { SimMachine } from './sim-machine.ts';
import type { World } from './world.ts';

/** Called before whatever the event led to. */
export function noteRareState({ sometimes, checks }: World, machine: SimMachine, event: ReplicaEvent): void {
  const state = machine.replica?.node.state ?? null;
  switch (event.kind) {
    case 'join':
      sometimes.reached('asked-where-the-log-joins');
      break;
    case 'truncate':
      if (event.from <= checks.promised(machine.id)) sometimes.reached('truncation-below-the-tail-record');
      break;
    case 'repair':
      sometimes.reached('damaged-frame-repaired');
      break;
    case 'status':
      if (event.status === 'recovering-head') sometimes.reached('recovering-head');
      break;
    case 'install':
      sometimes.reached('snapshot-installed');
      if (state !== null && state.end > event.index) sometimes.reached('snapshot-installed-below-newer-frames');
      break;
    case 'identity':
      if (event.incarnations.some((incarnation) => incarnation > 0)) sometimes.reached('wiped-replica-replaced');
      break;
    case 'space':
      sometimes.reached(event.full ? 'disk-full' : 'space-again');
      break;
    case 'data-loss':
      sometimes.reached('data-loss-reported');
      break;
    case 'mended':
      if (event.how === 'fetched') sometimes.reached('damaged-snapshot-fetched');
      break;
    case 'damage':
      if (event.remedy === 'rewritten') sometimes.reached('damaged-copy-rewritten');
      break;
    default:
  }
}
