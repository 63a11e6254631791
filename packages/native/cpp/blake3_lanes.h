// Eight chunks (or parent nodes) side by side with AVX2, sixteen with AVX-512: word i of every lane in one register.
#pragma once
#include "blake3_core.h"

namespace chronon {
namespace blake3 {

constexpr uint32_t kLanesAvx2 = 8;
constexpr uint32_t kLanes = 16;

// One chunk of at most 1024 bytes, or one parent of exactly 64.
struct Lane {
  const uint8_t* bytes;
  uint32_t length;
  uint64_t counter;
  uint32_t first_flags;  // on the first block
  uint32_t last_flags;   // on the last block
  uint8_t* cv;           // kCvBytes out
};

inline uint32_t Blocks(const Lane& lane) {
  return lane.length == 0 ? 1 : (lane.length + kBlockBytes - 1) / kBlockBytes;
}

#if CHRONON_X86
#pragma GCC push_options
#pragma GCC target("avx2")

// Rows of eight words, one a lane, become columns: out[i] holds word i of every lane.
inline __attribute__((always_inline)) void Transpose(const __m256i* in, __m256i* out) {
  const __m256i a0 = _mm256_unpacklo_epi32(in[0], in[1]), a1 = _mm256_unpackhi_epi32(in[0], in[1]);
  const __m256i a2 = _mm256_unpacklo_epi32(in[2], in[3]), a3 = _mm256_unpackhi_epi32(in[2], in[3]);
  const __m256i a4 = _mm256_unpacklo_epi32(in[4], in[5]), a5 = _mm256_unpackhi_epi32(in[4], in[5]);
  const __m256i a6 = _mm256_unpacklo_epi32(in[6], in[7]), a7 = _mm256_unpackhi_epi32(in[6], in[7]);
  const __m256i b0 = _mm256_unpacklo_epi64(a0, a2), b1 = _mm256_unpackhi_epi64(a0, a2);
  const __m256i b2 = _mm256_unpacklo_epi64(a1, a3), b3 = _mm256_unpackhi_epi64(a1, a3);
  const __m256i b4 = _mm256_unpacklo_epi64(a4, a6), b5 = _mm256_unpackhi_epi64(a4, a6);
  const __m256i b6 = _mm256_unpacklo_epi64(a5, a7), b7 = _mm256_unpackhi_epi64(a5, a7);
  out[0] = _mm256_permute2x128_si256(b0, b4, 0x20);
  out[1] = _mm256_permute2x128_si256(b1, b5, 0x20);
  out[2] = _mm256_permute2x128_si256(b2, b6, 0x20);
  out[3] = _mm256_permute2x128_si256(b3, b7, 0x20);
  out[4] = _mm256_permute2x128_si256(b0, b4, 0x31);
  out[5] = _mm256_permute2x128_si256(b1, b5, 0x31);
  out[6] = _mm256_permute2x128_si256(b2, b6, 0x31);
  out[7] = _mm256_permute2x128_si256(b3, b7, 0x31);
}

// One round of either width: its eight mixings, in the order of the message schedule.
#define CHRONON_ROUND(MIX, r)                                                  \
  MIX(0, 4, 8, 12, m[kSchedule[r][0]], m[kSchedule[r][1]])                     \
  MIX(1, 5, 9, 13, m[kSchedule[r][2]], m[kSchedule[r][3]])                     \
  MIX(2, 6, 10, 14, m[kSchedule[r][4]], m[kSchedule[r][5]])                    \
  MIX(3, 7, 11, 15, m[kSchedule[r][6]], m[kSchedule[r][7]])                    \
  MIX(0, 5, 10, 15, m[kSchedule[r][8]], m[kSchedule[r][9]])                    \
  MIX(1, 6, 11, 12, m[kSchedule[r][10]], m[kSchedule[r][11]])                  \
  MIX(2, 7, 8, 13, m[kSchedule[r][12]], m[kSchedule[r][13]])                   \
  MIX(3, 4, 9, 14, m[kSchedule[r][14]], m[kSchedule[r][15]])

#define CHRONON_ROTATE8(v, bits) _mm256_or_si256(_mm256_srli_epi32(v, bits), _mm256_slli_epi32(v, 32 - (bits)))
#define CHRONON_MIX8(a, b, c, d, x, y)                                         \
  v[a] = _mm256_add_epi32(_mm256_add_epi32(v[a], x), v[b]);                    \
  v[d] = _mm256_shuffle_epi8(_mm256_xor_si256(v[d], v[a]), by16);              \
  v[c] = _mm256_add_epi32(v[c], v[d]);                                         \
  v[b] = _mm256_xor_si256(v[b], v[c]);                                         \
  v[b] = CHRONON_ROTATE8(v[b], 12);                                            \
  v[a] = _mm256_add_epi32(_mm256_add_epi32(v[a], y), v[b]);                    \
  v[d] = _mm256_shuffle_epi8(_mm256_xor_si256(v[d], v[a]), by8);               \
  v[c] = _mm256_add_epi32(v[c], v[d]);                                         \
  v[b] = _mm256_xor_si256(v[b], v[c]);                                         \
  v[b] = CHRONON_ROTATE8(v[b], 7);
#define CHRONON_ROUND8(r) CHRONON_ROUND(CHRONON_MIX8, r)

// Runs `count` (1..8) lanes to their ends. Lanes may differ in length; a lane that is over keeps its chaining value.
inline void RunLanesAvx2(const Lane* lanes, uint32_t count) {
  alignas(32) static const uint8_t zeros[kBlockBytes] = {0};
  alignas(32) uint8_t tails[kLanesAvx2][kBlockBytes];
  alignas(32) uint32_t lengths[kLanesAvx2], flags[kLanesAvx2], running[kLanesAvx2], low[kLanesAvx2], high[kLanesAvx2];
  uint32_t blocks[kLanesAvx2] = {0};
  uint32_t most = 0;
  for (uint32_t i = 0; i < kLanesAvx2; i++) {
    low[i] = high[i] = 0;
    if (i >= count) continue;
    blocks[i] = Blocks(lanes[i]);
    if (blocks[i] > most) most = blocks[i];
    low[i] = static_cast<uint32_t>(lanes[i].counter);
    high[i] = static_cast<uint32_t>(lanes[i].counter >> 32);
    const uint32_t tail = lanes[i].length - (blocks[i] - 1) * kBlockBytes;
    if (tail < kBlockBytes) {
      memset(tails[i], 0, kBlockBytes);
      if (tail > 0) memcpy(tails[i], lanes[i].bytes + (blocks[i] - 1) * kBlockBytes, tail);
    }
  }
  const __m256i by16 = _mm256_broadcastsi128_si256(_mm_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2));
  const __m256i by8 = _mm256_broadcastsi128_si256(_mm_set_epi8(12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1));
  __m256i h[kCvWords];
  for (uint32_t i = 0; i < kCvWords; i++) h[i] = _mm256_set1_epi32(static_cast<int>(kIv[i]));
  for (uint32_t block = 0; block < most; block++) {
    __m256i rows[8], m[16], v[16];
    const uint8_t* from[kLanesAvx2];
    for (uint32_t i = 0; i < kLanesAvx2; i++) {
      running[i] = block < blocks[i] ? ~0u : 0;
      lengths[i] = kBlockBytes;
      flags[i] = 0;
      from[i] = zeros;
      if (block >= blocks[i]) continue;
      from[i] = lanes[i].bytes + block * kBlockBytes;
      if (block == 0) flags[i] |= lanes[i].first_flags;
      if (block == blocks[i] - 1) {
        flags[i] |= lanes[i].last_flags;
        lengths[i] = lanes[i].length - block * kBlockBytes;
        if (lengths[i] < kBlockBytes) from[i] = tails[i];
      }
    }
    for (uint32_t i = 0; i < kLanesAvx2; i++) rows[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from[i]));
    Transpose(rows, m);
    for (uint32_t i = 0; i < kLanesAvx2; i++) rows[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from[i] + 32));
    Transpose(rows, m + 8);
    for (uint32_t i = 0; i < kCvWords; i++) v[i] = h[i];
    for (uint32_t i = 0; i < 4; i++) v[8 + i] = _mm256_set1_epi32(static_cast<int>(kIv[i]));
    v[12] = _mm256_load_si256(reinterpret_cast<const __m256i*>(low));
    v[13] = _mm256_load_si256(reinterpret_cast<const __m256i*>(high));
    v[14] = _mm256_load_si256(reinterpret_cast<const __m256i*>(lengths));
    v[15] = _mm256_load_si256(reinterpret_cast<const __m256i*>(flags));
    CHRONON_ROUND8(0)
    CHRONON_ROUND8(1)
    CHRONON_ROUND8(2)
    CHRONON_ROUND8(3)
    CHRONON_ROUND8(4)
    CHRONON_ROUND8(5)
    CHRONON_ROUND8(6)
    const __m256i keep = _mm256_load_si256(reinterpret_cast<const __m256i*>(running));
    for (uint32_t i = 0; i < kCvWords; i++)
      h[i] = _mm256_blendv_epi8(h[i], _mm256_xor_si256(v[i], v[i + 8]), keep);
  }
  __m256i columns[8];
  Transpose(h, columns);
  for (uint32_t i = 0; i < count; i++) _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes[i].cv), columns[i]);
}

