/* rng.h - xoshiro256** for tests and seeds, and a 64-bit mixer for hashes. */
#pragma once

#include <quire/types.h>

struct rng { uint64_t s[4]; };
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/** rng_below() - uniform in [0, n), n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);

static inline uint64_t mix64(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}
