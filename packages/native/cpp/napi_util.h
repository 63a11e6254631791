// Small helpers over the C Node-API. A failing helper leaves a JavaScript exception pending.
#pragma once
#include <node_api.h>

#include <cstdint>
#include <cstring>

namespace chronon {

inline void ThrowErrno(napi_env env, const char* step, int error) {
  // `error` is negative. The TypeScript side reads `errno` and words the reason.
  napi_value message, exception, number;
  napi_create_string_utf8(env, step, NAPI_AUTO_LENGTH, &message);
  napi_create_error(env, nullptr, message, &exception);
  napi_create_int32(env, -error, &number);
  napi_set_named_property(env, exception, "errno", number);
  napi_throw(env, exception);
}

inline bool GetInt(napi_env env, napi_value value, int32_t* out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  napi_throw_type_error(env, nullptr, "expected an integer");
  return false;
}

inline bool GetOffset(napi_env env, napi_value value, uint64_t* out) {
  int64_t number = -1;
  if (napi_get_value_int64(env, value, &number) == napi_ok && number >= 0) {
    *out = static_cast<uint64_t>(number);
    return true;
  }
  napi_throw_type_error(env, nullptr, "expected a non-negative integer");
  return false;
}

// The bytes of a Uint8Array (or a Buffer). Valid until JavaScript runs again.
inline bool GetBytes(napi_env env, napi_value value, uint8_t** data, size_t* length) {
  napi_typedarray_type type;
  void* memory = nullptr;
  if (napi_get_typedarray_info(env, value, &type, length, &memory, nullptr, nullptr) == napi_ok &&
      type == napi_uint8_array) {
    *data = static_cast<uint8_t*>(memory);
    return true;
  }
  napi_throw_type_error(env, nullptr, "expected a Uint8Array");
  return false;
}

inline napi_value Int(napi_env env, int32_t number) {
  napi_value value;
  napi_create_int32(env, number, &value);
  return value;
}

inline napi_value Undefined(napi_env env) {
  napi_value value;
  napi_get_undefined(env, &value);
  return value;
}

inline void SetFunction(napi_env env, napi_value target, const char* name, napi_callback function) {
  napi_value value;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  napi_set_named_property(env, target, name, value);
}

}  // namespace chronon
