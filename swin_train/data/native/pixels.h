/* Layouts of pixels: RGBX, packed RGB or grey, planes. */
#ifndef SW_PIXELS_H
#define SW_PIXELS_H

#include <stddef.h>
#include <stdint.h>

/* Packed pixels of 1 or 3 channels -> RGBX. */
void sw_expand(const uint8_t *packed, int channels, size_t count, uint8_t *pixels, int simd);

/* RGBX -> packed pixels of 1 or 3 channels. */
void sw_pack(const uint8_t *pixels, size_t count, int channels, uint8_t *packed);

/* RGBX -> 1 or 3 planes. */
void sw_part(const uint8_t *pixels, size_t count, int channels, uint8_t *planes, int simd);

/* Makes all channels the luma, as Pillow's convert("L") rounds it. */
void sw_make_luma(uint8_t *pixels, size_t count);

#endif
