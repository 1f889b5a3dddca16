/* The header of a JPEG file: its size, and whether it is of the plain kind that jpeg.c decodes. */
#include "picture.h"

enum { SOI = 0xD8, EOI = 0xD9, SOS = 0xDA, SOF0 = 0xC0, SOF2 = 0xC2, DHT = 0xC4, JPG = 0xC8, DAC = 0xCC, SOF15 = 0xCF };

static const char *const NO_JPEG = "it is not a JPEG file";
static const char *const DAMAGED = "its header is damaged";

static void leave_to_others(sw_picture *picture, const char *reason)
{
    picture->state = SW_OTHER_DECODER;
    picture->reason = reason;
}

static int is_frame(int marker)
{
    return marker >= SOF0 && marker <= SOF15 && marker != DHT && marker != JPG && marker != DAC;
}

static int big_endian(const uint8_t *bytes)
{
    return bytes[0] << 8 | bytes[1];
}

/* Takes the size from a frame header's segment. What speaks against the picture, or NULL. */
static const char *read_frame(sw_picture *picture, int marker, const uint8_t *segment, int length)
{
    if (marker > SOF2)
        return "its coding is neither baseline nor progressive";
    if (picture->width || length < 8 || length < 8 + 3 * segment[7])
        return DAMAGED;
    int height = big_endian(segment + 3), width = big_endian(segment + 5);
    if (segment[2] != 8)
        return "its samples do not have 8 bits";
    if (segment[7] != 1 && segment[7] != 3)
        return "it is neither grey nor of three colours";
    if (width == 0 || height == 0)
        return DAMAGED;
    picture->width = width;
    picture->height = height;
    picture->channels = segment[7];
    return (int64_t)width * height > SW_MAX_PIXELS ? "it has more than 50 million pixels" : NULL;
}

/* Whether an end of image follows: only a whole file has one, because coded data holds no markers but restarts. */
static int has_end(const uint8_t *data, int64_t start, int64_t length)
{
    for (int64_t at = length - 2; at >= start; at--)
        if (data[at] == 0xFF && data[at + 1] == EOI)
            return 1;
    return 0;
}

static const char *inspect_jpeg(sw_picture *picture)
{
    const uint8_t *data = picture->data;
    int64_t length = picture->length, at = 2;
    if (length < 4 || data[0] != 0xFF || data[1] != SOI)
        return length ? NO_JPEG : "the file is empty";
    for (;;) {
        if (at >= length || data[at] != 0xFF)
            return DAMAGED;
        while (at < length && data[at] == 0xFF) /* any number of them may stand before a marker */
            at++;
        if (length - at < 3)
            return DAMAGED;
        int marker = data[at++], size = big_endian(data + at);
        if (marker < SOF0 || (marker >= 0xD0 && marker <= EOI) || size < 2 || size > length - at)
            return DAMAGED;
        if (is_frame(marker)) {
            const char *reason = read_frame(picture, marker, data + at, size);
            if (reason)
                return reason;
        }
        at += size;
        if (marker == SOS)
            break;
    }
    if (picture->width == 0)
        return DAMAGED;
    return has_end(data, at, length) ? NULL : "it has no end of image";
}

static const char *inspect_pixels(const sw_picture *picture)
{
    int64_t width = picture->width, height = picture->height;
    if (width < 1 || height < 1 || width > SW_MAX_SIDE || height > SW_MAX_SIDE || width * height > SW_MAX_PIXELS)
        return "its size is not between 1 x 1 and 50 million pixels";
    return NULL;
}

void sw_inspect(sw_picture *picture)
{
    if (picture->state != SW_READY)
        return;
    const char *reason = picture->kind == SW_PIXELS ? inspect_pixels(picture) : inspect_jpeg(picture);
    if (reason)
        leave_to_others(picture, reason);
}
