// chronon_native: one Node-API 8 binary for every Node from 20 on. No globals: all state hangs off the environment.
#include "napi_util.h"

namespace chronon {
void InitDevice(napi_env env, napi_value exports);
void InitProbe(napi_env env, napi_value exports);
void InitCodec(napi_env env, napi_value exports);
}

NAPI_MODULE_INIT() {
  chronon::InitDevice(env, exports);
  chronon::InitProbe(env, exports);
  chronon::InitCodec(env, exports);
  return exports;
}
