/* Regions of JPEG files, pixel for pixel those of the whole picture. */
#ifndef SW_JPEG_H
#define SW_JPEG_H

#include "picture.h"

typedef struct sw_jpeg sw_jpeg;

/* Takes rows of a region as they are decoded: count rows of RGBX pixels from the region's row number row on.
 * They may be changed; vector loads may reach over their end. */
typedef struct {
    void (*take)(void *owner, uint8_t *pixels, size_t stride, int row, int count);
    void *owner;
} sw_sink;

enum { SW_STRIP = 16 }; /* rows handed over at a time: they stay in the first-level cache */

/* Whether the libjpeg that was loaded is the one that the header describes. */
int sw_jpeg_is_usable(void);

/* NULL: no memory. */
sw_jpeg *sw_jpeg_create(void);
void sw_jpeg_destroy(sw_jpeg *jpeg);

/* Decodes the region, which must lie inside the picture. What is wrong, or NULL; the text lives until the next call. */
const char *sw_jpeg_decode(sw_jpeg *jpeg, const uint8_t *data, size_t length, sw_box region, const sw_sink *sink);

#endif
