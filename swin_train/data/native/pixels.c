#include "pixels.h"

#include "simd.h"

static void expand(const uint8_t *packed, int channels, size_t count, uint8_t *pixels)
{
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = packed + i * (size_t)channels;
        for (int c = 0; c < 3; c++)
            pixels[4 * i + (size_t)c] = from[channels == 3 ? c : 0];
        pixels[4 * i + 3] = 0xFF;
    }
}

static void part(const uint8_t *pixels, size_t start, size_t count, int channels, uint8_t *planes)
{
    for (int c = 0; c < channels; c++)
        for (size_t i = start; i < count; i++)
            planes[(size_t)c * count + i] = pixels[4 * i + (size_t)c];
}

#if SW_HAS_AVX2

/* How many pixels of three channels it expanded. */
SW_AVX2 static size_t expand_avx2(const uint8_t *packed, size_t count, uint8_t *pixels)
{
    const __m128i order = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    const __m128i opaque = _mm_set1_epi32((int)0xFF000000u);
    size_t i = 0;
    for (; i + 6 <= count; i += 4) { /* 16 bytes are loaded of which 12 are used */
        __m128i four = _mm_loadu_si128((const __m128i *)(packed + 3 * i));
        four = _mm_or_si128(_mm_shuffle_epi8(four, order), opaque);
        _mm_storeu_si128((__m128i *)(pixels + 4 * i), four);
    }
    return i;
}

/* How many pixels it parted into three planes. */
SW_AVX2 static size_t part_avx2(const uint8_t *pixels, size_t count, uint8_t *planes)
{
    const __m256i by_channel = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, /**/
                                                0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m256i across = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256i eight = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(pixels + 4 * i)), by_channel);
        eight = _mm256_permutevar8x32_epi32(eight, across);
        __m128i red_green = _mm256_castsi256_si128(eight);
        _mm_storel_epi64((__m128i *)(planes + i), red_green);
        _mm_storel_epi64((__m128i *)(planes + count + i), _mm_unpackhi_epi64(red_green, red_green));
        _mm_storel_epi64((__m128i *)(planes + 2 * count + i), _mm256_extracti128_si256(eight, 1));
    }
    return i;
}

#endif

void sw_expand(const uint8_t *packed, int channels, size_t count, uint8_t *pixels, int simd)
{
    size_t done = 0;
#if SW_HAS_AVX2
    if (simd && channels == 3)
        done = expand_avx2(packed, count, pixels);
#endif
    (void)simd;
    expand(packed + done * (size_t)channels, channels, count - done, pixels + 4 * done);
}

void sw_pack(const uint8_t *pixels, size_t count, int channels, uint8_t *packed)
{
    for (size_t i = 0; i < count; i++)
        for (int c = 0; c < channels; c++)
            packed[i * (size_t)channels + (size_t)c] = pixels[4 * i + (size_t)c];
}

void sw_part(const uint8_t *pixels, size_t count, int channels, uint8_t *planes, int simd)
{
    size_t done = 0;
#if SW_HAS_AVX2
    if (simd && channels == 3)
        done = part_avx2(pixels, count, planes);
#endif
    (void)simd;
    part(pixels, done, count, channels, planes);
}

void sw_make_luma(uint8_t *pixels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t *pixel = pixels + 4 * i;
        uint32_t luma = (19595u * pixel[0] + 38470u * pixel[1] + 7471u * pixel[2] + 32768u) >> 16;
        pixel[0] = pixel[1] = pixel[2] = (uint8_t)luma;
    }
}
