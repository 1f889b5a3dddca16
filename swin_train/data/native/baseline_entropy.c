/* The coded data of a scan -> coefficients. */
#include <string.h>

#include "baseline_parts.h"

enum {
    LAST = SW_COEFFICIENTS - 1,
    MAX_DC = 2047, /* of a regular file */
    BEHIND = 2048, /* bytes: an MCU of the longest codes reads no further behind the data's end */
    RST0 = 0xD0,
};

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

const uint8_t sw_natural_order[SW_COEFFICIENTS] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

static inline void refill(sw_bits *bits)
{
    uint64_t more;
    memcpy(&more, bits->next, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    more = __builtin_bswap64(more);
#endif
    bits->window |= more >> bits->count;
    bits->next += (63 - bits->count) >> 3;
    bits->count |= 56;
}

static inline void drop(sw_bits *bits, int count)
{
    bits->window <<= count;
    bits->count -= count;
}

static inline unsigned look(const sw_bits *bits)
{
    return (unsigned)(bits->window >> (64 - SW_LOOKUP_BITS));
}

/* One symbol, or < 0: no code. */
static inline int read_symbol(sw_bits *bits, const sw_huffman *code)
{
    int found = code->symbols[look(bits)];
    if (!UNLIKELY(found == 0)) {
        drop(bits, found >> 8);
        return found & 255;
    }
    for (int length = SW_LOOKUP_BITS + 1; length <= 16; length++) {
        int value = (int)(bits->window >> (64 - length));
        if (value < code->past_code[length]) {
            drop(bits, length);
            return code->spec[16 + value + code->offset[length]];
        }
    }
    return -1;
}

/* The number at the window's beginning, of 63 - rest bits; those that begin with 0 are negative. */
static inline int value_at(uint64_t window, int rest)
{
    int64_t negative = ~((int64_t)window >> 63);
    return (int)((((window ^ (uint64_t)negative) >> 1 >> rest) ^ (uint64_t)negative) - (uint64_t)negative);
}

/* The difference of a DC coefficient. 0: no code. */
static inline int read_dc(sw_bits *bits, const sw_huffman *code, int *difference)
{
    refill(bits);
    int size = read_symbol(bits, code);
    if (UNLIKELY(size < 0))
        return 0;
    *difference = value_at(bits->window, 63 - size);
    drop(bits, size);
    return 1;
}

/* One symbol: the position that it leads to, SW_END_OF_BLOCK, or < 0: irregular. */
static __attribute__((noinline)) int read_one(sw_bits *bits, const sw_huffman *code, int at, int16_t *block)
{
    refill(bits);
    int symbol = read_symbol(bits, code), size = symbol & 15;
    if (symbol <= 0)
        return symbol < 0 ? -1 : SW_END_OF_BLOCK;
    at += (symbol >> 4) + 1;
    if (at > LAST)
        return -1;
    if (block)
        block[sw_natural_order[at]] = (int16_t)value_at(bits->window, 63 - size);
    drop(bits, size);
    return at;
}

static inline int byte_of(uint64_t entry, int number)
{
    return (int)(entry >> (8 * number) & 255);
}

static inline int first_value(const sw_bits *bits, uint64_t entry)
{
    return value_at(bits->window << byte_of(entry, 1), byte_of(entry, 2));
}

/* The chain from one look to the next is kept short: where the values go does not lie on it. */
static inline int read_ac(sw_bits *state, const sw_ac_table *table, int16_t *block)
{
    sw_bits bits = *state;
    int at = 0;
    for (;;) {
        refill(&bits); /* for two looks of up to 21 bits each */
        for (int i = 0; i < 2; i++) {
            uint64_t entry = table->entries[look(&bits)];
            int last = at + byte_of(entry, 4), first = at + byte_of(entry, 3);
            if (last >= LAST) {
                int steps = byte_of(entry, 4);
                if (steps >= SW_END_OF_BLOCK && steps != SW_NO_ENTRY && (first < LAST || first >= SW_END_OF_BLOCK)) {
                    if (first < LAST)
                        block[sw_natural_order[first]] = (int16_t)first_value(&bits, entry);
                    drop(&bits, byte_of(entry, 0));
                    *state = bits;
                    return 1;
                }
                *state = bits;
                at = read_one(state, &table->code, at, block);
                if (at < 0 || at >= LAST)
                    return at >= 0;
                bits = *state;
                break;
            }
            block[sw_natural_order[last]] = (int16_t)(entry >> 48);
            block[sw_natural_order[first]] = (int16_t)first_value(&bits, entry); /* the last, where it is alone */
            drop(&bits, byte_of(entry, 0));
            at = last;
        }
    }
}

static inline int skip_ac(sw_bits *state, const sw_ac_table *table)
{
    sw_bits bits = *state;
    int at = 0;
    for (;;) {
        refill(&bits);
        for (int i = 0; i < 2; i++) {
            int skip = table->skips[look(&bits)], steps = skip >> 8;
            if (at + steps >= LAST) {
                if (steps >= SW_END_OF_BLOCK && steps != SW_NO_ENTRY && at + steps < SW_END_OF_BLOCK + LAST) {
                    drop(&bits, skip & 255);
                    *state = bits;
                    return 1;
                }
                *state = bits;
                at = read_one(state, &table->code, at, NULL);
                if (at < 0 || at >= LAST)
                    return at >= 0;
                bits = *state;
                break;
            }
            drop(&bits, skip & 255);
            at += steps;
        }
    }
}

/* Copies a restart interval without the zeros behind 0xFF, up to its marker. */
static void unstuff(sw_scan *scan)
{
    const uint8_t *from = scan->data;
    uint8_t *to = scan->unstuffed.bytes;
    for (;;) {
        const uint8_t *found = memchr(from, 0xFF, (size_t)(scan->end - from));
        size_t count = (size_t)((found ? found : scan->end) - from);
        memcpy(to, from, count);
        to += count;
        from += count;
        if (scan->end - from < 2 || from[1] != 0)
            break;
        *to++ = 0xFF;
        from += 2;
    }
    memset(to, 0, 8);
    scan->data = from;
    scan->past = to;
    scan->bits = (sw_bits){.next = scan->unstuffed.bytes};
    scan->left = scan->interval;
    memset(scan->predicted, 0, sizeof scan->predicted);
}

int sw_start_scan(sw_scan *scan, const uint8_t *data, const uint8_t *end)
{
    scan->data = data;
    scan->end = end;
    scan->restarts = 0;
    if (sw_reserve(&scan->unstuffed, (size_t)(end - data) + BEHIND) == NULL)
        return 0;
    unstuff(scan);
    return 1;
}

static int restart(sw_scan *scan)
{
    if (scan->end - scan->data < 2 || scan->data[1] != RST0 + scan->restarts % 8)
        return 0;
    scan->restarts++;
    scan->data += 2;
    unstuff(scan);
    return 1;
}

static inline int decode_mcu(sw_scan *scan, sw_bits *bits, int16_t *coefficients)
{
    for (int b = 0; b < scan->num_blocks; b++) {
        int c = scan->component[b], difference;
        if (UNLIKELY(!read_dc(bits, scan->dc[c], &difference)))
            return 0;
        int dc = scan->predicted[c] += difference;
        if (UNLIKELY(dc < -MAX_DC || dc > MAX_DC))
            return 0;
        if (coefficients) {
            int16_t *block = coefficients + SW_COEFFICIENTS * b;
            memset(block, 0, SW_COEFFICIENTS * sizeof *block);
            block[0] = (int16_t)dc;
            if (UNLIKELY(!read_ac(bits, scan->ac[c], block)))
                return 0;
        } else if (UNLIKELY(!skip_ac(bits, scan->ac[c])))
            return 0;
    }
    return bits->next - (bits->count >> 3) <= scan->past;
}

int sw_decode_mcus(sw_scan *scan, int count, int16_t *coefficients)
{
    sw_bits bits = scan->bits;
    for (int i = 0; i < count; i++) {
        if (scan->interval && scan->left-- == 0) {
            if (!restart(scan))
                return 0;
            scan->left--;
            bits = scan->bits;
        }
        if (!decode_mcu(scan, &bits, coefficients))
            return 0;
        if (coefficients)
            coefficients += SW_COEFFICIENTS * scan->num_blocks;
    }
    scan->bits = bits;
    return 1;
}
