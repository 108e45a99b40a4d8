/*
 * numbers.h - small dense numbers for pages, so that a link to one of their
 * 512 entries fits 32 bits.
 *
 *     number: | chunk, 12 bits | place, 9 bits |      0 is never given out
 *
 * A number names its page until it is given back. Reading takes no lock: who
 * has a number, has a page behind it. Chunks go when no number is left.
 * Locks: SHADOWNUM, inside.
 */
#pragma once

#include <quire/types.h>

#define NUMBERS_CHUNK 512
#define NUMBERS_CHUNKS 4096

struct numbers {
    void **chunk[NUMBERS_CHUNKS];   /* [shadownum] to write */
    uint32_t first_free;            /* [shadownum] 0: none */
    uint32_t nr_chunks, nr_used;    /* [shadownum] */
};

/** numbers_take() - a number for @page. 0: no memory, or all are taken. */
uint32_t must_check numbers_take(struct numbers *t, void *page);
/** numbers_give() - @number is nobody's any more. */
void numbers_give(struct numbers *t, uint32_t number);

static inline void *numbers_page(const struct numbers *t, uint32_t number)
{
    return t->chunk[number / NUMBERS_CHUNK][number % NUMBERS_CHUNK];
}
