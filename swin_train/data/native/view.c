#include "view.h"

#include <math.h>
#include <string.h>

#include "pixels.h"
#include "resize.h"
#include "simd.h"
#include "tiles.h"

static const char *const NO_MEMORY = "there is not enough memory";

int sw_context_open(sw_context *context, int simd)
{
    *context = (sw_context){
        .jpeg = sw_jpeg_create(),
        .baseline = sw_baseline_create(),
        .simd = sw_simd_level(simd),
    };
    return context->jpeg && context->baseline ? 0 : -1;
}

void sw_context_close(sw_context *context)
{
    sw_jpeg_destroy(context->jpeg);
    sw_baseline_destroy(context->baseline);
    sw_free(&context->across.memory);
    sw_free(&context->down.memory);
    sw_free(&context->strip);
    sw_free(&context->rows);
    sw_free(&context->image);
    sw_free(&context->spare);
    free(context->assembled);
}

static void give_back_large_buffers(sw_context *context)
{
    sw_free_if_large(&context->across.memory);
    sw_free_if_large(&context->down.memory);
    sw_free_if_large(&context->rows);
    if (context->assembled_capacity > SW_KEPT_BYTES) {
        free(context->assembled);
        context->assembled = NULL;
        context->assembled_capacity = 0;
    }
}

/* Hands over the rows of a picture that is pixels already. */
static const char *take_pixels(sw_context *context, const sw_picture *picture, sw_box region, const sw_sink *sink)
{
    size_t width = (size_t)(region.right - region.left), stride = 4 * width + SW_SLACK;
    uint8_t *strip = sw_reserve(&context->strip, stride * SW_STRIP);
    if (strip == NULL)
        return NO_MEMORY;
    int height = region.bottom - region.top, channels = picture->channels;
    for (int row = 0; row < height; row += SW_STRIP) {
        int count = height - row < SW_STRIP ? height - row : SW_STRIP;
        for (int i = 0; i < count; i++) {
            size_t at = (size_t)(region.top + row + i) * (size_t)picture->width + (size_t)region.left;
            sw_expand(picture->data + at * (size_t)channels, channels, width, strip + (size_t)i * stride,
                      context->simd);
        }
        sink->take(sink->owner, strip, stride, row, count);
    }
    return NULL;
}

/* The fast decoder where it can, otherwise libjpeg, which also says what is wrong with a file. The fast one's portable
 * path is slower than libjpeg's vector code. */
static const char *take_jpeg(sw_context *context, const uint8_t *data, size_t length, sw_box region,
                             const sw_sink *sink)
{
    if (context->simd && sw_baseline_decode(context->baseline, data, length, region, sink, context->simd))
        return NULL;
    return sw_jpeg_decode(context->jpeg, data, length, region, sink);
}

static const char *take_tiles(sw_context *context, const sw_picture *picture, sw_box region, const sw_sink *sink)
{
    int left, top;
    long length = sw_tiled_region(picture->data, (size_t)picture->length, region.left, region.top, region.right,
                                  region.bottom, &context->assembled, &context->assembled_capacity, &left, &top);
    if (length < 0)
        return length == SW_TILES_NO_MEMORY ? NO_MEMORY : "its tiles are damaged";
    region = (sw_box){region.left - left, region.top - top, region.right - left, region.bottom - top};
    return take_jpeg(context, context->assembled, (size_t)length, region, sink);
}

const char *sw_decode_region(sw_context *context, const sw_picture *picture, sw_box region, const sw_sink *sink)
{
    if (region.left < 0 || region.top < 0 || region.right > picture->width || region.bottom > picture->height ||
        region.left >= region.right || region.top >= region.bottom)
        return "the region does not lie inside the picture";
    if (picture->kind == SW_PIXELS)
        return take_pixels(context, picture, region, sink);
    size_t length = (size_t)picture->length;
    if (sw_is_tiled(picture->data, length))
        return take_tiles(context, picture, region, sink);
    return take_jpeg(context, picture->data, length, region, sink);
}

typedef struct {
    sw_context *context;
    int columns; /* of the region */
    int width;   /* of the view */
    int to_grey, mirrored;
    size_t stride; /* of the rows */
} across_pass;

