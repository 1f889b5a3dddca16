#include "resize.h"

#include <string.h>

#include "resize_avx512.h"

static uint8_t clip(int value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void resize_row(const uint8_t *source, const sw_weights *weights, int out, int mirrored, uint8_t *target)
{
    const int half = weights->shift ? 1 << (weights->shift - 1) : 0;
    for (int o = 0; o < out; o++) {
        const uint8_t *pixel = source + 4 * (size_t)weights->first[o];
        const int16_t *weight = weights->weights + (size_t)o * (size_t)weights->taps;
        int sums[4] = {half, half, half, half};
        for (int i = 0; i < weights->count[o]; i++)
            for (int c = 0; c < 4; c++)
                sums[c] += pixel[4 * i + c] * weight[i];
        uint8_t *result = target + 4 * (size_t)(mirrored ? out - 1 - o : o);
        for (int c = 0; c < 4; c++)
            result[c] = clip(sums[c] >> weights->shift);
    }
}

/* A block of columns at a time, weight by weight, so that compilers make vectors of the inner loop. */
static void resize_column(const uint8_t *source, size_t stride, const int16_t *weight, int count, int shift,
                          size_t row_bytes, uint8_t *target)
{
    enum { BLOCK = 64 };
    for (size_t start = 0; start < row_bytes; start += BLOCK) {
        size_t size = row_bytes - start < BLOCK ? row_bytes - start : BLOCK;
        int sums[BLOCK];
        for (size_t b = 0; b < size; b++)
            sums[b] = shift ? 1 << (shift - 1) : 0;
        for (int i = 0; i < count; i++) {
            const uint8_t *row = source + (size_t)i * stride + start;
            for (size_t b = 0; b < size; b++)
                sums[b] += row[b] * weight[i];
        }
        for (size_t b = 0; b < size; b++)
            target[start + b] = clip(sums[b] >> shift);
    }
}

#if SW_HAS_AVX2

/* Four pixels RGBX RGBX RGBX RGBX -> 16-bit pairs of the first two's channels, then of the last two's. */
SW_AVX2 static inline __m256i pair_pixels(const uint8_t *pixels)
{
    const __m256i order = _mm256_setr_epi8(0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1, /**/
                                           8, -1, 12, -1, 9, -1, 13, -1, 10, -1, 14, -1, 11, -1, 15, -1);
    __m128i four = _mm_loadu_si128((const __m128i *)pixels);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(four), order);
}

/* Four rows at a time share the loads of the weights. */
SW_AVX2 static void resize_four_rows(const uint8_t *const source[4], const sw_weights *weights, int out, int mirrored,
                                     uint8_t *const target[4])
{
    const __m256i spread = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    const __m256i half = _mm256_set1_epi32(weights->shift ? 1 << (weights->shift - 1) : 0);
    const __m128i shift = _mm_cvtsi32_si128(weights->shift);
    for (int o = 0; o < out; o++) {
        size_t at = 4 * (size_t)weights->first[o];
        const int16_t *weight = weights->weights + (size_t)o * (size_t)weights->taps;
        __m256i sum0 = _mm256_setzero_si256(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
        for (int i = 0; i < weights->count[o]; i += 4, at += 16) {
            __m256i w = _mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)(weight + i)));
            w = _mm256_permutevar8x32_epi32(w, spread);
            sum0 = _mm256_add_epi32(sum0, _mm256_madd_epi16(pair_pixels(source[0] + at), w));
            sum1 = _mm256_add_epi32(sum1, _mm256_madd_epi16(pair_pixels(source[1] + at), w));
            sum2 = _mm256_add_epi32(sum2, _mm256_madd_epi16(pair_pixels(source[2] + at), w));
            sum3 = _mm256_add_epi32(sum3, _mm256_madd_epi16(pair_pixels(source[3] + at), w));
        }
        /* The halves of a sum belong together: rows 0 and 1 into one register, 2 and 3 into another. */
        __m256i low = _mm256_add_epi32(_mm256_permute2x128_si256(sum0, sum1, 0x20),
                                       _mm256_permute2x128_si256(sum0, sum1, 0x31));
        __m256i high = _mm256_add_epi32(_mm256_permute2x128_si256(sum2, sum3, 0x20),
                                        _mm256_permute2x128_si256(sum2, sum3, 0x31));
        low = _mm256_sra_epi32(_mm256_add_epi32(low, half), shift);
        high = _mm256_sra_epi32(_mm256_add_epi32(high, half), shift);
        /* Each 128-bit lane: two rows' pixels, of rows 0 and 2, and of rows 1 and 3. */
        __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(low, high), _mm256_setzero_si256());
        uint64_t even = (uint64_t)_mm256_extract_epi64(bytes, 0), odd = (uint64_t)_mm256_extract_epi64(bytes, 2);
        uint32_t pixels[4] = {(uint32_t)even, (uint32_t)odd, (uint32_t)(even >> 32), (uint32_t)(odd >> 32)};
        for (int r = 0; r < 4; r++)
            memcpy(target[r] + 4 * (size_t)(mirrored ? out - 1 - o : o), &pixels[r], 4);
    }
}

