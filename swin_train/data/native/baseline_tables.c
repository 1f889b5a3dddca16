/* Huffman codes as tables that decode a coefficient or more at a look. */
#include <string.h>

#include "baseline_parts.h"

enum { WINDOWS = 1 << SW_LOOKUP_BITS, MAX_DC_SIZE = 11, MAX_AC_SIZE = 10 };

static int spec_size(const uint8_t *spec)
{
    int count = 0;
    for (int i = 0; i < 16; i++)
        count += spec[i];
    return 16 + count;
}

/* Codes in the order of their lengths, counted up. 0: more codes than there is room for. */
static int make_code(sw_huffman *code)
{
    const uint8_t *symbols = code->spec + 16;
    int next = 0, position = 0;
    memset(code->symbols, 0, sizeof code->symbols);
    for (int length = 1; length <= 16; length++, next <<= 1) {
        int count = code->spec[length - 1];
        code->offset[length] = position - next;
        for (int i = 0; i < count && length <= SW_LOOKUP_BITS; i++) {
            int free_bits = SW_LOOKUP_BITS - length;
            if (next + i >= 1 << length)
                return 0;
            for (int w = 0; w < 1 << free_bits; w++)
                code->symbols[((next + i) << free_bits) + w] = (uint16_t)(length << 8 | symbols[position + i]);
        }
        position += count;
        next += count;
        code->past_code[length] = count ? next : 0;
        if (count && next >= 1 << length) /* no code is all ones */
            return 0;
    }
    return 1;
}

/* 1: the code is there, -1: it has been before, 0: it is none. */
static int take_code(sw_huffman *code, const uint8_t *spec)
{
    int size = spec_size(spec);
    if (code->is_made && memcmp(code->spec, spec, (size_t)size) == 0)
        return -1;
    memcpy(code->spec, spec, (size_t)size);
    code->is_made = make_code(code);
    return code->is_made;
}

int sw_make_dc_table(sw_huffman *code, const uint8_t *spec)
{
    for (int i = 16; i < spec_size(spec); i++)
        if (spec[i] > MAX_DC_SIZE)
            return 0;
    return take_code(code, spec) != 0;
}

static int steps_of(int symbol)
{
    return symbol ? (symbol >> 4) + 1 : SW_END_OF_BLOCK;
}

/* The value whose bits stand behind the first `used` of a window. */
static int value_in(int window, int used, int size)
{
    int bits = window >> (SW_LOOKUP_BITS - used - size) & ((1 << size) - 1);
    return size && bits < 1 << (size - 1) ? bits - (1 << size) + 1 : bits;
}

/* The bits of a window's first symbol and its value; more than there are where it is not known. */
static int bits_of(int found)
{
    return found ? (found >> 8) + (found & 15) : WINDOWS;
}

static uint64_t make_entry(const uint16_t *symbols, int window)
{
    int found = symbols[window];
    if (found == 0)
        return (uint64_t)SW_NO_ENTRY << 32;
    int bits = bits_of(found), steps = steps_of(found & 255), value = 0;
    uint64_t first = (uint64_t)(found >> 8) << 8 | (uint64_t)(63 - (found & 15)) << 16 | (uint64_t)steps << 24;
    if (bits < SW_LOOKUP_BITS && steps < SW_END_OF_BLOCK) {
        int rest = window << bits & (WINDOWS - 1), second = symbols[rest], more = bits_of(second);
        if (bits + more <= SW_LOOKUP_BITS) {
            value = value_in(rest, second >> 8, second & 15);
            bits += more;
            steps += steps_of(second & 255);
        }
    }
    return (uint64_t)bits | first | (uint64_t)steps << 32 | (uint64_t)(uint16_t)value << 48;
}

static uint16_t make_skip(const uint16_t *symbols, int window)
{
    int found = symbols[window], bits = 0, steps = 0;
    if (found == 0)
        return SW_NO_ENTRY << 8;
    do {
        bits += bits_of(found);
        steps += steps_of(found & 255);
        found = symbols[(unsigned)window << bits & (WINDOWS - 1)];
    } while (steps < SW_END_OF_BLOCK - 17 && bits + bits_of(found) <= SW_LOOKUP_BITS);
    return (uint16_t)(steps << 8 | bits);
}

int sw_make_ac_table(sw_ac_table *table, const uint8_t *spec)
{
    for (int i = 16; i < spec_size(spec); i++) {
        int size = spec[i] & 15;
        if (size > MAX_AC_SIZE || (size == 0 && spec[i] != 0 && spec[i] != 0xF0))
            return 0;
    }
    int made = take_code(&table->code, spec);
    for (int w = 0; w < WINDOWS && made == 1; w++) {
        table->entries[w] = make_entry(table->code.symbols, w);
        table->skips[w] = make_skip(table->code.symbols, w);
    }
    return made != 0;
}