#undef CHRONON_ROUND8
#undef CHRONON_MIX8
#undef CHRONON_ROTATE8
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f")

// Sixteen rows of sixteen words become columns.
inline __attribute__((always_inline)) void Transpose16(const __m512i* in, __m512i* out) {
  __m512i a[16], b[16];
  for (int i = 0; i < 8; i++) {
    a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
  }
  // b[4 * g + k]: word k of each 128-bit lane, of the rows 4g to 4g + 3.
  for (int g = 0; g < 4; g++) {
    b[4 * g] = _mm512_unpacklo_epi64(a[4 * g], a[4 * g + 2]);
    b[4 * g + 1] = _mm512_unpackhi_epi64(a[4 * g], a[4 * g + 2]);
    b[4 * g + 2] = _mm512_unpacklo_epi64(a[4 * g + 1], a[4 * g + 3]);
    b[4 * g + 3] = _mm512_unpackhi_epi64(a[4 * g + 1], a[4 * g + 3]);
  }
  for (int k = 0; k < 4; k++) {
    const __m512i low = _mm512_shuffle_i32x4(b[k], b[4 + k], 0x88);
    const __m512i high = _mm512_shuffle_i32x4(b[8 + k], b[12 + k], 0x88);
    const __m512i low_odd = _mm512_shuffle_i32x4(b[k], b[4 + k], 0xdd);
    const __m512i high_odd = _mm512_shuffle_i32x4(b[8 + k], b[12 + k], 0xdd);
    out[k] = _mm512_shuffle_i32x4(low, high, 0x88);
    out[8 + k] = _mm512_shuffle_i32x4(low, high, 0xdd);
    out[4 + k] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    out[12 + k] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
  }
}

