/** Chooses the frame codec: the addon's, else hash-wasm, else the reference. All give equal bytes; they differ in speed only. */
import { nobleCodec } from '@chronon/core/engine/codec/noble';
import { createWasmCodec } from '@chronon/core/engine/codec/wasm';
import type { FrameCodec } from '@chronon/core/engine/frame-codec';
import { openNativeCodec } from '@chronon/native/native-codec';

/** The best codec that works here; `reason` says why it is not the addon's. */
export async function chooseCodec(): Promise<{ readonly codec: FrameCodec; readonly reason: string | null }> {
  const native = openNativeCodec();
  if (native.codec !== null) return { codec: native.codec, reason: null };
  try {
    return { codec: await createWasmCodec(), reason: native.reason };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { codec: nobleCodec, reason: `${native.reason}; WebAssembly does not work either: ${why}` };
  }
}
