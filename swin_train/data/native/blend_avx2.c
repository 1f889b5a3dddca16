/* The blends of blend.c with AVX2, 16 bytes at a time. */
#include "blend.h"

#if SW_HAS_AVX2
#define INLINE SW_AVX2 static inline __attribute__((always_inline))

INLINE __m128i load(const uint8_t *bytes)
{
    return _mm_loadu_si128((const __m128i *)bytes);
}

/* degenerate + factor * (value - degenerate) in float32, clipped and truncated; the lower 8 bytes of each. */
INLINE __m256i blend_eight(__m128i degenerate, __m128i value, __m256 factor)
{
    __m256i from = _mm256_cvtepu8_epi32(degenerate);
    __m256 difference = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(value), from));
    __m256 blended = _mm256_add_ps(_mm256_cvtepi32_ps(from), _mm256_mul_ps(factor, difference));
    blended = _mm256_min_ps(_mm256_max_ps(blended, _mm256_setzero_ps()), _mm256_set1_ps(255));
    return _mm256_cvttps_epi32(blended);
}

INLINE __m128i blend_sixteen(__m128i degenerate, __m128i value, __m256 factor)
{
    __m256i first = blend_eight(degenerate, value, factor);
    __m256i last = blend_eight(_mm_srli_si128(degenerate, 8), _mm_srli_si128(value, 8), factor);
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, last), 0xD8);
    return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

SW_AVX2 size_t sw_blend_with_level_avx2(uint8_t *bytes, size_t count, uint8_t level, float factor)
{
    __m128i levels = _mm_set1_epi8((char)level);
    __m256 factors = _mm256_set1_ps(factor);
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm_storeu_si128((__m128i *)(bytes + i), blend_sixteen(levels, load(bytes + i), factors));
    return i;
}

/* Four pixels whose bytes all are their luma. The weight of green exceeds 16 bits with a sign and is halved. */
INLINE __m128i grey_of(__m128i pixels)
{
    __m128i red_blue = _mm_and_si128(pixels, _mm_set1_epi32(0x00FF00FF));
    __m128i green = _mm_and_si128(_mm_srli_epi32(pixels, 8), _mm_set1_epi32(0xFF));
    __m128i sum = _mm_add_epi32(_mm_madd_epi16(red_blue, _mm_set1_epi32(7471 << 16 | 19595)),
                                _mm_slli_epi32(_mm_madd_epi16(green, _mm_set1_epi32(38470 / 2)), 1));
    __m128i luma = _mm_srli_epi32(_mm_add_epi32(sum, _mm_set1_epi32(0x8000)), 16);
    return _mm_shuffle_epi8(luma, _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
}

SW_AVX2 size_t sw_blend_with_grey_avx2(uint8_t *pixels, size_t count, float factor)
{
    __m256 factors = _mm256_set1_ps(factor);
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m128i values = load(pixels + i), grey = grey_of(values);
        __m128i blended = factor == 0 ? grey : blend_sixteen(grey, values, factors);
        _mm_storeu_si128((__m128i *)(pixels + i), blended);
    }
    return i;
}

/* The sum of three bytes above each other, as 16 words. */
INLINE __m256i sum_of_column(const uint8_t *middle, size_t stride)
{
    __m256i above = _mm256_cvtepu8_epi16(load(middle - stride)), below = _mm256_cvtepu8_epi16(load(middle + stride));
    return _mm256_add_epi16(_mm256_add_epi16(above, below), _mm256_cvtepu8_epi16(load(middle)));
}

/* ImageFilter.SMOOTH of 16 bytes. */
INLINE __m128i smooth(const uint8_t *middle, size_t stride)
{
    __m256i sum = _mm256_add_epi16(sum_of_column(middle - 4, stride), sum_of_column(middle + 4, stride));
    __m256i four_more = _mm256_slli_epi16(_mm256_cvtepu8_epi16(load(middle)), 2);
    sum = _mm256_add_epi16(_mm256_add_epi16(sum, sum_of_column(middle, stride)), four_more);
    sum = _mm256_add_epi16(sum, _mm256_set1_epi16(6));
    /* sum / 13, exact for all sums below 2^15 */
    __m256i quotient = _mm256_srli_epi16(_mm256_mulhi_epu16(sum, _mm256_set1_epi16(20165)), 2);
    return _mm_packus_epi16(_mm256_castsi256_si128(quotient), _mm256_extracti128_si256(quotient, 1));
}

SW_AVX2 size_t sw_sharpen_avx2(const uint8_t *row, size_t stride, uint8_t *result, size_t count, float factor)
{
    __m256 factors = _mm256_set1_ps(factor);
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m128i sharpened = blend_sixteen(smooth(row + i, stride), load(row + i), factors);
        _mm_storeu_si128((__m128i *)(result + i), sharpened);
    }
    return i;
}

#else

size_t sw_blend_with_level_avx2(uint8_t *bytes, size_t count, uint8_t level, float factor)
{
    return (void)bytes, (void)count, (void)level, (void)factor, 0;
}

size_t sw_blend_with_grey_avx2(uint8_t *pixels, size_t count, float factor)
{
    return (void)pixels, (void)count, (void)factor, 0;
}

size_t sw_sharpen_avx2(const uint8_t *row, size_t stride, uint8_t *result, size_t count, float factor)
{
    return (void)row, (void)stride, (void)result, (void)count, (void)factor, 0;
}
#endif
