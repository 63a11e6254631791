/** Chooses the frame codec: the addon's, else hash-wasm, else the reference. All give equal bytes; they differ in speed only. */
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { createWasmCodec } from '@chronon/core/engine/codec/wasm';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';

export async function chooseCodec(): Promise<{ readonly codec: FrameCodec; readonly reason: string | null }> {
  try {
    return { codec: await createWasmCodec(), reason: null };
  } catch (error) {
    return {
      codec: nobleCodec,
      reason: `WebAssembly does not work here: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}
