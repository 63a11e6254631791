// The handful of libuv functions the addon needs, by their stable 1.x ABI, so that it builds where uv.h is not installed
// (node-api-headers has none). Where uv.h exists the numbers are checked against it at compile time.
#pragma once
#include <cstddef>

#if __has_include(<uv.h>)
#include <uv.h>
static_assert(UV_POLL == 8, "libuv 1.x numbers a poll handle 8");
static_assert(UV_READABLE == 1, "libuv 1.x numbers readability 1");
static_assert(UV_VERSION_MAJOR == 1, "written for libuv 1.x");
#else
extern "C" {
typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_poll_s uv_poll_t;
typedef enum { UV_UNKNOWN_HANDLE = 0, UV_POLL = 8 } uv_handle_type;
enum uv_poll_event { UV_READABLE = 1 };
typedef void (*uv_poll_cb)(uv_poll_t* handle, int status, int events);
typedef void (*uv_close_cb)(uv_handle_t* handle);
unsigned int uv_version(void);
size_t uv_handle_size(uv_handle_type type);
void* uv_handle_get_data(const uv_handle_t* handle);
void uv_handle_set_data(uv_handle_t* handle, void* data);
int uv_poll_init(uv_loop_t* loop, uv_poll_t* handle, int fd);
int uv_poll_start(uv_poll_t* handle, int events, uv_poll_cb cb);
int uv_poll_stop(uv_poll_t* handle);
void uv_close(uv_handle_t* handle, uv_close_cb cb);
void uv_ref(uv_handle_t* handle);
void uv_unref(uv_handle_t* handle);
}
#endif
