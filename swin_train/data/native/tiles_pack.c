/* Making tiled JPEGs: the coefficients of a JPEG written anew, with restart intervals and a table of their
 * lengths, and proof that the pixels are the same. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "picture.h"
#include "tiles.h"

enum { EOI = 0xD9, SOS = 0xDA, APP0 = 0xE0 };

enum {
    MAX_SCANS = 100,                                /* as in jpeg.c */
    TABLE_HEADER = 12,                              /* marker, size and name */
    MAX_INTERVALS = (65535 + 2 - TABLE_HEADER) / 2, /* a segment's size does not count its marker */
    MAX_INTERVAL_BYTES = 65535,
};

/* One picture's work. All that a longjmp must not lose lies here, not in local variables. */
typedef struct {
    struct jpeg_error_mgr errors; /* first: libjpeg hands its address back */
    jmp_buf escape;
    int code; /* what went wrong */
    struct jpeg_progress_mgr progress;
    struct jpeg_destination_mgr destination;
    struct jpeg_decompress_struct source, tiled;
    struct jpeg_compress_struct writer;
    uint8_t *bytes; /* the rewritten JPEG */
    size_t used, capacity;
    uint8_t *blob; /* the same with its table */
    size_t blob_length;
    uint8_t *rows; /* one of the source, one of the tiled picture */
} packer;

static void give_up(packer *p, int code)
{
    p->code = code;
    longjmp(p->escape, 1);
}

static void on_error(j_common_ptr jpeg)
{
    packer *p = (packer *)jpeg->err;
    give_up(p, p->errors.msg_code == JERR_OUT_OF_MEMORY ? SW_TILES_NO_MEMORY : SW_TILES_DAMAGED);
}

/* A warning (level -1) says that libjpeg has made pixels up. */
static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0)
        on_error(jpeg);
}

static void on_progress(j_common_ptr jpeg)
{
    packer *p = (packer *)jpeg->err;
    if (jpeg->is_decompressor && ((j_decompress_ptr)jpeg)->input_scan_number > MAX_SCANS)
        give_up(p, SW_TILES_DAMAGED);
}

/* The destination: bytes, doubled when it is full. */
static void set_room(packer *p)
{
    p->destination.next_output_byte = p->bytes + p->used;
    p->destination.free_in_buffer = p->capacity - p->used;
}

static void start_writing(j_compress_ptr writer)
{
    set_room((packer *)writer->err);
}

static boolean grow(j_compress_ptr writer)
{
    packer *p = (packer *)writer->err;
    uint8_t *larger = realloc(p->bytes, 2 * p->capacity);
    if (!larger)
        give_up(p, SW_TILES_NO_MEMORY);
    p->bytes = larger;
    p->used = p->capacity; /* libjpeg calls with a full buffer, whatever free_in_buffer says */
    p->capacity *= 2;
    set_room(p);
    return TRUE;
}

static void finish_writing(j_compress_ptr writer)
{
    packer *p = (packer *)writer->err;
    p->used = p->capacity - p->destination.free_in_buffer;
}

static void set_up(packer *p)
{
    jpeg_std_error(&p->errors);
    p->errors.error_exit = on_error;
    p->errors.emit_message = on_message;
    p->progress.progress_monitor = on_progress;
    p->destination.init_destination = start_writing;
    p->destination.empty_output_buffer = grow;
    p->destination.term_destination = finish_writing;
    p->source.err = p->tiled.err = p->writer.err = &p->errors;
    jpeg_create_decompress(&p->source);
    jpeg_create_decompress(&p->tiled);
    jpeg_create_compress(&p->writer);
    p->source.progress = &p->progress;
    p->writer.dest = &p->destination;
}

static void clean_up(packer *p)
{
    jpeg_destroy_decompress(&p->source);
    jpeg_destroy_decompress(&p->tiled);
    jpeg_destroy_compress(&p->writer);
    free(p->bytes);
    free(p->blob);
    free(p->rows);
}

/* The divisor of `mcus` nearest to `wanted`, as a ratio; `mcus` itself where all are far from it. */
static int nearest_divisor(int mcus, double wanted)
{
    int best = mcus;
    double best_ratio = 2.5;
    for (int divisor = 1; divisor <= mcus; divisor++) {
        double ratio = divisor > wanted ? divisor / wanted : wanted / divisor;
        if (mcus % divisor == 0 && ratio < best_ratio) {
            best = divisor;
            best_ratio = ratio;
        }
    }
    return best;
}

/* MCUs per interval, wider where the table would be too long for a segment. */
static int choose_interval(const struct jpeg_decompress_struct *jpeg, int tile)
{
    int one = jpeg->num_components == 1; /* a scan of one component has MCUs of one block */
    int mcu_width = one ? 8 : 8 * jpeg->max_h_samp_factor, mcu_height = one ? 8 : 8 * jpeg->max_v_samp_factor;
    int mcus = (jpeg->image_width + mcu_width - 1) / mcu_width;
    int rows = (jpeg->image_height + mcu_height - 1) / mcu_height;
    double wanted = tile > mcu_width ? (double)tile / mcu_width : 1;
    int interval = nearest_divisor(mcus, wanted);
    while (interval < mcus && mcus / interval > MAX_INTERVALS / rows) {
        wanted *= 2;
        interval = nearest_divisor(mcus, wanted);
    }
    return interval;
}

