// class Ring in JavaScript: binds ring.h to an event loop.
//
// Completions: the ring's own descriptor is readable while its completion queue is not empty, so it is polled by libuv
// directly; each wake drains the queue into an Int32Array of (token, result) pairs and calls `ring.onWake(count, error)` once. `error`:
// -errno when what is left of a short write could not be handed to the kernel again; nothing that is under way ends then.
//
// Lifetime: a Device is owned by its JavaScript wrapper and by its uv handle, and is freed when both are gone. While I/O is in
// flight the wrapper is held strongly and the loop is kept alive; idle, neither is. The environment's end (a worker_thread
// that stops, process exit) drains the ring before its memory goes.
#include <errno.h>

#include <cstdlib>

#include "napi_util.h"
#include "ring.h"
#include "uv_abi.h"

namespace chronon {
namespace {

// How long the end of an environment waits for a stalled device before it leaks the buffers instead.
constexpr uint32_t kDrainMs = 10000;

struct Device {
  Ring ring;
  napi_env env = nullptr;
  napi_ref self = nullptr;
  napi_async_context context = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
  uv_poll_t* poll = nullptr;
  Completion* completions = nullptr;
  bool busy = false;
  bool closed = false;
  int owners = 0;
};

void Disown(Device* device) {
  if (--device->owners > 0) return;
  free(device->completions);
  delete device;
}

void OnPollClosed(uv_handle_t* handle) {
  Device* device = static_cast<Device*>(uv_handle_get_data(handle));
  free(handle);
  device->poll = nullptr;
  if (device->hook != nullptr) napi_remove_async_cleanup_hook(device->hook);
  device->hook = nullptr;
  Disown(device);
}

// Holds the wrapper and the loop exactly while something is in flight.
void Hold(Device* device) {
  const bool busy = device->ring.in_flight() > 0;
  if (busy == device->busy || device->closed) return;
  device->busy = busy;
  uint32_t count;
  if (busy) {
    napi_reference_ref(device->env, device->self, &count);
    uv_ref(reinterpret_cast<uv_handle_t*>(device->poll));
  } else {
    napi_reference_unref(device->env, device->self, &count);
    uv_unref(reinterpret_cast<uv_handle_t*>(device->poll));
  }
}

void Shut(Device* device) {
  if (device->closed) return;
  device->closed = true;
  const bool drained = device->ring.Drain(kDrainMs);
  uv_poll_stop(device->poll);
  uv_close(reinterpret_cast<uv_handle_t*>(device->poll), OnPollClosed);
  device->ring.Close(drained);
}

void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  // No JavaScript from here on; OnPollClosed removes the hook, which lets the environment go on ending.
  Device* device = static_cast<Device*>(data);
  if (!device->closed) Shut(device);
}

void OnCollected(napi_env env, void* data, void*) {
  Device* device = static_cast<Device*>(data);
  Shut(device);
  napi_delete_reference(env, device->self);
  Disown(device);
}

void OnReadable(uv_poll_t* handle, int, int) {
  Device* device = static_cast<Device*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(handle)));
  if (device->closed) return;
  const uint32_t count = device->ring.Harvest(device->completions);
  const int error = device->ring.Submit();
  if (count == 0 && error == 0) return;
  napi_env env = device->env;
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value self, results, on_wake, ignored;
  napi_value arguments[2];
  void* memory = nullptr;
  size_t length = 0;
  const bool ready = napi_get_reference_value(env, device->self, &self) == napi_ok && self != nullptr &&
                     napi_get_named_property(env, self, "results", &results) == napi_ok &&
                     napi_get_named_property(env, self, "onWake", &on_wake) == napi_ok &&
                     napi_get_typedarray_info(env, results, nullptr, &length, &memory, nullptr, nullptr) == napi_ok;
  if (ready && length >= 2 * count) {
    memcpy(memory, device->completions, count * sizeof(Completion));
    napi_create_uint32(env, count, &arguments[0]);
    napi_create_int32(env, error, &arguments[1]);
    const napi_status status = napi_make_callback(env, device->context, self, on_wake, 2, arguments, &ignored);
    if (status == napi_pending_exception) {
      napi_value exception;
      napi_get_and_clear_last_exception(env, &exception);
      napi_fatal_exception(env, exception);
    }
  }
  // The callback may have closed the ring; the wrapper is still held, so the memory is still there.
  if (!device->closed) Hold(device);
  napi_close_handle_scope(env, scope);
}

