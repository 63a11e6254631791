// BLAKE3 (unkeyed, 32-byte output) written for this project from the specification (github.com/BLAKE3-team/BLAKE3-specs).
//
// Two shapes of work: one input at a time (the chain of a sealed batch), and many independent inputs at once (payload hashes;
// every hash of a verified batch). With AVX2 eight chunks run side by side, with AVX-512
// sixteen, whichever inputs they belong to; SSE4.1 runs a
// single one; both are chosen at run time, and plain C++ does the same elsewhere. Equal bytes are property-tested against
// @noble/hashes with each of them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace chronon {

constexpr size_t kHashBytes = 16;  // as everywhere in the log: BLAKE3 truncated

struct HashJob {
  const uint8_t* bytes;
  size_t length;
  uint8_t* out;  // kHashBytes
};

// How much of the processor is used. Callers pass it, so that tests can force less.
enum class Simd : int { kPortable = 0, kSse41 = 1, kAvx2 = 2, kAvx512 = 3 };
Simd DetectSimd();

void Hash(const HashJob& job, Simd simd);
// Fastest when neighbouring jobs have about the same length. The outputs are not read.
void HashMany(const HashJob* jobs, size_t count, Simd simd);

uint32_t Crc32c(const uint8_t* bytes, size_t length, Simd simd);

}  // namespace chronon
