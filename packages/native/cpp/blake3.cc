#include "blake3.h"

#include <memory>

#include "blake3_lanes.h"

namespace chronon {
namespace {

using namespace blake3;

void Compress(uint32_t* cv, const uint8_t* block, uint32_t length, uint64_t counter, uint32_t flags, Simd simd) {
#if CHRONON_X86
  if (simd == Simd::kAvx512) return CompressAvx512(cv, block, length, counter, flags);
  if (simd != Simd::kPortable) return CompressSse41(cv, block, length, counter, flags);
#else
  (void)simd;
#endif
  CompressPortable(cv, block, length, counter, flags);
}

void RunLane(const Lane& lane, Simd simd) {
  uint32_t cv[kCvWords];
  memcpy(cv, kIv, sizeof cv);
  const uint32_t blocks = Blocks(lane);
  uint32_t flags = lane.first_flags;
  for (uint32_t block = 0; block + 1 < blocks; block++) {
    Compress(cv, lane.bytes + block * kBlockBytes, kBlockBytes, lane.counter, flags, simd);
    flags = 0;
  }
  const uint32_t done = (blocks - 1) * kBlockBytes;
  const uint32_t left = lane.length - done;
  const uint8_t* last = lane.bytes + done;
  uint8_t padded[kBlockBytes] = {0};
  if (left < kBlockBytes) {
    if (left > 0) memcpy(padded, last, left);
    last = padded;
  }
  Compress(cv, last, left, lane.counter, flags | lane.last_flags, simd);
  memcpy(lane.cv, cv, sizeof cv);
}

// Eight lanes (or sixteen) cost as much as this many single blocks for each block of the longest (measured, bench/codec.ts).
constexpr uint32_t kLanesCost = 3;

#if CHRONON_X86
void RunWide(const Lane* lanes, uint32_t count, Simd simd) {
  if (simd == Simd::kAvx512) return RunLanesAvx512(lanes, count);
  for (uint32_t i = 0; i < count; i += kLanesAvx2)
    RunLanesAvx2(lanes + i, count - i < kLanesAvx2 ? count - i : kLanesAvx2);
}
#endif

void RunLanes(const Lane* lanes, uint32_t count, Simd simd) {
#if CHRONON_X86
  if (simd >= Simd::kAvx2) {
    uint32_t all = 0, most = 0;
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t blocks = Blocks(lanes[i]);
      all += blocks;
      if (blocks > most) most = blocks;
    }
    if (all > kLanesCost * most) return RunWide(lanes, count, simd);
  }
#endif
  for (uint32_t i = 0; i < count; i++) RunLane(lanes[i], simd);
}

// Collects lanes and runs them as many at a time as the processor takes.
class LaneQueue {
 public:
  explicit LaneQueue(Simd simd) : simd_(simd), most_(simd == Simd::kAvx512 ? kLanes : kLanesAvx2) {}
  void Add(const Lane& lane) {
    lanes_[count_++] = lane;
    if (count_ == most_) Flush();
  }
  void Flush() {
    if (count_ > 0) RunLanes(lanes_, count_, simd_);
    count_ = 0;
  }

