// The kernel's part of a ring, done by two threads of this process: what SyncDisk writes with, where there is no io_uring or none is
// wanted. Two, because the record of one write goes to the device beside the frames of the next.
//
// Invariants:
//  - entries are begun in the order of their submission; those of a chain one after the other, each when the one before it is wholly
//    done: behind an error or a short write each is ended with -ECANCELED, as the kernel does it;
//  - a durable write is one system call on a descriptor with O_DSYNC, or has RWF_DSYNC;
//  - the descriptor is readable while completions wait (from the last of them until Quiet);
//  - a thread that a stalled device holds touches only its own copy of an entry and this object, which lives until the last thread has ended.
#pragma once
#include <linux/io_uring.h>
#include <pthread.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

namespace chronon {

class RingThreads {
 public:
  // Null with `error` (-errno) set when there are no threads to be had.
  static std::shared_ptr<RingThreads> Open(uint32_t entries, int* error);
  ~RingThreads();

  // Takes `count` entries that stand in `sqes` from `first` on, modulo `mask` + 1.
  void Submit(const io_uring_sqe* sqes, uint32_t first, uint32_t count, uint32_t mask);
  // The completions that come now make the descriptor readable again.
  void Quiet();
  // The threads end when they have done what was submitted.
  void Stop();

  int fd() const { return fd_; }
  uint32_t mask() const { return static_cast<uint32_t>(cqes_.size()) - 1; }
  uint32_t* head() { return &head_; }
  uint32_t* tail() { return &tail_; }
  io_uring_cqe* cqes() { return cqes_.data(); }

 private:
  using Chain = std::vector<io_uring_sqe>;

  static void* Main(void* shared);
  void Work();
  void Run(const Chain& chain);
  void Complete(uint64_t user_data, int32_t result);

  int fd_ = -1;
  // The program's.
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
  std::vector<io_uring_cqe> cqes_;
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t submitted_ = PTHREAD_COND_INITIALIZER;
  std::deque<Chain> chains_;
  bool stopping_ = false;
};

}  // namespace chronon
