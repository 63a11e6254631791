// Two blocking questions to the kernel: does io_uring with O_DIRECT work on a file, and may this process have a lock.
#include <errno.h>
#include <sys/file.h>

#include "napi_util.h"
#include "ring.h"

namespace chronon {
namespace {

constexpr uint32_t kPatienceMs = 10000;

// probeWrite(fd): 0, or -errno of a durable write, a read or an fdatasync of one block of an O_DIRECT descriptor
napi_value ProbeWrite(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  int32_t fd;
  if (!GetInt(env, argv[0], &fd)) return nullptr;
  Ring ring;
  const int opened = ring.Open(4, 4 * Arena::kPageBytes, 0);
  if (opened != 0) {
    ThrowErrno(env, "io_uring_setup", opened);
    return nullptr;
  }
  const uint8_t block[Arena::kPageBytes] = {0};
  const char* steps[] = {"write of a block", "read of a block", "fdatasync"};
  const char* failed = nullptr;
  int error = 0;
  for (int step = 0; step < 3 && error == 0; step++) {
    const int token = step == 0   ? ring.Write(fd, 0, block, sizeof block, true, -1)
                      : step == 1 ? ring.Read(fd, 0, sizeof block)
                                  : ring.Sync(fd);
    error = token < 0 ? token : ring.WaitOne(token, kPatienceMs);
    if (error != 0) failed = steps[step];
  }
  ring.Close(ring.Drain(kPatienceMs));
  if (error != 0) ThrowErrno(env, failed, error);
  return error != 0 ? nullptr : Int(env, 0);
}

// flock(fd): 0 or -errno (-EWOULDBLOCK: another open file description holds it)
napi_value Flock(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  int32_t fd;
  if (!GetInt(env, argv[0], &fd)) return nullptr;
  return Int(env, flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno);
}

}  // namespace

void InitProbe(napi_env env, napi_value exports) {
  SetFunction(env, exports, "probeWrite", ProbeWrite);
  SetFunction(env, exports, "flock", Flock);
}

}  // namespace chronon
