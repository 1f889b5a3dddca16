#include "batch.h"

#include <stdio.h>

#include "pixels.h"

static void load_item(void *pictures, int item, sw_context *context)
{
    (void)context;
    sw_picture *picture = (sw_picture *)pictures + item;
    sw_read(picture);
    sw_inspect(picture);
}

void sw_load(sw_pool *pool, sw_picture *pictures, int count)
{
    sw_pool_run(pool, load_item, pictures, count);
}

void sw_release(sw_picture *pictures, int count)
{
    for (int i = 0; i < count; i++)
        sw_release_picture(pictures + i);
}

static sw_crop crop_of(const sw_batch *batch, int item)
{
    const int32_t *limits = batch->limits + 4 * item, *shift = batch->shifts + 2 * item;
    const double *box = batch->boxes + 4 * item;
    return (sw_crop){
        .limits = {limits[0], limits[1], limits[2], limits[3]},
        .left = box[0],
        .top = box[1],
        .width = box[2],
        .height = box[3],
        .bicubic = batch->bicubic[item],
        .mirrored = batch->mirrored[item],
        .shift_x = shift[0],
        .shift_y = shift[1],
    };
}

static void note(const sw_batch *batch, int item, const char *problem)
{
    snprintf(batch->messages + (size_t)item * SW_MESSAGE, SW_MESSAGE, "%s", problem ? problem : "");
}

/* Whether context->image has become the picture's view. */
static int see(const sw_batch *batch, int item, sw_context *context)
{
    const sw_picture *picture = batch->pictures + item;
    sw_crop crop = crop_of(batch, item);
    sw_box limits = crop.limits;
    if (!(limits.left | limits.top | limits.right | limits.bottom)) { /* nothing is to be seen */
        note(batch, item, NULL);
        return 0;
    }
    const char *problem = picture->reason;
    if (picture->state == SW_READY)
        problem = sw_see(context, picture, &crop, batch->width, batch->height, batch->channels);
    note(batch, item, problem);
    return problem == NULL;
}

static void render_item(void *own, int item, sw_context *context)
{
    const sw_batch *batch = own;
    if (!see(batch, item, context))
        return;
    size_t count = (size_t)batch->width * (size_t)batch->height;
    sw_part(context->image.bytes, count, batch->channels,
            batch->bytes + (size_t)item * (size_t)batch->channels * count, context->simd);
}

void sw_render(sw_pool *pool, const sw_batch *batch)
{
    sw_pool_run(pool, render_item, (void *)batch, batch->count);
}

static void render_augmented_item(void *own, int item, sw_context *context)
{
    const sw_batch *batch = own;
    if (!see(batch, item, context))
        return;
    size_t count = (size_t)batch->width * (size_t)batch->height;
    if (sw_reserve(&context->spare, 4 * count) == NULL) {
        note(batch, item, "there is not enough memory");
        return;
    }
    uint8_t *pixels = context->image.bytes;
    sw_operate(pixels, context->spare.bytes, batch->width, batch->height,
               batch->operations + (size_t)item * (size_t)batch->num_operations, batch->num_operations, batch->fill,
               context->simd);
    sw_finish(pixels, batch->width, batch->height, batch->channels, batch->mean, batch->std,
              batch->erasures + (size_t)item * (size_t)batch->num_erasures, batch->num_erasures, batch->erasure_mode,
              batch->floats + (size_t)item * (size_t)batch->channels * count, context->simd);
}

void sw_render_augmented(sw_pool *pool, const sw_batch *batch)
{
    sw_pool_run(pool, render_augmented_item, (void *)batch, batch->count);
}

typedef struct {
    uint8_t *packed;
    int width, channels;
} packing;

static void pack_strip(void *owner, uint8_t *pixels, size_t stride, int row, int count)
{
    const packing *target = owner;
    size_t row_bytes = (size_t)target->width * (size_t)target->channels;
    for (int i = 0; i < count; i++)
        sw_pack(pixels + (size_t)i * stride, (size_t)target->width, target->channels,
                target->packed + (size_t)(row + i) * row_bytes);
}

static void decode_item(void *own, int item, sw_context *context)
{
    const sw_batch *batch = own;
    const sw_picture *picture = batch->pictures + item;
    const char *problem = picture->reason;
    if (picture->state == SW_READY) {
        packing target = {batch->decoded[item], picture->width, picture->channels};
        problem = sw_decode_region(context, picture, (sw_box){0, 0, picture->width, picture->height},
                                   &(sw_sink){pack_strip, &target});
    }
    note(batch, item, problem);
}

void sw_decode(sw_pool *pool, const sw_batch *batch)
{
    sw_pool_run(pool, decode_item, (void *)batch, batch->count);
}