Device* Unwrap(napi_env env, napi_callback_info info, size_t* argc, napi_value* argv) {
  napi_value self;
  Device* device = nullptr;
  napi_get_cb_info(env, info, argc, argv, &self, nullptr);
  if (napi_unwrap(env, self, reinterpret_cast<void**>(&device)) != napi_ok || device->closed) {
    napi_throw_error(env, "ECLOSED", "the ring is closed");
    return nullptr;
  }
  return device;
}

// new Ring(requests, arenaBytes, options)
napi_value New(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3], self;
  napi_get_cb_info(env, info, &argc, argv, &self, nullptr);
  int32_t requests, arena_bytes, options;
  if (!GetInt(env, argv[0], &requests) || !GetInt(env, argv[1], &arena_bytes) || !GetInt(env, argv[2], &options))
    return nullptr;
  if (requests < 1 || requests > 4096 || arena_bytes < 4096) {
    napi_throw_range_error(env, nullptr, "requests 1..4096, arenaBytes >= 4096");
    return nullptr;
  }
  Device* device = new Device();
  device->env = env;
  device->owners = 1;
  const int error = device->ring.Open(static_cast<uint32_t>(requests), static_cast<size_t>(arena_bytes),
                                      static_cast<uint32_t>(options));
  if (error != 0) {
    delete device;
    ThrowErrno(env, "io_uring_setup", error);
    return nullptr;
  }
  uv_loop_s* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  device->poll = static_cast<uv_poll_t*>(calloc(1, uv_handle_size(UV_POLL)));
  const int poll_error = uv_poll_init(loop, device->poll, device->ring.fd());
  if (poll_error != 0) {
    free(device->poll);
    device->ring.Close(true);
    delete device;
    ThrowErrno(env, "uv_poll_init", poll_error);
    return nullptr;
  }
  device->owners = 2;
  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(device->poll), device);
  uv_poll_start(device->poll, UV_READABLE, OnReadable);
  uv_unref(reinterpret_cast<uv_handle_t*>(device->poll));
  device->completions = static_cast<Completion*>(calloc(device->ring.requests(), sizeof(Completion)));
  napi_value name, buffer, results;
  void* ignored;
  napi_create_string_utf8(env, "chronon:ring", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, self, name, &device->context);
  napi_create_arraybuffer(env, device->ring.requests() * sizeof(Completion), &ignored, &buffer);
  napi_create_typedarray(env, napi_int32_array, 2 * device->ring.requests(), buffer, 0, &results);
  napi_set_named_property(env, self, "results", results);
  napi_wrap(env, self, device, OnCollected, nullptr, nullptr);
  napi_create_reference(env, self, 0, &device->self);
  napi_add_async_cleanup_hook(env, OnEnvironmentEnd, device, &device->hook);
  return self;
}

// write(fd, offset, bytes, from, length, durable, after): token; `after`: -1, or the token of the write it is chained behind
napi_value Write(napi_env env, napi_callback_info info) {
  size_t argc = 7;
  napi_value argv[7];
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t fd, from, length, after;
  uint64_t offset;
  uint8_t* bytes;
  size_t available;
  bool durable = false;
  if (device == nullptr || !GetInt(env, argv[0], &fd) || !GetOffset(env, argv[1], &offset) ||
      !GetBytes(env, argv[2], &bytes, &available) || !GetInt(env, argv[3], &from) || !GetInt(env, argv[4], &length) ||
      !GetInt(env, argv[6], &after))
    return nullptr;
  napi_get_value_bool(env, argv[5], &durable);
  if (from < 0 || length < 0 || static_cast<size_t>(from) + static_cast<size_t>(length) > available)
    return Int(env, -EINVAL);
  const int token = device->ring.Write(fd, offset, bytes + from, static_cast<uint32_t>(length), durable, after);
  Hold(device);
  return Int(env, token);
}

