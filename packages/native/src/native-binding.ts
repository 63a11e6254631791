/**
 * Loads the C++ addon, or says in one sentence why there is none. Nothing else in this package touches the .node file.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** One io_uring with its own aligned pages (cpp/device.cc). Tokens and results: negative is -errno. */
export interface NativeRing {
  /** (token, result) pairs of the last wake. */
  readonly results: Int32Array;
  /** Called with the number of pairs, once a wake; `error`: 0, or -errno when what is left of a request could not be handed to the kernel again. */
  onWake: (count: number, error: number) => void;
  /** `after`: -1, or the token of the write queued last, not submitted yet, which this one is chained behind. */
  write(
    fd: number,
    offset: number,
    bytes: Uint8Array,
    from: number,
    length: number,
    durable: boolean,
    after: number,
  ): number;
  /** Memory that is written from without copying, or null when there is not so much: whole blocks, for as long as the disk is used. */
  allocate(bytes: number): ArrayBuffer | null;
  read(fd: number, offset: number, length: number): number;
  sync(fd: number): number;
  /** Fills `into` from `offset` on, a multiple of a block, past the page cache: bytes read (fewer at the end of the file) or -errno. Blocking. */
  readBlocking(fd: number, offset: number, into: Uint8Array): number;
  /** The next readBlocking will be of exactly these bytes, unwritten until then: begins it in a thread. `length` 0: it will not. */
  prefetch(fd: number, offset: number, length: number): void;
  /** Whether the next `requests` writes of `pages` pages together will not get -EAGAIN. */
  hasRoom(requests: number, pages: number): boolean;
  submit(): number;
  /** Copies a finished read without its first `skip` bytes to into[at..] and frees its pages; returns the bytes copied. */
  take(token: number, into: Uint8Array, at: number, skip: number): number;
  /** Waits for what is in flight; its results are dropped. */
  close(): void;
  state(): { inFlight: number; continued: number; registered: boolean; setupFlags: number };
  /** Test shim: the next write reaches the kernel cut to `bytes`. */
  shortenNextWrite(bytes: number): void;
}

export interface NativeBinding {
  Ring: new (requests: number, arenaBytes: number, options: number) => NativeRing;
  /** 0, or throws an Error with `errno`: one durable block write, one read and one fdatasync through a ring of its own. */
  probeWrite(fd: number): number;
  /** Exclusive, without waiting: 0 or -errno. */
  flock(fd: number): number;
  /** Best level of this processor: 0 portable, 1 SSE4.2, 2 AVX2, 3 AVX-512. Every codec call takes the level to use. */
  simd(): number;
  hash(bytes: Uint8Array, start: number, end: number, out: Uint8Array, outOffset: number, simd: number): void;
  hashChain(
    bytes: Uint8Array,
    ends: Uint32Array,
    count: number,
    chain: Uint8Array,
    out: Uint8Array,
    simd: number,
  ): void;
  crc32c(bytes: Uint8Array, start: number, end: number, simd: number): number;
  /** Frames sealed; -1: a payload above `payloadMax`, -2: the frames do not fill the range (then nothing was changed). */
  seal(bytes: Uint8Array, start: number, end: number, chain: Uint8Array, payloadMax: number, simd: number): number;
  /** Index into the faults of native-codec.ts; `result` gets the frames' count and the end offset. */
  verify(
    bytes: Uint8Array,
    start: number,
    end: number,
    index: number,
    chain: Uint8Array,
    payloadMax: number,
    simd: number,
    result: Uint32Array,
  ): number;
}

export type NativeLoad =
  | { readonly binding: NativeBinding; readonly reason: null }
  | { readonly binding: null; readonly reason: string };

let loaded: NativeLoad | null = null;

/**
 * The addon of this package, loaded once a thread. CHRONON_NATIVE_PATH names another binary (the AddressSanitizer build);
 * CHRONON_NATIVE=off does without.
 */
export function loadNative(): NativeLoad {
  loaded ??= load();
  return loaded;
}

function load(): NativeLoad {
  if (process.env['CHRONON_NATIVE'] === 'off')
    return { binding: null, reason: 'the native addon is switched off (CHRONON_NATIVE=off)' };
  const path =
    process.env['CHRONON_NATIVE_PATH'] ?? fileURLToPath(new URL('../build/chronon_native.node', import.meta.url));
  if (!existsSync(path)) return { binding: null, reason: `the native addon was not built (${path} is missing)` };
  try {
    const binding = createRequire(import.meta.url)(path) as NativeBinding;
    const lacks = missing(binding);
    if (lacks === null) return { binding, reason: null };
    return {
      binding: null,
      reason: `the native addon is of another build (it has no ${lacks}): build it again with \`npm run setup\``,
    };
  } catch (cause) {
    return {
      binding: null,
      reason: `the native addon does not load: ${cause instanceof Error ? cause.message : String(cause)}`,
    };
  }
}

/** Every method of the interfaces above: the compiler asks for those that are added. */
const RING_METHODS: Readonly<Record<Exclude<keyof NativeRing, 'results' | 'onWake'>, true>> = {
  write: true,
  allocate: true,
  read: true,
  sync: true,
  readBlocking: true,
  prefetch: true,
  hasRoom: true,
  submit: true,
  take: true,
  close: true,
  state: true,
  shortenNextWrite: true,
};
const FUNCTIONS: Readonly<Record<keyof NativeBinding, true>> = {
  Ring: true,
  probeWrite: true,
  flock: true,
  simd: true,
  hash: true,
  hashChain: true,
  crc32c: true,
  seal: true,
  verify: true,
};

/** What an addon built from other sources does not have, or null. */
function missing(binding: Partial<NativeBinding>): string | null {
  for (const name of Object.keys(FUNCTIONS) as (keyof NativeBinding)[])
    if (typeof binding[name] !== 'function') return name;
  const ring = binding.Ring!.prototype as Partial<NativeRing>;
  const methods = Object.keys(RING_METHODS) as (keyof typeof RING_METHODS)[];
  return methods.find((name) => typeof ring[name] !== 'function') ?? null;
}
