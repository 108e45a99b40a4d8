/* rng.c - xoshiro256** (Blackman and Vigna), seeded through splitmix64. */
#include <quire/rng.h>

static uint64_t rotate_left(uint64_t x, unsigned k)
{
    return x << k | x >> (64 - k);
}

/* splitmix64: never gives the all-zero state that xoshiro cannot leave. */
void rng_seed(struct rng *r, uint64_t seed)
{
    for (unsigned i = 0; i < ARRAY_SIZE(r->s); i++) {
        uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        r->s[i] = z ^ z >> 31;
    }
}

uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    /* The last, incomplete run of n values is thrown away: no bias. */
    uint64_t incomplete = -n % n;
    uint64_t x;

    do {
        x = rng_next(r);
    } while (x < incomplete);
    return x % n;
}
