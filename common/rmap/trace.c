/*
 * trace.c - traces for measuring reverse maps: a number becomes a gfn,
 * or a turn, by a mapping that never gives one twice.
 */
#include <quire/rmap_trace.h>

const char *const rmap_pattern_names[RMAP_NR_PATTERNS] = {
    [RMAP_DENSE] = "dense", [RMAP_RANDOM] = "random",
    [RMAP_STRIDE256] = "stride256", [RMAP_RUNS64] = "runs64",
};
const char *const rmap_order_names[RMAP_NR_ORDERS] = {
    [RMAP_FORWARD] = "forward", [RMAP_REVERSE] = "reverse",
    [RMAP_SHUFFLED] = "random",
};

#define DOMAIN 1
#define ODD1 UINT64_C(0x9e3779b97f4a7c15)
#define ODD2 UINT64_C(0xc2b2ae3d27d4eb4f)

/* A permutation of the numbers of @bits bits: odd factors and folds are. */
static uint64_t permute(uint64_t x, unsigned bits, uint64_t seed)
{
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    unsigned half = (bits + 1) / 2;

    x = (x ^ seed) & mask;
    x = (x * ODD1) & mask;
    x ^= x >> half;
    x = (x * ODD2) & mask;
    x ^= x >> half;
    return (x * ODD1) & mask;
}

struct rmap_pair rmap_trace_pair(const struct rmap_trace *t, uint64_t i)
{
    uint64_t gfn = i;

    switch (t->pattern) {
    case RMAP_RANDOM:
        gfn = permute(i, RMAP_DOMAIN_SHIFT, t->seed);
        break;
    case RMAP_STRIDE256:
        gfn = i * 256;
        break;
    case RMAP_RUNS64:
        gfn = permute(i / 64, RMAP_DOMAIN_SHIFT - RMAP_GROUP_SHIFT,
                      t->seed) * 64 + i % 64;
        break;
    default:
        break;
    }
    return (struct rmap_pair){ DOMAIN, GFN(gfn) };
}

uint64_t rmap_trace_turn(const struct rmap_trace *t, uint64_t i)
{
    unsigned bits = 1;

    switch (t->order) {
    case RMAP_REVERSE:
        return t->n - 1 - i;
    case RMAP_SHUFFLED:
        while (UINT64_C(1) << bits < t->n) {
            bits++;
        }
        do {            /* walk the cycle back into 0 .. n-1 */
            i = permute(i, bits, t->seed >> 7);
        } while (i >= t->n);
        return i;
    default:
        return i;
    }
}
