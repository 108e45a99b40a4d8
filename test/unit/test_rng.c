/* test_rng.c - the generator's known values, fair bounds; page functions. */
#include "test.h"

#include <quire/rng.h>
#include <quire/string.h>

/* xoshiro256** from a known state: worked out by hand from its definition. */
TEST(first_values_of_a_known_state)
{
    struct rng r = { { 1, 2, 3, 4 } };

    CHECK_EQ(rng_next(&r), 11520);
    CHECK_EQ(rng_next(&r), 0);
    CHECK_EQ(rng_next(&r), 1509978240);
    CHECK_EQ(rng_next(&r), 1215971899390074240);
}

TEST(seed_zero_is_no_dead_state)
{
    struct rng r;

    rng_seed(&r, 0);
    CHECK(r.s[0] != 0 && r.s[1] != 0 && r.s[2] != 0 && r.s[3] != 0);
    CHECK_EQ(r.s[0], 0xe220a8397b1dcdaf);
}

TEST(below_is_below_and_even)
{
    unsigned seen[7] = { 0 };
    struct rng r;

    rng_seed(&r, test_seed);
    for (unsigned i = 0; i < 70000; i++) {
        uint64_t x = rng_below(&r, 7);

        CHECK(x < 7);
        seen[x]++;
    }
    for (unsigned i = 0; i < 7; i++) {
        CHECK(seen[i] > 9500 && seen[i] < 10500);
    }
    CHECK_EQ(rng_below(&r, 1), 0);
    CHECK(rng_below(&r, UINT64_MAX) < UINT64_MAX);
}

static alignas(4096) uint64_t page_a[512], page_b[512], page_c[512];

TEST(pages_are_copied_and_filled_whole)
{
    for (unsigned i = 0; i < 512; i++) {
        page_a[i] = i * 3 + 1;
    }
    page_copy(page_b, page_a);
    page_fill(page_c, 77);
    for (unsigned i = 0; i < 512; i++) {
        CHECK_EQ(page_b[i], i * 3 + 1);
        CHECK_EQ(page_c[i], 77);
    }
    page_zero(page_c);
    for (unsigned i = 0; i < 512; i++) {
        CHECK_EQ(page_c[i], 0);
    }
}

/* Any one or two bits changed, any two words swapped: another hash. */
TEST(page_hash_sees_small_changes)
{
    uint64_t h;

    for (unsigned i = 0; i < 512; i++) {
        page_a[i] = i * 3 + 1;
    }
    h = page_hash(page_a);
    page_copy(page_b, page_a);
    CHECK_EQ(page_hash(page_b), h);
    for (unsigned bit = 0; bit < 512 * 64; bit += 61) {
        page_b[bit / 64] ^= UINT64_C(1) << bit % 64;
        CHECK(page_hash(page_b) != h);
        page_b[(bit / 64 + 4) % 512] ^= UINT64_C(1) << bit % 64;
        CHECK(page_hash(page_b) != h);
        page_copy(page_b, page_a);
    }
    for (unsigned i = 0; i + 4 < 512; i++) {
        page_b[i] = page_a[i + 4];
        page_b[i + 4] = page_a[i];
        CHECK(page_hash(page_b) != h);
        page_copy(page_b, page_a);
    }
}

/* The top bits of two words of one lane must not cancel out. */
TEST(page_hash_keeps_top_bits)
{
    uint64_t zero;

    page_zero(page_a);
    zero = page_hash(page_a);
    for (unsigned i = 0; i + 4 < 512; i += 4) {
        page_a[i] = page_a[i + 4] = UINT64_C(1) << 63;
        CHECK(page_hash(page_a) != zero);
        page_a[i] = page_a[i + 4] = 0;
    }
}
