/* The header of a plain JPEG file; what is not plain is left to libjpeg. */
#include <string.h>

#include "baseline_parts.h"

enum { SOF0 = 0xC0, SOF1 = 0xC1, DHT = 0xC4, SOI = 0xD8, SOS = 0xDA, DQT = 0xDB, DRI = 0xDD };
enum { APP0 = 0xE0, APP14 = 0xEE, APP15 = 0xEF, COM = 0xFE };

typedef struct {
    sw_header *header;
    const uint8_t *quant[4], *huffman[2][4];
    uint8_t ids[3], samplings[3], quant_index[3];
    int has_jfif, has_adobe, adobe_transform;
} header_reader;

static int read_16(const uint8_t *data)
{
    return data[0] << 8 | data[1];
}

static int read_quantisation(header_reader *reader, const uint8_t *segment, int size)
{
    while (size >= 65) {
        if (segment[0] > 3) /* 16 bits, or no such table */
            return 0;
        reader->quant[segment[0]] = segment + 1;
        segment += 65;
        size -= 65;
    }
    return size == 0;
}

static int read_huffman(header_reader *reader, const uint8_t *segment, int size)
{
    while (size >= 17) {
        int kind = segment[0] >> 4, index = segment[0] & 15, count = 0;
        for (int i = 1; i <= 16; i++)
            count += segment[i];
        if (kind > 1 || index > 3 || count > 256 || count > size - 17)
            return 0;
        reader->huffman[kind][index] = segment + 1;
        segment += 17 + count;
        size -= 17 + count;
    }
    return size == 0;
}

static int read_frame(header_reader *reader, const uint8_t *segment, int size)
{
    sw_header *header = reader->header;
    if (header->width || size < 6 || segment[0] != 8 || size != 6 + 3 * segment[5])
        return 0;
    header->height = read_16(segment + 1);
    header->width = read_16(segment + 3);
    header->num_components = segment[5];
    if (header->num_components != 1 && header->num_components != 3)
        return 0;
    for (int i = 0; i < header->num_components; i++) {
        reader->ids[i] = segment[6 + 3 * i];
        reader->samplings[i] = segment[7 + 3 * i];
        reader->quant_index[i] = segment[8 + 3 * i];
    }
    return header->width && header->height;
}

/* Sampling factors: the luma's are known ones, the chroma's 1 x 1. */
static int take_sampling(header_reader *reader)
{
    sw_header *header = reader->header;
    int luma = reader->samplings[0];
    if (header->num_components == 1) { /* MCUs of one block, whatever the factors */
        header->across = header->down = 1;
        return luma == 0x11 || luma == 0x21 || luma == 0x12 || luma == 0x22;
    }
    header->across = luma >> 4;
    header->down = luma & 15;
    return (luma == 0x11 || luma == 0x21 || luma == 0x22) && reader->samplings[1] == 0x11 &&
           reader->samplings[2] == 0x11;
}

/* Whether three components are YCbCr, for libjpeg without a doubt. */
static int is_ycc(const header_reader *reader)
{
    if (reader->has_jfif)
        return 1;
    if (reader->has_adobe)
        return reader->adobe_transform == 1;
    return reader->ids[0] == 1 && reader->ids[1] == 2 && reader->ids[2] == 3;
}

static int read_scan(header_reader *reader, const uint8_t *segment, int size)
{
    sw_header *header = reader->header;
    int count = header->num_components;
    if (header->width == 0 || size != 4 + 2 * count || segment[0] != count || !take_sampling(reader))
        return 0;
    if (count == 3 && (!is_ycc(reader) || reader->ids[0] == reader->ids[1] || reader->ids[0] == reader->ids[2] ||
                       reader->ids[1] == reader->ids[2]))
        return 0;
    for (int i = 0; i < count; i++) {
        int dc = segment[2 + 2 * i] >> 4, ac = segment[2 + 2 * i] & 15;
        if (segment[1 + 2 * i] != reader->ids[i] || dc > 3 || ac > 3 || reader->quant_index[i] > 3)
            return 0;
        header->quant[i] = reader->quant[reader->quant_index[i]];
        header->huffman_dc[i] = reader->huffman[0][dc];
        header->huffman_ac[i] = reader->huffman[1][ac];
        if (!header->quant[i] || !header->huffman_dc[i] || !header->huffman_ac[i])
            return 0;
    }
    const uint8_t *progress = segment + 1 + 2 * count;
    return progress[0] == 0 && progress[1] == 63 && progress[2] == 0;
}

/* One segment's content. 0: irregular, or of another kind. */
static int read_segment(header_reader *reader, int marker, const uint8_t *segment, int size)
{
    switch (marker) {
    case SOF0:
    case SOF1:
        return read_frame(reader, segment, size);
    case DHT:
        return read_huffman(reader, segment, size);
    case DQT:
        return read_quantisation(reader, segment, size);
    case DRI:
        reader->header->interval = size == 2 ? read_16(segment) : 0;
        return size == 2;
    case SOS:
        return read_scan(reader, segment, size);
    case APP0:
        reader->has_jfif |= size >= 14 && memcmp(segment, "JFIF", 5) == 0;
        return 1;
    case APP14:
        if (size >= 12 && memcmp(segment, "Adobe", 5) == 0) {
            reader->has_adobe = 1;
            reader->adobe_transform = segment[11];
        }
        return 1;
    default:
        return (marker > APP0 && marker <= APP15) || marker == COM;
    }
}

int sw_read_header(const uint8_t *data, size_t length, sw_header *header)
{
    header_reader reader = {.header = header};
    *header = (sw_header){0};
    if (length < 4 || data[0] != 0xFF || data[1] != SOI)
        return 0;
    size_t at = 2;
    for (;;) {
        while (length - at >= 2 && data[at] == 0xFF && data[at + 1] == 0xFF) /* any number may stand before a marker */
            at++;
        if (length - at < 4 || data[at] != 0xFF)
            return 0;
        int marker = data[at + 1], size = read_16(data + at + 2);
        if (size < 2 || (size_t)size > length - at - 2 || !read_segment(&reader, marker, data + at + 4, size - 2))
            return 0;
        at += 2 + (size_t)size;
        if (marker == SOS)
            break;
    }
    header->scan = at;
    return 1;
}
