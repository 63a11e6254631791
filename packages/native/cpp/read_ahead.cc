#include "read_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "arena.h"

namespace chronon {
namespace {

constexpr uint64_t kPieceBytes = Arena::kHugeBytes;

}  // namespace

struct ReadAhead::Memory {
  void* map = MAP_FAILED;
  size_t mapped = 0;
  uint8_t* start = nullptr;
  // Whole pieces.
  uint64_t length = 0;

  ~Memory() {
    if (map != MAP_FAILED) munmap(map, mapped);
  }

  bool Open(uint64_t bytes) {
    length = bytes;
    mapped = length + kPieceBytes;
    map = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return false;
    start = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(map) + kPieceBytes - 1) / kPieceBytes * kPieceBytes);
    madvise(start, length, MADV_DONTFORK);
    madvise(start, length, MADV_HUGEPAGE);
    return true;
  }
};

struct ReadAhead::Shared {
  int fd = -1;
  uint64_t offset = 0;
  std::shared_ptr<Memory> memory;
  // Whole pieces.
  uint64_t length = 0;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
  // Under the mutex.
  uint64_t done = 0;
  int error = 0;
  bool ended = false;
  bool unwanted = false;

  ~Shared() {
    if (fd >= 0) close(fd);
  }

  // `spare`: memory to use if it is large enough, or null.
  bool Open(int from, uint64_t at, uint64_t bytes, std::shared_ptr<Memory> spare) {
    offset = at;
    length = (bytes + kPieceBytes - 1) / kPieceBytes * kPieceBytes;
    memory = std::move(spare);
    if (memory == nullptr || memory->length < length) {
      memory = std::make_shared<Memory>();
      if (!memory->Open(length)) return false;
    }
    fd = fcntl(from, F_DUPFD_CLOEXEC, 0);
    return fd >= 0;
  }

  // One piece; false when the read is over.
  bool Step() {
    const ssize_t got = pread(fd, memory->start + done, kPieceBytes - done % kPieceBytes, static_cast<off_t>(offset + done));
    const int failed = errno;
    if (got < 0 && failed == EINTR) return true;
    pthread_mutex_lock(&mutex);
    if (got < 0) error = failed;
    else done += static_cast<uint64_t>(got);
    // Not whole blocks only at the end of the file.
    ended = got <= 0 || done == length || got % Arena::kPageBytes != 0;
    const bool over = ended || unwanted;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
    return !over;
  }
};

void* ReadAhead::Run(void* argument) {
  std::unique_ptr<std::shared_ptr<Shared>> shared(static_cast<std::shared_ptr<Shared>*>(argument));
  while ((*shared)->Step()) {
  }
  return nullptr;
}

void ReadAhead::Begin(int fd, uint64_t offset, uint64_t length) {
  std::shared_ptr<Memory> spare = std::move(spare_);
  Drop();
  std::shared_ptr<Shared> shared = std::make_shared<Shared>();
  if (length == 0 || !shared->Open(fd, offset, length, std::move(spare))) return;
  std::unique_ptr<std::shared_ptr<Shared>> argument(new std::shared_ptr<Shared>(shared));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // Signals are for the threads that know what to do with them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const bool started = pthread_create(&thread, &attributes, Run, argument.get()) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (!started) return;
  argument.release();
  shared_ = std::move(shared);
  fd_ = fd;
  offset_ = offset;
  length_ = length;
}

bool ReadAhead::Take(int fd, uint64_t offset, uint8_t* out, uint64_t length, int64_t* result) {
  if (shared_ == nullptr || fd != fd_ || offset != offset_ || length != length_) return false;
  const std::shared_ptr<Shared> shared = std::move(shared_);
  uint64_t copied = 0;
  int error = 0;
  for (bool over = false; !over && copied < length;) {
    pthread_mutex_lock(&shared->mutex);
    while (shared->done == copied && !shared->ended) pthread_cond_wait(&shared->changed, &shared->mutex);
    const uint64_t done = shared->done < length ? shared->done : length;
    over = shared->ended;
    error = shared->error;
    pthread_mutex_unlock(&shared->mutex);
    memcpy(out + copied, shared->memory->start + copied, done - copied);
    copied = done;
    // From then on the thread touches it no more.
    if (over) spare_ = shared->memory;
  }
  *result = error != 0 && copied < length ? -error : static_cast<int64_t>(copied);
  return true;
}

void ReadAhead::Drop() {
  spare_ = nullptr;
  if (shared_ == nullptr) return;
  pthread_mutex_lock(&shared_->mutex);
  shared_->unwanted = true;
  pthread_mutex_unlock(&shared_->mutex);
  shared_ = nullptr;
}

}  // namespace chronon