static void read_source_header(packer *p, const uint8_t *jpeg, size_t length)
{
    jpeg_mem_src(&p->source, jpeg, length);
    jpeg_read_header(&p->source, TRUE);
    J_COLOR_SPACE colours = p->source.jpeg_color_space;
    int is_known = colours == JCS_GRAYSCALE || colours == JCS_YCbCr || colours == JCS_RGB;
    if (!is_known || p->source.data_precision != 8 || p->source.arith_code)
        give_up(p, SW_TILES_OTHER_KIND);
    if ((uint64_t)p->source.image_width * p->source.image_height > SW_MAX_PIXELS)
        give_up(p, SW_TILES_TOO_LARGE);
}

/* source -> bytes: one baseline scan. libjpeg writes the JFIF or Adobe marker that the colours need. */
static void rewrite(packer *p, const uint8_t *jpeg, size_t length, int tile)
{
    read_source_header(p, jpeg, length);
    p->capacity = length + 4096;
    p->bytes = malloc(p->capacity);
    if (!p->bytes)
        give_up(p, SW_TILES_NO_MEMORY);
    jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&p->source);
    jpeg_copy_critical_parameters(&p->source, &p->writer);
    p->writer.optimize_coding = TRUE;
    p->writer.restart_interval = choose_interval(&p->source, tile);
    jpeg_write_coefficients(&p->writer, coefficients);
    jpeg_finish_compress(&p->writer);
    jpeg_finish_decompress(&p->source);
}

static size_t segment_end(const uint8_t *bytes, size_t at)
{
    return at + 2 + (bytes[at + 2] << 8 | bytes[at + 3]);
}

/* Writes the lengths of the intervals from `at` on; NULL: only counts them. Returns their number, 0 if one is
 * too long. `bytes` is what libjpeg has just written, so markers need no doubt. */
static int list_intervals(const packer *p, size_t at, uint8_t *lengths)
{
    size_t start = at;
    for (int count = 0;; at++) {
        int code = p->bytes[at] == 0xFF ? p->bytes[at + 1] : 0;
        if (code == 0)
            continue; /* FF 00 is a stuffed byte of data */
        if (at - start > MAX_INTERVAL_BYTES)
            return 0;
        if (lengths) {
            lengths[2 * count] = (at - start) >> 8;
            lengths[2 * count + 1] = (at - start) & 255;
        }
        count++;
        if (code == EOI)
            return count;
        start = at + 2;
    }
}

/* bytes -> blob: the table goes behind the JFIF or Adobe segment, which stands first by custom. */
static void add_table(packer *p)
{
    size_t table = 2, scan = 2;
    while (p->bytes[table + 1] >= APP0)
        table = segment_end(p->bytes, table);
    while (p->bytes[scan + 1] != SOS)
        scan = segment_end(p->bytes, scan);
    scan = segment_end(p->bytes, scan);
    int count = list_intervals(p, scan, NULL);
    if (!count || count > MAX_INTERVALS)
        give_up(p, SW_TILES_TOO_LARGE);

    size_t size = TABLE_HEADER + 2 * (size_t)count;
    p->blob_length = p->used + size;
    p->blob = malloc(p->blob_length);
    if (!p->blob)
        give_up(p, SW_TILES_NO_MEMORY);
    memcpy(p->blob, p->bytes, table);
    uint8_t *segment = p->blob + table;
    segment[0] = 0xFF;
    segment[1] = SW_TILES_MARKER;
    segment[2] = (size - 2) >> 8;
    segment[3] = (size - 2) & 255;
    memcpy(segment + 4, SW_TILES_NAME, 8);
    list_intervals(p, scan, segment + TABLE_HEADER);
    memcpy(segment + size, p->bytes + table, p->used - table);
}

static void start_decoding(j_decompress_ptr jpeg, const uint8_t *data, size_t length)
{
    jpeg_mem_src(jpeg, data, length);
    jpeg_read_header(jpeg, TRUE);
    jpeg_start_decompress(jpeg);
}

/* Gives up unless both decode to the same pixels. */
static void compare(packer *p, const uint8_t *jpeg, size_t length)
{
    start_decoding(&p->source, jpeg, length);
    start_decoding(&p->tiled, p->blob, p->blob_length);
    size_t row = (size_t)p->source.output_width * p->source.output_components;
    if (p->tiled.output_width != p->source.output_width || p->tiled.output_height != p->source.output_height ||
        p->tiled.output_components != p->source.output_components)
        give_up(p, SW_TILES_NOT_EQUAL);
    p->rows = malloc(2 * row);
    if (!p->rows)
        give_up(p, SW_TILES_NO_MEMORY);
    JSAMPROW of_source = p->rows, of_tiled = p->rows + row;
    while (p->source.output_scanline < p->source.output_height) {
        jpeg_read_scanlines(&p->source, &of_source, 1);
        jpeg_read_scanlines(&p->tiled, &of_tiled, 1);
        if (memcmp(of_source, of_tiled, row))
            give_up(p, SW_TILES_NOT_EQUAL);
    }
    jpeg_finish_decompress(&p->source);
    jpeg_finish_decompress(&p->tiled);
}

/* 0, or what is wrong. */
static int run(packer *p, const uint8_t *jpeg, size_t length, int tile)
{
    if (setjmp(p->escape))
        return p->code;
    set_up(p);
    rewrite(p, jpeg, length, tile);
    add_table(p);
    if (!sw_is_tiled(p->blob, p->blob_length))
        return SW_TILES_NOT_TILED;
    compare(p, jpeg, length);
    return 0;
}

long sw_tiled_pack(const uint8_t *jpeg, size_t length, int tile, uint8_t **out)
{
    packer p;
    memset(&p, 0, sizeof p);
    int code = run(&p, jpeg, length, tile);
    if (code == 0) {
        *out = p.blob;
        p.blob = NULL;
    }
    clean_up(&p);
    return code ? code : (long)p.blob_length;
}

void sw_tiled_free(uint8_t *tiled)
{
    free(tiled);
}