#define CHRONON_MIX16(a, b, c, d, x, y)                                        \
  v[a] = _mm512_add_epi32(_mm512_add_epi32(v[a], x), v[b]);                    \
  v[d] = _mm512_ror_epi32(_mm512_xor_si512(v[d], v[a]), 16);                   \
  v[c] = _mm512_add_epi32(v[c], v[d]);                                         \
  v[b] = _mm512_ror_epi32(_mm512_xor_si512(v[b], v[c]), 12);                   \
  v[a] = _mm512_add_epi32(_mm512_add_epi32(v[a], y), v[b]);                    \
  v[d] = _mm512_ror_epi32(_mm512_xor_si512(v[d], v[a]), 8);                    \
  v[c] = _mm512_add_epi32(v[c], v[d]);                                         \
  v[b] = _mm512_ror_epi32(_mm512_xor_si512(v[b], v[c]), 7);
#define CHRONON_ROUND16(r) CHRONON_ROUND(CHRONON_MIX16, r)

// As RunLanesAvx2, with up to sixteen lanes. A block is one register; rotations are instructions.
inline void RunLanesAvx512(const Lane* lanes, uint32_t count) {
  alignas(64) uint32_t lengths[kLanes], flags[kLanes], low[kLanes], high[kLanes];
  uint32_t blocks[kLanes] = {0};
  uint32_t most = 0;
  for (uint32_t i = 0; i < kLanes; i++) {
    low[i] = high[i] = 0;
    if (i >= count) continue;
    blocks[i] = Blocks(lanes[i]);
    if (blocks[i] > most) most = blocks[i];
    low[i] = static_cast<uint32_t>(lanes[i].counter);
    high[i] = static_cast<uint32_t>(lanes[i].counter >> 32);
  }
  __m512i h[kCvWords];
  for (uint32_t i = 0; i < kCvWords; i++) h[i] = _mm512_set1_epi32(static_cast<int>(kIv[i]));
  for (uint32_t block = 0; block < most; block++) {
    __m512i rows[16], m[16], v[16];
    __mmask16 running = 0;
    for (uint32_t i = 0; i < kLanes; i++) {
      lengths[i] = kBlockBytes;
      flags[i] = 0;
      rows[i] = _mm512_setzero_si512();
      if (block >= blocks[i]) continue;
      running |= static_cast<__mmask16>(1u << i);
      if (block == 0) flags[i] |= lanes[i].first_flags;
      const uint8_t* from = lanes[i].bytes + block * kBlockBytes;
      if (block == blocks[i] - 1) {
        flags[i] |= lanes[i].last_flags;
        lengths[i] = lanes[i].length - block * kBlockBytes;
      }
      if (lengths[i] == kBlockBytes) {
        rows[i] = _mm512_loadu_si512(from);
      } else if (lengths[i] > 0) {
        alignas(64) uint8_t tail[kBlockBytes] = {0};
        memcpy(tail, from, lengths[i]);
        rows[i] = _mm512_load_si512(tail);
      }
    }
    Transpose16(rows, m);
    for (uint32_t i = 0; i < kCvWords; i++) v[i] = h[i];
    for (uint32_t i = 0; i < 4; i++) v[8 + i] = _mm512_set1_epi32(static_cast<int>(kIv[i]));
    v[12] = _mm512_load_si512(low);
    v[13] = _mm512_load_si512(high);
    v[14] = _mm512_load_si512(lengths);
    v[15] = _mm512_load_si512(flags);
    CHRONON_ROUND16(0)
    CHRONON_ROUND16(1)
    CHRONON_ROUND16(2)
    CHRONON_ROUND16(3)
    CHRONON_ROUND16(4)
    CHRONON_ROUND16(5)
    CHRONON_ROUND16(6)
    for (uint32_t i = 0; i < kCvWords; i++) h[i] = _mm512_mask_xor_epi32(h[i], running, v[i], v[i + 8]);
  }
  __m512i rows[16], columns[16];
  for (uint32_t i = 0; i < 16; i++) rows[i] = i < kCvWords ? h[i] : _mm512_setzero_si512();
  Transpose16(rows, columns);
  for (uint32_t i = 0; i < count; i++) _mm512_mask_storeu_epi32(lanes[i].cv, 0xff, columns[i]);
}

#undef CHRONON_ROUND16
#undef CHRONON_MIX16
#undef CHRONON_ROUND
#pragma GCC pop_options
#endif

}  // namespace blake3
}  // namespace chronon
