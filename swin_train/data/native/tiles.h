/* Tiled JPEGs: a region of the picture is decoded from the part of the file that holds it.
 *
 * A tiled JPEG is a baseline JPEG that any decoder reads. Restart markers part each row of MCUs into intervals
 * of equal width, about 64 pixels, and an APP15 segment lists how many bytes each interval has:
 *
 *   FF EF, size (2 bytes), "swtile1\0", one length (2 bytes, big-endian, restart marker not counted) per interval
 *
 * All functions may be given any bytes: every offset, size and count is checked before it is used.
 */
#ifndef SW_TILES_H
#define SW_TILES_H

#include <stddef.h>
#include <stdint.h>

#define SW_TILES_NAME "swtile1" /* with its zero byte: 8 bytes */

enum { SW_TILES_MARKER = 0xEF }; /* APP15 */

enum {
    SW_TILES_NOT_TILED = -1, /* not a tiled JPEG, or one whose structure is damaged */
    SW_TILES_BAD_REGION = -2,
    SW_TILES_NO_MEMORY = -3,
    SW_TILES_DAMAGED = -4,    /* libjpeg warns or stops */
    SW_TILES_OTHER_KIND = -5, /* CMYK, 12 bits, arithmetic coding */
    SW_TILES_TOO_LARGE = -6,  /* more than 50 million pixels, or an interval of more than 65,535 bytes */
    SW_TILES_NOT_EQUAL = -7,  /* the tiled file would not show the same pixels */
};

/* Whether the region functions can be used on these bytes. */
int sw_is_tiled(const uint8_t *data, size_t length);

/* 0, or < 0 as above. */
int sw_tiled_size(const uint8_t *data, size_t length, int *width, int *height);

/* Assembles a JPEG of the intervals that hold the region, with as much around it as makes its pixels equal to
 * those of the whole picture. buffer (NULL at first, for the caller to free) grows as needed. The pixel
 * (origin_x, origin_y) of the picture is the result's first; its header is as little to be trusted as any
 * other file's: what libjpeg says of its size must be compared with the region. The length, or < 0 as above. */
long sw_tiled_region(const uint8_t *data, size_t length, int left, int top, int right, int bottom,
                     uint8_t **buffer, size_t *capacity, int *origin_x, int *origin_y);

/* Makes a tiled JPEG of another one, coefficient by coefficient; comments, profiles and EXIF data are dropped.
 * Both have been decoded and compared when this returns. tile is the wanted width of an interval in pixels.
 * The length of *out, which sw_tiled_free releases, or < 0 as above. */
long sw_tiled_pack(const uint8_t *jpeg, size_t length, int tile, uint8_t **out);
void sw_tiled_free(uint8_t *tiled);

#endif
