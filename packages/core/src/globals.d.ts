/**
 * The few globals that exist everywhere core runs (Node, browser, worker) and are deterministic. Nothing else may be declared here: no clock,
 * no randomness, no timers, no I/O.
 */
declare class TextEncoder {
  encode(input?: string): Uint8Array;
  encodeInto(source: string, destination: Uint8Array): { read: number; written: number };
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(input?: ArrayBuffer | ArrayBufferView): string;
}
