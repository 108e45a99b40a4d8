/* test_histogram.c - every value has its bucket; quantiles bound the truth. */
#include "test.h"

#include <quire/histogram.h>
#include <quire/rng.h>

TEST(empty)
{
    struct histogram h;

    histogram_init(&h);
    CHECK_EQ(h.count, 0);
    CHECK_EQ(histogram_quantile(&h, 500), 0);
}

TEST(exact_figures_and_small_values)
{
    struct histogram h;

    histogram_init(&h);
    for (uint64_t v = 0; v < 8; v++) {
        histogram_add(&h, v);
    }
    CHECK_EQ(h.count, 8);
    CHECK_EQ(h.sum, 28);
    CHECK_EQ(h.min, 0);
    CHECK_EQ(h.max, 7);
    /* Below 8 each value has a bucket of its own. */
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(h.bucket[i], 1);
        CHECK_EQ(histogram_quantile(&h, (i + 1) * 125), i);
    }
}

/* Of seven, the median is the fourth: ranks are rounded up. */
TEST(few_values)
{
    struct histogram h;

    histogram_init(&h);
    for (uint64_t v = 1; v <= 7; v++) {
        histogram_add(&h, v);
    }
    CHECK_EQ(histogram_quantile(&h, 500), 4);
    CHECK_EQ(histogram_quantile(&h, 0), 1);
    CHECK_EQ(histogram_quantile(&h, 1), 1);
    CHECK_EQ(histogram_quantile(&h, 1000), 7);
}

TEST(edges_of_every_power_of_two)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t v = UINT64_C(1) << bit;

        for (int d = -1; d <= 1; d++) {
            struct histogram h;

            histogram_init(&h);
            histogram_add(&h, v + (uint64_t)d);
            CHECK_EQ(histogram_quantile(&h, 1000), v + (uint64_t)d);
        }
    }
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* A quantile is at or above the exact one, by a quarter at most. */
TEST(quantiles_against_sorting)
{
    static uint64_t value[1000];
    struct histogram h, half;
    struct rng r;

    rng_seed(&r, test_seed);
    histogram_init(&h);
    histogram_init(&half);
    for (unsigned i = 0; i < 1000; i++) {
        value[i] = rng_next(&r) >> (1 + rng_below(&r, 62));
        histogram_add(i % 2 ? &h : &half, value[i]);
    }
    histogram_merge(&h, &half);
    CHECK_EQ(h.count, 1000);
    qsort(value, 1000, sizeof(value[0]), ascending);
    CHECK_EQ(h.min, value[0]);
    CHECK_EQ(h.max, value[999]);
    for (unsigned p = 1; p <= 1000; p++) {
        uint64_t q = histogram_quantile(&h, p), exact = value[p - 1];

        CHECK(q >= exact);
        CHECK(q <= exact + exact / 4 + 1);
    }
}
