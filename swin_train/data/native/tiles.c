/* Reading tiled JPEGs: what a header says, and regions. */
#include "tiles.h"

#include <stdlib.h>
#include <string.h>

#include "picture.h"

enum { SOF0 = 0xC0, SOF1 = 0xC1, DHT = 0xC4, RST0 = 0xD0, SOI = 0xD8, EOI = 0xD9, SOS = 0xDA, DQT = 0xDB };
enum { DRI = 0xDD, APP0 = 0xE0, APP14 = 0xEE };

enum {
    CONTEXT = 2,   /* pixels: upsampling looks at the next chroma sample */
    MIN_WIDTH = 8, /* libjpeg upsamples pictures up to 4 pixels wide in another way; no region may become one */
};

typedef struct {
    int width, height;
    int num_components;
    int mcu_width, mcu_height; /* pixels */
    int interval;              /* MCUs */
    int columns, rows;         /* intervals side by side; rows of MCUs */
    const uint8_t *lengths;    /* of the intervals, 2 bytes each */
    int num_lengths;
    size_t frame;              /* offsets: the SOF segment, */
    size_t table, table_end;   /* the table of lengths, */
    size_t scan;               /* the first interval */
} tiling;

static int read_16(const uint8_t *data)
{
    return data[0] << 8 | data[1];
}

static int divide_up(int value, int by)
{
    return (value + by - 1) / by;
}

/* Size and sampling. `size` counts the bytes behind the marker, as in all segments. */
static int read_frame(const uint8_t *segment, int size, tiling *t)
{
    if (size < 8 || segment[2] != 8 || size != 8 + 3 * segment[7])
        return 0;
    t->height = read_16(segment + 3);
    t->width = read_16(segment + 5);
    t->num_components = segment[7];
    if (!t->height || !t->width || (t->num_components != 1 && t->num_components != 3))
        return 0;
    int across = 1, down = 1;
    for (int i = 0; i < t->num_components; i++) {
        int horizontal = segment[9 + 3 * i] >> 4, vertical = segment[9 + 3 * i] & 15;
        if (horizontal < 1 || horizontal > 4 || vertical < 1 || vertical > 4)
            return 0;
        across = horizontal > across ? horizontal : across;
        down = vertical > down ? vertical : down;
    }
    if (t->num_components == 1)
        across = down = 1; /* a scan of one component has MCUs of one block */
    t->mcu_width = 8 * across;
    t->mcu_height = 8 * down;
    return 1;
}

/* Takes one segment in, given from its size on. False: a tiled JPEG has none such, or not twice. */
static int read_segment(const uint8_t *data, size_t at, int marker, int size, tiling *t)
{
    const uint8_t *segment = data + at + 2;
    switch (marker) {
    case SOF0:
    case SOF1:
        if (t->frame)
            return 0;
        t->frame = at;
        return read_frame(segment, size, t);
    case DRI:
        if (t->interval || size != 4)
            return 0;
        t->interval = read_16(segment + 2);
        return t->interval > 0;
    case SW_TILES_MARKER:
        if (t->table || size < 10 || size % 2 || memcmp(segment + 2, SW_TILES_NAME, 8))
            return 0;
        t->table = at;
        t->table_end = at + 2 + size;
        t->lengths = segment + 10;
        t->num_lengths = (size - 10) / 2;
        return 1;
    default:
        return marker == DHT || marker == DQT || marker == APP0 || marker == APP14;
    }
}

/* True if frame, restart interval, table and the bytes behind the header fit together. */
static int fits(const uint8_t *data, size_t length, tiling *t)
{
    if (!t->frame || !t->interval || !t->table)
        return 0;
    int mcus = divide_up(t->width, t->mcu_width);
    if (mcus % t->interval)
        return 0;
    t->columns = mcus / t->interval;
    t->rows = divide_up(t->height, t->mcu_height);
    if (t->num_lengths != t->columns * t->rows) /* at most 8192 * 8192 */
        return 0;
    size_t sum = 2 * (size_t)t->num_lengths; /* each ends with a marker */
    for (int i = 0; i < t->num_lengths; i++)
        sum += read_16(t->lengths + 2 * i);
    return sum == length - t->scan && data[length - 2] == 0xFF && data[length - 1] == EOI;
}

static int parse(const uint8_t *data, size_t length, tiling *t)
{
    memset(t, 0, sizeof *t);
    if (length < 4 || data[0] != 0xFF || data[1] != SOI)
        return 0;
    size_t at = 2;
    while (length - at >= 4 && data[at] == 0xFF) {
        int marker = data[at + 1], size = read_16(data + at + 2);
        if (size < 2 || (size_t)size > length - at - 2)
            return 0;
        if (marker == SOS) {
            t->scan = at + 2 + size;
            return size >= 3 && data[at + 4] == t->num_components && fits(data, length, t);
        }
        if (!read_segment(data, at, marker, size, t))
            return 0;
        at += 2 + size;
    }
    return 0;
}

