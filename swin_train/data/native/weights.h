/* Weights of an antialiased resize along one axis, as Pillow's Resample.c computes them, in 16-bit integers. */
#ifndef SW_WEIGHTS_H
#define SW_WEIGHTS_H

#include "memory.h"

typedef struct {
    int taps;               /* weights kept per output, a multiple of 4; zeros behind those that count */
    int shift;              /* bits after the binary point */
    int32_t *first, *count; /* [out] the inputs that an output is made of */
    int16_t *weights;       /* [out, taps] */
    sw_buffer memory;
} sw_weights;

/* Weights for out outputs that share the stretch [start, start + length) of an axis of limit inputs; the
 * stretch must lie on the axis. NULL, or what is wrong. */
const char *sw_weigh(sw_weights *weights, double start, double length, int limit, int out, int bicubic, int simd);

#endif
