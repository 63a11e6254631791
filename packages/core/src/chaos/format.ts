/** Formats the directory of a simulated machine before its first start. */
import type { FrameCodec } from '../engine/frame-codec.ts';
import type { SimMachine } from './sim-machine.ts';

export function formatMachine(
  _machine: SimMachine,
  _clusterId: Uint8Array,
  _replicas: number,
  _pipelineMax: number,
  _codec: FrameCodec,
): void {
  throw new Error('waits for the engine');
}
