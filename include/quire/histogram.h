/* histogram.h - counts by power of two and four steps between: 64-bit values
 * in 256 buckets, exact minimum, maximum, count and sum. */
#pragma once

#include <quire/types.h>

struct histogram {
    uint64_t count, sum, min, max;
    uint32_t bucket[256];
};
void histogram_init(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);
/** histogram_add_atomic() - the same, where others add at the same time. Each
 *  field is right; read together by histogram_merge() they may be one apart. */
void histogram_add_atomic(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/** histogram_quantile() - upper bound of the bucket that holds @permille. */
uint64_t histogram_quantile(const struct histogram *h, unsigned permille);
