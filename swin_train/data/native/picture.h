/* A picture as the caller hands it in: a span of a file, encoded bytes, or pixels. library.py mirrors the struct. */
#ifndef SW_PICTURE_H
#define SW_PICTURE_H

#include <stddef.h>
#include <stdint.h>

enum {
    SW_MAX_PIXELS = 50000000, /* as in decode.py */
    SW_MAX_SIDE = 65535,      /* of a JPEG */
};

enum { SW_FILE, SW_BYTES, SW_PIXELS };              /* kind */
enum { SW_READY, SW_UNREADABLE, SW_OTHER_DECODER }; /* state */

typedef struct {
    const char *path;   /* SW_FILE */
    int64_t offset;     /* SW_FILE: where the picture begins */
    int64_t length;     /* bytes of data; SW_FILE: of the span, -1: to the file's end */
    uint8_t *data;      /* SW_BYTES: encoded; SW_PIXELS: height x width x channels */
    const char *reason; /* why the state is not SW_READY; constant text */
    int32_t kind;
    int32_t state;
    int32_t error;      /* errno of SW_UNREADABLE, or 0 */
    int32_t is_owned;   /* data was allocated here */
    int32_t width, height, channels;
    int32_t is_whole; /* SW_FILE: a file that does not end with the span is refused */
} sw_picture;

typedef struct {
    int left, top, right, bottom;
} sw_box;

/* Reads a picture of kind SW_FILE, which becomes one of kind SW_BYTES; other kinds stay as they are. */
void sw_read(sw_picture *picture);

/* Finds out the size of the picture and whether this decoder takes it. */
void sw_inspect(sw_picture *picture);

/* Frees what sw_read allocated. */
void sw_release_picture(sw_picture *picture);

#endif