// The program's pages stay taken as long as the arena: they are for buffers that live as long as their disk.
void OnAllocationCollected(napi_env, void*, void* owners) { static_cast<Arena::Owners*>(owners)->Give(); }

// allocate(bytes): ArrayBuffer over whole pages of the arena, or null when there are not so many
napi_value Allocate(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1], buffer;
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t bytes;
  if (device == nullptr || !GetInt(env, argv[0], &bytes)) return nullptr;
  napi_get_null(env, &buffer);
  if (bytes <= 0 || bytes % static_cast<int32_t>(Arena::kPageBytes) != 0) return buffer;
  uint8_t* memory = device->ring.Allocate(static_cast<uint32_t>(bytes) / Arena::kPageBytes);
  if (memory == nullptr) return buffer;
  memset(memory, 0, static_cast<size_t>(bytes));
  Arena::Owners* owners = device->ring.owners();
  owners->Take();
  // Refused where the engine lets no memory in from outside: the pages are lost, the program copies.
  if (napi_create_external_arraybuffer(env, memory, static_cast<size_t>(bytes), OnAllocationCollected, owners, &buffer) !=
      napi_ok) {
    owners->Give();
    napi_get_null(env, &buffer);
  }
  return buffer;
}

// read(fd, offset, length): token
napi_value Read(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3];
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t fd, length;
  uint64_t offset;
  if (device == nullptr || !GetInt(env, argv[0], &fd) || !GetOffset(env, argv[1], &offset) ||
      !GetInt(env, argv[2], &length))
    return nullptr;
  const int token = length < 0 ? -EINVAL : device->ring.Read(fd, offset, static_cast<uint32_t>(length));
  Hold(device);
  return Int(env, token);
}

// sync(fd): token
napi_value Sync(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t fd;
  if (device == nullptr || !GetInt(env, argv[0], &fd)) return nullptr;
  const int token = device->ring.Sync(fd);
  Hold(device);
  return Int(env, token);
}

// readBlocking(fd, offset, into): bytes read, or -errno
napi_value ReadBlocking(napi_env env, napi_callback_info info) {
  size_t argc = 3, room;
  napi_value argv[3], result;
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t fd;
  uint64_t offset;
  uint8_t* into;
  if (device == nullptr || !GetInt(env, argv[0], &fd) || !GetOffset(env, argv[1], &offset) ||
      !GetBytes(env, argv[2], &into, &room))
    return nullptr;
  napi_create_int64(env, device->ring.ReadBlocking(fd, offset, into, room), &result);
  return result;
}

// prefetch(fd, offset, length): the next readBlocking will be of this range; length 0: it will not
napi_value Prefetch(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3];
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t fd;
  uint64_t offset, length;
  if (device == nullptr || !GetInt(env, argv[0], &fd) || !GetOffset(env, argv[1], &offset) ||
      !GetOffset(env, argv[2], &length))
    return nullptr;
  device->ring.Prefetch(fd, offset, length);
  return Undefined(env);
}

// hasRoom(requests, pages): boolean
napi_value HasRoom(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2], result;
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t requests, pages;
  if (device == nullptr || !GetInt(env, argv[0], &requests) || !GetInt(env, argv[1], &pages)) return nullptr;
  napi_get_boolean(env, device->ring.HasRoom(static_cast<uint32_t>(requests), static_cast<uint32_t>(pages)), &result);
  return result;
}

// submit(): 0 or -errno
napi_value Submit(napi_env env, napi_callback_info info) {
  size_t argc = 0;
  Device* device = Unwrap(env, info, &argc, nullptr);
  return device == nullptr ? nullptr : Int(env, device->ring.Submit());
}

