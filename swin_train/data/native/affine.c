/* Pillow's Image.transform(AFFINE) with its bilinear and its bicubic filter.
 *
 * Pillow computes in float64 and truncates, and flat areas lie exactly at whole numbers: the order of every
 * addition counts. This file keeps that order and drops only what a fraction of exactly 0 multiplies: one of
 * the two fractions is 0 everywhere when a picture is sheared or moved along one axis.
 */
#include "affine.h"

static void locate_portable(const sw_sampling *sampling, sw_line line, int first, sw_axis *axis)
{
    (void)sampling;
    axis->inside = 0;
    for (int i = 0; i < SW_RUN; i++) {
        double at = line.rate * (first + i + 0.5) + line.across + line.offset; /* added in Pillow's order */
        if (!(at >= 0.0 && at < line.limit))
            continue;
        double from_centre = at - 0.5;
        axis->tap[i] = (int32_t)from_centre - (from_centre < 0);
        axis->fraction[i] = from_centre - axis->tap[i];
        axis->inside |= (uint64_t)1 << i;
    }
}

static double cubic(double v1, double v2, double v3, double v4, double d)
{
    double p2 = v3 - v1;
    double p3 = 2 * (v1 - v2) + v3 - v4;
    double p4 = v2 - v1 - v3 + v4;
    return v2 + d * (p2 + d * (p3 + d * p4));
}

static double linear(double v1, double v2, double d)
{
    return v1 + (v2 - v1) * d;
}

static double sample_row(const uint8_t *tap, double dx, int bicubic)
{
    if (dx == 0)
        return tap[4];
    return bicubic ? cubic(tap[0], tap[4], tap[8], tap[12], dx) : linear(tap[4], tap[8], dx);
}

void sw_sample_exactly(const uint8_t *first, size_t stride, double dx, double dy, int bicubic, uint8_t pixel[4])
{
    for (int channel = 0; channel < 3; channel++) {
        const uint8_t *above = first + channel, *row = above + stride, *below = row + stride;
        double value = sample_row(row, dx, bicubic);
        if (dy != 0 && bicubic)
            value =
                cubic(sample_row(above, dx, 1), value, sample_row(below, dx, 1), sample_row(below + stride, dx, 1), dy);
        else if (dy != 0)
            value = linear(value, sample_row(below, dx, 0), dy);
        pixel[channel] = value <= 0.0 ? 0 : value >= 255.0 ? 255 : (uint8_t)value;
    }
    pixel[3] = 0;
}

static void sample_run_portable(const sw_sampling *s, const sw_axis *x, const sw_axis *y, int count, uint8_t *result)
{
    for (int i = 0; i < count; i++) {
        uint8_t taps[64];
        if (!(x->inside & y->inside & (uint64_t)1 << i)) {
            memcpy(result + 4 * i, s->fill, 4);
            continue;
        }
        sw_copy_taps(s->source, s->frame, x->tap[i], y->tap[i], taps);
        sw_sample_exactly(taps, 16, x->fraction[i], y->fraction[i], s->bicubic, result + 4 * i);
    }
}

#define locate_avx2 sw_locate_avx2
#define sample_run_avx2 sw_sample_run_avx2

/* Columns [first, first + SW_RUN) of all rows. */
static void transform_columns(const sw_sampling *s, const double m[6], int first, uint8_t *result)
{
    sw_frame frame = s->frame;
    sw_axis x, y;
    int count = frame.width - first < SW_RUN ? frame.width - first : SW_RUN;
    for (int row = 0; row < frame.height; row++) {
        sw_line line_x = {m[0], m[1] * (row + 0.5), m[2], frame.width};
        sw_line line_y = {m[3], m[4] * (row + 0.5), m[5], frame.height};
        if (row == 0 || m[1] != 0)
            SW_PICK(frame.simd, locate)(s, line_x, first, &x);
        SW_PICK(frame.simd, locate)(s, line_y, first, &y);
        uint8_t *to = result + 4 * ((size_t)row * (size_t)frame.width + (size_t)first);
        SW_PICK(frame.simd, sample_run)(s, &x, &y, count, to);
    }
}

void sw_affine(const uint8_t *source, uint8_t *result, sw_frame frame, const double matrix[6], int bicubic,
               const uint8_t fill[4])
{
    sw_sampling sampling = {source, frame, bicubic, {fill[0], fill[1], fill[2], fill[3]}};
    for (int first = 0; first < frame.width; first += SW_RUN)
        transform_columns(&sampling, matrix, first, result);
}
