/* Operations that map each value of a channel by itself: Pillow's ImageOps, timm's solarize_add. */
#include <string.h>

#include "steps.h"

typedef uint8_t lookup[3][256];
typedef uint32_t histogram[3][256];

static void look_up(uint8_t *pixels, size_t num_bytes, lookup table)
{
    for (size_t i = 0; i < num_bytes; i += 4) {
        uint8_t *pixel = pixels + i;
        uint8_t red = table[0][pixel[0]], green = table[1][pixel[1]], blue = table[2][pixel[2]];
        pixel[0] = red;
        pixel[1] = green;
        pixel[2] = blue;
    }
}

static void count_values(const uint8_t *pixels, size_t num_bytes, histogram counts)
{
    /* Neighbours are often equal, and two additions to one counter would have to wait for each other. */
    histogram parts[2];
    memset(parts, 0, sizeof parts);
    for (size_t i = 0; i < num_bytes; i += 4) {
        uint32_t (*part)[256] = parts[i >> 2 & 1];
        part[0][pixels[i]]++;
        part[1][pixels[i + 1]]++;
        part[2][pixels[i + 2]]++;
    }
    for (int channel = 0; channel < 3; channel++)
        for (int value = 0; value < 256; value++)
            counts[channel][value] = parts[0][channel][value] + parts[1][channel][value];
}

static void stretching_table(const uint32_t counts[256], uint8_t table[256])
{
    int low = 0, high = 255;
    while (low < 255 && !counts[low])
        low++;
    while (high > low && !counts[high])
        high--;
    double scale = high > low ? 255.0 / (high - low) : 1.0;
    double offset = high > low ? -low * scale : 0.0;
    for (int value = 0; value < 256; value++) {
        double level = value * scale + offset;
        table[value] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
    }
}

static void equalizing_table(const uint32_t counts[256], uint8_t table[256])
{
    uint32_t total = 0, last = 0;
    for (int value = 0; value < 256; value++) {
        total += counts[value];
        if (counts[value])
            last = counts[value];
    }
    uint32_t step = (total - last) / 255;
    uint32_t before = step / 2;
    for (int value = 0; value < 256; value++) {
        uint32_t level = step ? before / step : (uint32_t)value;
        table[value] = level < 255 ? (uint8_t)level : 255;
        before += counts[value];
    }
}

void sw_auto_contrast(uint8_t *pixels, sw_frame frame)
{
    histogram counts;
    lookup table;
    count_values(pixels, sw_num_bytes(frame), counts);
    for (int channel = 0; channel < 3; channel++)
        stretching_table(counts[channel], table[channel]);
    look_up(pixels, sw_num_bytes(frame), table);
}

void sw_equalize(uint8_t *pixels, sw_frame frame)
{
    histogram counts;
    lookup table;
    count_values(pixels, sw_num_bytes(frame), counts);
    for (int channel = 0; channel < 3; channel++)
        equalizing_table(counts[channel], table[channel]);
    look_up(pixels, sw_num_bytes(frame), table);
}

SW_INLINE void solarize_body(uint8_t *bytes, size_t count, uint8_t last_kept)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = bytes[i] <= last_kept ? bytes[i] : 255 - bytes[i];
}
SW_COMPILE_TWICE(solarize, (uint8_t *bytes, size_t count, uint8_t last_kept), (bytes, count, last_kept))

SW_INLINE void invert_body(uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = 255 - bytes[i];
}
SW_COMPILE_TWICE(invert, (uint8_t *bytes, size_t count), (bytes, count))

void sw_invert(uint8_t *pixels, sw_frame frame)
{
    SW_PICK(frame.simd, invert)(pixels, sw_num_bytes(frame));
}

void sw_solarize(uint8_t *pixels, sw_frame frame, double threshold)
{
    int last_kept = -1;
    while (last_kept < 255 && last_kept + 1 < threshold)
        last_kept++;
    if (last_kept < 0)
        sw_invert(pixels, frame);
    else
        SW_PICK(frame.simd, solarize)(pixels, sw_num_bytes(frame), (uint8_t)last_kept);
}

SW_INLINE void posterize_body(uint8_t *bytes, size_t count, uint8_t mask)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] &= mask;
}
SW_COMPILE_TWICE(posterize, (uint8_t *bytes, size_t count, uint8_t mask), (bytes, count, mask))

void sw_posterize(uint8_t *pixels, sw_frame frame, double bits)
{
    int kept = bits >= 8 ? 8 : bits > 0 ? (int)bits : 0;
    SW_PICK(frame.simd, posterize)(pixels, sw_num_bytes(frame), (uint8_t)(0xFF00 >> kept));
}

SW_INLINE void solarize_add_body(uint8_t *bytes, size_t count, uint8_t addend)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t room = 255 - bytes[i];
        uint8_t added = bytes[i] + (addend < room ? addend : room);
        bytes[i] = bytes[i] < 128 ? added : bytes[i];
    }
}
SW_COMPILE_TWICE(solarize_add, (uint8_t *bytes, size_t count, uint8_t addend), (bytes, count, addend))

void sw_solarize_add(uint8_t *pixels, sw_frame frame, double addend)
{
    uint8_t added = addend >= 255 ? 255 : addend > 0 ? (uint8_t)addend : 0;
    SW_PICK(frame.simd, solarize_add)(pixels, sw_num_bytes(frame), added);
}
