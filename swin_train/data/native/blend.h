/* What the portable and the AVX2 part of the blends share. */
#ifndef SW_BLEND_H
#define SW_BLEND_H

#include "steps.h"

/* Each does as many of the `count` bytes as it can from the first on, and returns how many those are. */
size_t sw_blend_with_level_avx2(uint8_t *bytes, size_t count, uint8_t level, float factor);
size_t sw_blend_with_grey_avx2(uint8_t *pixels, size_t count, float factor);
size_t sw_sharpen_avx2(const uint8_t *row, size_t stride, uint8_t *result, size_t count, float factor);

#endif
