/* test_bitmap.c - searches against a bit-by-bit model, at every edge. */
#include "test.h"

#include <quire/bitmap.h>
#include <quire/rng.h>
#include <string.h>

static unsigned naive_next(const uint64_t *map, unsigned bits, unsigned i,
                           bool want)
{
    for (; i < bits; i++) {
        if (bitmap_test(map, i) == want) {
            return i;
        }
    }
    return bits;
}

static void compare_all(const uint64_t *map, unsigned bits)
{
    unsigned count = 0;

    for (unsigned i = 0; i <= bits + 1; i++) {
        CHECK_EQ(bitmap_next_set(map, bits, i),
                 naive_next(map, bits, MIN(i, bits), true));
        CHECK_EQ(bitmap_next_clear(map, bits, i),
                 naive_next(map, bits, MIN(i, bits), false));
        count += i < bits && bitmap_test(map, i);
    }
    CHECK_EQ(bitmap_count(map, bits), count);
}

TEST(empty_full_and_single_bits)
{
    static const unsigned sizes[] = { 1, 63, 64, 65, 127, 128, 512 };
    uint64_t map[8];

    for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
        memset(map, 0, sizeof(map));
        compare_all(map, sizes[s]);
        for (unsigned i = 0; i < sizes[s]; i++) {
            bitmap_set(map, i);
            CHECK_EQ(bitmap_next_set(map, sizes[s], 0), i);
            bitmap_clear(map, i);
        }
        memset(map, 0xff, sizeof(map));
        compare_all(map, sizes[s]);
    }
}

/* Bits past the end must not be found, nor counted. */
TEST(stray_bits_past_the_end_do_not_count)
{
    uint64_t map[2] = { 0, UINT64_C(1) << 5 };

    CHECK_EQ(bitmap_next_set(map, 69, 0), 69);
    CHECK_EQ(bitmap_count(map, 69), 0);
    CHECK_EQ(bitmap_next_set(map, 70, 0), 69);
}

TEST(random_maps_against_the_model)
{
    struct rng r;

    rng_seed(&r, test_seed);
    for (uint64_t round = 0; round < 100 * test_rounds; round++) {
        unsigned bits = 1 + (unsigned)rng_below(&r, 512);
        uint64_t map[8];

        for (unsigned i = 0; i < 8; i++) {
            map[i] = rng_next(&r) & rng_next(&r) & rng_next(&r);
            map[i] ^= rng_below(&r, 2) ? UINT64_MAX : 0;
        }
        compare_all(map, bits);
    }
}
