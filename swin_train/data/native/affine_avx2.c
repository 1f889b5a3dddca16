/* The affine transform with AVX2: float32 where that settles the result, Pillow's float64 elsewhere.
 *
 * The float32 sum of 16 weighted bytes lies within 2^-9 of the float64 result. Along an axis the weights' magnitudes
 * add up to 1.5 at most and each is in error by less than 2^-22, which makes less than 2^-10; the 9 roundings on the
 * way to a sum below 574 make less than 2^-11. Where adding and subtracting MARGIN gives the same byte, it is
 * therefore Pillow's byte.
 */
#include "affine.h"

#if SW_HAS_AVX2
#define INLINE SW_AVX2 static inline __attribute__((always_inline))
#define MARGIN 0x1p-9f

/* Along which axes there are fractions other than 0. */
typedef enum { ALONG_X, ALONG_Y, ALONG_BOTH } motion;

/* Cubic convolution with a = -1, or linear interpolation, at four places. */
INLINE void weigh_four(__m128 d, int bicubic, float weights[4][4])
{
    __m128 one = _mm_set1_ps(1), two = _mm_set1_ps(2), rest = _mm_sub_ps(one, d);
    __m128 w0 = _mm_setzero_ps(), w1 = rest, w2 = d, w3 = _mm_setzero_ps();
    if (bicubic) {
        w0 = _mm_mul_ps(d, _mm_fmsub_ps(d, _mm_sub_ps(two, d), one));
        w1 = _mm_fmadd_ps(_mm_mul_ps(d, d), _mm_sub_ps(d, two), one);
        w2 = _mm_mul_ps(d, _mm_fmadd_ps(d, rest, one));
        w3 = _mm_mul_ps(_mm_mul_ps(d, d), _mm_sub_ps(d, one));
    }
    _MM_TRANSPOSE4_PS(w0, w1, w2, w3);
    _mm_storeu_ps(weights[0], w0);
    _mm_storeu_ps(weights[1], w1);
    _mm_storeu_ps(weights[2], w2);
    _mm_storeu_ps(weights[3], w3);
}

/* Columns [i, i + 4) of the run. The order of the additions is Pillow's, and none is fused. */
INLINE __m256d locate_four(const sw_line *line, __m256d centre, int i, sw_axis *axis)
{
    __m256d scaled = _mm256_mul_pd(_mm256_set1_pd(line->rate), centre);
    __m256d at = _mm256_add_pd(_mm256_add_pd(scaled, _mm256_set1_pd(line->across)), _mm256_set1_pd(line->offset));
    __m256d from_centre = _mm256_sub_pd(at, _mm256_set1_pd(0.5)), tap = _mm256_floor_pd(from_centre);
    __m256d inside = _mm256_and_pd(_mm256_cmp_pd(at, _mm256_setzero_pd(), _CMP_GE_OQ),
                                   _mm256_cmp_pd(at, _mm256_set1_pd(line->limit), _CMP_LT_OQ));
    __m256d inner = _mm256_and_pd(_mm256_cmp_pd(tap, _mm256_set1_pd(1), _CMP_GE_OQ),
                                  _mm256_cmp_pd(tap, _mm256_set1_pd(line->limit - 2), _CMP_LT_OQ));
    __m256d fraction = _mm256_sub_pd(from_centre, tap);
    axis->inside |= (uint64_t)_mm256_movemask_pd(inside) << i;
    axis->inner |= (uint64_t)_mm256_movemask_pd(inner) << i;
    _mm_storeu_si128((__m128i *)(axis->tap + i), _mm256_cvttpd_epi32(tap));
    _mm256_storeu_pd(axis->fraction + i, fraction);
    return fraction;
}

