/*
 * spte_desc.c - a chain as descriptors of 14 sptes, for comparison.
 *
 *     head word:  spte << 1            one spte, nothing allocated
 *                 descriptor | 1       newest first; only it may have room
 *
 * Removal looks for the spte in all of them, fills its place with the last of
 * the newest, and frees that one when it is empty.
 */
#include "spte_link.h"

#include <quire/heap.h>
#include <quire/panic.h>

#define DESC_SPTES 14

struct spte_desc {
    struct spte_desc *more;     /* the older ones */
    uint64_t nr;
    uint64_t spte[DESC_SPTES];  /* spte_ref_t */
};
static_assert(sizeof(struct spte_desc) == 128, "two cache lines");

static _Atomic uint64_t nr_descs;

static bool is_desc(uint64_t head) { return (head & 1) != 0; }

static struct spte_desc *to_desc(uint64_t head)
{
    return (struct spte_desc *)(head - 1);
}

static struct spte_desc *push(uint64_t *head, struct spte_desc *more)
{
    struct spte_desc *d = heap_alloc(sizeof(*d));

    if (d != NULL) {
        d->more = more;
        d->nr = 0;
        *head = (uint64_t)d | 1;
        atomic_fetch_add_explicit(&nr_descs, 1, memory_order_relaxed);
    }
    return d;
}

int spte_desc_add(uint64_t *head, spte_ref_t s)
{
    uint64_t old = *head;
    struct spte_desc *d;

    if (old == 0) {
        *head = (uint64_t)s << 1;
        return 0;
    }
    if (!is_desc(old)) {
        d = push(head, NULL);
        if (d == NULL) {
            return -ENOMEM;
        }
        d->spte[d->nr++] = old >> 1;
    } else {
        d = to_desc(old);
        if (d->nr == DESC_SPTES) {
            d = push(head, d);
            if (d == NULL) {
                return -ENOMEM;
            }
        }
    }
    d->spte[d->nr++] = s;
    return 0;
}

/* Take the last spte out of the newest descriptor. */
static uint64_t pop_last(uint64_t *head)
{
    struct spte_desc *d = to_desc(*head);
    uint64_t last = d->spte[--d->nr];

    if (d->nr == 0) {
        *head = d->more == NULL ? 0 : (uint64_t)d->more | 1;
        heap_free(d);
        atomic_fetch_sub_explicit(&nr_descs, 1, memory_order_relaxed);
    }
    return last;
}

void spte_desc_remove(uint64_t *head, spte_ref_t s)
{
    if (!is_desc(*head)) {
        BUG_ON(*head != (uint64_t)s << 1);
        *head = 0;
        return;
    }
    for (struct spte_desc *d = to_desc(*head); d != NULL; d = d->more) {
        for (unsigned i = 0; i < d->nr; i++) {
            if (d->spte[i] == s) {
                bool is_last = d == to_desc(*head) && i == d->nr - 1;
                uint64_t last = pop_last(head);

                if (!is_last) {
                    d->spte[i] = last;
                }
                return;
            }
        }
    }
    panic("spte %x is not on the chain it names", s);
}

spte_ref_t spte_desc_first(struct spte_iter *it, uint64_t head)
{
    it->desc = NULL;
    it->i = 0;
    if (!is_desc(head)) {
        return (spte_ref_t)(head >> 1);
    }
    it->desc = to_desc(head);
    return (spte_ref_t)it->desc->spte[0];
}

spte_ref_t spte_desc_next(struct spte_iter *it)
{
    if (it->desc == NULL) {
        return 0;
    }
    if (++it->i == it->desc->nr) {
        it->i = 0;
        it->desc = it->desc->more;
        if (it->desc == NULL) {
            return 0;
        }
    }
    return (spte_ref_t)it->desc->spte[it->i];
}

uint64_t spte_desc_bytes(void)
{
    return atomic_load(&nr_descs) * sizeof(struct spte_desc);
}
