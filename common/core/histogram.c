/*
 * histogram.c - buckets by power of two, four to each.
 *
 * Values 0..3 have a bucket each; above, the bucket is the position of the
 * top bit and the two bits below it:  1ab... in binary -> bucket(top, ab).
 */
#include <quire/histogram.h>

static unsigned bucket_of(uint64_t value)
{
    unsigned top;

    if (value < 4) {
        return (unsigned)value;
    }
    top = 63 - (unsigned)__builtin_clzll(value);
    return (top - 1) * 4 + (unsigned)(value >> (top - 2) & 3);
}

/* The largest value that falls into @bucket. */
static uint64_t bucket_limit(unsigned bucket)
{
    unsigned top;

    if (bucket < 4) {
        return bucket;
    }
    top = bucket / 4 + 1;
    return ((UINT64_C(4) + bucket % 4) << (top - 2)) +
           (UINT64_C(1) << (top - 2)) - 1;
}

static_assert((63 - 1) * 4 + 3 <
              ARRAY_SIZE(((struct histogram *)0)->bucket),
              "the top bucket fits");

void histogram_init(struct histogram *h)
{
    *h = (struct histogram){ .min = UINT64_MAX };
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->count++;
    h->sum += value;
    h->min = MIN(h->min, value);
    h->max = MAX(h->max, value);
    h->bucket[bucket_of(value)]++;
}

void histogram_add_atomic(struct histogram *h, uint64_t value)
{
    uint64_t min = __atomic_load_n(&h->min, __ATOMIC_RELAXED);
    uint64_t max = __atomic_load_n(&h->max, __ATOMIC_RELAXED);

    __atomic_fetch_add(&h->count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&h->sum, value, __ATOMIC_RELAXED);
    __atomic_fetch_add(&h->bucket[bucket_of(value)], 1, __ATOMIC_RELAXED);
    while (unlikely(value < min) &&
           !__atomic_compare_exchange_n(&h->min, &min, value, true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    while (unlikely(value > max) &&
           !__atomic_compare_exchange_n(&h->max, &max, value, true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

static uint64_t read(const uint64_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    uint64_t min = read(&from->min), max = read(&from->max);
    uint64_t count = read(&from->count);

    if (count == 0) {
        return;
    }
    into->count += count;
    into->sum += read(&from->sum);
    into->min = MIN(into->min, min);
    into->max = MAX(into->max, max);
    for (unsigned i = 0; i < ARRAY_SIZE(into->bucket); i++) {
        into->bucket[i] += __atomic_load_n(&from->bucket[i],
                                           __ATOMIC_RELAXED);
    }
}

uint64_t histogram_quantile(const struct histogram *h, unsigned permille)
{
    /* The rank-th value, counted from 1, is the one asked for. */
    uint64_t rank = h->count / 1000 * permille +
                    (h->count % 1000 * permille + 999) / 1000;
    uint64_t seen = 0;

    if (h->count == 0) {
        return 0;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(h->bucket); i++) {
        seen += h->bucket[i];
        if (seen >= MAX(rank, 1)) {
            return MIN(bucket_limit(i), h->max);
        }
    }
    return h->max;
}