// take(token, into, at, skip): copies a finished read, without its first `skip` bytes, to into[at..]; frees its pages
napi_value Take(napi_env env, napi_callback_info info) {
  size_t argc = 4;
  napi_value argv[4];
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t token, at, skip;
  uint8_t* into;
  size_t room;
  if (device == nullptr || !GetInt(env, argv[0], &token) || !GetBytes(env, argv[1], &into, &room) ||
      !GetInt(env, argv[2], &at) || !GetInt(env, argv[3], &skip))
    return nullptr;
  uint32_t length = 0;
  const uint8_t* bytes = device->ring.ReadBytes(token, &length);
  if (bytes == nullptr || at < 0 || skip < 0 || static_cast<size_t>(at) > room) return Int(env, -EINVAL);
  uint32_t count = length > static_cast<uint32_t>(skip) ? length - static_cast<uint32_t>(skip) : 0;
  if (count > room - static_cast<size_t>(at)) count = static_cast<uint32_t>(room - static_cast<size_t>(at));
  if (count > 0) memcpy(into + at, bytes + skip, count);
  device->ring.Release(token);
  return Int(env, static_cast<int32_t>(count));
}

// close(): waits for what is in flight, whose results are dropped
napi_value Close(napi_env env, napi_callback_info info) {
  napi_value self;
  size_t argc = 0;
  Device* device = nullptr;
  napi_get_cb_info(env, info, &argc, nullptr, &self, nullptr);
  if (napi_unwrap(env, self, reinterpret_cast<void**>(&device)) != napi_ok || device->closed) return Undefined(env);
  Shut(device);
  uint32_t count;
  if (device->busy) napi_reference_unref(env, device->self, &count);
  device->busy = false;
  if (device->context != nullptr) napi_async_destroy(env, device->context);
  device->context = nullptr;
  return Undefined(env);
}

// shortenNextWrite(bytes): test shim
napi_value ShortenNextWrite(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  Device* device = Unwrap(env, info, &argc, argv);
  int32_t bytes;
  if (device == nullptr || !GetInt(env, argv[0], &bytes)) return nullptr;
  device->ring.ShortenNextWrite(static_cast<uint32_t>(bytes));
  return Undefined(env);
}

// state(): {inFlight, continued, registered, setupFlags}
napi_value State(napi_env env, napi_callback_info info) {
  size_t argc = 0;
  Device* device = Unwrap(env, info, &argc, nullptr);
  if (device == nullptr) return nullptr;
  napi_value object, registered;
  napi_create_object(env, &object);
  napi_get_boolean(env, device->ring.registered(), &registered);
  napi_set_named_property(env, object, "inFlight", Int(env, static_cast<int32_t>(device->ring.in_flight())));
  napi_set_named_property(env, object, "continued", Int(env, static_cast<int32_t>(device->ring.continued())));
  napi_set_named_property(env, object, "registered", registered);
  napi_set_named_property(env, object, "setupFlags", Int(env, static_cast<int32_t>(device->ring.setup_flags())));
  return object;
}

}  // namespace

void InitDevice(napi_env env, napi_value exports) {
  const napi_property_descriptor methods[] = {
      {"write", nullptr, Write, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"allocate", nullptr, Allocate, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"read", nullptr, Read, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"sync", nullptr, Sync, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"readBlocking", nullptr, ReadBlocking, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"prefetch", nullptr, Prefetch, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"hasRoom", nullptr, HasRoom, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"submit", nullptr, Submit, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"take", nullptr, Take, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"close", nullptr, Close, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"state", nullptr, State, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"shortenNextWrite", nullptr, ShortenNextWrite, nullptr, nullptr, nullptr, napi_default, nullptr},
  };
  napi_value constructor;
  napi_define_class(env, "Ring", NAPI_AUTO_LENGTH, New, nullptr, sizeof methods / sizeof methods[0], methods,
                    &constructor);
  napi_set_named_property(env, exports, "Ring", constructor);
}

}  // namespace chronon
