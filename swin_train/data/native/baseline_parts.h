/* The parts of the decoder of plain JPEG files: header, Huffman tables, coefficients, samples, pixels. */
#ifndef SW_BASELINE_PARTS_H
#define SW_BASELINE_PARTS_H

#include "memory.h"
#include "picture.h"

enum {
    SW_LOOKUP_BITS = 11, /* of the window that one look into a table decodes */
    SW_MAX_BLOCKS = 6,   /* of an MCU */
    SW_COEFFICIENTS = 64,
};

/* What the header says; pointers into the file. */
typedef struct {
    int width, height;
    int num_components;                                  /* 1 or 3 */
    int across, down;                                    /* sampling factors of the luma: 1 or 2; chroma has 1 */
    int interval;                                        /* MCUs between restart markers, or 0 */
    const uint8_t *quant[3];                             /* of each component, in zigzag order */
    const uint8_t *huffman_dc[3], *huffman_ac[3];        /* 16 counts, then the symbols */
    size_t scan;                                         /* where the coded data begin */
} sw_header;

/* 1, or 0: not of the common kind, or irregular. */
int sw_read_header(const uint8_t *data, size_t length, sw_header *header);

/* A Huffman code. */
typedef struct {
    uint8_t spec[16 + 256]; /* what the tables were made of */
    int is_made;
    uint16_t symbols[1 << SW_LOOKUP_BITS]; /* by window: length << 8 | symbol; 0: longer, or no code */
    int32_t past_code[17];                 /* by length: one more than the last code */
    int32_t offset[17];                    /* by length: position of a code's symbol is code + offset */
} sw_huffman;

enum { SW_END_OF_BLOCK = 128, SW_NO_ENTRY = 255 };

typedef struct {
    sw_huffman code;
    /* One coefficient or two, from the lowest byte: bits of all; of the first its code's bits, 63 - its value's bits
     * and steps to it (zeros and itself; SW_END_OF_BLOCK: there is none); steps to the last, SW_END_OF_BLOCK added
     * where the block ends then, SW_NO_ENTRY: look at `symbols`; 0; in 16 bits the value of the second. */
    uint64_t entries[1 << SW_LOOKUP_BITS];
    /* All that the window holds: steps << 8 | bits. */
    uint16_t skips[1 << SW_LOOKUP_BITS];
} sw_ac_table;

/* 1, or 0: no code of a baseline file. */
int sw_make_dc_table(sw_huffman *code, const uint8_t *spec);
int sw_make_ac_table(sw_ac_table *table, const uint8_t *spec);

/* The coded data: bits that follow in `window` from the highest on, `count` of them valid. */
typedef struct {
    const uint8_t *next;
    uint64_t window;
    int count;
} sw_bits;

typedef struct {
    sw_bits bits;
    const uint8_t *past;     /* the end of the restart interval's data */
    const uint8_t *data, *end; /* of the file, not read yet */
    sw_buffer unstuffed;
    int interval, left;      /* MCUs of a restart interval, and of the present one */
    int restarts;
    int num_blocks;          /* of an MCU */
    int component[SW_MAX_BLOCKS];
    int predicted[3];
    const sw_huffman *dc[3];
    const sw_ac_table *ac[3];
} sw_scan;

/* 1, or 0: no memory. */
int sw_start_scan(sw_scan *scan, const uint8_t *data, const uint8_t *end);

/* Decodes MCUs: each block's 64 coefficients in natural order; NULL: they are passed over. 1, or 0: irregular. */
int sw_decode_mcus(sw_scan *scan, int count, int16_t *coefficients);

extern const uint8_t sw_natural_order[SW_COEFFICIENTS];

/* Where a block's samples go. */
typedef struct {
    const int16_t *quant; /* in natural order */
    uint8_t *samples;
    size_t stride;
} sw_block;

/* Two blocks of 64 coefficients each -> samples, as libjpeg's JDCT_ISLOW. */
void sw_transform(const int16_t *coefficients, const sw_block blocks[2], int simd);
void sw_transform_avx2(const int16_t *coefficients, const sw_block blocks[2]);

/* Rows of samples of which a row of pixels is made. Chroma rows: sample of the first pixel, which has an even number;
 * at both ends of the picture one more sample repeats the last. */
typedef struct {
    const uint8_t *luma;
    const uint8_t *near[2], *far[2]; /* blue and red chroma of the nearest row and the second nearest */
    int across, down;                /* how many pixels share a chroma sample; both 0: grey */
} sw_sample_row;

/* May read and write up to 32 pixels too far. */
void sw_make_pixels(const sw_sample_row *row, int width, uint8_t *pixels, int simd);
void sw_make_pixels_avx2(const sw_sample_row *row, int width, uint8_t *pixels);

#endif