SW_AVX2 void sw_locate_avx2(const sw_sampling *sampling, sw_line line, int first, sw_axis *axis)
{
    __m256d any = _mm256_setzero_pd();
    axis->inside = axis->inner = 0;
    for (int i = 0; i < SW_RUN; i += 4) {
        __m256d centre = _mm256_add_pd(_mm256_set1_pd(first + i), _mm256_setr_pd(0.5, 1.5, 2.5, 3.5));
        any = _mm256_or_pd(any, locate_four(&line, centre, i, axis));
    }
    axis->has_fractions = _mm256_movemask_pd(_mm256_cmp_pd(any, _mm256_setzero_pd(), _CMP_NEQ_UQ)) != 0;
    for (int i = 0; axis->has_fractions && i < SW_RUN; i += 4)
        weigh_four(_mm256_cvtpd_ps(_mm256_loadu_pd(axis->fraction + i)), sampling->bicubic, axis->weights + i);
}

/* 8 bytes, which are 2 pixels. */
INLINE __m256 load_two(const uint8_t *pixels)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)pixels)));
}

/* A row's four pixels times their weights, added up to two. */
INLINE __m256 weigh_row(const uint8_t *row, __m256 first_weights, __m256 last_weights)
{
    return _mm256_fmadd_ps(load_two(row + 8), last_weights, _mm256_mul_ps(load_two(row), first_weights));
}

INLINE __m128 sum_of_column(const uint8_t *first, size_t stride, const float wy[4])
{
    __m128 sum = _mm_setzero_ps();
    for (size_t j = 0; j < 4; j++) {
        int32_t pixel;
        memcpy(&pixel, first + j * stride + 4, 4);
        __m128 values = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(pixel)));
        sum = _mm_fmadd_ps(values, _mm_broadcast_ss(wy + j), sum);
    }
    return sum;
}

INLINE __m128 sum_of_taps(const uint8_t *first, size_t stride, const float wx[4], const float wy[4], motion along)
{
    if (along == ALONG_Y)
        return sum_of_column(first, stride, wy);
    __m256 both = _mm256_broadcast_ps((const __m128 *)wx);
    __m256 first_weights = _mm256_permutevar_ps(both, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
    __m256 last_weights = _mm256_permutevar_ps(both, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3));
    __m256 sum;
    if (along == ALONG_X) {
        sum = weigh_row(first + stride, first_weights, last_weights);
    } else {
        sum = _mm256_mul_ps(weigh_row(first, first_weights, last_weights), _mm256_broadcast_ss(wy));
        for (size_t j = 1; j < 4; j++) {
            __m256 row = weigh_row(first + j * stride, first_weights, last_weights);
            sum = _mm256_fmadd_ps(row, _mm256_broadcast_ss(wy + j), sum);
        }
    }
    return _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
}

/* Least and greatest value of each channel among the taps that count, in the first 4 bytes. */
INLINE void find_extremes(const uint8_t *first, size_t stride, motion along, __m128i *least, __m128i *most)
{
    *least = *most = _mm_loadu_si128((const __m128i *)(first + stride));
    for (size_t j = 0; along != ALONG_X && j < 4; j++) {
        __m128i row = _mm_loadu_si128((const __m128i *)(first + j * stride));
        *least = _mm_min_epu8(*least, row);
        *most = _mm_max_epu8(*most, row);
    }
    if (along == ALONG_Y) {
        *least = _mm_srli_si128(*least, 4);
        *most = _mm_srli_si128(*most, 4);
        return;
    }
    for (int order = 0; order < 2; order++) {
        *least = _mm_min_epu8(*least, order ? _mm_srli_si128(*least, 4) : _mm_srli_si128(*least, 8));
        *most = _mm_max_epu8(*most, order ? _mm_srli_si128(*most, 4) : _mm_srli_si128(*most, 8));
    }
}

/* What float32 cannot settle: whole numbers and what lies near one. Most of them come from a channel with one
 * value in all taps, which is also the result. `bytes`: the two candidates, 4 bytes each. */
