// Page-aligned memory for O_DIRECT, handed out in runs of 4 KiB pages.
//
// Invariants: a run belongs to at most one request, or for good to the program, which writes from it without copying; the memory
// outlives every request (a ring that cannot be drained leaks it on purpose) and every run that the program has; MADV_DONTFORK
// keeps a fork from moving a page that a device is still writing to.
#pragma once
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace chronon {

class Arena {
 public:
  static constexpr uint32_t kPageBytes = 4096;
  static constexpr size_t kHugeBytes = 2 * 1024 * 1024;

  bool Open(size_t bytes) {
    pages_ = static_cast<uint32_t>(bytes / kPageBytes);
    bytes_ = static_cast<size_t>(pages_) * kPageBytes;
    const size_t mapped = (bytes_ + kHugeBytes - 1) / kHugeBytes * kHugeBytes + kHugeBytes;
    void* map = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return false;
    const uintptr_t start = (reinterpret_cast<uintptr_t>(map) + kHugeBytes - 1) / kHugeBytes * kHugeBytes;
    memory_ = reinterpret_cast<uint8_t*>(start);
    madvise(memory_, bytes_, MADV_DONTFORK);
    // A device gets one entry for each stretch of memory: in scattered pages, 256 for a MiB (read three times as slowly by virtio).
    madvise(memory_, mapped - kHugeBytes, MADV_HUGEPAGE);
    used_.assign(pages_, 0);
    owners_ = new Owners(map, mapped);
    return true;
  }

  void Close() {
    if (memory_ != nullptr) owners_->Give();
    memory_ = nullptr;
  }

  // The memory as a whole, counted by who may still use it; all on one thread.
  class Owners {
   public:
    Owners(void* memory, size_t bytes) : memory_(memory), bytes_(bytes) {}
    void Take() { count_++; }
    void Give() {
      if (--count_ > 0) return;
      munmap(memory_, bytes_);
      delete this;
    }

   private:
    void* memory_;
    size_t bytes_;
    uint32_t count_ = 1;
  };
  Owners* owners() const { return owners_; }
  // Whether bytes[0, length) are pages of this arena, from the start of one.
  bool Holds(const uint8_t* bytes, size_t length) const {
    return bytes >= memory_ && bytes + length <= memory_ + bytes_ && (bytes - memory_) % kPageBytes == 0;
  }

  // First page of a free run, or -1. First fit from the bottom: the low pages stay warm in the cache.
  int32_t Take(uint32_t count) {
    uint32_t run = 0;
    for (uint32_t page = 0; page < pages_; page++) {
      run = used_[page] ? 0 : run + 1;
      if (run == count) {
        const uint32_t first = page + 1 - count;
        memset(&used_[first], 1, count);
        return static_cast<int32_t>(first);
      }
    }
    return -1;
  }

  bool HasRun(uint32_t count) const {
    uint32_t run = 0;
    for (uint32_t page = 0; page < pages_; page++)
      if ((run = used_[page] ? 0 : run + 1) == count) return true;
    return false;
  }

  void Give(uint32_t first, uint32_t count) { memset(&used_[first], 0, count); }

  uint8_t* At(uint32_t page) const { return memory_ + static_cast<size_t>(page) * kPageBytes; }
  uint8_t* memory() const { return memory_; }
  size_t bytes() const { return bytes_; }

 private:
  Owners* owners_ = nullptr;
  uint8_t* memory_ = nullptr;
  size_t bytes_ = 0;
  uint32_t pages_ = 0;
  std::vector<uint8_t> used_;
};

}  // namespace chronon
