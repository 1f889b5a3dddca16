#include "baseline.h"

#include <string.h>

#include "baseline_parts.h"

enum {
    CONTEXT = 2,   /* pixels beside the region that smooth upsampling looks at */
    MIN_WIDTH = 8, /* libjpeg upsamples pictures up to 4 pixels wide in another way */
    MARGIN = 64,   /* bytes on both sides of a row of samples */
};

/* The samples of one row of MCUs. Where chroma rows are upsampled, one row of the MCUs above stands before them, and
 * one below in the last row of the picture. */
typedef struct {
    uint8_t *first; /* sample of the first row */
    size_t stride;
    int width, height; /* in samples, without the rows above and below */
} plane;

struct sw_baseline {
    sw_header header;
    sw_scan scan;
    sw_huffman dc[3];
    sw_ac_table ac[3];
    int16_t quant[3][SW_COEFFICIENTS];
    plane planes[3];
    int mcu_width, mcu_height, columns, rows;        /* of the picture */
    int first_column, num_columns, first_row, last_row; /* what the region needs */
    int above;                                       /* 1: rows wait for the chroma of the next row of MCUs */
    sw_buffer samples, coefficients, strip;
};

sw_baseline *sw_baseline_create(void)
{
    return calloc(1, sizeof(sw_baseline));
}

void sw_baseline_destroy(sw_baseline *decoder)
{
    if (decoder == NULL)
        return;
    sw_free(&decoder->scan.unstuffed);
    sw_free(&decoder->samples);
    sw_free(&decoder->coefficients);
    sw_free(&decoder->strip);
    free(decoder);
}

static int min(int a, int b)
{
    return a < b ? a : b;
}

static int max(int a, int b)
{
    return a > b ? a : b;
}

static int divide_up(int value, int by)
{
    return (value + by - 1) / by;
}

/* Where the rows of MCUs and columns of MCUs lie that the region needs. As many rows are decoded as libjpeg decodes,
 * so that damage is seen where it sees it. */
static int lay_out(sw_baseline *d, sw_box region)
{
    const sw_header *header = &d->header;
    if (header->width < MIN_WIDTH || (int64_t)header->width * header->height > SW_MAX_PIXELS || region.left < 0 ||
        region.top < 0 || region.right <= region.left || region.bottom <= region.top ||
        region.right > header->width || region.bottom > header->height)
        return 0;
    d->mcu_width = 8 * header->across;
    d->mcu_height = 8 * header->down;
    d->columns = divide_up(header->width, d->mcu_width);
    d->rows = divide_up(header->height, d->mcu_height);
    d->above = header->down - 1;
    int beside = header->across == 2 ? CONTEXT : 0, below = header->down == 2 ? CONTEXT : 0;
    d->first_column = max(0, region.left - beside) / d->mcu_width;
    d->num_columns = (min(header->width, region.right + beside) - 1) / d->mcu_width + 1 - d->first_column;
    d->first_row = max(0, region.top - d->above) / d->mcu_height;
    d->last_row = (min(header->height, region.bottom + below) - 1) / d->mcu_height;
    return 1;
}

/* Tables of the components; those that are shared are made once. */
static int make_tables(sw_baseline *d)
{
    const sw_header *header = &d->header;
    sw_scan *scan = &d->scan;
    for (int c = 0; c < header->num_components; c++) {
        int dc = 0, ac = 0;
        while (header->huffman_dc[dc] != header->huffman_dc[c])
            dc++;
        while (header->huffman_ac[ac] != header->huffman_ac[c])
            ac++;
        if (dc == c && !sw_make_dc_table(d->dc + c, header->huffman_dc[c]))
            return 0;
        if (ac == c && !sw_make_ac_table(d->ac + c, header->huffman_ac[c]))
            return 0;
        scan->dc[c] = d->dc + dc;
        scan->ac[c] = d->ac + ac;
        for (int i = 0; i < SW_COEFFICIENTS; i++)
            d->quant[c][sw_natural_order[i]] = header->quant[c][i];
    }
    return 1;
}

static int start(sw_baseline *d, const uint8_t *data, size_t length)
{
    sw_scan *scan = &d->scan;
    const sw_header *header = &d->header;
    int lumas = header->across * header->down;
    scan->num_blocks = header->num_components == 1 ? 1 : lumas + 2;
    for (int b = 0; b < scan->num_blocks; b++)
        scan->component[b] = b < lumas ? 0 : b - lumas + 1;
    scan->interval = header->interval;
    return make_tables(d) && sw_start_scan(scan, data + header->scan, data + length);
}

static int reserve(sw_baseline *d, int width)
{
    const sw_header *header = &d->header;
    size_t size = 0, offset = MARGIN;
    for (int c = 0; c < header->num_components; c++) {
        plane *p = d->planes + c;
        p->width = 8 * d->num_columns * (c ? 1 : header->across);
        p->height = 8 * (c ? 1 : header->down);
        p->stride = (size_t)p->width + 2 * MARGIN;
        size += p->stride * (size_t)(p->height + 2 * d->above);
    }
    size_t blocks = (size_t)d->num_columns * (size_t)d->scan.num_blocks + 1;
    if (!sw_reserve(&d->samples, size) || !sw_reserve(&d->strip, ((size_t)width + MARGIN) * 4 * SW_STRIP) ||
        !sw_reserve(&d->coefficients, blocks * SW_COEFFICIENTS * sizeof(int16_t)))
        return 0;
    for (int c = 0; c < header->num_components; c++) {
        plane *p = d->planes + c;
        p->first = d->samples.bytes + offset + p->stride * (size_t)d->above;
        offset += p->stride * (size_t)(p->height + 2 * d->above);
    }
    return 1;
}

