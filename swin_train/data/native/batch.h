/* What the Python package calls, through ctypes: whole batches, one picture per item. library.py mirrors the struct. */
#ifndef SW_BATCH_H
#define SW_BATCH_H

#include "operations.h"
#include "picture.h"
#include "pool.h"

enum { SW_MESSAGE = 200 };

typedef struct {
    const sw_picture *pictures; /* [count] */
    const int32_t *limits;      /* [count, 4] left, top, right, bottom */
    const double *boxes;        /* [count, 4] left, top, width, height */
    const uint8_t *bicubic, *mirrored;
    const int32_t *shifts; /* [count, 2] to the right, down */
    int32_t count, width, height, channels;
    char *messages; /* [count, SW_MESSAGE] empty, or what is wrong */
    /* sw_render */
    uint8_t *bytes; /* [count, channels, height, width] */
    /* sw_render_augmented */
    float *floats;            /* [count, channels, height, width] */
    const sw_op *operations;  /* [count, num_operations] */
    const float *mean, *std;  /* [channels] */
    const sw_erasure *erasures; /* [count, num_erasures] */
    int32_t num_operations, num_erasures, erasure_mode;
    uint8_t fill[4];
    /* sw_decode */
    uint8_t *const *decoded; /* [count] each height x width x channels of its picture, or NULL */
} sw_batch;

void sw_load(sw_pool *pool, sw_picture *pictures, int count);
void sw_release(sw_picture *pictures, int count);
void sw_render(sw_pool *pool, const sw_batch *batch);
void sw_render_augmented(sw_pool *pool, const sw_batch *batch);
void sw_decode(sw_pool *pool, const sw_batch *batch);

#endif
