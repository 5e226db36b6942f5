// SPDX-License-Identifier: Apache-2.0

// Preloaded into an emulated program, it takes the AES instructions out of what the system says about the
// CPU: every 64-bit ARM that QEMU knows has them.
#include <asm/hwcap.h>
#include <dlfcn.h>
#include <sys/auxv.h>

extern "C" [[gnu::visibility("default")]] unsigned long getauxval(unsigned long type) noexcept {
    using Function = unsigned long (*)(unsigned long);
    static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getauxval"));
    const unsigned long value = real(type);
    return type == AT_HWCAP ? value & ~static_cast<unsigned long>(HWCAP_AES) : value;
}
