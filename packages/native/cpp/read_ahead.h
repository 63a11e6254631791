// One long read that a thread of its own makes while JavaScript works on what was read before: recovery verifies a segment
// while the next one comes from the device. No JavaScript in here.
//
// Invariants: the thread uses its own copy of the descriptor and memory that it shares with nobody but this class, so that
// whoever gives up (Drop) waits for nothing, however long the device stalls; bytes are handed out only when they were read.
#pragma once
#include <pthread.h>

#include <cstdint>
#include <memory>

namespace chronon {

class ReadAhead {
 public:
  ~ReadAhead() { Drop(); }
  // Begins to read `length` bytes at `offset`, a whole block; what was begun before is given up. Best effort: nothing is
  // begun where there is no memory or no thread.
  void Begin(int fd, uint64_t offset, uint64_t length);
  // True when exactly this read was begun. Then `result` is the bytes copied to `out` as they come (fewer at the end of the
  // file), or -errno; and nothing is kept.
  bool Take(int fd, uint64_t offset, uint8_t* out, uint64_t length, int64_t* result);
  void Drop();

 private:
  struct Memory;
  struct Shared;
  static void* Run(void* shared);

  std::shared_ptr<Shared> shared_;
  // Of the last read, which is over and was taken: fresh pages cost more than what is read into them. Until Drop.
  std::shared_ptr<Memory> spare_;
  int fd_ = -1;
  uint64_t offset_ = 0;
  uint64_t length_ = 0;
};

}  // namespace chronon
