/** A machine's durable bytes, opened by nobody: what the checks let the real engine read, on a copy, in no time. */
import { Prng } from '../prng.ts';
import { EventQueue } from './event-queue.ts';
import { SimDisk, soundDevice } from './sim-disk.ts';
import type { SimStorage } from './sim-storage.ts';

/** A disk with what a power cut at this moment would leave at worst. */
export function offlineDisk(storage: SimStorage): SimDisk {
  return new SimDisk({
    queue: new EventQueue(),
    storage: storage.worstImage(),
    device: soundDevice(),
    prng: new Prng(0),
    enter: () => {},
    onArmedWrite: () => {},
    onFault: () => {},
    mayHarm: () => false,
  });
}