SW_AVX2 static void resize_rows_avx2(const uint8_t *source, size_t source_stride, int count, const sw_weights *weights,
                                     int out, int mirrored, uint8_t *target, size_t target_stride)
{
    for (int row = 0; row < count; row += 4) {
        const uint8_t *from[4];
        uint8_t *to[4];
        for (int r = 0; r < 4; r++) { /* where fewer are left the last one is made more than once */
            size_t own = (size_t)(row + r < count ? row + r : count - 1);
            from[r] = source + own * source_stride;
            to[r] = target + own * target_stride;
        }
        resize_four_rows(from, weights, out, mirrored, to);
    }
}

SW_AVX2 static void resize_column_avx2(const uint8_t *source, size_t stride, const int16_t *weight, int count,
                                       int bits, size_t row_bytes, uint8_t *target)
{
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(bits ? 1 << (bits - 1) : 0);
    const __m128i shift = _mm_cvtsi32_si128(bits);
    for (size_t b = 0; b < row_bytes; b += 32) {
        __m256i sum0 = half, sum1 = half, sum2 = half, sum3 = half;
        for (int i = 0; i < count; i += 2) { /* a weight of zero stands behind an odd number of them */
            int32_t two;
            memcpy(&two, weight + i, sizeof two);
            const uint8_t *row = source + (size_t)i * stride + b;
            __m256i w = _mm256_set1_epi32(two);
            __m256i upper = _mm256_loadu_si256((const __m256i *)row);
            __m256i lower = i + 1 < count ? _mm256_loadu_si256((const __m256i *)(row + stride)) : zero;
            __m256i left = _mm256_unpacklo_epi8(upper, lower), right = _mm256_unpackhi_epi8(upper, lower);
            sum0 = _mm256_add_epi32(sum0, _mm256_madd_epi16(_mm256_unpacklo_epi8(left, zero), w));
            sum1 = _mm256_add_epi32(sum1, _mm256_madd_epi16(_mm256_unpackhi_epi8(left, zero), w));
            sum2 = _mm256_add_epi32(sum2, _mm256_madd_epi16(_mm256_unpacklo_epi8(right, zero), w));
            sum3 = _mm256_add_epi32(sum3, _mm256_madd_epi16(_mm256_unpackhi_epi8(right, zero), w));
        }
        __m256i first = _mm256_packs_epi32(_mm256_sra_epi32(sum0, shift), _mm256_sra_epi32(sum1, shift));
        __m256i second = _mm256_packs_epi32(_mm256_sra_epi32(sum2, shift), _mm256_sra_epi32(sum3, shift));
        _mm256_storeu_si256((__m256i *)(target + b), _mm256_packus_epi16(first, second));
    }
}

#endif

void sw_resize_rows(const uint8_t *source, size_t source_stride, int count, const sw_weights *weights, int out,
                    int mirrored, uint8_t *target, size_t target_stride, int simd)
{
#if SW_HAS_AVX2
    if (simd >= SW_UP_TO_AVX512 && sw_rows_suit_avx512(weights, out)) {
        sw_resize_rows_avx512(source, source_stride, count, weights, out, mirrored, target, target_stride);
        return;
    }
    if (simd) {
        resize_rows_avx2(source, source_stride, count, weights, out, mirrored, target, target_stride);
        return;
    }
#endif
    (void)simd;
    for (int row = 0; row < count; row++)
        resize_row(source + (size_t)row * source_stride, weights, out, mirrored, target + (size_t)row * target_stride);
}

void sw_resize_columns(const uint8_t *source, size_t source_stride, const sw_weights *weights, int out,
                       size_t row_bytes, uint8_t *target, size_t target_stride, int simd)
{
    for (int o = 0; o < out; o++) {
        const uint8_t *rows = source + (size_t)(weights->first[o] - weights->first[0]) * source_stride;
        const int16_t *weight = weights->weights + (size_t)o * (size_t)weights->taps;
        uint8_t *result = target + (size_t)o * target_stride;
#if SW_HAS_AVX2
        if (simd >= SW_UP_TO_AVX512) {
            sw_resize_column_avx512(rows, source_stride, weight, weights->count[o], weights->shift, row_bytes, result);
            continue;
        }
        if (simd) {
            resize_column_avx2(rows, source_stride, weight, weights->count[o], weights->shift, row_bytes, result);
            continue;
        }
#endif
        (void)simd;
        resize_column(rows, source_stride, weight, weights->count[o], weights->shift, row_bytes, result);
    }
}
