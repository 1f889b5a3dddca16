/* What the portable and the AVX2 part of the affine transform share. */
#ifndef SW_AFFINE_H
#define SW_AFFINE_H

#include <string.h>

#include "steps.h"

enum { SW_RUN = 64 }; /* columns prepared at a time */

/* Where the pixels of a run come from, along one axis. A map is monotone, so that both sets are intervals. */
typedef struct {
    uint64_t inside;         /* bit i: whether column i comes from the source at all; the rest holds only then */
    uint64_t inner;          /* bit i: whether the four taps lie in the source */
    int32_t tap[SW_RUN];     /* the source pixel whose centre lies to the left or above, from -1 on */
    double fraction[SW_RUN]; /* what is beyond that centre, in [0, 1) */
    int has_fractions;       /* this and the weights: only with AVX2 */
    float weights[SW_RUN][4];
} sw_axis;

typedef struct {
    double rate, across, offset;
    int limit; /* of the source */
} sw_line;

typedef struct {
    const uint8_t *source;
    sw_frame frame;
    int bicubic;
    uint8_t fill[4];
} sw_sampling;

static inline int sw_clamp(int value, int size)
{
    return value < 0 ? 0 : value < size ? value : size - 1;
}

/* Copies the 4 x 4 pixels around a place: one to the left and above, two to the right and below. Beyond the
 * border of the source its outermost pixels are repeated. */
static inline void sw_copy_taps(const uint8_t *source, sw_frame frame, int x, int y, uint8_t taps[64])
{
    for (int j = 0; j < 4; j++) {
        size_t row = (size_t)sw_clamp(y - 1 + j, frame.height) * (size_t)frame.width;
        for (int i = 0; i < 4; i++)
            memcpy(taps + 16 * j + 4 * i, source + 4 * (row + (size_t)sw_clamp(x - 1 + i, frame.width)), 4);
    }
}

/* One pixel of 4 x 4 whose rows lie `stride` bytes apart, with Pillow's arithmetic. */
void sw_sample_exactly(const uint8_t *first, size_t stride, double dx, double dy, int bicubic, uint8_t pixel[4]);

/* Those of affine.c with AVX2, with the same results. */
void sw_locate_avx2(const sw_sampling *sampling, sw_line line, int first, sw_axis *axis);
void sw_sample_run_avx2(const sw_sampling *sampling, const sw_axis *x, const sw_axis *y, int count, uint8_t *result);

#endif
