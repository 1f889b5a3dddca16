/* The last step of a training picture: normalised float32 planes, with erased rectangles. */
#include <string.h>

#include "steps.h"

typedef struct {
    float *planes;
    size_t width, height, channels;
} image;

/* From pixel number start on. */
static void normalize(const uint8_t *pixels, const image *to, const float *mean, const float *std, size_t start)
{
    float table[3][256];
    size_t num_pixels = to->width * to->height;
    float *red = to->planes, *green = red + num_pixels, *blue = green + num_pixels;
    for (size_t channel = 0; channel < to->channels; channel++)
        for (int value = 0; value < 256; value++)
            table[channel][value] = ((float)value / 255 - mean[channel]) / std[channel];
    if (to->channels == 1)
        for (size_t i = start; i < num_pixels; i++)
            red[i] = table[0][pixels[4 * i]];
    else
        for (size_t i = start; i < num_pixels; i++) {
            red[i] = table[0][pixels[4 * i]];
            green[i] = table[1][pixels[4 * i + 1]];
            blue[i] = table[2][pixels[4 * i + 2]];
        }
}

#if SW_HAS_AVX2

/* How many pixels of three channels it did. */
SW_AVX2 static size_t normalize_avx2(const uint8_t *pixels, const image *to, const float *mean, const float *std)
{
    const __m256 all = _mm256_set1_ps(255), part = _mm256_set1_ps(1.0f / 255);
    const __m256i low = _mm256_set1_epi32(255);
    size_t num_pixels = to->width * to->height, i = 0;
    for (; i + 8 <= num_pixels; i += 8) {
        __m256i eight = _mm256_loadu_si256((const __m256i *)(pixels + 4 * i));
        for (int c = 0; c < 3; c++) {
            __m256 values = _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(eight, 8 * c), low));
            /* Faster than a division by 255, and with the remainder's part what that gives for all 256 values. */
            __m256 share = _mm256_mul_ps(values, part);
            share = _mm256_fmadd_ps(_mm256_fnmadd_ps(share, all, values), part, share);
            share = _mm256_div_ps(_mm256_sub_ps(share, _mm256_set1_ps(mean[c])), _mm256_set1_ps(std[c]));
            _mm256_storeu_ps(to->planes + (size_t)c * num_pixels + i, share);
        }
    }
    return i;
}

#endif

static int lies_in(const sw_erasure *box, const image *in)
{
    return box->left >= 0 && box->top >= 0 && box->left < box->right && box->top < box->bottom &&
           (size_t)box->right <= in->width && (size_t)box->bottom <= in->height;
}

static float *row_of(const image *of, const sw_erasure *box, size_t channel, size_t row)
{
    return of->planes + (channel * of->height + (size_t)box->top + row) * of->width + (size_t)box->left;
}

static void fill_channels(const image *to, const sw_erasure *box, const float values[3])
{
    size_t width = (size_t)(box->right - box->left), height = (size_t)(box->bottom - box->top);
    for (size_t channel = 0; channel < to->channels; channel++)
        for (size_t row = 0; row < height; row++) {
            float *out = row_of(to, box, channel, row);
            for (size_t i = 0; i < width; i++)
                out[i] = values[channel];
        }
}

/* Writes `count` values into the box from its value number `first` on, in the order channel, row, column. */
static void fill_part(const image *to, const sw_erasure *box, size_t first, const float *values, size_t count)
{
    size_t width = (size_t)(box->right - box->left), height = (size_t)(box->bottom - box->top);
    size_t row = first / width, column = first % width;
    while (count) {
        size_t part = width - column < count ? width - column : count;
        memcpy(row_of(to, box, row / height, row % height) + column, values, part * sizeof *values);
        values += part;
        count -= part;
        column = 0;
        row++;
    }
}

static void fill_pixels(const image *to, const sw_erasure *box, int simd)
{
    float cosines[SW_NOISE], sines[SW_NOISE];
    size_t area = (size_t)(box->right - box->left) * (size_t)(box->bottom - box->top);
    size_t count = to->channels * area, half = (count + 1) / 2;
    for (size_t first = 0; first < half; first += SW_NOISE) {
        size_t num_cosines = half - first < SW_NOISE ? half - first : SW_NOISE;
        size_t left = count - half - first, num_sines = left < SW_NOISE ? left : SW_NOISE;
        sw_normal_noise(box->key, first, cosines, sines, simd);
        fill_part(to, box, first, cosines, num_cosines);
        fill_part(to, box, half + first, sines, num_sines);
    }
}

static void erase(const image *to, const sw_erasure *box, int mode, int simd)
{
    float values[3] = {0};
    if (mode == SW_ERASE_PIXEL) {
        fill_pixels(to, box, simd);
        return;
    }
    if (mode == SW_ERASE_RAND) {
        float cosines[SW_NOISE], sines[SW_NOISE];
        size_t half = (to->channels + 1) / 2;
        sw_normal_noise(box->key, 0, cosines, sines, simd);
        for (size_t i = 0; i < to->channels; i++)
            values[i] = i < half ? cosines[i] : sines[i - half];
    }
    fill_channels(to, box, values);
}

void sw_finish(const uint8_t *pixels, int width, int height, int channels, const float *mean, const float *std,
               const sw_erasure *erasures, int count, int mode, float *out, int simd)
{
    image to = {out, (size_t)width, (size_t)height, (size_t)channels};
    size_t done = 0;
    simd = simd && sw_simd_is_there();
#if SW_HAS_AVX2
    if (simd && channels == 3)
        done = normalize_avx2(pixels, &to, mean, std);
#endif
    if (done < to.width * to.height)
        normalize(pixels, &to, mean, std, done);
    for (int i = 0; i < count; i++)
        if (lies_in(erasures + i, &to))
            erase(&to, erasures + i, mode, simd);
}