SW_AVX2 static __attribute__((noinline)) void settle(const uint8_t *first, size_t stride, double dx, double dy,
                                                     motion along, int bicubic, uint64_t bytes, uint8_t *result)
{
    __m128i least, most, candidates = _mm_cvtsi64_si128((long long)bytes);
    find_extremes(first, stride, along, &least, &most);
    __m128i is_flat = _mm_cmpeq_epi8(least, most);
    __m128i is_settled = _mm_or_si128(is_flat, _mm_cmpeq_epi8(candidates, _mm_srli_si128(candidates, 4)));
    if ((_mm_cvtsi128_si32(is_settled) & 0xFFFFFF) == 0xFFFFFF) {
        int32_t pixel = _mm_cvtsi128_si32(_mm_blendv_epi8(candidates, least, is_flat));
        memcpy(result, &pixel, 4);
    } else {
        sw_sample_exactly(first, stride, dx, dy, bicubic, result);
    }
}

/* The bytes that the sum allows, least and greatest, 4 bytes each. */
INLINE uint64_t candidates_of(__m128 sum)
{
    __m128 margin = _mm_set1_ps(MARGIN);
    __m128i least = _mm_cvttps_epi32(_mm_sub_ps(sum, margin)), most = _mm_cvttps_epi32(_mm_add_ps(sum, margin));
    __m128i words = _mm_packs_epi32(least, most);
    return (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}

INLINE void sample_at(const sw_axis *x, const sw_axis *y, int i, const uint8_t *first, size_t stride, motion along,
                      int bicubic, uint8_t *result)
{
    uint64_t bytes = candidates_of(sum_of_taps(first, stride, x->weights[i], y->weights[i], along));
    memcpy(result, &bytes, 4);
    if (__builtin_expect(((bytes ^ bytes >> 32) & 0xFFFFFF) != 0, 0))
        settle(first, stride, x->fraction[i], y->fraction[i], along, bicubic, bytes, result);
}

/* Pixels [start, stop), whose taps all lie in the source. */
INLINE void sample_inner(const sw_sampling *s, const sw_axis *x, const sw_axis *y, int start, int stop, motion along,
                         uint8_t *result)
{
    size_t stride = (size_t)4 * (size_t)s->frame.width;
    const uint8_t *source = s->source;
    int bicubic = s->bicubic;
    for (int i = start; i < stop; i++) {
        const uint8_t *first = source + (size_t)(y->tap[i] - 1) * stride + (size_t)4 * (size_t)(x->tap[i] - 1);
        sample_at(x, y, i, first, stride, along, bicubic, result + 4 * i);
    }
}

/* Pixels [start, stop), which may come from the border of the source or from beyond. */
SW_AVX2 static void sample_outer(const sw_sampling *s, const sw_axis *x, const sw_axis *y, int start, int stop,
                                 uint8_t *result)
{
    for (int i = start; i < stop; i++) {
        uint8_t taps[64];
        if (!(x->inside & y->inside & (uint64_t)1 << i)) {
            memcpy(result + 4 * i, s->fill, 4);
            continue;
        }
        sw_copy_taps(s->source, s->frame, x->tap[i], y->tap[i], taps);
        sw_sample_exactly(taps, 16, x->fraction[i], y->fraction[i], s->bicubic, result + 4 * i);
    }
}

SW_AVX2 void sw_sample_run_avx2(const sw_sampling *s, const sw_axis *x, const sw_axis *y, int count, uint8_t *result)
{
    uint64_t inner = x->inner & y->inner & ~(uint64_t)0 >> (SW_RUN - count);
    int start = inner ? __builtin_ctzll(inner) : count, stop = inner ? 64 - __builtin_clzll(inner) : count;
    sample_outer(s, x, y, 0, start, result);
    if (x->has_fractions && y->has_fractions)
        sample_inner(s, x, y, start, stop, ALONG_BOTH, result);
    else if (x->has_fractions)
        sample_inner(s, x, y, start, stop, ALONG_X, result);
    else if (y->has_fractions)
        sample_inner(s, x, y, start, stop, ALONG_Y, result);
    else
        sample_outer(s, x, y, start, stop, result);
    sample_outer(s, x, y, stop, count, result);
}
#endif