int sw_is_tiled(const uint8_t *data, size_t length)
{
    tiling t;
    return parse(data, length, &t);
}

int sw_tiled_size(const uint8_t *data, size_t length, int *width, int *height)
{
    tiling t;
    if (!parse(data, length, &t))
        return SW_TILES_NOT_TILED;
    *width = t.width;
    *height = t.height;
    return 0;
}

static int max(int a, int b)
{
    return a > b ? a : b;
}

static int min(int a, int b)
{
    return a < b ? a : b;
}

/* First and last (included) column and row of the intervals that a region needs. */
static sw_box touched(const tiling *t, int left, int top, int right, int bottom)
{
    int tile_width = t->interval * t->mcu_width;
    left = max(0, min(left - CONTEXT, t->width - MIN_WIDTH));
    top = max(0, top - CONTEXT);
    right = min(right + CONTEXT, t->width);
    bottom = min(bottom + CONTEXT, t->height);
    return (sw_box){
        .left = left / tile_width,
        .top = top / t->mcu_height,
        .right = (right - 1) / tile_width,
        .bottom = (bottom - 1) / t->mcu_height,
    };
}

/* The header without the table, with another size. Returns its length. */
static size_t write_header(const uint8_t *data, const tiling *t, int width, int height, uint8_t *out)
{
    size_t gap = t->table_end - t->table;
    memcpy(out, data, t->table);
    memcpy(out + t->table, data + t->table_end, t->scan - t->table_end);
    uint8_t *size = out + t->frame - (t->frame > t->table ? gap : 0) + 5;
    size[0] = height >> 8;
    size[1] = height & 255;
    size[2] = width >> 8;
    size[3] = width & 255;
    return t->scan - gap;
}

static int is_marker(const uint8_t *data, int code)
{
    return data[0] == 0xFF && data[1] == code;
}

/* The intervals of a range, restart markers counted anew. Returns their length, 0 if a marker is not in its
 * place: the table and the data do not belong together. */
static size_t write_intervals(const uint8_t *data, const tiling *t, sw_box range, uint8_t *out)
{
    uint8_t *end = out;
    const uint8_t *interval = data + t->scan;
    int written = 0;
    for (int i = 0; i < t->columns * (range.bottom + 1); i++) {
        int length = read_16(t->lengths + 2 * i), row = i / t->columns, column = i % t->columns;
        if (row >= range.top && column >= range.left && column <= range.right) {
            int marker = i == t->num_lengths - 1 ? EOI : RST0 + i % 8;
            if (!is_marker(interval + length, marker) || (i > 0 && !is_marker(interval - 2, RST0 + (i - 1) % 8)))
                return 0;
            memcpy(end, interval, length + 1);
            end += length + 2;
            end[-1] = RST0 + written++ % 8;
        }
        interval += length + 2;
    }
    end[-1] = EOI;
    return end - out;
}

/* No result is longer than its source. */
static int reserve(uint8_t **buffer, size_t *capacity, size_t length)
{
    if (*buffer && *capacity >= length)
        return 1;
    free(*buffer);
    *buffer = malloc(length);
    *capacity = *buffer ? length : 0;
    return *buffer != NULL;
}

long sw_tiled_region(const uint8_t *data, size_t length, int left, int top, int right, int bottom,
                     uint8_t **buffer, size_t *capacity, int *origin_x, int *origin_y)
{
    tiling t;
    if (!parse(data, length, &t))
        return SW_TILES_NOT_TILED;
    if (left < 0 || top < 0 || right > t.width || bottom > t.height || left >= right || top >= bottom)
        return SW_TILES_BAD_REGION;
    if (!reserve(buffer, capacity, length))
        return SW_TILES_NO_MEMORY;
    sw_box range = touched(&t, left, top, right, bottom);
    *origin_x = range.left * t.interval * t.mcu_width;
    *origin_y = range.top * t.mcu_height;
    int width = min((range.right + 1) * t.interval * t.mcu_width, t.width) - *origin_x;
    int height = min((range.bottom + 1) * t.mcu_height, t.height) - *origin_y;
    size_t header = write_header(data, &t, width, height, *buffer);
    size_t intervals = write_intervals(data, &t, range, *buffer + header);
    return intervals ? (long)(header + intervals) : SW_TILES_NOT_TILED;
}
