/* Which vector instructions there are. Each function that uses them stands beside a portable one of the same bits. */
#ifndef SW_SIMD_H
#define SW_SIMD_H

#if defined(__x86_64__) && defined(__GNUC__)
#define SW_HAS_AVX2 1
#define SW_AVX2 __attribute__((target("avx2,fma")))
#include <immintrin.h>
static inline int sw_simd_is_there(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define SW_HAS_AVX2 0
static inline int sw_simd_is_there(void) { return 0; }
#endif

#endif
