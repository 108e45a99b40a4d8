/*
 * array.h - the middle shape of the adaptive reverse map: a heap object
 * of up to 32 words, packed, in order of arrival; and the words of any map
 * that is no table.
 *
 * A group is one word, or with more members than one that word and, after it,
 * their map.
 */
#pragma once

#include "two.h"

#define ARRAY_MAX 32            /* words */

/* r->shape: which, and whether groups are of domains instead of gfns. */
enum { RMAP_INLINE, RMAP_ARRAY, RMAP_BY_GFN = 64 };     /* and RMAP_TWO */

static inline bool is_inline(const struct rmap *r)
{
    return (r->shape | RMAP_BY_GFN) == (RMAP_INLINE | RMAP_BY_GFN);
}

static inline bool is_array(const struct rmap *r)
{
    return (r->shape | RMAP_BY_GFN) == (RMAP_ARRAY | RMAP_BY_GFN);
}

static inline bool is_two(const struct rmap *r)
{
    return r->shape == RMAP_TWO;
}

static inline bool is_by_gfn(const struct rmap *r)
{
    return (r->shape & RMAP_BY_GFN) != 0;
}

static inline unsigned words_needed(uint64_t map)
{
    return is_single(map) ? 1 : 2;
}

static inline uint64_t array_map(const uint64_t *w)
{
    return (w[0] & WORD_HAS_MAP) != 0
               ? w[1] : UINT64_C(1) << (w[0] >> WORD_MEMBER_SHIFT & 63);
}

static inline void array_write(uint64_t *w, uint64_t hash, uint64_t map)
{
    w[0] = group_word(hash, map);
    if (!is_single(map)) {
        w[1] = map;
    }
}

/* The words of a map that is no table, to the first 0 or the end. */
struct words { uint64_t *first, *end; uint64_t of_map[2]; };
void words_of(const struct rmap *r, struct words *w);
/** words_find() - the group of @hash, or NULL. */
uint64_t *words_find(const struct words *w, uint64_t hash);
unsigned words_used(const struct words *w);

/** array_make() - make of a map that is no table one of at least @words
 *  words, no fewer than it uses. -ENOMEM: nothing changed. */
int must_check array_make(struct rmap *r, unsigned words);
/** array_from_leaf() - an array, which r->root is then, of what is in a leaf
 *  that is the caller's to free. -ENOMEM: nothing changed. */
int must_check array_from_leaf(struct rmap *r, const struct leaf *l);
void array_free(struct rmap *r);
/** array_add() - members that are not there. 0, or how many words that takes
 *  where there are not as many. r->count is the caller's. */
unsigned must_check array_add(struct rmap *r, uint64_t hash, uint64_t map);
/** array_remove() - take @map's members out, which must be there (BUG); a
 *  smaller array, or none, where that will do. r->count is the caller's. */
void array_remove(struct rmap *r, uint64_t hash, uint64_t map);
/** array_narrow() - take a member out of a map that keeps two or more; false:
 *  there is none. r->count is the caller's. */
bool must_check array_narrow(struct rmap *r, uint64_t hash, uint64_t bit);
/** array_scan() - the keys of the next @max members, which there are. */
void array_scan(struct rmap *r, uint64_t *out, unsigned max);
