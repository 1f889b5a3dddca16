/* Pillow's ImageFilter.GaussianBlur: three extended box blurs (Gwosdek et al. 2011) along each axis. */
#include <math.h>

#include "steps.h"

enum { PASSES = 3, MAX_RADIUS = 1000 };

typedef struct {
    int radius;            /* whole pixels to each side */
    uint32_t inner, outer; /* weights of those and of the two beyond, in units of 2^-24 */
} box;

/* In the precision and order of Pillow's, whose float32 shows in the weights. */
static box box_of_gaussian(float sigma)
{
    float variance = sigma * sigma / PASSES;
    float length = (float)sqrt(12.0 * variance + 1.0);
    float whole = (float)floor((length - 1.0) / 2.0);
    float fraction = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
    fraction /= 6 * (variance - (whole + 1) * (whole + 1));
    float radius = whole + fraction;
    box b = {.radius = (int)radius};
    b.inner = (uint32_t)((float)(1 << 24) / (radius * 2 + 1));
    b.outer = ((1u << 24) - (uint32_t)(b.radius * 2 + 1) * b.inner) / 2;
    return b;
}

/* Blurs `lanes` neighbouring lines of bytes at once, each of `count` bytes that lie `step` apart. Beyond its ends
 * a line goes on as its first and its last byte. */
SW_INLINE void blur_lines(const uint8_t *restrict source, uint8_t *restrict result, int lanes, int count, size_t step,
                          box b)
{
    uint32_t sum[32];
    const uint8_t *last = source + (size_t)(count - 1) * step;
    /* of the window around the byte before the first */
    int before = b.radius + 1, within = b.radius < count ? b.radius : count, behind = b.radius - within;
    for (int lane = 0; lane < lanes; lane++)
        sum[lane] = source[lane] * (uint32_t)before + last[lane] * (uint32_t)behind;
    for (int i = 0; i < within; i++)
        for (int lane = 0; lane < lanes; lane++)
            sum[lane] += source[(size_t)i * step + lane];
    for (int i = 0; i < count; i++) {
        const uint8_t *left = i > b.radius ? source + (size_t)(i - b.radius - 1) * step : source;
        const uint8_t *added = i < count - b.radius ? source + (size_t)(i + b.radius) * step : last;
        const uint8_t *right = i < count - b.radius - 1 ? added + step : last;
        uint8_t *to = result + (size_t)i * step;
        for (int lane = 0; lane < lanes; lane++) {
            sum[lane] += (uint32_t)added[lane] - left[lane];
            uint32_t weighted = sum[lane] * b.inner + ((uint32_t)left[lane] + right[lane]) * b.outer;
            to[lane] = (uint8_t)((weighted + (1u << 23)) >> 24);
        }
    }
}

SW_INLINE void blur_rows_body(const uint8_t *source, uint8_t *result, sw_frame frame, box b)
{
    size_t stride = (size_t)4 * (size_t)frame.width;
    for (size_t y = 0; y < (size_t)frame.height; y++)
        blur_lines(source + y * stride, result + y * stride, 4, frame.width, 4, b);
}
SW_COMPILE_TWICE(blur_rows, (const uint8_t *source, uint8_t *result, sw_frame frame, box b), (source, result, frame, b))

SW_INLINE void blur_columns_body(const uint8_t *source, uint8_t *result, sw_frame frame, box b)
{
    size_t stride = (size_t)4 * (size_t)frame.width, x = 0;
    for (; x + 32 <= stride; x += 32)
        blur_lines(source + x, result + x, 32, frame.height, stride, b);
    for (; x < stride; x += 4)
        blur_lines(source + x, result + x, 4, frame.height, stride, b);
}
SW_COMPILE_TWICE(blur_columns, (const uint8_t *source, uint8_t *result, sw_frame frame, box b),
                 (source, result, frame, b))

void sw_blur(uint8_t *pixels, uint8_t *scratch, sw_frame frame, double radius)
{
    if (!(radius > 0))
        return;
    box b = box_of_gaussian((float)(radius < MAX_RADIUS ? radius : MAX_RADIUS));
    SW_PICK(frame.simd, blur_rows)(pixels, scratch, frame, b);
    SW_PICK(frame.simd, blur_rows)(scratch, pixels, frame, b);
    SW_PICK(frame.simd, blur_rows)(pixels, scratch, frame, b);
    SW_PICK(frame.simd, blur_columns)(scratch, pixels, frame, b);
    SW_PICK(frame.simd, blur_columns)(pixels, scratch, frame, b);
    SW_PICK(frame.simd, blur_columns)(scratch, pixels, frame, b);
}
