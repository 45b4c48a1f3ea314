#include "core.h"

#include <cstdlib>
#include <cstring>

namespace glasslstm {

extern const Kernels kernels_baseline;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

namespace {

struct Entry {
    const Kernels& kernels;
    bool here;  // the processor has the instruction set
};

// The best one first.
const Entry* entries(int& count) {
    static const Entry table[] = {
#if defined(__x86_64__)
        {kernels_avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl")},
        {kernels_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2")},
#endif
        {kernels_baseline, true},
    };
    count = int(sizeof(table) / sizeof(table[0]));
    return table;
}

}  // namespace

const Kernels* kernels(const char* name) {
    int count;
    const Entry* entry = entries(count);
    for (int k = 0; k < count; ++k)
        if (entry[k].here && (!name || !std::strcmp(name, entry[k].kernels.name))) return &entry[k].kernels;
    return nullptr;
}

const Kernels* kernels() {
    const char* name = std::getenv("GLASSLSTM_ISA");
    return kernels(name && *name ? name : nullptr);
}

}  // namespace glasslstm
