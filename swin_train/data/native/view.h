/* One picture seen through a crop: decoded where it is looked at, resized, mirrored and shifted. */
#ifndef SW_VIEW_H
#define SW_VIEW_H

#include "baseline.h"
#include "weights.h"

/* What a thread keeps from one picture to the next. */
typedef struct {
    sw_jpeg *jpeg;
    sw_baseline *baseline; /* tried first */
    sw_weights across, down;
    sw_buffer strip, rows, image, spare;
    uint8_t *assembled; /* what sw_tiled_region made */
    size_t assembled_capacity;
    int simd; /* a level of simd.h that the processor has */
} sw_context;

typedef struct {
    sw_box limits;                   /* pixels that may be read */
    double left, top, width, height; /* what becomes the view, within the limits */
    int bicubic;                     /* or bilinear */
    int mirrored;                    /* from right to left; after the shift */
    int shift_x, shift_y;            /* the view is moved right and down, black comes in */
} sw_crop;

/* simd: a level of simd.h that is not exceeded. 0, or -1: no memory. */
int sw_context_open(sw_context *context, int simd);
void sw_context_close(sw_context *context);

/* Decodes a region of a picture that is SW_READY. What is wrong, or NULL. */
const char *sw_decode_region(sw_context *context, const sw_picture *picture, sw_box region, const sw_sink *sink);

/* Makes context->image the view, width x height RGBX pixels without gaps; all channels equal where channels is 1.
 * What is wrong, or NULL. */
const char *sw_see(sw_context *context, const sw_picture *picture, const sw_crop *crop, int width, int height,
                   int channels);

#endif
