/* The transform of baseline_idct.c for two blocks at a time, one in each half of the registers. */
#include "baseline_parts.h"
#include "simd.h"

#if SW_HAS_AVX2

enum { CONSTANT_BITS = 13, PASS1_BITS = 2 };

/* 32-bit sums of eight numbers of each block: the lower four and the higher four of each. */
typedef struct {
    __m256i low, high;
} wide;

SW_AVX2 static inline wide add(wide a, wide b)
{
    return (wide){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}

SW_AVX2 static inline wide subtract(wide a, wide b)
{
    return (wide){_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
}

/* a * first + b * second */
SW_AVX2 static inline wide rotate(__m256i a, __m256i b, int first, int second)
{
    const __m256i factors = _mm256_set1_epi32((int32_t)((uint32_t)(uint16_t)second << 16 | (uint16_t)first));
    return (wide){_mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), factors),
                  _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), factors)};
}

/* value << CONSTANT_BITS, and half of what the shift takes away */
SW_AVX2 static inline wide widen(__m256i value, int shift)
{
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(1 << (shift - 1));
    __m256i low = _mm256_srai_epi32(_mm256_unpacklo_epi16(zero, value), 16 - CONSTANT_BITS);
    __m256i high = _mm256_srai_epi32(_mm256_unpackhi_epi16(zero, value), 16 - CONSTANT_BITS);
    return (wide){_mm256_add_epi32(low, half), _mm256_add_epi32(high, half)};
}

SW_AVX2 static inline __m256i narrow(wide value, int shift)
{
    return _mm256_packs_epi32(_mm256_srai_epi32(value.low, shift), _mm256_srai_epi32(value.high, shift));
}

SW_AVX2 static inline void transform_columns(__m256i r[8], int shift)
{
    wide sum = widen(_mm256_add_epi16(r[0], r[4]), shift), difference = widen(_mm256_sub_epi16(r[0], r[4]), shift);
    wide t2 = rotate(r[2], r[6], 4433, 4433 - 15137), t3 = rotate(r[2], r[6], 4433 + 6270, 4433);
    wide even0 = add(sum, t3), even1 = add(difference, t2), even2 = subtract(difference, t2), even3 = subtract(sum, t3);

    __m256i z3 = _mm256_add_epi16(r[7], r[3]), z4 = _mm256_add_epi16(r[5], r[1]);
    wide a = rotate(z3, z4, 9633 - 16069, 9633), b = rotate(z3, z4, 9633, 9633 - 3196);
    wide odd0 = add(rotate(r[1], r[7], 12299 - 7373, -7373), b);
    wide odd1 = add(rotate(r[3], r[5], 25172 - 20995, -20995), a);
    wide odd2 = add(rotate(r[3], r[5], -20995, 16819 - 20995), b);
    wide odd3 = add(rotate(r[1], r[7], -7373, 2446 - 7373), a);

    r[0] = narrow(add(even0, odd0), shift);
    r[7] = narrow(subtract(even0, odd0), shift);
    r[1] = narrow(add(even1, odd1), shift);
    r[6] = narrow(subtract(even1, odd1), shift);
    r[2] = narrow(add(even2, odd2), shift);
    r[5] = narrow(subtract(even2, odd2), shift);
    r[3] = narrow(add(even3, odd3), shift);
    r[4] = narrow(subtract(even3, odd3), shift);
}

/* Rows become columns, in each half. */
SW_AVX2 static inline void transpose(__m256i r[8])
{
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_unpacklo_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi32(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi32(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        r[2 * i] = _mm256_unpacklo_epi64(b[i], b[i + 4]);
        r[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 4]);
    }
}

SW_AVX2 static inline __m256i load_two(const int16_t *first, const int16_t *second)
{
    __m256i low = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)first));
    return _mm256_inserti128_si256(low, _mm_loadu_si128((const __m128i *)second), 1);
}

/* See baseline_idct.c: the first row of the block whose other rows have only zeros, by halves. */
SW_AVX2 static inline __m256i lose_upper_bits(__m256i first, __m256i others)
{
    others = _mm256_or_si256(others, _mm256_shuffle_epi32(others, 0x4E));
    others = _mm256_or_si256(others, _mm256_shuffle_epi32(others, 0xB1));
    __m256i short_of_bits = _mm256_srai_epi16(_mm256_slli_epi16(first, PASS1_BITS), PASS1_BITS);
    return _mm256_blendv_epi8(first, short_of_bits, _mm256_cmpeq_epi32(others, _mm256_setzero_si256()));
}

SW_AVX2 static inline void store_rows(__m128i two, uint8_t *samples, size_t stride)
{
    _mm_storel_epi64((__m128i *)samples, two);
    _mm_storel_epi64((__m128i *)(samples + stride), _mm_unpackhi_epi64(two, two));
}

SW_AVX2 void sw_transform_avx2(const int16_t *coefficients, const sw_block blocks[2])
{
    __m256i r[8], others = _mm256_setzero_si256();
    for (int i = 0; i < 8; i++) {
        __m256i quant = load_two(blocks[0].quant + 8 * i, blocks[1].quant + 8 * i);
        __m256i row = load_two(coefficients + 8 * i, coefficients + SW_COEFFICIENTS + 8 * i);
        r[i] = _mm256_mullo_epi16(row, quant);
        others = i ? _mm256_or_si256(others, row) : others;
    }
    r[0] = lose_upper_bits(r[0], others);
    transform_columns(r, CONSTANT_BITS - PASS1_BITS);
    transpose(r);
    transform_columns(r, CONSTANT_BITS + PASS1_BITS + 3);
    transpose(r);
    const __m256i centre = _mm256_set1_epi8((char)-128);
    for (int i = 0; i < 4; i++) {
        __m256i rows = _mm256_add_epi8(_mm256_packs_epi16(r[2 * i], r[2 * i + 1]), centre);
        size_t row = 2 * (size_t)i;
        store_rows(_mm256_castsi256_si128(rows), blocks[0].samples + row * blocks[0].stride, blocks[0].stride);
        store_rows(_mm256_extracti128_si256(rows, 1), blocks[1].samples + row * blocks[1].stride, blocks[1].stride);
    }
}

#endif
