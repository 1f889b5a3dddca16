/* A list of operations on one picture. */
#include "operations.h"

#include <string.h>

#include "steps.h"

static void operate_in_place(uint8_t *pixels, uint8_t *scratch, sw_frame frame, const sw_op *op)
{
    switch (op->code) {
    case SW_AUTO_CONTRAST:
        sw_auto_contrast(pixels, frame);
        break;
    case SW_EQUALIZE:
        sw_equalize(pixels, frame);
        break;
    case SW_INVERT:
        sw_invert(pixels, frame);
        break;
    case SW_POSTERIZE:
        sw_posterize(pixels, frame, op->value);
        break;
    case SW_SOLARIZE:
        sw_solarize(pixels, frame, op->value);
        break;
    case SW_SOLARIZE_ADD:
        sw_solarize_add(pixels, frame, op->value);
        break;
    case SW_BRIGHTNESS:
        sw_brightness(pixels, frame, op->value);
        break;
    case SW_CONTRAST:
        sw_contrast(pixels, frame, op->value);
        break;
    case SW_COLOR:
        sw_color(pixels, frame, op->value);
        break;
    case SW_GREY:
        sw_grey(pixels, frame);
        break;
    case SW_BLUR:
        sw_blur(pixels, scratch, frame, op->value);
        break;
    default:
        break;
    }
}

void sw_operate(uint8_t *pixels, uint8_t *scratch, int width, int height, const sw_op *ops, int count,
                const uint8_t fill[4], int simd)
{
    sw_frame frame = {width, height, simd && sw_simd_is_there()};
    uint8_t *current = pixels, *other = scratch;
    for (int i = 0; i < count; i++) {
        const sw_op *op = ops + i;
        if (op->code != SW_AFFINE && op->code != SW_SHARPNESS) {
            operate_in_place(current, other, frame, op);
            continue;
        }
        if (op->code == SW_AFFINE)
            sw_affine(current, other, frame, op->matrix, op->bicubic, fill);
        else
            sw_sharpness(current, other, frame, op->value);
        uint8_t *result = other;
        other = current;
        current = result;
    }
    if (current != pixels)
        memcpy(pixels, current, sw_num_bytes(frame));
}
