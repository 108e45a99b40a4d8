/*
 * reshape.h - the adaptive reverse map from one shape to the next.
 */
#pragma once

#include "array.h"
#include "table.h"

static inline bool is_table(const struct rmap *r)
{
    return (r->shape & RMAP_TABLE) != 0;
}

/** rmap_free_words() - what the map has on the heap; it is without then. */
void rmap_free_words(struct rmap *r);
/** rmap_grow() - room for @words words. -ENOMEM: nothing changed. */
slow_path int must_check rmap_grow(struct rmap *r, unsigned words);
/** rmap_array_to_domains() - of a full array by gfn with no more pairs than
 *  words make a table by domain. -ENOMEM: nothing changed. */
slow_path int must_check rmap_array_to_domains(struct rmap *r);
/** rmap_two_by_gfn() - of two pairs make an array by gfn that has room for a
 *  third. -ENOMEM: nothing changed. */
slow_path int must_check rmap_two_by_gfn(struct rmap *r);
/** rmap_table_to_array() - the root is a leaf with few words left; where there
 *  is no memory it stays. */
slow_path void rmap_table_to_array(struct rmap *r);
