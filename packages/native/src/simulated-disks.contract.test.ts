/** Runs the VirtualDisk contract over the disks that tests and the simulator use in place of a real one: what holds here holds there. */
import { EventQueue } from '@chronon/core/chaos/event-queue';
import { type SimDevice, SimDisk, soundDevice } from '@chronon/core/chaos/sim-disk';
import { SimStorage } from '@chronon/core/chaos/sim-storage';
import { MemoryDisk } from '@chronon/core/engine/testing/memory-disk';
import { Prng } from '@chronon/core/prng';
import { describeDiskContract } from './testing/disk-contract.ts';

describeDiskContract({
  name: 'MemoryDisk',
  make: () => {
    const disk = new MemoryDisk();
    return {
      disk,
      reopen: () => disk.restart(),
      pump: () => {
        if (disk.pending > 0) disk.complete(0);
      },
      dispose: () => disk.close(),
    };
  },
});

describeDiskContract({
  name: 'SimDisk',
  make: () => {
    const queue = new EventQueue();
    const storage = new SimStorage(1, new Prng(1));
    const device: SimDevice = { ...soundDevice(10, 100), slowChance: 0.1, slowUs: 500, shortWrites: 0.3 };
    const open = (): SimDisk =>
      new SimDisk({
        queue,
        storage,
        device,
        prng: new Prng(2),
        enter: (task) => task(),
        onArmedWrite: () => {},
        onFault: () => {},
        mayHarm: () => false,
      });
    const disk = open();
    return { disk, reopen: open, pump: () => void queue.step(), dispose: () => disk.close() };
  },
});
