#include "ring_threads.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_DSYNC
#define RWF_DSYNC 0x00000002
#endif

namespace chronon {
namespace {

constexpr int kThreads = 2;

int64_t Execute(const io_uring_sqe& sqe) {
  void* memory = reinterpret_cast<void*>(sqe.addr);
  const off_t offset = static_cast<off_t>(sqe.off);
  switch (sqe.opcode) {
    case IORING_OP_FSYNC:
      return fdatasync(sqe.fd);
    case IORING_OP_READ:
      return pread(sqe.fd, memory, sqe.len, offset);
    case IORING_OP_WRITE: {
      const bool plain = (sqe.rw_flags & RWF_DSYNC) == 0 || (fcntl(sqe.fd, F_GETFL) & O_DSYNC) != 0;
      if (plain) return pwrite(sqe.fd, memory, sqe.len, offset);
      const iovec whole = {memory, sqe.len};
      return pwritev2(sqe.fd, &whole, 1, offset, RWF_DSYNC);
    }
    default:
      errno = EINVAL;
      return -1;
  }
}

}  // namespace

std::shared_ptr<RingThreads> RingThreads::Open(uint32_t entries, int* error) {
  auto ring = std::make_shared<RingThreads>();
  uint32_t completions = 1;
  while (completions < entries) completions *= 2;
  ring->cqes_.resize(completions);
  ring->fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  *error = ring->fd_ < 0 ? -errno : 0;
  // Signals are the program's; a file size limit is an error here, not a signal.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int i = 0; i < kThreads && *error == 0; i++) {
    pthread_t thread;
    auto* shared = new std::shared_ptr<RingThreads>(ring);
    *error = -pthread_create(&thread, nullptr, Main, shared);
    if (*error == 0) pthread_detach(thread);
    else delete shared;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (*error == 0) return ring;
  ring->Stop();
  return nullptr;
}

RingThreads::~RingThreads() {
  if (fd_ >= 0) close(fd_);
}

void RingThreads::Submit(const io_uring_sqe* sqes, uint32_t first, uint32_t count, uint32_t mask) {
  pthread_mutex_lock(&mutex_);
  bool linked = false;
  for (uint32_t i = 0; i < count; i++) {
    const io_uring_sqe& sqe = sqes[(first + i) & mask];
    if (sqe.opcode == IORING_OP_NOP) continue;
    if (!linked) chains_.emplace_back();
    chains_.back().push_back(sqe);
    linked = (sqe.flags & IOSQE_IO_LINK) != 0;
    if (!linked) pthread_cond_signal(&submitted_);
  }
  // The last of a submission is linked to nothing, whatever it says.
  if (linked) pthread_cond_signal(&submitted_);
  pthread_mutex_unlock(&mutex_);
}

void RingThreads::Quiet() {
  uint64_t count;
  while (read(fd_, &count, sizeof count) < 0 && errno == EINTR) continue;
}

void RingThreads::Stop() {
  pthread_mutex_lock(&mutex_);
  stopping_ = true;
  pthread_cond_broadcast(&submitted_);
  pthread_mutex_unlock(&mutex_);
}

void* RingThreads::Main(void* shared) {
  auto* owned = static_cast<std::shared_ptr<RingThreads>*>(shared);
  (*owned)->Work();
  delete owned;
  return nullptr;
}

void RingThreads::Work() {
  pthread_mutex_lock(&mutex_);
  for (;;) {
    while (chains_.empty() && !stopping_) pthread_cond_wait(&submitted_, &mutex_);
    if (chains_.empty()) break;
    const Chain chain = std::move(chains_.front());
    chains_.pop_front();
    pthread_mutex_unlock(&mutex_);
    Run(chain);
    pthread_mutex_lock(&mutex_);
  }
  pthread_mutex_unlock(&mutex_);
}

void RingThreads::Run(const Chain& chain) {
  bool broken = false;
  for (const io_uring_sqe& sqe : chain) {
    int32_t result = -ECANCELED;
    if (!broken) {
      const int64_t moved = Execute(sqe);
      result = moved < 0 ? -errno : static_cast<int32_t>(moved);
      broken = result < 0 || (sqe.opcode != IORING_OP_FSYNC && static_cast<uint32_t>(result) < sqe.len);
    }
    Complete(sqe.user_data, result);
  }
}

// There is room: a request is in the queue once, and there are as many places as requests.
void RingThreads::Complete(uint64_t user_data, int32_t result) {
  pthread_mutex_lock(&mutex_);
  io_uring_cqe& cqe = cqes_[tail_ & mask()];
  cqe.user_data = user_data;
  cqe.res = result;
  cqe.flags = 0;
  __atomic_store_n(&tail_, tail_ + 1, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&mutex_);
  const uint64_t one = 1;
  while (write(fd_, &one, sizeof one) < 0 && errno == EINTR) continue;
}

}  // namespace chronon
