/* Coefficients -> samples: the integer transform of libjpeg (Loeffler, Ligtenberg and Moschytz 1989), with the 16-bit
 * intermediates of its vector code, so that damaged files too look the same by every path. */
#include "baseline_parts.h"
#include "simd.h"

enum { CONSTANT_BITS = 13, PASS1_BITS = 2 };

/* Eight numbers `stride` apart -> their inverse transform, each shifted by `shift`. Sums wrap. */
static void transform_eight(const int16_t *in, int stride, int shift, int32_t out[8])
{
#define TIMES(value, constant) ((uint32_t)(int32_t)(value) * (uint32_t)(int32_t)(constant))
    int16_t in1 = in[stride], in3 = in[3 * stride], in5 = in[5 * stride], in7 = in[7 * stride];
    int16_t in2 = in[2 * stride], in6 = in[6 * stride];
    uint32_t half = 1u << (shift - 1);
    uint32_t sum = TIMES((int16_t)(in[0] + in[4 * stride]), 1 << CONSTANT_BITS) + half;
    uint32_t difference = TIMES((int16_t)(in[0] - in[4 * stride]), 1 << CONSTANT_BITS) + half;
    uint32_t t2 = TIMES(in2, 4433) + TIMES(in6, 4433 - 15137), t3 = TIMES(in2, 4433 + 6270) + TIMES(in6, 4433);
    uint32_t even[4] = {sum + t3, difference + t2, difference - t2, sum - t3};

    int16_t z3 = (int16_t)(in7 + in3), z4 = (int16_t)(in5 + in1);
    uint32_t a = TIMES(z3, 9633 - 16069) + TIMES(z4, 9633), b = TIMES(z3, 9633) + TIMES(z4, 9633 - 3196);
    uint32_t odd[4] = {
        TIMES(in1, 12299 - 7373) + TIMES(in7, -7373) + b,
        TIMES(in3, 25172 - 20995) + TIMES(in5, -20995) + a,
        TIMES(in5, 16819 - 20995) + TIMES(in3, -20995) + b,
        TIMES(in7, 2446 - 7373) + TIMES(in1, -7373) + a,
    };
    for (int i = 0; i < 4; i++) {
        out[i] = (int32_t)(even[i] + odd[i]) >> shift;
        out[7 - i] = (int32_t)(even[i] - odd[i]) >> shift;
    }
#undef TIMES
}

static int clip(int32_t value, int least, int most)
{
    return value < least ? least : value > most ? most : value;
}

/* Where all rows but the first are zero libjpeg shifts the first, and the upper bits get lost; with them gone
 * beforehand the transform does the same. They are zero in a regular file. */
static void lose_upper_bits(const int16_t *coefficients, int16_t *scaled)
{
    int others = 0;
    for (int i = 8; i < SW_COEFFICIENTS; i++)
        others |= coefficients[i];
    for (int x = 0; x < 8 && others == 0; x++)
        scaled[x] = (int16_t)((int16_t)((uint16_t)scaled[x] << PASS1_BITS) >> PASS1_BITS);
}

static void transform(const int16_t *coefficients, const sw_block *block)
{
    int16_t scaled[SW_COEFFICIENTS], columns[SW_COEFFICIENTS];
    int32_t eight[8];
    for (int i = 0; i < SW_COEFFICIENTS; i++)
        scaled[i] = (int16_t)(coefficients[i] * block->quant[i]);
    lose_upper_bits(coefficients, scaled);
    for (int x = 0; x < 8; x++) {
        transform_eight(scaled + x, 8, CONSTANT_BITS - PASS1_BITS, eight);
        for (int y = 0; y < 8; y++)
            columns[8 * y + x] = (int16_t)clip(eight[y], INT16_MIN, INT16_MAX);
    }
    for (int y = 0; y < 8; y++) {
        transform_eight(columns + 8 * y, 1, CONSTANT_BITS + PASS1_BITS + 3, eight);
        for (int x = 0; x < 8; x++)
            block->samples[(size_t)y * block->stride + (size_t)x] = (uint8_t)(clip(eight[x], -128, 127) + 128);
    }
}

void sw_transform(const int16_t *coefficients, const sw_block blocks[2], int simd)
{
#if SW_HAS_AVX2
    if (simd) {
        sw_transform_avx2(coefficients, blocks);
        return;
    }
#endif
    (void)simd;
    transform(coefficients, blocks);
    transform(coefficients + SW_COEFFICIENTS, blocks + 1);
}
