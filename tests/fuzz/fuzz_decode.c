/* Any bytes as a picture: the path from file to view must refuse or decode them, with equal results by every way.
 *
 * The first 16 bytes say what is looked at, the rest is the file. Built by scripts/fuzz.sh.
 */
#include <stdlib.h>
#include <string.h>

#include "simd.h"
#include "tiles.h"
#include "view.h"

enum { SETTINGS = 16, MOST_PIXELS = 1 << 20, MOST_SIDE = 48 };

static uint32_t read_16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

/* A crop that mostly lies inside the picture; one in eight is taken as it comes. */
static sw_crop draw_crop(const uint8_t *s, const sw_picture *picture)
{
    uint32_t width = (uint32_t)picture->width, height = (uint32_t)picture->height;
    int left = (int)read_16(s), top = (int)read_16(s + 2), right = (int)read_16(s + 4), bottom = (int)read_16(s + 6);
    if (s[8] & 7) {
        left = (int)((uint32_t)left % width);
        top = (int)((uint32_t)top % height);
        right = left + 1 + (int)((uint32_t)right % (width - (uint32_t)left));
        bottom = top + 1 + (int)((uint32_t)bottom % (height - (uint32_t)top));
    }
    double part = (s[9] & 15) / 16.0; /* of the limits, cut off at the left and the top */
    return (sw_crop){
        .limits = {left, top, right, bottom},
        .left = left + part * (right - left),
        .top = top + part * (bottom - top),
        .width = (1 - part) * (right - left),
        .height = (1 - part) * (bottom - top),
        .bicubic = s[10] & 1,
        .mirrored = s[10] & 2,
        .shift_x = s[10] & 4 ? (int8_t)s[11] : 0,
        .shift_y = s[10] & 4 ? (int8_t)s[12] : 0,
    };
}

/* The view, for the caller to free; NULL where the picture is refused. */
static uint8_t *see(const sw_picture *picture, const sw_crop *crop, int width, int height, int channels, int simd)
{
    static sw_context contexts[3]; /* by level of simd.h */
    sw_context *context = contexts + simd;
    if (context->jpeg == NULL && sw_context_open(context, simd) != 0)
        abort();
    if (sw_see(context, picture, crop, width, height, channels) != NULL)
        return NULL;
    size_t size = 4 * (size_t)width * (size_t)height;
    uint8_t *view = malloc(size);
    memcpy(view, context->image.bytes, size);
    return view;
}

/* Both views, or neither, are there; all but the fourth byte of each pixel is equal. */
static void must_be_equal(const uint8_t *first, const uint8_t *second, int num_pixels)
{
    if (!first != !second)
        abort();
    for (int i = 0; first && i < 4 * num_pixels; i++)
        if (i % 4 != 3 && first[i] != second[i])
            abort();
}

/* A tiled JPEG made of a picture that can be seen shows the same. */
static void compare_tiled(const uint8_t *settings, const sw_picture *picture, const sw_crop *crop, const uint8_t *view,
                          int width, int height, int channels)
{
    uint8_t *tiled = NULL;
    long length = sw_tiled_pack(picture->data, (size_t)picture->length, 8 + settings[15], &tiled);
    if (length < 0)
        return;
    sw_picture packed = {.kind = SW_BYTES, .data = tiled, .length = length};
    sw_inspect(&packed);
    if (packed.state != SW_READY || packed.width != picture->width || packed.height != picture->height)
        abort();
    uint8_t *other = see(&packed, crop, width, height, channels, SW_UP_TO_AVX512);
    must_be_equal(view, other, width * height);
    free(other);
    sw_tiled_free(tiled);
}

/* The region functions with numbers that nothing has checked. */
static void call_tiles(const uint8_t *settings, const sw_picture *picture)
{
    static uint8_t *buffer;
    static size_t capacity;
    int x, y, s[4];
    memcpy(s, settings, sizeof s);
    for (int i = 0; i < 4; i++)
        s[i] = settings[8] & 64 ? s[i] : s[i] & 63;
    size_t length = (size_t)picture->length;
    sw_is_tiled(picture->data, length);
    sw_tiled_size(picture->data, length, &x, &y);
    sw_tiled_region(picture->data, length, s[0], s[1], s[2], s[3], &buffer, &capacity, &x, &y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < SETTINGS)
        return 0;
    const uint8_t *s = data;
    size_t length = size - SETTINGS;
    uint8_t *file = malloc(length + !length); /* of its own, so that a byte too far is seen */
    memcpy(file, data + SETTINGS, length);
    sw_picture picture = {.kind = SW_BYTES, .data = file, .length = (int64_t)length};
    sw_inspect(&picture);
    call_tiles(s, &picture);
    if (picture.state == SW_READY && (int64_t)picture.width * picture.height <= MOST_PIXELS) {
        sw_crop crop = draw_crop(s, &picture);
        int width = 1 + s[13] % MOST_SIDE, height = 1 + s[14] % MOST_SIDE, channels = s[10] & 8 ? 1 : 3;
        uint8_t *view = see(&picture, &crop, width, height, channels, SW_UP_TO_AVX512);
        uint8_t *narrower = see(&picture, &crop, width, height, channels, SW_UP_TO_AVX2);
        uint8_t *portable = see(&picture, &crop, width, height, channels, SW_PORTABLE);
        must_be_equal(view, portable, width * height);
        must_be_equal(narrower, portable, width * height);
        if (view)
            compare_tiled(s, &picture, &crop, view, width, height, channels);
        free(portable);
        free(narrower);
        free(view);
    }
    free(file);
    return 0;
}
