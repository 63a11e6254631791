// The frame codec: seals or verifies a whole batch in one call (docs/log-format.md, "Frame"; the contract and the order of the
// checks are those of packages/core/src/engine/codec/portable.ts).
//
// Sealing: payload hashes of neighbouring frames run side by side, then the chain runs frame by frame, because each header
// holds the hash of the frame before. Verifying: the stored prev_hash is what the chain must be, so every hash of a group of
// frames is independent and runs side by side; only the comparison is in order.
#include <climits>

#include "blake3.h"
#include "napi_util.h"

namespace chronon {
namespace {

constexpr size_t kHeaderBytes = 80;
constexpr size_t kAlign = 8;
constexpr size_t kSizeAt = 4, kIndexAt = 8, kPrevHashAt = 32, kPayloadHashAt = 48;
// Frames whose hashes run side by side: so many, or so many bytes, that they are still in the cache for their second hash.
constexpr uint32_t kGroup = 64;
constexpr size_t kGroupBytes = 64 * 1024;

// The order of FAULTS in native-codec.ts.
enum Fault : int32_t {
  kNone, kHeaderChecksum, kPayloadHash, kChain, kIndexGap, kTooLarge, kPadding, kIncomplete, kEmpty
};

struct Frame {
  const uint8_t* at;
  uint32_t payload;
  size_t bytes;
};

uint32_t ReadU32(const uint8_t* at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

uint64_t ReadU64(const uint8_t* at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

size_t FrameBytes(uint32_t payload) { return (kHeaderBytes + payload + kAlign - 1) & ~(kAlign - 1); }

bool IsZero(const uint8_t* from, const uint8_t* to) {
  while (from < to)
    if (*from++ != 0) return false;
  return true;
}

// What can be seen without hashing; fills `frame` when that is nothing.
Fault Measure(const uint8_t* at, const uint8_t* end, uint32_t payload_max, Simd simd, Frame* frame) {
  const size_t left = static_cast<size_t>(end - at);
  if (left < kHeaderBytes) return IsZero(at, end) ? kEmpty : kIncomplete;
  if (ReadU32(at) != Crc32c(at + kSizeAt, kHeaderBytes - kSizeAt, simd))
    return IsZero(at, at + kHeaderBytes) ? kEmpty : kHeaderChecksum;
  const uint32_t payload = ReadU32(at + kSizeAt);
  if (payload > payload_max) return kTooLarge;
  const size_t bytes = FrameBytes(payload);
  if (bytes > left) return kIncomplete;
  *frame = {at, payload, bytes};
  return kNone;
}

HashJob PayloadJob(const Frame& frame, uint8_t* out) { return {frame.at + kHeaderBytes, frame.payload, out}; }
HashJob ChainJob(const Frame& frame, uint8_t* out) {
  return {frame.at + kSizeAt, kHeaderBytes - kSizeAt + frame.payload, out};
}

struct Verdict {
  uint32_t count;
  size_t end;
  Fault fault;
};

Verdict Verify(const uint8_t* from, const uint8_t* end, uint64_t index, uint8_t* chain, uint32_t payload_max, Simd simd) {
  const uint8_t* at = from;
  uint32_t count = 0;
  for (Fault stop = kNone; at < end && stop == kNone;) {
    Frame frames[kGroup];
    HashJob jobs[2 * kGroup];
    uint8_t payloads[kGroup][kHashBytes], chains[kGroup][kHashBytes];
    uint32_t group = 0;
    for (const uint8_t* next = at; group < kGroup && next < end && stop == kNone;) {
      if (next - at > static_cast<ptrdiff_t>(kGroupBytes)) break;
      stop = Measure(next, end, payload_max, simd, &frames[group]);
      if (stop == kNone) next += frames[group++].bytes;
    }
    for (uint32_t i = 0; i < group; i++) {
      jobs[i] = PayloadJob(frames[i], payloads[i]);
      jobs[group + i] = ChainJob(frames[i], chains[i]);
    }
    HashMany(jobs, 2 * group, simd);
    for (uint32_t i = 0; i < group; i++) {
      const Frame& frame = frames[i];
      Fault fault = kNone;
      if (memcmp(frame.at + kPayloadHashAt, payloads[i], kHashBytes) != 0) fault = kPayloadHash;
      else if (!IsZero(frame.at + kHeaderBytes + frame.payload, frame.at + frame.bytes)) fault = kPadding;
      else if (ReadU64(frame.at + kIndexAt) != index + count) fault = kIndexGap;
      else if (memcmp(frame.at + kPrevHashAt, chain, kHashBytes) != 0) fault = kChain;
      if (fault != kNone) return {count, static_cast<size_t>(at - from), fault};
      memcpy(chain, chains[i], kHashBytes);
      at += frame.bytes;
      count++;
    }
    if (stop != kNone) return {count, static_cast<size_t>(at - from), stop};
  }
  return {count, static_cast<size_t>(at - from), kNone};
}

// Number of frames, -1 when a payload is above the limit, -2 when the frames do not fill the range; then nothing changed.
int32_t Seal(uint8_t* from, uint8_t* end, uint8_t* chain, uint32_t payload_max, Simd simd) {
  for (uint8_t* at = from; at < end;) {
    if (static_cast<size_t>(end - at) < kHeaderBytes) return -2;
    const uint32_t payload = ReadU32(at + kSizeAt);
    if (payload > payload_max) return -1;
    if (FrameBytes(payload) > static_cast<size_t>(end - at)) return -2;
    at += FrameBytes(payload);
  }
  int32_t count = 0;
  for (uint8_t* at = from; at < end;) {
    Frame frames[kGroup];
    HashJob jobs[kGroup];
    uint32_t group = 0;
    for (uint8_t* next = at; group < kGroup && next < end; group++) {
      if (next - at > static_cast<ptrdiff_t>(kGroupBytes)) break;
      const uint32_t payload = ReadU32(next + kSizeAt);
      frames[group] = {next, payload, FrameBytes(payload)};
      jobs[group] = PayloadJob(frames[group], next + kPayloadHashAt);
      next += frames[group].bytes;
    }
    HashMany(jobs, group, simd);
    for (uint32_t i = 0; i < group; i++) {
      memcpy(at + kPrevHashAt, chain, kHashBytes);
      const uint32_t checksum = Crc32c(at + kSizeAt, kHeaderBytes - kSizeAt, simd);
      memcpy(at, &checksum, sizeof checksum);
      Hash(ChainJob(frames[i], chain), simd);
      at += frames[i].bytes;
      count++;
    }
  }
  return count;
}

// For each record in turn chain = H(chain ++ H(record)): the records side by side, the chain one by one. The ends were checked.
void HashChain(const uint8_t* bytes, const uint32_t* ends, uint32_t count, uint8_t* chain, uint8_t* out, Simd simd) {
  uint32_t at = 0;
  for (uint32_t done = 0; done < count;) {
    HashJob jobs[kGroup];
    uint8_t links[kGroup][2 * kHashBytes];
    const uint32_t group = count - done < kGroup ? count - done : kGroup;
    for (uint32_t i = 0; i < group; i++) {
      jobs[i] = {bytes + at, ends[done + i] - at, links[i] + kHashBytes};
      at = ends[done + i];
    }
    HashMany(jobs, group, simd);
    for (uint32_t i = 0; i < group; i++) {
      memcpy(links[i], chain, kHashBytes);
      Hash({links[i], sizeof links[i], chain}, simd);
      memcpy(out + (done + i) * kHashBytes, chain, kHashBytes);
    }
    done += group;
  }
}

Simd SimdOf(napi_env env, napi_value value) {
  int32_t level = 0;
  napi_get_value_int32(env, value, &level);
  return static_cast<Simd>(level);
}

// Reads (bytes, start, end) at argv[0..2].
bool GetRange(napi_env env, napi_value* argv, uint8_t** from, uint8_t** to) {
  uint8_t* bytes;
  size_t length;
  uint64_t start, end;
  if (!GetBytes(env, argv[0], &bytes, &length) || !GetOffset(env, argv[1], &start) || !GetOffset(env, argv[2], &end))
    return false;
  if (start > end || end > length || end > INT32_MAX) {
    napi_throw_range_error(env, nullptr, "the range is outside the bytes");
    return false;
  }
  *from = bytes + start;
  *to = bytes + end;
  return true;
}

bool GetHash(napi_env env, napi_value value, uint8_t** hash) {
  size_t length;
  if (!GetBytes(env, value, hash, &length)) return false;
  if (length == kHashBytes) return true;
  napi_throw_range_error(env, nullptr, "the chain hash has 16 bytes");
  return false;
}

// simd(): the best level of this processor
napi_value BestSimd(napi_env env, napi_callback_info) { return Int(env, static_cast<int32_t>(DetectSimd())); }

// hash(bytes, start, end, out, outOffset, simd)
napi_value HashRange(napi_env env, napi_callback_info info) {
  size_t argc = 6, room;
  napi_value argv[6];
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  uint8_t *from, *to, *out;
  uint64_t at;
  if (!GetRange(env, argv, &from, &to) || !GetBytes(env, argv[3], &out, &room) || !GetOffset(env, argv[4], &at))
    return nullptr;
  if (at > room || room - at < kHashBytes) {
    napi_throw_range_error(env, nullptr, "no room for the hash");
    return nullptr;
  }
  // `out` may lie inside the input: hash first, then write.
  uint8_t hash[kHashBytes];
  Hash({from, static_cast<size_t>(to - from), hash}, SimdOf(env, argv[5]));
  memcpy(out + at, hash, kHashBytes);
  return nullptr;
}

// crc32c(bytes, start, end, simd)
napi_value CrcRange(napi_env env, napi_callback_info info) {
  size_t argc = 4;
  napi_value argv[4], value;
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  uint8_t *from, *to;
  if (!GetRange(env, argv, &from, &to)) return nullptr;
  napi_create_uint32(env, Crc32c(from, static_cast<size_t>(to - from), SimdOf(env, argv[3])), &value);
  return value;
}

// hashChain(bytes, ends, count, chain, out, simd)
napi_value HashChainOf(napi_env env, napi_callback_info info) {
  size_t argc = 6, length, room, known = 0;
  napi_value argv[6];
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  uint8_t *bytes, *chain, *out;
  void* ends = nullptr;
  napi_typedarray_type type;
  uint64_t count;
  if (!GetBytes(env, argv[0], &bytes, &length) || !GetOffset(env, argv[2], &count) || !GetHash(env, argv[3], &chain) ||
      !GetBytes(env, argv[4], &out, &room))
    return nullptr;
  if (napi_get_typedarray_info(env, argv[1], &type, &known, &ends, nullptr, nullptr) != napi_ok ||
      type != napi_uint32_array || count > known || count > room / kHashBytes) {
    napi_throw_range_error(env, nullptr, "expected an end, and room for a hash, for each record");
    return nullptr;
  }
  uint32_t before = 0;
  for (uint64_t i = 0; i < count; i++) {
    const uint32_t end = static_cast<const uint32_t*>(ends)[i];
    if (end < before || end > length) {
      napi_throw_range_error(env, nullptr, "the records are outside the bytes");
      return nullptr;
    }
    before = end;
  }
  HashChain(bytes, static_cast<const uint32_t*>(ends), static_cast<uint32_t>(count), chain, out, SimdOf(env, argv[5]));
  return nullptr;
}

// seal(bytes, start, end, chain, payloadMax, simd)
napi_value SealRange(napi_env env, napi_callback_info info) {
  size_t argc = 6;
  napi_value argv[6];
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  uint8_t *from, *to, *chain;
  uint64_t payload_max;
  if (!GetRange(env, argv, &from, &to) || !GetHash(env, argv[3], &chain) || !GetOffset(env, argv[4], &payload_max))
    return nullptr;
  return Int(env, Seal(from, to, chain, static_cast<uint32_t>(payload_max), SimdOf(env, argv[5])));
}

// verify(bytes, start, end, index, chain, payloadMax, simd, result): fault; result = [count, end]
napi_value VerifyRange(napi_env env, napi_callback_info info) {
  size_t argc = 8, length = 0;
  napi_value argv[8];
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  uint8_t *from, *to, *chain;
  uint64_t index, payload_max, start;
  void* result = nullptr;
  napi_typedarray_type type;
  if (!GetRange(env, argv, &from, &to) || !GetOffset(env, argv[3], &index) || !GetHash(env, argv[4], &chain) ||
      !GetOffset(env, argv[5], &payload_max) || !GetOffset(env, argv[1], &start))
    return nullptr;
  if (napi_get_typedarray_info(env, argv[7], &type, &length, &result, nullptr, nullptr) != napi_ok ||
      type != napi_uint32_array || length < 2) {
    napi_throw_type_error(env, nullptr, "expected a Uint32Array of two");
    return nullptr;
  }
  const Verdict verdict = Verify(from, to, index, chain, static_cast<uint32_t>(payload_max), SimdOf(env, argv[6]));
  const uint32_t pair[2] = {verdict.count, static_cast<uint32_t>(start + verdict.end)};
  memcpy(result, pair, sizeof pair);
  return Int(env, verdict.fault);
}

}  // namespace

void InitCodec(napi_env env, napi_value exports) {
  SetFunction(env, exports, "simd", BestSimd);
  SetFunction(env, exports, "hash", HashRange);
  SetFunction(env, exports, "hashChain", HashChainOf);
  SetFunction(env, exports, "crc32c", CrcRange);
  SetFunction(env, exports, "seal", SealRange);
  SetFunction(env, exports, "verify", VerifyRange);
}

}  // namespace chronon
