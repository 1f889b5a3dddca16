/* Which vector instructions there are. Each function that uses them stands beside a portable one of the same bits. */
#ifndef SW_SIMD_H
#define SW_SIMD_H

/* How far a function may go: it takes the best that it has up to this. */
enum { SW_PORTABLE, SW_UP_TO_AVX2, SW_UP_TO_AVX512 };

#if defined(__x86_64__) && defined(__GNUC__)
#define SW_HAS_AVX2 1
#define SW_AVX2 __attribute__((target("avx2,fma")))
#define SW_AVX512 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")))
#include <immintrin.h>
static inline int sw_simd_is_there(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
/* Those of Intel's Ice Lake and AMD's Zen 4, and what came after. */
static inline int sw_avx512_is_there(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vnni");
}
#else
#define SW_HAS_AVX2 0
static inline int sw_simd_is_there(void) { return 0; }
static inline int sw_avx512_is_there(void) { return 0; }
#endif

/* What the processor has of what is allowed. */
static inline int sw_simd_level(int allowed)
{
    if (allowed <= SW_PORTABLE || !sw_simd_is_there())
        return SW_PORTABLE;
    return allowed >= SW_UP_TO_AVX512 && sw_avx512_is_there() ? SW_UP_TO_AVX512 : SW_UP_TO_AVX2;
}

#endif
