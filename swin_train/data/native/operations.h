/* What augmentation does to the pixels of one picture, with the results of Pillow 13 bit for bit, and how the
 * picture then becomes the model's input. Pixels are RGBX: 4 bytes each, the fourth of no meaning, rows without
 * padding. A picture of one channel is held as R = G = B and stays so.
 *
 * simd chooses AVX2 where the processor has it; the results are the same bits without.
 */
#ifndef SW_OPERATIONS_H
#define SW_OPERATIONS_H

#include <stdint.h>

/* The numbers are those of OpCode in kernels/augment.py. Unknown ones change nothing. */
enum {
    SW_IDENTITY = 0,
    SW_AUTO_CONTRAST = 1,
    SW_EQUALIZE = 2,
    SW_INVERT = 3,
    SW_POSTERIZE = 4,    /* value: bits kept; none or fewer is black */
    SW_SOLARIZE = 5,     /* value: the threshold from which on values are inverted */
    SW_SOLARIZE_ADD = 6, /* value: a whole number, added to what is below 128 */
    SW_BRIGHTNESS = 7,   /* value of these four: the factor, 1 changes nothing */
    SW_CONTRAST = 8,
    SW_COLOR = 9,
    SW_SHARPNESS = 10,
    SW_AFFINE = 11, /* matrix as Image.transform takes it, from the result's coordinates to the source's */
    SW_GREY = 12,
    SW_BLUR = 13, /* value: the radius of ImageFilter.GaussianBlur */
};

typedef struct {
    int32_t code;
    int32_t bicubic; /* SW_AFFINE: otherwise bilinear */
    double value;
    double matrix[6];
} sw_op;

/* Applies count operations one after the other. scratch has the size of pixels; the result is in pixels. fill
 * is the colour that SW_AFFINE brings in. */
void sw_operate(uint8_t *pixels, uint8_t *scratch, int width, int height, const sw_op *ops, int count,
                const uint8_t fill[4], int simd);

/* A rectangle to be overwritten. Its noise is draws.normal_noise(key, ...), in the order channel, row, column. */
typedef struct {
    int32_t left, top, right, bottom;
    int64_t key;
} sw_erasure;

enum { SW_ERASE_CONST = 0, SW_ERASE_RAND = 1, SW_ERASE_PIXEL = 2 };

/* Writes (value / 255 - mean) / std, all in float32, to out [channels, height, width], channels being 1 or 3;
 * then writes into each rectangle zeros, a normal deviate per channel, or one per value. A rectangle that does
 * not lie in the picture is left out. */
void sw_finish(const uint8_t *pixels, int width, int height, int channels, const float *mean, const float *std,
               const sw_erasure *erasures, int count, int mode, float *out, int simd);

#endif
