#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef RWF_DSYNC
#define RWF_DSYNC 0x00000002
#endif

namespace chronon {
namespace {

// Times one request is handed to the kernel again (interrupted or short) before it counts as an I/O error.
constexpr uint16_t kRoundsMax = 1000;
// user_data of a submission entry that stands for no request.
constexpr uint64_t kNobody = ~0ull;

int SetupCall(uint32_t entries, io_uring_params* params) {
  const long fd = syscall(__NR_io_uring_setup, entries, params);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

int64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

template <typename T>
T* At(void* map, uint32_t offset) {
  return reinterpret_cast<T*>(static_cast<uint8_t*>(map) + offset);
}

}  // namespace

int Ring::Open(uint32_t requests, size_t arena_bytes, uint32_t options) {
  int error = options & kThreads ? OpenThreads(requests) : OpenKernel(requests, options);
  if (error == 0 && !arena_.Open(arena_bytes)) error = -ENOMEM;
  if (error != 0) {
    Close(true);
    return error;
  }
  table_.assign(requests, Request());
  for (uint32_t token = requests; token > 0; token--) free_.push_back(token - 1);
  if (!(options & (kNoRegisteredPages | kThreads))) {
    // Optional: spares pinning each page of each write. Fails where RLIMIT_MEMLOCK is small.
    iovec whole = {arena_.memory(), arena_.bytes()};
    registered_ = syscall(__NR_io_uring_register, fd_, IORING_REGISTER_BUFFERS, &whole, 1) == 0;
  }
  return 0;
}

int Ring::OpenKernel(uint32_t requests, uint32_t options) {
  uint32_t wanted = 0;
#ifdef IORING_SETUP_SINGLE_ISSUER
  wanted |= IORING_SETUP_SINGLE_ISSUER;
#endif
#ifdef IORING_SETUP_COOP_TASKRUN
  if (!(options & kPlainTaskrun)) wanted |= IORING_SETUP_COOP_TASKRUN;
#endif
  io_uring_params params;
  memset(&params, 0, sizeof params);
  params.flags = wanted;
  fd_ = SetupCall(requests, &params);
  if (fd_ == -EINVAL) {
    // A kernel before 6.0 knows fewer flags; none is needed for correctness.
    memset(&params, 0, sizeof params);
    fd_ = SetupCall(requests, &params);
  }
  if (fd_ < 0) return fd_;
  setup_flags_ = params.flags;
  return MapQueues(params);
}

int Ring::OpenThreads(uint32_t requests) {
  int error = 0;
  threads_ = RingThreads::Open(requests, &error);
  if (error != 0) return error;
  fd_ = threads_->fd();
  cq_head_ = threads_->head();
  cq_tail_ = threads_->tail();
  cq_mask_ = threads_->mask();
  cqes_ = threads_->cqes();
  // As many again as requests: those that hold a parted chain stand among them.
  sq_mask_ = 2 * cq_mask_ + 1;
  entries_.resize(sq_mask_ + 1);
  entry_order_.resize(sq_mask_ + 1);
  sqes_ = entries_.data();
  sq_array_ = entry_order_.data();
  sq_tail_ = &entries_tail_;
  return 0;
}

int Ring::MapQueues(const io_uring_params& p) {
  sq_bytes_ = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
  cq_bytes_ = p.cq_off.cqes + p.cq_entries * sizeof(io_uring_cqe);
  const bool single = (p.features & IORING_FEAT_SINGLE_MMAP) != 0;
  if (single) sq_bytes_ = cq_bytes_ = sq_bytes_ > cq_bytes_ ? sq_bytes_ : cq_bytes_;
  const int prot = PROT_READ | PROT_WRITE;
  const int flags = MAP_SHARED | MAP_POPULATE;
  sq_map_ = mmap(nullptr, sq_bytes_, prot, flags, fd_, IORING_OFF_SQ_RING);
  if (sq_map_ == MAP_FAILED) return sq_map_ = nullptr, -errno;
  cq_map_ = single ? sq_map_ : mmap(nullptr, cq_bytes_, prot, flags, fd_, IORING_OFF_CQ_RING);
  if (cq_map_ == MAP_FAILED) return cq_map_ = nullptr, -errno;
  sqe_bytes_ = p.sq_entries * sizeof(io_uring_sqe);
  sqe_map_ = mmap(nullptr, sqe_bytes_, prot, flags, fd_, IORING_OFF_SQES);
  if (sqe_map_ == MAP_FAILED) return sqe_map_ = nullptr, -errno;
  sq_tail_ = At<uint32_t>(sq_map_, p.sq_off.tail);
  sq_flags_ = At<uint32_t>(sq_map_, p.sq_off.flags);
  sq_array_ = At<uint32_t>(sq_map_, p.sq_off.array);
  sq_mask_ = *At<uint32_t>(sq_map_, p.sq_off.ring_mask);
  cq_head_ = At<uint32_t>(cq_map_, p.cq_off.head);
  cq_tail_ = At<uint32_t>(cq_map_, p.cq_off.tail);
  cq_mask_ = *At<uint32_t>(cq_map_, p.cq_off.ring_mask);
  cqes_ = At<io_uring_cqe>(cq_map_, p.cq_off.cqes);
  sqes_ = static_cast<io_uring_sqe*>(sqe_map_);
  return 0;
}

void Ring::Close(bool drained) {
  ahead_.Drop();
  if (sqe_map_ != nullptr) munmap(sqe_map_, sqe_bytes_);
  if (cq_map_ != nullptr && cq_map_ != sq_map_) munmap(cq_map_, cq_bytes_);
  if (sq_map_ != nullptr) munmap(sq_map_, sq_bytes_);
  sqe_map_ = cq_map_ = sq_map_ = nullptr;
  if (threads_ != nullptr) threads_->Stop();
  else if (fd_ >= 0) close(fd_);
  threads_.reset();
  fd_ = -1;
  if (drained) arena_.Close();
}

int Ring::TakeToken(uint32_t pages) {
  if (free_.empty()) return -EAGAIN;
  int32_t page = 0;
  if (pages > 0) {
    page = arena_.Take(pages);
    if (page < 0) return -EAGAIN;
  }
  const uint32_t token = free_.back();
  free_.pop_back();
  Request& request = table_[token];
  request = Request();
  request.memory = arena_.At(static_cast<uint32_t>(page));
  request.page = static_cast<uint32_t>(page);
  request.pages = pages;
  in_flight_++;
  return static_cast<int>(token);
}

uint8_t* Ring::Allocate(uint32_t pages) {
  const int32_t page = arena_.Take(pages);
  return page < 0 ? nullptr : arena_.At(static_cast<uint32_t>(page));
}

int Ring::Write(int fd, uint64_t offset, const uint8_t* bytes, uint32_t length, bool durable, int after) {
  if (length == 0 || length % Arena::kPageBytes != 0 || length > arena_.bytes()) return -EINVAL;
  io_uring_sqe* before = nullptr;
  if (after >= 0) {
    if (queued_ == 0) return -EINVAL;
    before = &sqes_[(*sq_tail_ - 1) & sq_mask_];
    if (before->user_data != static_cast<uint64_t>(after) || table_[after].kind != Kind::kWrite) return -EINVAL;
  }
  const bool in_place = arena_.Holds(bytes, length);
  const int token = TakeToken(in_place ? 0 : length / Arena::kPageBytes);
  if (token < 0) return token;
  Request& request = table_[token];
  if (in_place) request.memory = bytes;
  else memcpy(arena_.At(request.page), bytes, length);
  request.kind = Kind::kWrite;
  request.durable = durable;
  request.fd = fd;
  request.offset = offset;
  request.length = length;
  if (before != nullptr) {
    before->flags |= IOSQE_IO_LINK;
    request.previous = after;
    table_[after].next = token;
  }
  Queue(token);
  return token;
}

int Ring::Read(int fd, uint64_t offset, uint32_t length) {
  if (length == 0 || length % Arena::kPageBytes != 0 || length > arena_.bytes()) return -EINVAL;
  const int token = TakeToken(length / Arena::kPageBytes);
  if (token < 0) return token;
  Request& request = table_[token];
  request.kind = Kind::kRead;
  request.fd = fd;
  request.offset = offset;
  request.length = length;
  Queue(token);
  return token;
}

int Ring::Sync(int fd) {
  const int token = TakeToken(0);
  if (token < 0) return token;
  table_[token].kind = Kind::kSync;
  table_[token].fd = fd;
  Queue(token);
  return token;
}

int64_t Ring::ReadBlocking(int fd, uint64_t offset, uint8_t* out, uint64_t length) {
  int64_t ahead = 0;
  if (ahead_.Take(fd, offset, out, length, &ahead)) return ahead;
  constexpr uint32_t kPieceBytes = 1024 * 1024;
  const int32_t page = arena_.Take(kPieceBytes / Arena::kPageBytes);
  if (page < 0) return -EAGAIN;
  uint8_t* piece = arena_.At(static_cast<uint32_t>(page));
  uint64_t done = 0;
  int64_t result = 0;
  while (done < length) {
    const uint64_t left = length - done;
    const uint64_t wanted = left < kPieceBytes ? (left + Arena::kPageBytes - 1) & ~uint64_t{Arena::kPageBytes - 1} : kPieceBytes;
    const ssize_t got = pread(fd, piece, wanted, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      result = got < 0 ? -errno : 0;
      break;
    }
    const uint64_t some = static_cast<uint64_t>(got) < left ? static_cast<uint64_t>(got) : left;
    memcpy(out + done, piece, some);
    done += some;
    // Not whole blocks only at the end of the file.
    if (static_cast<uint64_t>(got) < wanted && got % Arena::kPageBytes != 0) break;
  }
  arena_.Give(static_cast<uint32_t>(page), kPieceBytes / Arena::kPageBytes);
  return result < 0 ? result : static_cast<int64_t>(done);
}

void Ring::Queue(uint32_t token) {
  Request& request = table_[token];
  request.pending = true;
  const uint32_t tail = *sq_tail_;
  const uint32_t slot = tail & sq_mask_;
  io_uring_sqe& sqe = sqes_[slot];
  memset(&sqe, 0, sizeof sqe);
  if (request.next >= 0) sqe.flags = IOSQE_IO_LINK;
  sqe.fd = request.fd;
  sqe.user_data = token;
  if (request.kind == Kind::kSync) {
    sqe.opcode = IORING_OP_FSYNC;
    sqe.fsync_flags = IORING_FSYNC_DATASYNC;
  } else {
    const bool write = request.kind == Kind::kWrite;
    sqe.opcode = write ? (registered_ ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE)
                       : (registered_ ? IORING_OP_READ_FIXED : IORING_OP_READ);
    sqe.addr = reinterpret_cast<uint64_t>(request.memory + request.done);
    sqe.len = request.length - request.done;
    sqe.off = request.offset + request.done;
    if (write && request.durable) sqe.rw_flags = RWF_DSYNC;
    if (write && shorten_next_ != 0 && shorten_next_ < sqe.len) {
      sqe.len = shorten_next_;
      shorten_next_ = 0;
      shortened_ = static_cast<int>(token);
    }
  }
  sq_array_[slot] = slot;
  __atomic_store_n(sq_tail_, tail + 1, __ATOMIC_RELEASE);
  queued_++;
}

int Ring::Enter(uint32_t submit, uint32_t wait, uint32_t flags) {
  if (threads_ != nullptr) {
    if (submit > 0) threads_->Submit(sqes_, *sq_tail_ - submit, submit, sq_mask_);
    return static_cast<int>(submit);
  }
  const long done = syscall(__NR_io_uring_enter, fd_, submit, wait, flags, nullptr, 0);
  return done < 0 ? -errno : static_cast<int>(done);
}

int Ring::Submit() {
  if (shortened_ >= 0) PartShortened();
  for (int attempts = 0; queued_ > 0;) {
    const int done = Enter(queued_, 0, 0);
    if (done == -EINTR) continue;
    if (done < 0) {
      // EAGAIN, EBUSY: the kernel is short of memory for a moment. Anything else will not go away.
      if ((done != -EAGAIN && done != -EBUSY) || ++attempts > 100) return done;
      usleep(100);
      continue;
    }
    queued_ -= static_cast<uint32_t>(done);
    // The kernel took the first entries only. If that parts a chain, the rest of it would begin at once.
    if (queued_ > 0) HoldLinks(*sq_tail_ - queued_);
  }
  return 0;
}

// The links of one chain from submission entry `at` on wait here for those before them instead of going to the kernel.
void Ring::HoldLinks(uint32_t at) {
  for (; at != *sq_tail_; at++) {
    io_uring_sqe& sqe = sqes_[at & sq_mask_];
    if (sqe.user_data == kNobody || table_[sqe.user_data].previous < 0) return;
    Request& request = table_[sqe.user_data];
    request.pending = false;
    request.result = -EAGAIN;
    memset(&sqe, 0, sizeof sqe);
    sqe.opcode = IORING_OP_NOP;
    sqe.user_data = kNobody;
  }
}

// Test shim: to the kernel the shortened write is whole, so the chain is parted behind it here.
void Ring::PartShortened() {
  for (uint32_t at = *sq_tail_ - queued_; at != *sq_tail_; at++) {
    io_uring_sqe& sqe = sqes_[at & sq_mask_];
    if (sqe.user_data != static_cast<uint64_t>(shortened_)) continue;
    sqe.flags &= static_cast<uint8_t>(~IOSQE_IO_LINK);
    HoldLinks(at + 1);
    break;
  }
  shortened_ = -1;
}

// True when the request is over, with `report` set; false when the rest of it must be handed to the kernel again.
bool Ring::Finish(Request* request, int32_t* report) {
  const int32_t result = request->result;
  if ((result == -EINTR || result == -EAGAIN) && ++request->rounds < kRoundsMax) return false;
  *report = result;
  if (result < 0 || request->kind == Kind::kSync) return true;
  const bool read = request->kind == Kind::kRead;
  if (result == 0) {
    // The end of the file; a write that moves nothing is an error.
    *report = read ? static_cast<int32_t>(request->done) : -EIO;
    return true;
  }
  request->done += static_cast<uint32_t>(result);
  if (request->done < request->length) {
    if (read && request->done % 512 != 0) {
      // Unaligned only at the end of the file.
      *report = static_cast<int32_t>(request->done);
      return true;
    }
    if (++request->rounds == kRoundsMax) {
      *report = -EIO;
      return true;
    }
    // O_DIRECT goes on at a block: repeat the part of a block that was already written.
    if (!read) request->done -= request->done % 4096;
    continued_++;
    return false;
  }
  *report = static_cast<int32_t>(request->done);
  return true;
}

void Ring::Report(uint32_t token, int32_t result, Completion* out) {
  Request& request = table_[token];
  request.finished = true;
  in_flight_--;
  *out = {static_cast<int32_t>(token), result};
  if (request.next >= 0) {
    table_[request.next].previous = -1;
    if (result < 0) table_[request.next].broken = true;
  }
  // The bytes of a read wait for their reader; of one that failed there are none.
  if (request.kind == Kind::kRead && result >= 0) request.done = static_cast<uint32_t>(result);
  else Release(static_cast<int>(token));
}

// Looks at the chain that begins with `head` (most are of one request): reports what is over from its start on, and hands what
// is left to the kernel again once all of it has come back. Returns how many were reported.
uint32_t Ring::Settle(int head, Completion* out) {
  uint32_t count = 0;
  while (head >= 0 && !table_[head].pending) {
    Request& request = table_[head];
    const int next = request.next;
    int32_t report = -ECANCELED;
    if (!request.broken && !request.again) {
      request.again = !Finish(&request, &report);
    }
    if (request.again) {
      bool in_order = true;
      for (int link = next; link >= 0; link = table_[link].next) {
        if (table_[link].pending) return count;
        in_order = in_order && (table_[link].result == -ECANCELED || table_[link].result == -EAGAIN);
      }
      if (in_order) {
        for (int link = head; link >= 0; link = table_[link].next) {
          table_[link].again = false;
          Queue(static_cast<uint32_t>(link));
        }
        return count;
      }
      // A later link went ahead of an unfinished one: nothing about this chain can be promised.
      report = -EIO;
    }
    Report(static_cast<uint32_t>(head), report, &out[count++]);
    head = next;
  }
  return count;
}

uint32_t Ring::Harvest(Completion* out) {
  uint32_t count = 0;
  if (threads_ != nullptr) threads_->Quiet();
  uint32_t head = *cq_head_;
  // Each request is reported once, and its token is not given out again meanwhile: `out` cannot overflow.
  while (head != __atomic_load_n(cq_tail_, __ATOMIC_ACQUIRE)) {
    const io_uring_cqe cqe = cqes_[head & cq_mask_];
    __atomic_store_n(cq_head_, ++head, __ATOMIC_RELEASE);
    if (cqe.user_data == kNobody) continue;
    int first = static_cast<int>(cqe.user_data);
    table_[first].pending = false;
    table_[first].result = cqe.res;
    while (table_[first].previous >= 0) first = table_[first].previous;
    count += Settle(first, out + count);
  }
  return count;
}

const uint8_t* Ring::ReadBytes(int token, uint32_t* length) const {
  if (token < 0 || static_cast<size_t>(token) >= table_.size()) return nullptr;
  const Request& request = table_[token];
  if (request.kind != Kind::kRead || !request.finished) return nullptr;
  *length = request.done;
  return request.memory;
}

void Ring::Release(int token) {
  if (token < 0 || static_cast<size_t>(token) >= table_.size()) return;
  Request& request = table_[token];
  if (request.kind == Kind::kFree || !request.finished) return;
  if (request.pages > 0) arena_.Give(request.page, request.pages);
  request.kind = Kind::kFree;
  free_.push_back(static_cast<uint32_t>(token));
}

int Ring::WaitOne(int token, uint32_t patience_ms) {
  const int64_t deadline = NowMs() + patience_ms;
  std::vector<Completion> completions(table_.size());
  for (;;) {
    const int error = Submit();
    if (error != 0) return error;
    Enter(0, 0, IORING_ENTER_GETEVENTS);
    const uint32_t count = Harvest(completions.data());
    for (uint32_t i = 0; i < count; i++) {
      Release(completions[i].token);
      if (completions[i].token == token) return completions[i].result < 0 ? completions[i].result : 0;
    }
    const int64_t left = deadline - NowMs();
    if (left <= 0) return -ETIMEDOUT;
    pollfd wait = {fd_, POLLIN, 0};
    poll(&wait, 1, static_cast<int>(left));
  }
}

bool Ring::Drain(uint32_t patience_ms) {
  if (fd_ < 0) return true;
  const int64_t deadline = NowMs() + patience_ms;
  std::vector<Completion> dropped(table_.size());
  for (;;) {
    const int error = Submit();
    Enter(0, 0, IORING_ENTER_GETEVENTS);
    const uint32_t count = Harvest(dropped.data());
    for (uint32_t i = 0; i < count; i++) Release(dropped[i].token);
    if (in_flight_ == 0) return true;
    if (error != 0) return false;
    const int64_t left = deadline - NowMs();
    if (left <= 0) return false;
    pollfd wait = {fd_, POLLIN, 0};
    poll(&wait, 1, static_cast<int>(left));
  }
}

}  // namespace chronon
