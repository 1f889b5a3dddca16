#include "weights.h"

#include <math.h>
#include <string.h>

#include "steps.h"

enum {
    MAX_SHIFT = 22, /* sums of 255 times all weights stay below 2^31 */
    MAX_WEIGHT = 32767,
};

/* Both without branches, so that compilers make vectors of the loops around them. */
static inline double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    double inner = x < 1 ? 1 : 0, within = x < 2 ? 1 : 0;
    return (((a + 2) * x - (a + 3)) * x * x + 1) * inner + (((x - 5) * x + 8) * x - 4) * a * (within - inner);
}

static inline double triangle(double x)
{
    x = 1 - fabs(x);
    return x > 0 ? x : 0;
}

static const char *allocate(sw_weights *weights, int out, int taps)
{
    size_t exact = sizeof(double) * (size_t)taps * (size_t)out, index = sizeof(int32_t) * (size_t)out;
    size_t rounded = sizeof(int16_t) * (size_t)taps * (size_t)out;
    uint8_t *memory = sw_reserve(&weights->memory, exact + 2 * index + rounded);
    if (memory == NULL)
        return "there is not enough memory";
    weights->first = (int32_t *)(memory + exact);
    weights->count = weights->first + out;
    weights->weights = (int16_t *)(weights->count + out);
    weights->taps = taps;
    return NULL;
}

/* The filter's values around one output, adding up to 1, then zeros to the end of its taps. */
SW_INLINE void sample_filter(sw_weights *weights, int o, double centre, double support, double inverse, int limit,
                             int bicubic, double *values)
{
    int first = (int)(centre - support + 0.5), stop = (int)(centre + support + 0.5), taps = weights->taps & ~3;
    first = first < 0 ? 0 : first;
    stop = stop > limit ? limit : stop;
    int count = stop - first;
    for (int i = 0; i < taps; i++) {
        double x = (first + i - centre + 0.5) * inverse;
        values[i] = bicubic ? cubic(x) : triangle(x);
    }
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i];
    sum = sum != 0 ? sum : 1;
    for (int i = 0; i < taps; i++)
        values[i] /= sum;
    for (int i = count; i < taps; i++)
        values[i] = 0;
    weights->first[o] = first;
    weights->count[o] = count;
}

SW_INLINE double find_largest(const double *values, size_t count)
{
    double largest[4] = {0};
    for (size_t i = 0; i < count; i += 4)
        for (size_t j = 0; j < 4; j++)
            largest[j] = values[i + j] > largest[j] ? values[i + j] : largest[j];
    double low = largest[0] > largest[1] ? largest[0] : largest[1];
    double high = largest[2] > largest[3] ? largest[2] : largest[3];
    return low > high ? low : high;
}

/* To the nearest whole number, to the even one of two, where |x| < 2^31: the last bits of this sum are its own. */
static inline int nearest(double x)
{
    double sum = x + 0x1.8p52;
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    return (int32_t)(uint32_t)bits;
}

/* Rounds the weights of one output; the largest takes what rounding loses, so that a flat area stays as it is. */
SW_INLINE void round_weights(int16_t *rounded, const double *values, int taps, double unit)
{
    int rest = (int)unit, best = INT32_MIN;
    for (int i = 0; i < taps; i++)
        rounded[i] = (int16_t)nearest(values[i] * unit);
    for (int i = 0; i < taps; i++) {
        int key = rounded[i] * 65536 + (65535 - i); /* the first of several that are the largest */
        rest -= rounded[i];
        best = key > best ? key : best;
    }
    int largest = 65535 - (best & 65535);
    int mended = rounded[largest] + rest;
    rounded[largest] = (int16_t)(mended > MAX_WEIGHT ? MAX_WEIGHT : mended);
}

/* As many bits as the largest weight and what rounding adds to it leave room for: 14 where the picture grows. */
static int fitting_shift(double largest)
{
    int shift = MAX_SHIFT;
    while (shift > 0 && ldexp(largest, shift) + 256 > MAX_WEIGHT)
        shift--;
    return shift;
}

SW_INLINE void fill_body(sw_weights *weights, double start, double step, double scale, int limit, int out, int bicubic)
{
    double support = (bicubic ? 2.0 : 1.0) * scale, inverse = 1.0 / scale;
    size_t taps = (size_t)weights->taps;
    double *values = (double *)weights->memory.bytes;
    for (int o = 0; o < out; o++)
        sample_filter(weights, o, start + (o + 0.5) * step, support, inverse, limit, bicubic,
                      values + (size_t)o * taps);
    weights->shift = fitting_shift(find_largest(values, (size_t)out * taps));
    double unit = (double)(1 << weights->shift);
    for (int o = 0; o < out; o++)
        round_weights(weights->weights + (size_t)o * taps, values + (size_t)o * taps, (int)taps, unit);
}

SW_COMPILE_TWICE(fill,
                 (sw_weights *weights, double start, double step, double scale, int limit, int out, int bicubic),
                 (weights, start, step, scale, limit, out, bicubic))

const char *sw_weigh(sw_weights *weights, double start, double length, int limit, int out, int bicubic, int simd)
{
    double step = length / out, scale = step < 1 ? 1 : step, widest = 2 * ceil((bicubic ? 2.0 : 1.0) * scale) + 1;
    int taps = ((widest < limit ? (int)widest : limit) + 3) & ~3;
    const char *problem = allocate(weights, out, taps);
    if (problem == NULL)
        SW_PICK(simd, fill)(weights, start, step, scale, limit, out, bicubic);
    return problem;
}