 private:
  Lane lanes_[kLanes];
  uint32_t count_ = 0;
  const Simd simd_;
  const uint32_t most_;
};

// The nodes of one input's tree: first its chunks, then level by level their parents, in place.
struct Tree {
  uint8_t* nodes;
  size_t count;
};

size_t Chunks(const HashJob& job) { return job.length == 0 ? 1 : (job.length + kChunkBytes - 1) / kChunkBytes; }

// The lanes of all inputs together: whole chunks, then the chunks that end an input, then each level of parents. Pairing
// neighbours and carrying an odd last node upwards gives BLAKE3's tree (left subtrees are whole powers of two).
void HashTrees(const HashJob* jobs, Tree* trees, size_t count, Simd simd) {
  LaneQueue queue(simd);
  bool growing = false;
  for (size_t i = 0; i < count; i++) {
    for (size_t chunk = 0; chunk + 1 < trees[i].count; chunk++)
      queue.Add({jobs[i].bytes + chunk * kChunkBytes, kChunkBytes, chunk, kChunkStart, kChunkEnd,
                 trees[i].nodes + chunk * kCvBytes});
    if (trees[i].count > 1) growing = true;
  }
  for (size_t i = 0; i < count; i++) {
    const size_t last = trees[i].count - 1;
    const uint32_t root = last == 0 ? uint32_t{kRoot} : 0;
    queue.Add({jobs[i].bytes + last * kChunkBytes, static_cast<uint32_t>(jobs[i].length - last * kChunkBytes), last,
               kChunkStart, kChunkEnd | root, trees[i].nodes + last * kCvBytes});
  }
  queue.Flush();
  while (growing) {
    growing = false;
    for (size_t i = 0; i < count; i++) {
      const uint32_t root = trees[i].count == 2 ? uint32_t{kRoot} : 0;
      // Parent p is written over node p after nodes 2p and 2p + 1 were read, and no later parent reads it.
      for (size_t p = 0; p < trees[i].count / 2; p++)
        queue.Add({trees[i].nodes + 2 * p * kCvBytes, kBlockBytes, 0, kParent, root, trees[i].nodes + p * kCvBytes});
    }
    queue.Flush();
    for (size_t i = 0; i < count; i++) {
      Tree& tree = trees[i];
      const size_t pairs = tree.count / 2;
      if (tree.count > 1 && tree.count % 2 == 1)
        memcpy(tree.nodes + pairs * kCvBytes, tree.nodes + (tree.count - 1) * kCvBytes, kCvBytes);
      tree.count = pairs + tree.count % 2;
      if (tree.count > 1) growing = true;
    }
  }
}

#if CHRONON_X86
__attribute__((target("sse4.2"))) uint32_t Crc32cSse42(const uint8_t* bytes, size_t length) {
  uint64_t crc = 0xFFFFFFFF;
  for (; length >= 8; bytes += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  for (; length > 0; bytes++, length--) crc = _mm_crc32_u8(static_cast<uint32_t>(crc), *bytes);
  return ~static_cast<uint32_t>(crc);
}
#endif

struct CrcTable {
  uint32_t entry[256];
  constexpr CrcTable() : entry() {
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t crc = byte;
      for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0x82F63B78u : crc >> 1;
      entry[byte] = crc;
    }
  }
};
constexpr CrcTable kCrcTable;

}  // namespace

Simd DetectSimd() {
#if CHRONON_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("sse4.2"))
    return Simd::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("sse4.2")) return Simd::kAvx2;
  if (__builtin_cpu_supports("sse4.2")) return Simd::kSse41;
#endif
  return Simd::kPortable;
}

void Hash(const HashJob& job, Simd simd) { HashMany(&job, 1, simd); }

void HashMany(const HashJob* jobs, size_t count, Simd simd) {
  constexpr size_t kJobs = 128;
  constexpr size_t kSmall = 256;
  Tree trees[kJobs];
  uint8_t small[kSmall * kCvBytes];
  for (; count > 0;) {
    const size_t some = count < kJobs ? count : kJobs;
    size_t chunks = 0;
    for (size_t i = 0; i < some; i++) chunks += Chunks(jobs[i]);
    std::unique_ptr<uint8_t[]> large(chunks > kSmall ? new uint8_t[chunks * kCvBytes] : nullptr);
    uint8_t* nodes = large ? large.get() : small;
    for (size_t i = 0; i < some; i++) {
      trees[i] = {nodes, Chunks(jobs[i])};
      nodes += trees[i].count * kCvBytes;
    }
    HashTrees(jobs, trees, some, simd);
    for (size_t i = 0; i < some; i++) memcpy(jobs[i].out, trees[i].nodes, kHashBytes);
    jobs += some;
    count -= some;
  }
}

uint32_t Crc32c(const uint8_t* bytes, size_t length, Simd simd) {
#if CHRONON_X86
  if (simd != Simd::kPortable) return Crc32cSse42(bytes, length);
#else
  (void)simd;
#endif
  uint32_t crc = 0xFFFFFFFF;
  for (; length > 0; bytes++, length--) crc = (crc >> 8) ^ kCrcTable.entry[(crc ^ *bytes) & 0xFF];
  return ~crc;
}

}  // namespace chronon
