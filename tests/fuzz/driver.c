/* A small fuzzer for compilers without libFuzzer: driver SECONDS SEED FILE...
 *
 * It mutates the files for so many seconds; what an input did that ended the program is written to
 * ./crash-SEED-NUMBER and can be given as the only file with 0 seconds to be run once as it is.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sanitizer/common_interface_defs.h>

#include <stdint.h>

enum { MOST_BYTES = 1 << 16, SECONDS_PER_INPUT = 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    uint8_t bytes[MOST_BYTES];
    size_t size;
} input;

static input current;
static uint64_t state, number, seed;

/* splitmix64 */
static uint32_t below(uint64_t stop)
{
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) % (stop ? stop : 1));
}

static void save(void)
{
    char name[64];
    snprintf(name, sizeof name, "crash-%llu-%llu", (unsigned long long)seed, (unsigned long long)number);
    int file = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (file < 0 || write(file, current.bytes, current.size) < 0)
        return;
    close(file);
    fprintf(stderr, "the input is in %s\n", name);
}

static void save_and_end(int signal_number)
{
    fprintf(stderr, "ended by signal %d (%s)\n", signal_number, signal_number == SIGALRM ? "too slow" : "results differ");
    __sanitizer_print_stack_trace();
    save();
    _exit(1);
}

static void load(input *into, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    into->size = fread(into->bytes, 1, MOST_BYTES, file);
    fclose(file);
}

/* Position of the n-th marker, or of any byte where there are fewer. */
static size_t find_marker(uint32_t n)
{
    for (size_t i = 16; i + 1 < current.size; i++)
        if (current.bytes[i] == 0xFF && current.bytes[i + 1] >= 0xC0 && current.bytes[i + 1] != 0xFF && n-- == 0)
            return i;
    return below(current.size);
}

static void remove_bytes(size_t at, size_t count)
{
    memmove(current.bytes + at, current.bytes + at + count, current.size - at - count);
    current.size -= count;
}

static void insert_bytes(size_t at, const uint8_t *bytes, size_t count)
{
    if (count > MOST_BYTES - current.size)
        return;
    memmove(current.bytes + at + count, current.bytes + at, current.size - at);
    memcpy(current.bytes + at, bytes, count);
    current.size += count;
}

/* A marker becomes another one, or its length or what follows changes. */
static void edit_marker(void)
{
    static const uint8_t kinds[] = {0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xCC, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xEE, 0xEF};
    size_t at = find_marker(below(24)), offset = below(3) ? 2 + below(20) : 1;
    if (at + offset >= current.size)
        return;
    current.bytes[at + offset] = offset == 1 ? kinds[below(sizeof kinds)] : (uint8_t)(below(2) ? below(256) : below(5));
}

static void mutate_once(const input *others, int num_others)
{
    static uint8_t piece[MOST_BYTES];
    size_t at = below(current.size);
    const input *other = others + below((uint64_t)num_others);
    switch (below(9)) {
    case 0:
        current.bytes[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        current.bytes[at] = (uint8_t)below(256);
        break;
    case 2:
        current.bytes[below(16)] = (uint8_t)below(256);
        break;
    case 3: /* truncation */
        if (below(4) == 0 && current.size > 17)
            current.size = 17 + below(current.size - 17);
        break;
    case 4: /* a piece is lost */
        remove_bytes(at, below((current.size - at < 64 ? current.size - at : 64) + 1));
        break;
    case 5: { /* a piece of another file, or of this one */
        size_t from = below(other->size), count = below((other->size - from < 256 ? other->size - from : 256) + 1);
        memcpy(piece, other->bytes + from, count);
        insert_bytes(at, piece, count);
        break;
    }
    case 6: { /* the end of another file */
        size_t from = below(other->size);
        size_t count = other->size - from < MOST_BYTES - at ? other->size - from : MOST_BYTES - at;
        memcpy(current.bytes + at, other->bytes + from, count);
        current.size = at + count;
        break;
    }
    default:
        edit_marker();
    }
    if (current.size < 17)
        current.size = 17;
}

static void run_current(void)
{
    alarm(SECONDS_PER_INPUT);
    LLVMFuzzerTestOneInput(current.bytes, current.size);
    number++;
}

int main(int num_arguments, char **arguments)
{
    int num_files = num_arguments - 3;
    if (num_files < 1) {
        fprintf(stderr, "usage: %s SECONDS SEED FILE...\n", arguments[0]);
        return 2;
    }
    time_t end = time(NULL) + atol(arguments[1]);
    seed = state = strtoull(arguments[2], NULL, 10);
    input *files = calloc((size_t)num_files, sizeof *files);
    for (int i = 0; i < num_files; i++)
        load(files + i, arguments[3 + i]);
    __sanitizer_set_death_callback(save);
    signal(SIGABRT, save_and_end);
    signal(SIGALRM, save_and_end);
    for (int i = 0; i < num_files; i++) {
        current = files[i];
        run_current();
    }
    while (time(NULL) < end) {
        const input *base = files + below((uint64_t)num_files);
        memcpy(current.bytes, base->bytes, base->size);
        current.size = base->size;
        for (uint32_t count = 1 + below(6); count > 0; count--)
            mutate_once(files, num_files);
        run_current();
    }
    printf("%llu inputs, nothing found\n", (unsigned long long)number);
    free(files);
    return 0;
}
