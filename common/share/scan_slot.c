/*
 * scan_slot.c - what the scanner remembers of each gfn, 8 bytes: chunks of
 * 123 gfns in a list, in the order of the scan, which is why a list will do.
 *
 *     member --> [gfn 0..122] --> [gfn 123..245] --> [gfn 8610..8732]
 *                                     ^ at
 *
 * A pass moves `at` on from the list's head. A chunk it passes over has no
 * populated gfn any more.
 */
#include "scanner.h"

#include <quire/heap.h>
#include <quire/string.h>

#define FREE_MAX 16                 /* chunks freed in one call */

static struct scan_chunk *chunk_of(struct list *n)
{
    return container_of(n, struct scan_chunk, link);
}

void scan_slots_init(struct scan_member *m, uint64_t birth)
{
    m->birth = birth;
    list_init(&m->chunks);
    m->at = &m->chunks;
}

static void drop(struct list *n)
{
    list_remove(n);
    heap_free(chunk_of(n));
    share_count(&scan_totals.bytes, -(uint64_t)sizeof(struct scan_chunk));
}

/* Free the chunks after `at` that are below @index. -ERESTART: some of them. */
static int drop_below(struct scan_member *m, uint64_t index)
{
    for (unsigned i = 0; i < FREE_MAX; i++) {
        struct list *n = m->at->next;

        if (n == &m->chunks || chunk_of(n)->index >= index) {
            return 0;
        }
        drop(n);
    }
    return -ERESTART;
}

int scan_slot_at(struct scan_member *m, gfn_t gfn, struct scan_slot **s)
{
    uint64_t index = gfn.n / SCAN_CHUNK;
    struct scan_chunk *c;
    struct list *n;

    if (m->at == &m->chunks || chunk_of(m->at)->index != index) {
        int err = drop_below(m, index);

        if (err != 0) {
            return err;
        }
        n = m->at->next;
        if (n == &m->chunks || chunk_of(n)->index != index) {
            c = heap_alloc(sizeof(*c));
            if (c == NULL) {
                *s = NULL;
                return 0;
            }
            c->index = index;
            memset(c->slot, 0, sizeof(c->slot));
            list_insert_between(&c->link, m->at, n);
            share_count(&scan_totals.bytes, sizeof(*c));
        }
        m->at = m->at->next;
    }
    *s = &chunk_of(m->at)->slot[gfn.n % SCAN_CHUNK];
    return 0;
}

int scan_slots_end(struct scan_member *m)
{
    int err = drop_below(m, UINT64_MAX);

    if (err == 0) {
        m->at = &m->chunks;
    }
    return err;
}

int scan_slots_free(struct scan_member *m)
{
    m->at = &m->chunks;
    return drop_below(m, UINT64_MAX);
}
