#include "weights.h"

#include <math.h>

enum {
    MAX_SHIFT = 22, /* sums of 255 times all weights stay below 2^31 */
    MAX_WEIGHT = 32767,
};

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
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

/* The filter's values around one output, adding up to 1; the largest of them. */
static double sample_filter(sw_weights *weights, int o, double centre, double support, double scale, int limit,
                            int bicubic, double *values)
{
    int first = (int)(centre - support + 0.5), stop = (int)(centre + support + 0.5);
    first = first < 0 ? 0 : first;
    stop = stop > limit ? limit : stop;
    double sum = 0, largest = 0, inverse = 1.0 / scale;
    for (int i = first; i < stop; i++) {
        double x = (i - centre + 0.5) * inverse;
        values[i - first] = bicubic ? cubic(x) : triangle(x);
        sum += values[i - first];
    }
    for (int i = 0; i < stop - first; i++) {
        values[i] = sum != 0 ? values[i] / sum : values[i];
        largest = values[i] > largest ? values[i] : largest;
    }
    weights->first[o] = first;
    weights->count[o] = stop - first;
    return largest;
}

/* Rounds the weights of one output; the largest takes what rounding loses, so that a flat area stays as it is. */
static void round_weights(int16_t *rounded, const double *values, int count, int taps, int shift)
{
    int rest = 1 << shift, largest = 0;
    for (int i = 0; i < count; i++) {
        rounded[i] = (int16_t)lrint(ldexp(values[i], shift));
        rest -= rounded[i];
        if (rounded[i] > rounded[largest])
            largest = i;
    }
    int mended = rounded[largest] + rest;
    rounded[largest] = (int16_t)(mended > MAX_WEIGHT ? MAX_WEIGHT : mended);
    for (int i = count; i < taps; i++)
        rounded[i] = 0;
}

/* As many bits as the largest weight and what rounding adds to it leave room for: 14 where the picture grows. */
static int fitting_shift(double largest)
{
    int shift = MAX_SHIFT;
    while (shift > 0 && ldexp(largest, shift) + 256 > MAX_WEIGHT)
        shift--;
    return shift;
}

const char *sw_weigh(sw_weights *weights, double start, double length, int limit, int out, int bicubic)
{
    double step = length / out, scale = step < 1 ? 1 : step, support = (bicubic ? 2.0 : 1.0) * scale;
    double widest = 2 * ceil(support) + 1;
    int taps = ((widest < limit ? (int)widest : limit) + 3) & ~3;
    const char *problem = allocate(weights, out, taps);
    if (problem)
        return problem;
    double largest = 0;
    for (int o = 0; o < out; o++) {
        double *values = (double *)weights->memory.bytes + (size_t)o * (size_t)taps;
        double own = sample_filter(weights, o, start + (o + 0.5) * step, support, scale, limit, bicubic, values);
        largest = own > largest ? own : largest;
    }
    weights->shift = fitting_shift(largest);
    for (int o = 0; o < out; o++) {
        size_t at = (size_t)o * (size_t)taps;
        round_weights(weights->weights + at, (double *)weights->memory.bytes + at, weights->count[o], taps,
                      weights->shift);
    }
    return NULL;
}
