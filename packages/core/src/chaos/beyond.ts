/**
 * Beyond the atlas: storage damage that leaves no good copy anywhere. Nothing more is promised than this: no answer is wrong, and whoever does not go on says why, by
 * a refusal with a code, a lost tail record that is waited for, a reported data loss, or frames that are known to be damaged.
 *
 * Two damages stay out because nobody could notice them: a write that goes elsewhere together with a lost tail record, and an old copy of a whole directory.
 */
import type { Profile } from './profile.ts';
import type { SimMachine } from './sim-machine.ts';

/** Codes that a replica may refuse its directory with, or stop with, for damage that is more than it can bear. */
export const DAMAGE_CODES: ReadonlySet<string> = new Set([
  'E_LOG_CORRUPT',
  'E_SNAPSHOT',
  'E_MANIFEST',
  'E_AMNESIA',
  'E_DATA_LOSS',
]);

/** The same world, its media worse than any quorum can bear. */
export function beyondAtlas(profile: Profile): Profile {
  const { faults } = profile;
  const weights = {
    ...faults.weights,
    'bit-rot': 1.5,
    'rot-at-rest': 4,
    'tail-loss': 2,
    'misdirected-write': 0,
    wipe: 0,
  };
  return { ...profile, aimed: null, beyond: true, faults: { ...faults, weights } };
}

/** In words, why these replicas do not go on; null when none of them says. */
export function reasons(machines: readonly SimMachine[]): string | null {
  const said: string[] = [];
  for (const machine of machines) {
    const { id, stoppedBy } = machine;
    const n = machine.replica?.node.state ?? null;
    if (stoppedBy !== null) said.push(`r${id} refused: ${stoppedBy}`);
    else if (n?.dataLoss) said.push(`r${id} reports E_DATA_LOSS at ${n.dataLoss.index}`);
    else if (n?.status === 'recovering-head') said.push(`r${id} has lost its tail record`);
    else if (n !== null && n.faulty.length > 0) said.push(`r${id} has damaged frames from ${n.faulty[0]!.from} on`);
  }
  return said.length === 0 ? null : said.join('; ');
}
