#include "resize_avx512.h"

#if SW_HAS_AVX2

#include <string.h>

enum {
    GROUP = 4,      /* outputs made at a time: their 16 channels fill a register */
    REACH = 14,     /* pixels from the first input of a group's first output to that of its last: 16 are loaded */
    MAX_PAIRS = 16, /* of inputs of one output */
};

/* What a group of outputs is made of. */
typedef struct {
    size_t start;                      /* byte of its first input */
    int num_pairs;                     /* of inputs of each output, some with weights of zero */
    __m512i order;                     /* bytes from start on -> pairs; lanes are channels, their elements outputs */
    int32_t weights[MAX_PAIRS][GROUP]; /* two of 16 bits each */
} group;

int sw_rows_suit_avx512(const sw_weights *weights, int out)
{
    int reach = 0;
    for (int o = 0; o + GROUP <= out; o++) {
        int own = weights->first[o + GROUP - 1] - weights->first[o];
        reach = own > reach ? own : reach;
    }
    return out >= GROUP && reach <= REACH && weights->taps <= 2 * MAX_PAIRS;
}

/* The order of a group: first holds the first input of each output. */
SW_AVX512 static inline __m512i order_of(__m128i first)
{
    /* Lane c, element o: bytes c and c + 4 of what output o begins with; every other byte is masked out. */
    const __m512i channels = _mm512_setr_epi32(
        0x00040000, 0x00040000, 0x00040000, 0x00040000, 0x00050001, 0x00050001, 0x00050001, 0x00050001, /**/
        0x00060002, 0x00060002, 0x00060002, 0x00060002, 0x00070003, 0x00070003, 0x00070003, 0x00070003);
    const __m128i low_byte = _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
    __m128i begin = _mm_slli_epi32(_mm_sub_epi32(first, _mm_shuffle_epi32(first, 0)), 2);
    return _mm512_add_epi8(channels, _mm512_broadcast_i32x4(_mm_shuffle_epi8(begin, low_byte)));
}

SW_AVX512 static inline void describe(group *own, const sw_weights *weights, int o)
{
    int count = 0;
    for (int i = 0; i < GROUP; i++)
        count = weights->count[o + i] > count ? weights->count[o + i] : count;
    own->start = 4 * (size_t)weights->first[o];
    own->num_pairs = (count + 1) / 2;
    own->order = order_of(_mm_loadu_si128((const __m128i *)(weights->first + o)));
    const int16_t *weight = weights->weights + (size_t)o * (size_t)weights->taps;
    for (int pair = 0; pair < own->num_pairs; pair++)
        for (int i = 0; i < GROUP; i++)
            memcpy(&own->weights[pair][i], weight + i * weights->taps + 2 * pair, sizeof(int32_t));
}

/* A group of outputs of one row: 4 pixels RGBX. */
SW_AVX512 static inline __m128i sum_up(const uint8_t *source, const group *of, __m512i half, __m128i shift,
                                       __m128i interleave)
{
    const __mmask64 even = 0x5555555555555555;
    __m512i sum = half;
    for (int pair = 0; pair < of->num_pairs; pair++) {
        __m512i inputs = _mm512_maskz_permutexvar_epi8(even, of->order, _mm512_loadu_si512(source + 8 * pair));
        __m128i w = _mm_loadu_si128((const __m128i *)of->weights[pair]);
        sum = _mm512_dpwssd_epi32(sum, inputs, _mm512_broadcast_i32x4(w));
    }
    sum = _mm512_max_epi32(_mm512_sra_epi32(sum, shift), _mm512_setzero_si512());
    return _mm_shuffle_epi8(_mm512_cvtusepi32_epi8(sum), interleave);
}

SW_AVX512 void sw_resize_rows_avx512(const uint8_t *source, size_t source_stride, int count, const sw_weights *weights,
                                     int out, int mirrored, uint8_t *target, size_t target_stride)
{
    const __m512i half = _mm512_set1_epi32(weights->shift ? 1 << (weights->shift - 1) : 0);
    const __m128i shift = _mm_cvtsi32_si128(weights->shift);
    const __m128i forwards = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m128i interleave = mirrored ? _mm_shuffle_epi32(forwards, _MM_SHUFFLE(0, 1, 2, 3)) : forwards;
    group own;
    for (int o = 0; o < out; o += GROUP) {
        int start = o + GROUP <= out ? o : out - GROUP; /* the last group overlaps the one before */
        describe(&own, weights, start);
        const uint8_t *from = source + own.start;
        uint8_t *to = target + 4 * (size_t)(mirrored ? out - GROUP - start : start);
        for (int row = 0; row < count; row++, from += source_stride, to += target_stride)
            _mm_storeu_si128((__m128i *)to, sum_up(from, &own, half, shift, interleave));
    }
}

/* 64 bytes of a row, of which the mask's are there. */
SW_AVX512 static inline void resize_block(const uint8_t *source, size_t stride, const int16_t *weight, int count,
                                          int bits, __mmask64 mask, uint8_t *target)
{
    const __m512i zero = _mm512_setzero_si512(), half = _mm512_set1_epi32(bits ? 1 << (bits - 1) : 0);
    const __m128i shift = _mm_cvtsi32_si128(bits);
    __m512i sum0 = half, sum1 = half, sum2 = half, sum3 = half;
    for (int i = 0; i < count; i += 2) { /* a weight of zero stands behind an odd number of them */
        int32_t two;
        memcpy(&two, weight + i, sizeof two);
        const uint8_t *row = source + (size_t)i * stride;
        __m512i w = _mm512_set1_epi32(two);
        __m512i upper = _mm512_maskz_loadu_epi8(mask, row);
        __m512i lower = i + 1 < count ? _mm512_maskz_loadu_epi8(mask, row + stride) : zero;
        __m512i left = _mm512_unpacklo_epi8(upper, lower), right = _mm512_unpackhi_epi8(upper, lower);
        sum0 = _mm512_dpwssd_epi32(sum0, _mm512_unpacklo_epi8(left, zero), w);
        sum1 = _mm512_dpwssd_epi32(sum1, _mm512_unpackhi_epi8(left, zero), w);
        sum2 = _mm512_dpwssd_epi32(sum2, _mm512_unpacklo_epi8(right, zero), w);
        sum3 = _mm512_dpwssd_epi32(sum3, _mm512_unpackhi_epi8(right, zero), w);
    }
    __m512i first = _mm512_packs_epi32(_mm512_sra_epi32(sum0, shift), _mm512_sra_epi32(sum1, shift));
    __m512i second = _mm512_packs_epi32(_mm512_sra_epi32(sum2, shift), _mm512_sra_epi32(sum3, shift));
    _mm512_mask_storeu_epi8(target, mask, _mm512_packus_epi16(first, second));
}

SW_AVX512 void sw_resize_column_avx512(const uint8_t *source, size_t stride, const int16_t *weight, int count,
                                       int bits, size_t row_bytes, uint8_t *target)
{
    size_t b = 0;
    for (; b + 64 <= row_bytes; b += 64)
        resize_block(source + b, stride, weight, count, bits, ~(__mmask64)0, target + b);
    if (b < row_bytes)
        resize_block(source + b, stride, weight, count, bits, ((__mmask64)1 << (row_bytes - b)) - 1, target + b);
}

#endif
