/*
 * fuzz_main SECONDS SEED FILE...
 *
 * Runs every file through the fuzz target, then mutations of them for so many seconds. The inputs
 * follow from the seed alone: a run that failed is repeated by giving its seed again.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_INPUT_SIZE = 2048, MAX_SEEDS = 1024 };

typedef struct input {
    size_t size;
    uint8_t data[MAX_INPUT_SIZE];
} input;

static input seeds[MAX_SEEDS];
static size_t seed_count;
static uint64_t random_state;

/* xorshift64*: good enough to choose bytes to spoil. */
static uint32_t random_below(size_t limit)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1du >> 32) % limit);
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || seed_count == MAX_SEEDS) {
        fprintf(stderr, "cannot take %s\n", path);
        exit(2);
    }
    seeds[seed_count].size = fread(seeds[seed_count].data, 1, MAX_INPUT_SIZE, file);
    fclose(file);
    if (seeds[seed_count].size >= 2)    /* the two octets of settings */
        seed_count++;
}

static void append(input *target, const uint8_t *data, size_t size)
{
    const size_t room = MAX_INPUT_SIZE - target->size;
    const size_t count = size < room ? size : room;
    memcpy(target->data + target->size, data, count);
    target->size += count;
}

static void spoil(input *target)
{
    static const uint8_t telling[] = {0x00, 0x01, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0xbf, 0xc2, 0xed, 0xf4, 0xfe, 0xff};
    const size_t pos = random_below(target->size), rest = target->size - pos;
    input tail;
    switch (random_below(6)) {
    case 0:
        target->data[pos] ^= (uint8_t)(1u << random_below(8));
        break;
    case 1:
        target->data[pos] = telling[random_below(sizeof telling)];
        break;
    case 2:
        target->data[pos] = (uint8_t)random_below(256);
        break;
    case 3:
        target->size = pos + 1;
        break;
    case 4:                             /* an octet less: everything behind it moves */
        memmove(target->data + pos, target->data + pos + 1, rest - 1);
        target->size -= target->size > 1;
        break;
    default:                            /* a piece twice */
        tail.size = 0;
        append(&tail, target->data + pos, rest);
        append(target, tail.data, 1 + random_below(tail.size));
        break;
    }
}

/* A seed, perhaps with the stream of another behind it, spoiled in a few places. */
static void make_input(input *target)
{
    *target = seeds[random_below(seed_count)];
    if (random_below(3) == 0) {
        const input *other = &seeds[random_below(seed_count)];
        append(target, other->data + 2, other->size - 2);
    }
    for (uint32_t count = random_below(5); count > 0; count--)
        spoil(target);
}

int main(int argc, char **argv)
{
    static input current;
    if (argc < 4) {
        fprintf(stderr, "usage: %s SECONDS SEED FILE...\n", argv[0]);
        return 2;
    }
    const time_t end = time(NULL) + atoi(argv[1]);
    random_state = strtoull(argv[2], NULL, 10) * 2 + 1;
    for (int i = 3; i < argc; i++)
        load(argv[i]);
    if (seed_count == 0)
        return 2;
    for (size_t i = 0; i < seed_count; i++)
        LLVMFuzzerTestOneInput(seeds[i].data, seeds[i].size);
    uint64_t count = 0;
    for (; count % 1024 != 0 || time(NULL) < end; count++) {
        make_input(&current);
        LLVMFuzzerTestOneInput(current.data, current.size);
    }
    printf("%zu seeds and %llu mutations of them, no fault\n", seed_count, (unsigned long long)count);
    return 0;
}
