/* resize.h's two passes in AVX-512, the same bits. */
#ifndef SW_RESIZE_AVX512_H
#define SW_RESIZE_AVX512_H

#include "simd.h"
#include "weights.h"

#if SW_HAS_AVX2

/* Whether sw_resize_rows_avx512 can be used: at least four outputs, and a picture that shrinks less than fivefold. */
int sw_rows_suit_avx512(const sw_weights *weights, int out);

void sw_resize_rows_avx512(const uint8_t *source, size_t source_stride, int count, const sw_weights *weights, int out,
                           int mirrored, uint8_t *target, size_t target_stride);

/* One row of row_bytes bytes from count rows. */
void sw_resize_column_avx512(const uint8_t *source, size_t stride, const int16_t *weight, int count, int bits,
                             size_t row_bytes, uint8_t *target);

#endif
#endif