static uint8_t *sample_row(const plane *p, int row)
{
    return p->first + (ptrdiff_t)row * (ptrdiff_t)p->stride;
}

static sw_block find_block(const sw_baseline *d, int column, int b)
{
    int c = d->scan.component[b], across = c ? 1 : d->header.across;
    int x = c ? column : column * across + b % across, y = c ? 0 : b / across;
    return (sw_block){d->quant[c], sample_row(d->planes + c, 8 * y) + 8 * x, d->planes[c].stride};
}

static void transform_row(sw_baseline *d, int simd)
{
    uint8_t nowhere[SW_COEFFICIENTS];
    const int16_t *coefficients = (const int16_t *)(const void *)d->coefficients.bytes;
    int per_mcu = d->scan.num_blocks, count = d->num_columns * per_mcu, column = 0, b = 0;
    for (int i = 0; i < count; i += 2) {
        sw_block blocks[2] = {{d->quant[0], nowhere, 8}, {d->quant[0], nowhere, 8}};
        for (int half = 0; half < 2 && i + half < count; half++) {
            blocks[half] = find_block(d, column, b);
            if (++b == per_mcu) {
                b = 0;
                column++;
            }
        }
        sw_transform(coefficients + (size_t)i * SW_COEFFICIENTS, blocks, simd);
    }
}

static void copy_row(const plane *p, int from, int to)
{
    memcpy(sample_row(p, to) - 1, sample_row(p, from) - 1, (size_t)p->width + 2);
}

/* At the picture's edges the chroma goes on as it is there. */
static void extend_chroma(sw_baseline *d, int row)
{
    int right = divide_up(d->header.width, d->header.across) - 8 * d->first_column;
    for (int c = 1; c < d->header.num_components; c++) {
        plane *p = d->planes + c;
        for (int y = 0; y < p->height; y++) {
            uint8_t *samples = sample_row(p, y);
            samples[-1] = samples[0]; /* where the picture goes on to the left it is not looked at */
            if (right <= p->width)
                samples[right] = samples[right - 1];
        }
        if (d->above && row == 0)
            copy_row(p, 0, -1);
        int bottom = divide_up(d->header.height, d->header.down) - 8 * row;
        if (d->above && bottom <= p->height)
            copy_row(p, bottom - 1, bottom);
    }
}

/* The samples for the pixels of a row of the picture, from column left on. */
static sw_sample_row find_samples(const sw_baseline *d, int row, int left, int y)
{
    const sw_header *header = &d->header;
    sw_sample_row found = {
        .luma = sample_row(d->planes, y - row * d->mcu_height) + (left - d->first_column * d->mcu_width),
    };
    if (header->num_components == 1)
        return found;
    found.across = header->across;
    found.down = header->down;
    int near = y / header->down - 8 * row, far = header->down == 1 ? near : y % 2 ? near + 1 : near - 1;
    ptrdiff_t at = left / header->across - 8 * d->first_column;
    for (int c = 0; c < 2; c++) {
        found.near[c] = sample_row(d->planes + 1 + c, near) + at;
        found.far[c] = sample_row(d->planes + 1 + c, far) + at;
    }
    return found;
}

/* Hands over the pixels of the region whose samples are there now. */
static void hand_over(sw_baseline *d, int row, sw_box region, const sw_sink *sink, int simd)
{
    int top = max(region.top, row * d->mcu_height - d->above);
    int end = row == d->rows - 1 ? d->header.height : (row + 1) * d->mcu_height - d->above;
    int bottom = min(region.bottom, end), left = region.left & ~1, width = region.right - left;
    if (d->header.across == 1)
        left = region.left;
    size_t stride = ((size_t)width + MARGIN) * 4;
    for (int y = top; y < bottom; y += SW_STRIP) {
        int count = min(SW_STRIP, bottom - y);
        for (int i = 0; i < count; i++) {
            sw_sample_row samples = find_samples(d, row, left, y + i);
            sw_make_pixels(&samples, width, d->strip.bytes + (size_t)i * stride, simd);
        }
        uint8_t *pixels = d->strip.bytes + 4 * (size_t)(region.left - left);
        sink->take(sink->owner, pixels, stride, y - region.top, count);
    }
}

static int decode_row(sw_baseline *d, int row)
{
    if (row < d->first_row)
        return sw_decode_mcus(&d->scan, d->columns, NULL);
    int16_t *coefficients = (int16_t *)(void *)d->coefficients.bytes;
    return sw_decode_mcus(&d->scan, d->first_column, NULL) &&
           sw_decode_mcus(&d->scan, d->num_columns, coefficients) &&
           sw_decode_mcus(&d->scan, d->columns - d->first_column - d->num_columns, NULL);
}

static int decode(sw_baseline *d, sw_box region, const sw_sink *sink, int simd)
{
    for (int row = 0; row <= d->last_row; row++) {
        if (!decode_row(d, row))
            return 0;
        if (row < d->first_row)
            continue;
        transform_row(d, simd);
        extend_chroma(d, row);
        hand_over(d, row, region, sink, simd);
        for (int c = 0; c < d->header.num_components && d->above; c++)
            copy_row(d->planes + c, d->planes[c].height - 1, -1);
    }
    return 1;
}

int sw_baseline_decode(sw_baseline *decoder, const uint8_t *data, size_t length, sw_box region, const sw_sink *sink,
                       int simd)
{
    sw_baseline *d = decoder;
    int is_done = sw_read_header(data, length, &d->header) && lay_out(d, region) && start(d, data, length) &&
                  reserve(d, region.right - region.left) && decode(d, region, sink, simd);
    sw_free_if_large(&d->scan.unstuffed);
    return is_done;
}
