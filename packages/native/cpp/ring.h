// An io_uring (or threads in its place, ring_threads.h) with its own aligned buffers and a bounded table of requests. No JavaScript in here.
//
// Invariants:
//  - at most one submission entry a request, and a submission queue as long as the request table: it never overflows;
//  - a request's pages are in use from Write/Read until its completion was reported (a read with bytes: until Release); a write from pages
//    that the program has (Allocate) takes none and copies nothing, and must not be changed meanwhile;
//  - a write or read is reported once, with all its bytes or an error; short ones are continued here;
//  - a write chained behind another one begins only when that one is wholly done: the kernel keeps the order within a
//    submission (IOSQE_IO_LINK: an error or a short write cuts the chain), and what is left of a cut chain is handed to it again,
//    linked, only after every link of it has come back; behind a link that failed none begins, each is reported as -ECANCELED;
//  - the thread that opened the ring is the only one that touches it (IORING_SETUP_SINGLE_ISSUER where the kernel has it).
#pragma once
#include <linux/io_uring.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "arena.h"
#include "read_ahead.h"
#include "ring_threads.h"

namespace chronon {

// Set-up choices, each measured (README, "Measurements"); the bench passes others. Not among them: DEFER_TASKRUN, with which
// the ring's descriptor never becomes readable for a loop that sleeps in epoll (it hung on 6.18).
enum RingOption : uint32_t {
  kPlainTaskrun = 1,       // no COOP_TASKRUN
  kNoRegisteredPages = 2,  // do not register the arena as a fixed buffer
  kThreads = 4,            // no io_uring: threads of this process do its part
};

struct Completion {
  int32_t token;
  int32_t result;  // bytes moved (0 for a sync), or -errno
};

class Ring {
 public:
  // 0, or -errno of the step that failed.
  int Open(uint32_t requests, size_t arena_bytes, uint32_t options);
  // Waits for what is in flight, at most `patience_ms`; true when nothing is. Results are dropped.
  bool Drain(uint32_t patience_ms);
  // Submits and waits for one request. Its result if negative, else 0; -ETIMEDOUT after `patience_ms`.
  int WaitOne(int token, uint32_t patience_ms);
  // Unmaps everything if drained; leaks the arena otherwise (the kernel may still write into it).
  void Close(bool drained);

  // Each returns a token, or -EAGAIN when no request or pages are free, or -EINVAL. Nothing reaches the kernel before Submit.
  // `after`: -1, or the token of the write queued last, which this one is chained behind.
  int Write(int fd, uint64_t offset, const uint8_t* bytes, uint32_t length, bool durable, int after);
  int Read(int fd, uint64_t offset, uint32_t length);
  int Sync(int fd);
  // Pages for the program, zeroed, until its owner gives them back; null when there are not so many.
  uint8_t* Allocate(uint32_t pages);
  Arena::Owners* owners() const { return arena_.owners(); }
  bool Allocated(const uint8_t* bytes, size_t length) const { return arena_.Holds(bytes, length); }
  // Whether the next `requests` writes of `pages` pages together, beside those that were allocated, find room.
  bool HasRoom(uint32_t requests, uint32_t pages) const { return free_.size() >= requests && arena_.HasRun(pages); }
  // Reads `length` bytes at `offset`, both whole blocks for the device, into `out`, past the page cache, and waits for them. Bytes
  // read (fewer at the end of the file), -errno, or -EAGAIN when no pages are free.
  int64_t ReadBlocking(int fd, uint64_t offset, uint8_t* out, uint64_t length);
  // The next ReadBlocking will be this one, and nothing is written there before it: begins it beside what the program does meanwhile.
  // `length` 0: it will not.
  void Prefetch(int fd, uint64_t offset, uint64_t length) { ahead_.Begin(fd, offset, length); }
  // Hands the queued requests to the kernel. 0 or -errno.
  int Submit();
  // Moves finished requests to `out` (room for `requests` pairs); resubmits short ones. Returns how many.
  uint32_t Harvest(Completion* out);
  // Bytes of a finished read; null for any other token.
  const uint8_t* ReadBytes(int token, uint32_t* length) const;
  void Release(int token);

  // Test shim: the next write is cut to `bytes` on its way to the kernel (a short write).
  void ShortenNextWrite(uint32_t bytes) { shorten_next_ = bytes; }

  int fd() const { return fd_; }
  uint32_t in_flight() const { return in_flight_; }
  uint32_t requests() const { return static_cast<uint32_t>(table_.size()); }
  uint32_t continued() const { return continued_; }
  bool registered() const { return registered_; }
  uint32_t setup_flags() const { return setup_flags_; }

 private:
  enum class Kind : uint8_t { kFree, kWrite, kRead, kSync };
  struct Request {
    Kind kind = Kind::kFree;
    bool durable = false;
    bool finished = false;
    // In the kernel or in the submission queue.
    bool pending = false;
    // Came back unfinished: to be handed to the kernel again.
    bool again = false;
    // A link before it failed: it must not begin.
    bool broken = false;
    uint16_t rounds = 0;
    int fd = -1;
    const uint8_t* memory = nullptr;
    uint32_t page = 0;
    // Taken for this request; none when it writes from allocated ones.
    uint32_t pages = 0;
    uint32_t length = 0;
    uint32_t done = 0;
    // What the kernel said last.
    int32_t result = 0;
    // Neighbours in a chain, or -1; a link that is reported leaves it.
    int32_t previous = -1;
    int32_t next = -1;
    uint64_t offset = 0;
  };

  int OpenKernel(uint32_t requests, uint32_t options);
  int OpenThreads(uint32_t requests);
  int MapQueues(const io_uring_params& params);
  int TakeToken(uint32_t pages);
  void Queue(uint32_t token);
  bool Finish(Request* request, int32_t* report);
  uint32_t Settle(int head, Completion* out);
  void Report(uint32_t token, int32_t result, Completion* out);
  void HoldLinks(uint32_t at);
  void PartShortened();
  int Enter(uint32_t submit, uint32_t wait, uint32_t flags);

  int fd_ = -1;
  bool registered_ = false;
  uint32_t setup_flags_ = 0;
  uint32_t in_flight_ = 0;
  uint32_t queued_ = 0;
  uint32_t continued_ = 0;
  uint32_t shorten_next_ = 0;
  int shortened_ = -1;
  Arena arena_;
  ReadAhead ahead_;
  // Null: the kernel's ring.
  std::shared_ptr<RingThreads> threads_;
  // Their submission queue.
  std::vector<io_uring_sqe> entries_;
  std::vector<uint32_t> entry_order_;
  uint32_t entries_tail_ = 0;
  std::vector<Request> table_;
  std::vector<uint32_t> free_;

  void* sq_map_ = nullptr;
  void* cq_map_ = nullptr;
  void* sqe_map_ = nullptr;
  size_t sq_bytes_ = 0, cq_bytes_ = 0, sqe_bytes_ = 0;
  uint32_t *sq_tail_ = nullptr, *sq_array_ = nullptr, *cq_head_ = nullptr, *cq_tail_ = nullptr, *sq_flags_ = nullptr;
  uint32_t sq_mask_ = 0, cq_mask_ = 0;
  io_uring_sqe* sqes_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
};

}  // namespace chronon
