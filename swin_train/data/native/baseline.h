/* Regions of plain JPEG files, several times as fast as libjpeg and with the same pixels. */
#ifndef SW_BASELINE_H
#define SW_BASELINE_H

#include "jpeg.h"

typedef struct sw_baseline sw_baseline;

/* NULL: no memory. */
sw_baseline *sw_baseline_create(void);
void sw_baseline_destroy(sw_baseline *decoder);

/* Decodes the region like sw_jpeg_decode. 1, or 0: the file is not of the common kind (baseline, one scan, grey or
 * YCbCr 4:4:4, 4:2:2 or 4:2:0) or anything about it is irregular, and sw_jpeg_decode has to judge it, from the first
 * row on again. */
int sw_baseline_decode(sw_baseline *decoder, const uint8_t *data, size_t length, sw_box region, const sw_sink *sink,
                       int simd);

#endif
