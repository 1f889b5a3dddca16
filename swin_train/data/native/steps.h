/* The single steps behind operations.h, and how each is compiled twice. */
#ifndef SW_STEPS_H
#define SW_STEPS_H

#include <stddef.h>
#include <stdint.h>

#include "operations.h"
#include "simd.h"

#define SW_INLINE static inline __attribute__((always_inline))

/* Compiles `name_body` for AVX2 and for any processor. The same source gives the same bits, because build.py forbids
 * the compiler to fuse a multiplication with an addition. */
#if SW_HAS_AVX2
#define SW_COMPILE_TWICE(name, parameters, arguments) \
    SW_AVX2 static void name##_avx2 parameters \
    { \
        name##_body arguments; \
    } \
    static void name##_portable parameters \
    { \
        name##_body arguments; \
    }
#define SW_PICK(simd, name) ((simd) ? name##_avx2 : name##_portable)
#else
#define SW_COMPILE_TWICE(name, parameters, arguments) \
    static void name##_portable parameters \
    { \
        name##_body arguments; \
    }
#define SW_PICK(simd, name) ((void)(simd), name##_portable)
#endif

typedef struct {
    int width, height;
    int simd;
} sw_frame;

static inline size_t sw_num_bytes(sw_frame frame)
{
    return (size_t)4 * (size_t)frame.width * (size_t)frame.height;
}

/* In place. */
void sw_auto_contrast(uint8_t *pixels, sw_frame frame);
void sw_equalize(uint8_t *pixels, sw_frame frame);
void sw_invert(uint8_t *pixels, sw_frame frame);
void sw_posterize(uint8_t *pixels, sw_frame frame, double bits);
void sw_solarize(uint8_t *pixels, sw_frame frame, double threshold);
void sw_solarize_add(uint8_t *pixels, sw_frame frame, double addend);
void sw_brightness(uint8_t *pixels, sw_frame frame, double factor);
void sw_contrast(uint8_t *pixels, sw_frame frame, double factor);
void sw_color(uint8_t *pixels, sw_frame frame, double factor);
void sw_grey(uint8_t *pixels, sw_frame frame);
/* In place, with the scratch as a second picture. */
void sw_blur(uint8_t *pixels, uint8_t *scratch, sw_frame frame, double radius);

/* From one picture to another. */
void sw_sharpness(const uint8_t *source, uint8_t *result, sw_frame frame, double factor);
void sw_affine(const uint8_t *source, uint8_t *result, sw_frame frame, const double matrix[6], int bicubic,
               const uint8_t fill[4]);

/* A block of draws.normal_noise(key, count): deviates number first + i are cosines[i], and those of number
 * (count + 1) / 2 + first + i are sines[i]. */
enum { SW_NOISE = 256 };
void sw_normal_noise(int64_t key, uint64_t first, float cosines[SW_NOISE], float sines[SW_NOISE], int simd);

#endif
