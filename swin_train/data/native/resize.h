/* The two passes of Pillow's antialiased resize, on RGBX pixels with 8 bits between the passes. */
#ifndef SW_RESIZE_H
#define SW_RESIZE_H

#include "weights.h"

/* Rows of pixels -> rows of out pixels each. Source rows may be read SW_SLACK bytes past their end; mirrored
 * writes each row from right to left. */
void sw_resize_rows(const uint8_t *source, size_t source_stride, int count, const sw_weights *weights, int out,
                    int mirrored, uint8_t *target, size_t target_stride, int simd);

/* Rows of row_bytes bytes -> out rows. source is the row weights->first[0]; up to 31 bytes past the end of each
 * target row are written, before the next row is. */
void sw_resize_columns(const uint8_t *source, size_t source_stride, const sw_weights *weights, int out,
                       size_t row_bytes, uint8_t *target, size_t target_stride, int simd);

#endif
