/*
 * random.h - seeded numbers. mix64() scatters one number (so that "page i of
 * seed s" needs no state); struct random is a stream of them. The same seed
 * gives the same guest, to the byte.
 */
#pragma once

#include <quire/types.h>

struct random { uint64_t state; };

/* The finaliser of splitmix64: a bijection that mixes every bit. */
static inline uint64_t mix64(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t random_next(struct random *r)
{
    return mix64(r->state++);
}

/* 0 .. n-1; n > 0 and far below 2^64, so the bias is nothing. */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
    return random_next(r) % n;
}