static void resize_strip(void *owner, uint8_t *pixels, size_t stride, int row, int count)
{
    const across_pass *pass = owner;
    sw_context *context = pass->context;
    if (pass->to_grey)
        for (int i = 0; i < count; i++)
            sw_make_luma(pixels + (size_t)i * stride, (size_t)pass->columns);
    sw_resize_rows(pixels, stride, count, &context->across, pass->width, pass->mirrored,
                   context->rows.bytes + (size_t)row * pass->stride, pass->stride, context->simd);
}

/* Moves the view within its frame, over black. */
static const char *shift(sw_context *context, int width, int height, int x, int y)
{
    size_t row_bytes = 4 * (size_t)width, kept = 4 * (size_t)(width > abs(x) ? width - abs(x) : 0);
    uint8_t *moved = sw_reserve(&context->spare, row_bytes * (size_t)height);
    if (moved == NULL)
        return NO_MEMORY;
    memset(moved, 0, row_bytes * (size_t)height);
    for (int row = 0; row < height && kept; row++) {
        int from = row - y;
        if (from < 0 || from >= height)
            continue;
        const uint8_t *source = context->image.bytes + (size_t)from * row_bytes + (x < 0 ? 4 * (size_t)-x : 0);
        memcpy(moved + (size_t)row * row_bytes + (x > 0 ? 4 * (size_t)x : 0), source, kept);
    }
    sw_buffer image = context->image;
    context->image = context->spare;
    context->spare = image;
    return NULL;
}

/* Whether the crop's limits lie in the picture and its box in the limits. */
static int is_inside(const sw_crop *crop, const sw_picture *picture)
{
    const double slip = 1e-6; /* of a box whose edge was computed */
    sw_box limits = crop->limits;
    if (limits.left < 0 || limits.top < 0 || limits.right > picture->width || limits.bottom > picture->height)
        return 0;
    /* Written so that NaN is outside. */
    return crop->width > 0 && crop->height > 0 && crop->left >= limits.left - slip &&
           crop->top >= limits.top - slip && crop->left + crop->width <= limits.right + slip &&
           crop->top + crop->height <= limits.bottom + slip;
}

/* The region of the limits that the weights reach; their first inputs become relative to it. */
static sw_box narrow(sw_context *context, sw_box limits, int width, int height)
{
    sw_weights *across = &context->across, *down = &context->down;
    int left = across->first[0], right = across->first[width - 1] + across->count[width - 1];
    int top = down->first[0], bottom = down->first[height - 1] + down->count[height - 1];
    for (int o = 0; o < width; o++)
        across->first[o] -= left;
    for (int o = 0; o < height; o++)
        down->first[o] -= top;
    return (sw_box){limits.left + left, limits.top + top, limits.left + right, limits.top + bottom};
}

static const char *resize(sw_context *context, const sw_picture *picture, const sw_crop *crop, int width, int height,
                          int channels)
{
    sw_box limits = crop->limits;
    const char *problem = sw_weigh(&context->across, crop->left - limits.left, crop->width,
                                   limits.right - limits.left, width, crop->bicubic, context->simd);
    if (!problem)
        problem = sw_weigh(&context->down, crop->top - limits.top, crop->height, limits.bottom - limits.top, height,
                           crop->bicubic, context->simd);
    if (problem)
        return problem;
    sw_box region = narrow(context, limits, width, height);
    size_t row_bytes = 4 * (size_t)width, stride = (row_bytes + 31) & ~(size_t)31;
    across_pass pass = {context, region.right - region.left, width, channels == 1 && picture->channels == 3,
                        crop->mirrored, stride};
    if (sw_reserve(&context->rows, stride * (size_t)(region.bottom - region.top)) == NULL ||
        sw_reserve(&context->image, row_bytes * (size_t)height) == NULL)
        return NO_MEMORY;
    problem = sw_decode_region(context, picture, region, &(sw_sink){resize_strip, &pass});
    if (problem)
        return problem;
    sw_resize_columns(context->rows.bytes, stride, &context->down, height, row_bytes, context->image.bytes,
                      row_bytes, context->simd);
    return NULL;
}

const char *sw_see(sw_context *context, const sw_picture *picture, const sw_crop *crop, int width, int height,
                   int channels)
{
    if (!is_inside(crop, picture))
        return "the crop does not lie inside the picture";
    const char *problem = resize(context, picture, crop, width, height, channels);
    give_back_large_buffers(context);
    if (problem == NULL && (crop->shift_x || crop->shift_y)) /* mirrored already: to the right has become to the left */
        problem = shift(context, width, height, crop->mirrored ? -crop->shift_x : crop->shift_x, crop->shift_y);
    return problem;
}
