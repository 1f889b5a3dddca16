/* baseline_rows.c in vectors of 32 pixels. */
#include "baseline_parts.h"
#include "simd.h"

#if SW_HAS_AVX2

enum { PIXELS = 32 };

SW_AVX2 static inline __m256i load_wide(const uint8_t *samples)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)samples));
}

SW_AVX2 static inline __m256i near_and_far(__m256i near, __m256i far)
{
    return _mm256_add_epi16(_mm256_add_epi16(near, _mm256_add_epi16(near, near)), far);
}

/* 16 samples of a column sum; at = -1, 0 or 1 beside the first. */
SW_AVX2 static inline __m256i load_column(const sw_sample_row *row, int c, int at)
{
    __m256i near = load_wide(row->near[c] + at);
    return row->down == 1 ? near : near_and_far(near, load_wide(row->far[c] + at));
}

/* 32 chroma values from x on, 16 in each result, minus 128. */
SW_AVX2 static inline void upsample(const sw_sample_row *row, int c, int x, __m256i out[2])
{
    const __m256i centre = _mm256_set1_epi16(128);
    if (row->across == 1) {
        out[0] = _mm256_sub_epi16(load_wide(row->near[c] + x), centre);
        out[1] = _mm256_sub_epi16(load_wide(row->near[c] + x + 16), centre);
        return;
    }
    int i = x / 2;
    __m256i middle = load_column(row, c, i);
    __m256i even = near_and_far(middle, load_column(row, c, i - 1));
    __m256i odd = near_and_far(middle, load_column(row, c, i + 1));
    if (row->down == 1) {
        even = _mm256_srli_epi16(_mm256_add_epi16(even, _mm256_set1_epi16(1)), 2);
        odd = _mm256_srli_epi16(_mm256_add_epi16(odd, _mm256_set1_epi16(2)), 2);
    } else {
        even = _mm256_srli_epi16(_mm256_add_epi16(even, _mm256_set1_epi16(8)), 4);
        odd = _mm256_srli_epi16(_mm256_add_epi16(odd, _mm256_set1_epi16(7)), 4);
    }
    __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
    out[0] = _mm256_sub_epi16(_mm256_permute2x128_si256(low, high, 0x20), centre);
    out[1] = _mm256_sub_epi16(_mm256_permute2x128_si256(low, high, 0x31), centre);
}

/* (factor * value + 2^15) >> 16, of a doubled value */
SW_AVX2 static inline __m256i scale(__m256i twice, int factor)
{
    __m256i high = _mm256_mulhi_epi16(twice, _mm256_set1_epi16((int16_t)factor));
    return _mm256_srai_epi16(_mm256_add_epi16(high, _mm256_set1_epi16(1)), 1);
}

/* (-22554 * blue + 18734 * red + 2^15) >> 16 */
SW_AVX2 static inline __m256i scale_green(__m256i blue, __m256i red)
{
    const __m256i factors = _mm256_set1_epi32((int32_t)(18734u << 16 | (uint16_t)-22554));
    const __m256i half = _mm256_set1_epi32(1 << 15);
    __m256i low = _mm256_madd_epi16(_mm256_unpacklo_epi16(blue, red), factors);
    __m256i high = _mm256_madd_epi16(_mm256_unpackhi_epi16(blue, red), factors);
    return _mm256_packs_epi32(_mm256_srai_epi32(_mm256_add_epi32(low, half), 16),
                              _mm256_srai_epi32(_mm256_add_epi32(high, half), 16));
}

/* 16 pixels. The factors are libjpeg's 91881 - 2^16, 116130 - 2^17 and -46802 + 2^16. */
SW_AVX2 static inline void convert(const uint8_t *luma, __m256i blue, __m256i red, uint8_t *pixels)
{
    __m256i y = load_wide(luma);
    __m256i two_blue = _mm256_add_epi16(blue, blue), two_red = _mm256_add_epi16(red, red);
    __m256i r = _mm256_add_epi16(_mm256_add_epi16(y, red), scale(two_red, 26345));
    __m256i g = _mm256_add_epi16(_mm256_sub_epi16(y, red), scale_green(blue, red));
    __m256i b = _mm256_add_epi16(_mm256_add_epi16(y, two_blue), scale(two_blue, -14942));
    __m256i rb = _mm256_packus_epi16(r, b), gx = _mm256_packus_epi16(g, _mm256_set1_epi16(255));
    __m256i rg = _mm256_unpacklo_epi8(rb, gx), bx = _mm256_unpackhi_epi8(rb, gx);
    __m256i low = _mm256_unpacklo_epi16(rg, bx), high = _mm256_unpackhi_epi16(rg, bx);
    _mm256_storeu_si256((__m256i *)pixels, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256((__m256i *)(pixels + 32), _mm256_permute2x128_si256(low, high, 0x31));
}

SW_AVX2 void sw_make_pixels_avx2(const sw_sample_row *row, int width, uint8_t *pixels)
{
    for (int x = 0; x < width; x += PIXELS) {
        __m256i blue[2], red[2];
        upsample(row, 0, x, blue);
        upsample(row, 1, x, red);
        for (int half = 0; half < 2; half++)
            convert(row->luma + x + 16 * half, blue[half], red[half], pixels + 4 * (size_t)(x + 16 * half));
    }
}

#endif
