/* Normal deviates counted from a key, as draws.normal_noise: 64 mixed bits give two of them.
 *
 * The integers are equal to those of draws.py. Logarithm, sine and cosine are polynomials of Cephes (Moshier), so
 * that they are the same everywhere; a deviate is within 4 float32 ulp of the exact one of these integers.
 */
#include <math.h>
#include <string.h>

#include "steps.h"

SW_INLINE uint64_t mix64(uint64_t z)
{
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Natural logarithm of x in [2^-24, 1]. */
SW_INLINE float log_of(float x)
{
    const int32_t root_half = 0x3F3504F3; /* the bits of sqrt(1/2) */
    int32_t bits, exponent;
    memcpy(&bits, &x, 4);
    exponent = (bits - root_half) >> 23;
    bits -= exponent * (1 << 23);
    memcpy(&x, &bits, 4);
    float f = x - 1, square = f * f, scale = (float)exponent;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = p * f * square - scale * 2.12194440e-4f - 0.5f * square;
    return f + p + scale * 0.693359375f; /* ln 2 = 0.693359375 - 0.000212194440 */
}

/* Cosine and sine of an angle in [0, 2 pi]. */
SW_INLINE void turn(float angle, float *cosine, float *sine)
{
    int32_t quarter = (int32_t)(angle * 0.636619772f + 0.5f);
    float r = (float)((double)angle - quarter * 1.5707963267948966); /* in [-pi/4, pi/4] */
    float z = r * r;
    float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
    float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z;
    c = c - 0.5f * z + 1;
    float x = quarter & 1 ? s : c, y = quarter & 1 ? c : s;
    *cosine = (quarter + 1) & 2 ? -x : x;
    *sine = quarter & 2 ? -y : y;
}

SW_INLINE void fill_block_body(uint64_t key, uint64_t first, float *restrict cosines, float *restrict sines)
{
    int32_t u[SW_NOISE], v[SW_NOISE];
    float radius[SW_NOISE];
    for (int i = 0; i < SW_NOISE; i++) {
        uint64_t bits = mix64((first + (uint64_t)i) ^ key);
        u[i] = (int32_t)(bits >> 40);
        v[i] = (int32_t)(bits & 0xFFFFFF);
    }
    for (int i = 0; i < SW_NOISE; i++) {
        radius[i] = -2.0f * log_of((float)(0x1000000 - u[i]) * 0x1p-24f);
        turn(6.2831853071795864f * ((float)v[i] * 0x1p-24f), cosines + i, sines + i);
    }
    for (int i = 0; i < SW_NOISE; i++)
        radius[i] = sqrtf(radius[i]);
    for (int i = 0; i < SW_NOISE; i++) {
        cosines[i] *= radius[i];
        sines[i] *= radius[i];
    }
}
SW_COMPILE_TWICE(fill_block, (uint64_t key, uint64_t first, float *cosines, float *sines), (key, first, cosines, sines))

void sw_normal_noise(int64_t key, uint64_t first, float cosines[SW_NOISE], float sines[SW_NOISE], int simd)
{
    SW_PICK(simd, fill_block)((uint64_t)key, first, cosines, sines);
}
