/* Samples -> pixels: libjpeg's smooth ("fancy") upsampling and its colour conversion. */
#include "baseline_parts.h"
#include "simd.h"

static uint8_t clip(int value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* The chroma of `count` pixels from x on, an even number: 3/4 of the nearest sample and 1/4 of the next one, in each
 * direction that is subsampled. */
static void upsample(const sw_sample_row *row, int c, int x, int count, int16_t *chroma)
{
    const uint8_t *near = row->near[c] + x / row->across, *far = row->far[c] + x / row->across;
    if (row->across == 1)
        for (int i = 0; i < count; i++)
            chroma[i] = near[i];
    else if (row->down == 1)
        for (int i = 0; i < count / 2; i++) {
            chroma[2 * i] = (int16_t)((3 * near[i] + near[i - 1] + 1) >> 2);
            chroma[2 * i + 1] = (int16_t)((3 * near[i] + near[i + 1] + 2) >> 2);
        }
    else
        for (int i = 0; i < count / 2; i++) {
            int sum = 3 * (3 * near[i] + far[i]);
            chroma[2 * i] = (int16_t)((sum + 3 * near[i - 1] + far[i - 1] + 8) >> 4);
            chroma[2 * i + 1] = (int16_t)((sum + 3 * near[i + 1] + far[i + 1] + 7) >> 4);
        }
}

static void make_pixels(const sw_sample_row *row, int width, uint8_t *pixels)
{
    enum { COUNT = 32 };
    int16_t blues[COUNT], reds[COUNT];
    for (int start = 0; start < width; start += COUNT) {
        upsample(row, 0, start, COUNT, blues);
        upsample(row, 1, start, COUNT, reds);
        for (int i = 0; i < COUNT; i++) {
            int luma = row->luma[start + i], blue = blues[i] - 128, red = reds[i] - 128;
            uint8_t *pixel = pixels + 4 * (size_t)(start + i);
            pixel[0] = clip(luma + ((91881 * red + 32768) >> 16));
            pixel[1] = clip(luma + ((-22554 * blue - 46802 * red + 32768) >> 16));
            pixel[2] = clip(luma + ((116130 * blue + 32768) >> 16));
            pixel[3] = 255;
        }
    }
}

static void make_grey_pixels(const uint8_t *luma, int width, uint8_t *pixels)
{
    for (int x = 0; x < width; x++) {
        uint8_t *pixel = pixels + 4 * (size_t)x;
        pixel[0] = pixel[1] = pixel[2] = luma[x];
        pixel[3] = 255;
    }
}

void sw_make_pixels(const sw_sample_row *row, int width, uint8_t *pixels, int simd)
{
    if (row->across == 0) {
        make_grey_pixels(row->luma, width, pixels);
        return;
    }
#if SW_HAS_AVX2
    if (simd) {
        sw_make_pixels_avx2(row, width, pixels);
        return;
    }
#endif
    (void)simd;
    make_pixels(row, width, pixels);
}
