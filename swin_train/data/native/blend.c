/* Pillow's ImageEnhance: blends of a picture with a degenerate one. */
#include "blend.h"

#include <string.h>

/* Image.blend: truncated, and clipped where the factor lies outside [0, 1]. */
static inline uint8_t blend(uint8_t degenerate, uint8_t value, float factor)
{
    float blended = (float)degenerate + factor * (float)(value - degenerate);
    blended = blended > 0.0f ? blended : 0.0f;
    return (uint8_t)(blended < 255.0f ? blended : 255.0f);
}

static void blend_with_level(uint8_t *pixels, sw_frame frame, uint8_t level, float factor)
{
    size_t count = sw_num_bytes(frame);
    size_t i = frame.simd ? sw_blend_with_level_avx2(pixels, count, level, factor) : 0;
    for (; i < count; i++)
        pixels[i] = blend(level, pixels[i], factor);
}

void sw_brightness(uint8_t *pixels, sw_frame frame, double factor)
{
    blend_with_level(pixels, frame, 0, (float)factor);
}

/* Image.convert("L"): ITU-R 601-2 luma. Equal channels keep their value. */
SW_INLINE uint32_t luma(const uint8_t *pixel)
{
    return (pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u + 0x8000u) >> 16;
}

SW_INLINE void sum_luma_body(const uint8_t *pixels, size_t num_pixels, uint64_t *sum)
{
    enum { RUN = 4096 }; /* pixels whose sum fits 32 bits */
    *sum = 0;
    for (size_t start = 0; start < num_pixels; start += RUN) {
        size_t stop = start + RUN < num_pixels ? start + RUN : num_pixels;
        uint32_t part = 0;
        for (size_t i = start; i < stop; i++)
            part += luma(pixels + 4 * i);
        *sum += part;
    }
}
SW_COMPILE_TWICE(sum_luma, (const uint8_t *pixels, size_t num_pixels, uint64_t *sum), (pixels, num_pixels, sum))

void sw_contrast(uint8_t *pixels, sw_frame frame, double factor)
{
    size_t num_pixels = sw_num_bytes(frame) / 4;
    uint64_t sum;
    SW_PICK(frame.simd, sum_luma)(pixels, num_pixels, &sum);
    uint8_t mean = (uint8_t)((double)sum / (double)num_pixels + 0.5);
    blend_with_level(pixels, frame, mean, (float)factor);
}

void sw_color(uint8_t *pixels, sw_frame frame, double factor)
{
    size_t count = sw_num_bytes(frame);
    size_t i = frame.simd ? sw_blend_with_grey_avx2(pixels, count, (float)factor) : 0;
    for (; i < count; i += 4) {
        uint8_t grey = (uint8_t)luma(pixels + i);
        for (size_t channel = 0; channel < 3; channel++)
            pixels[i + channel] = blend(grey, pixels[i + channel], (float)factor);
    }
}

void sw_grey(uint8_t *pixels, sw_frame frame)
{
    sw_color(pixels, frame, 0.0);
}

/* A byte of ImageFilter.SMOOTH: weights 5 in the middle, 1 around it. */
static inline uint8_t smooth(const uint8_t *middle, size_t stride)
{
    const uint8_t *above = middle - stride, *below = middle + stride;
    int left = above[-4] + middle[-4] + below[-4], right = above[4] + middle[4] + below[4];
    int sum = left + right + above[0] + below[0] + 5 * middle[0];
    /* Pillow truncates sum / 13 + 0.5 in float32; sum / 13 is never nearer than 1/26 to where that jumps. */
    return (uint8_t)((sum + 6) / 13);
}

void sw_sharpness(const uint8_t *source, uint8_t *result, sw_frame frame, double factor)
{
    size_t stride = (size_t)4 * (size_t)frame.width;
    if (frame.width < 3 || frame.height < 3) {
        memcpy(result, source, sw_num_bytes(frame));
        return;
    }
    size_t last = (size_t)(frame.height - 1) * stride, inner = stride - 8;
    memcpy(result, source, stride + 4); /* the border stays as it is */
    memcpy(result + last - 4, source + last - 4, stride + 4);
    for (size_t y = 1; y < (size_t)frame.height - 1; y++) {
        const uint8_t *row = source + y * stride + 4;
        uint8_t *to = result + y * stride + 4;
        size_t i = frame.simd ? sw_sharpen_avx2(row, stride, to, inner, (float)factor) : 0;
        for (; i < inner; i++)
            to[i] = blend(smooth(row + i, stride), row[i], (float)factor);
        memcpy(to + inner, row + inner, 8); /* the ends of this row and of the next */
    }
}
