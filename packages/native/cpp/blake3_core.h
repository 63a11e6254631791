// Constants of BLAKE3 and the compression function, one block at a time: portable and SSE4.1.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define CHRONON_X86 1
#endif

namespace chronon {
namespace blake3 {

constexpr uint32_t kBlockBytes = 64;
constexpr uint32_t kChunkBytes = 1024;
constexpr uint32_t kCvWords = 8;
constexpr uint32_t kCvBytes = 32;

enum Flag : uint32_t { kChunkStart = 1, kChunkEnd = 2, kParent = 4, kRoot = 8 };

constexpr uint32_t kIv[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                             0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

constexpr uint8_t kSchedule[7][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
    {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1}, {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
    {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4}, {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
    {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13}};

inline uint32_t Rotate(uint32_t word, int bits) { return (word >> bits) | (word << (32 - bits)); }

inline void MixPortable(uint32_t* s, int a, int b, int c, int d, uint32_t x, uint32_t y) {
  s[a] += s[b] + x;
  s[d] = Rotate(s[d] ^ s[a], 16);
  s[c] += s[d];
  s[b] = Rotate(s[b] ^ s[c], 12);
  s[a] += s[b] + y;
  s[d] = Rotate(s[d] ^ s[a], 8);
  s[c] += s[d];
  s[b] = Rotate(s[b] ^ s[c], 7);
}

// cv = compress(cv, block). Little-endian machines only, like every machine Node runs on (s390x apart: not built there).
inline void CompressPortable(uint32_t* cv, const uint8_t* block, uint32_t length, uint64_t counter, uint32_t flags) {
  uint32_t m[16];
  memcpy(m, block, sizeof m);
  uint32_t s[16] = {cv[0],  cv[1],  cv[2],  cv[3],  cv[4],  cv[5],
                    cv[6],  cv[7],  kIv[0], kIv[1], kIv[2], kIv[3],
                    static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), length, flags};
  for (const uint8_t* r : kSchedule) {
    MixPortable(s, 0, 4, 8, 12, m[r[0]], m[r[1]]);
    MixPortable(s, 1, 5, 9, 13, m[r[2]], m[r[3]]);
    MixPortable(s, 2, 6, 10, 14, m[r[4]], m[r[5]]);
    MixPortable(s, 3, 7, 11, 15, m[r[6]], m[r[7]]);
    MixPortable(s, 0, 5, 10, 15, m[r[8]], m[r[9]]);
    MixPortable(s, 1, 6, 11, 12, m[r[10]], m[r[11]]);
    MixPortable(s, 2, 7, 8, 13, m[r[12]], m[r[13]]);
    MixPortable(s, 3, 4, 9, 14, m[r[14]], m[r[15]]);
  }
  for (uint32_t i = 0; i < kCvWords; i++) cv[i] = s[i] ^ s[i + 8];
}

#if CHRONON_X86
#define CHRONON_PICK(a, b, c) _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), (c)))

// One row of four mixes: first (16, 12) and second (8, 7) half.
#define CHRONON_HALF1(m)                            \
  r0 = _mm_add_epi32(_mm_add_epi32(r0, m), r1);     \
  r3 = CHRONON_ROTATE16(_mm_xor_si128(r3, r0));     \
  r2 = _mm_add_epi32(r2, r3);                       \
  r1 = _mm_xor_si128(r1, r2);                       \
  r1 = CHRONON_ROTATE(r1, 12);
#define CHRONON_HALF2(m)                            \
  r0 = _mm_add_epi32(_mm_add_epi32(r0, m), r1);     \
  r3 = CHRONON_ROTATE8(_mm_xor_si128(r3, r0));      \
  r2 = _mm_add_epi32(r2, r3);                       \
  r1 = _mm_xor_si128(r1, r2);                       \
  r1 = CHRONON_ROTATE(r1, 7);
#define CHRONON_DIAGONAL                                     \
  r0 = _mm_shuffle_epi32(r0, _MM_SHUFFLE(2, 1, 0, 3));       \
  r3 = _mm_shuffle_epi32(r3, _MM_SHUFFLE(1, 0, 3, 2));       \
  r2 = _mm_shuffle_epi32(r2, _MM_SHUFFLE(0, 3, 2, 1));
#define CHRONON_STRAIGHT                                     \
  r0 = _mm_shuffle_epi32(r0, _MM_SHUFFLE(0, 3, 2, 1));       \
  r3 = _mm_shuffle_epi32(r3, _MM_SHUFFLE(1, 0, 3, 2));       \
  r2 = _mm_shuffle_epi32(r2, _MM_SHUFFLE(2, 1, 0, 3));

// The state as four rows; each round the message words are permuted inside four registers instead of being gathered.
#define CHRONON_COMPRESS \
  __m128i r0 = _mm_loadu_si128(reinterpret_cast<const __m128i*>(cv));                               \
  __m128i r1 = _mm_loadu_si128(reinterpret_cast<const __m128i*>(cv + 4));                           \
  __m128i r2 = _mm_set_epi32(static_cast<int>(kIv[3]), static_cast<int>(kIv[2]), static_cast<int>(kIv[1]),\
                             static_cast<int>(kIv[0]));                                             \
  __m128i r3 = _mm_set_epi32(static_cast<int>(flags), static_cast<int>(length), static_cast<int>(counter >> 32),\
                             static_cast<int>(counter));                                            \
  const __m128i* words = reinterpret_cast<const __m128i*>(block);                                   \
  __m128i m0 = _mm_loadu_si128(words), m1 = _mm_loadu_si128(words + 1);                             \
  __m128i m2 = _mm_loadu_si128(words + 2), m3 = _mm_loadu_si128(words + 3);                         \
  __m128i t0, t1, t2, t3, t;                                                                        \
                                                                                                    \
  t0 = CHRONON_PICK(m0, m1, _MM_SHUFFLE(2, 0, 2, 0));                                               \
  CHRONON_HALF1(t0)                                                                                 \
  t1 = CHRONON_PICK(m0, m1, _MM_SHUFFLE(3, 1, 3, 1));                                               \
  CHRONON_HALF2(t1)                                                                                 \
  CHRONON_DIAGONAL                                                                                  \
  t2 = CHRONON_PICK(m2, m3, _MM_SHUFFLE(2, 0, 2, 0));                                               \
  t2 = _mm_shuffle_epi32(t2, _MM_SHUFFLE(2, 1, 0, 3));                                              \
  CHRONON_HALF1(t2)                                                                                 \
  t3 = CHRONON_PICK(m2, m3, _MM_SHUFFLE(3, 1, 3, 1));                                               \
  t3 = _mm_shuffle_epi32(t3, _MM_SHUFFLE(2, 1, 0, 3));                                              \
  CHRONON_HALF2(t3)                                                                                 \
  CHRONON_STRAIGHT                                                                                  \
  for (int round = 1; round < 7; round++) {                                                         \
    m0 = t0, m1 = t1, m2 = t2, m3 = t3;                                                             \
    t0 = CHRONON_PICK(m0, m1, _MM_SHUFFLE(3, 1, 1, 2));                                             \
    t0 = _mm_shuffle_epi32(t0, _MM_SHUFFLE(0, 3, 2, 1));                                            \
    CHRONON_HALF1(t0)                                                                               \
    t1 = CHRONON_PICK(m2, m3, _MM_SHUFFLE(3, 3, 2, 2));                                             \
    t = _mm_shuffle_epi32(m0, _MM_SHUFFLE(0, 0, 3, 3));                                             \
    t1 = _mm_blend_epi16(t, t1, 0xCC);                                                              \
    CHRONON_HALF2(t1)                                                                               \
    CHRONON_DIAGONAL                                                                                \
    t2 = _mm_unpacklo_epi64(m3, m1);                                                                \
    t = _mm_blend_epi16(t2, m2, 0xC0);                                                              \
    t2 = _mm_shuffle_epi32(t, _MM_SHUFFLE(1, 3, 2, 0));                                             \
    CHRONON_HALF1(t2)                                                                               \
    t3 = _mm_unpackhi_epi32(m1, m3);                                                                \
    t = _mm_unpacklo_epi32(m2, t3);                                                                 \
    t3 = _mm_shuffle_epi32(t, _MM_SHUFFLE(0, 1, 3, 2));                                             \
    CHRONON_HALF2(t3)                                                                               \
    CHRONON_STRAIGHT                                                                                \
  }                                                                                                 \
  _mm_storeu_si128(reinterpret_cast<__m128i*>(cv), _mm_xor_si128(r0, r2));                          \
  _mm_storeu_si128(reinterpret_cast<__m128i*>(cv + 4), _mm_xor_si128(r1, r3));                      

#define CHRONON_ROTATE(v, bits) _mm_or_si128(_mm_srli_epi32(v, bits), _mm_slli_epi32(v, 32 - (bits)))
#define CHRONON_ROTATE16(v) _mm_shuffle_epi8(v, by16)
#define CHRONON_ROTATE8(v) _mm_shuffle_epi8(v, by8)
#pragma GCC push_options
#pragma GCC target("sse4.1")
inline void CompressSse41(uint32_t* cv, const uint8_t* block, uint32_t length, uint64_t counter, uint32_t flags) {
  const __m128i by16 = _mm_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2);
  const __m128i by8 = _mm_set_epi8(12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1);
  CHRONON_COMPRESS
}
#pragma GCC pop_options
#undef CHRONON_ROTATE
#undef CHRONON_ROTATE16
#undef CHRONON_ROTATE8

// The same with the rotations of AVX-512, one instruction instead of three: the chain runs frame by frame, so latency is all.
#define CHRONON_ROTATE(v, bits) _mm_ror_epi32(v, bits)
#define CHRONON_ROTATE16(v) _mm_ror_epi32(v, 16)
#define CHRONON_ROTATE8(v) _mm_ror_epi32(v, 8)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl")
inline void CompressAvx512(uint32_t* cv, const uint8_t* block, uint32_t length, uint64_t counter, uint32_t flags) {
  CHRONON_COMPRESS
}
#pragma GCC pop_options
#undef CHRONON_ROTATE
#undef CHRONON_ROTATE16
#undef CHRONON_ROTATE8
#undef CHRONON_COMPRESS
#undef CHRONON_HALF1
#undef CHRONON_HALF2
#undef CHRONON_DIAGONAL
#undef CHRONON_STRAIGHT
#undef CHRONON_PICK
#endif

}  // namespace blake3
}  // namespace chronon
