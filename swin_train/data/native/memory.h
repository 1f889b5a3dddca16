/* Buffers of a thread, kept from one picture to the next. */
#ifndef SW_MEMORY_H
#define SW_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    SW_SLACK = 64,              /* bytes behind every buffer that vector loads and stores may touch */
    SW_KEPT_BYTES = 32 << 20,   /* a buffer that a huge picture made larger is given back */
};

typedef struct {
    uint8_t *bytes;
    size_t capacity;
} sw_buffer;

/* At least size bytes and the slack, or NULL. What the buffer held may be lost. */
static inline uint8_t *sw_reserve(sw_buffer *buffer, size_t size)
{
    size_t needed = (size + SW_SLACK + 4095) & ~(size_t)4095;
    if (needed < size)
        return NULL;
    if (buffer->capacity < needed) {
        free(buffer->bytes);
        buffer->bytes = aligned_alloc(64, needed);
        buffer->capacity = buffer->bytes ? needed : 0;
    }
    return buffer->bytes;
}

static inline void sw_free(sw_buffer *buffer)
{
    free(buffer->bytes);
    buffer->bytes = NULL;
    buffer->capacity = 0;
}

static inline void sw_free_if_large(sw_buffer *buffer)
{
    if (buffer->capacity > SW_KEPT_BYTES)
        sw_free(buffer);
}

#endif
