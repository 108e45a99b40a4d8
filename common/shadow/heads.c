/*
 * heads.c - the heads of the chains, by gfn: a radix tree of three levels of
 * frames, made as gfns are mapped and kept until the shadow goes.
 *
 *      gfn   35    29 28     19 18      9 8      0
 *            in the    1024 mfns 1024      a page of
 *            struct              refs      512 heads
 */
#include "pages.h"

#include <quire/page_alloc.h>
#include <quire/string.h>

#define FANOUT 1024
#define MAX_STEPS 400           /* in search of a page, in one go */

static unsigned index_0(uint64_t gfn) { return (unsigned)(gfn >> 29); }
static unsigned index_1(uint64_t gfn) { return gfn >> 19 & (FANOUT - 1); }
static unsigned index_2(uint64_t gfn) { return gfn >> 9 & (FANOUT - 1); }

static uint32_t *table(uint32_t mfn) { return arch_map_frame(MFN(mfn)); }

head_ref_t heads_find(const struct shadow *s, gfn_t gfn)
{
    uint32_t t = s->top[index_0(gfn.n)];

    if (unlikely(t == 0)) {
        return 0;
    }
    t = table(t)[index_1(gfn.n)];
    if (unlikely(t == 0)) {
        return 0;
    }
    t = table(t)[index_2(gfn.n)];
    return unlikely(t == 0) ? 0 : t + gfn.n % SPTES_PER_PAGE;
}

/* What *@slot names, made if there is nothing yet. */
static uint32_t get_table(struct shadow *s, uint32_t *slot)
{
    struct frame *f;

    if (*slot != 0) {
        return *slot;
    }
    f = page_alloc(0, FRAME_TABLE);
    if (f == NULL) {
        return 0;
    }
    page_zero(arch_map_frame(frame_to_mfn(f)));
    s->nr_heads++;
    *slot = (uint32_t)frame_to_mfn(f).n;
    return *slot;
}

static slow_path head_ref_t make(struct shadow *s, gfn_t gfn)
{
    uint32_t t = get_table(s, &s->top[index_0(gfn.n)]);
    uint32_t *slot;

    if (t == 0) {
        return 0;
    }
    t = get_table(s, &table(t)[index_1(gfn.n)]);
    if (t == 0) {
        return 0;
    }
    slot = &table(t)[index_2(gfn.n)];
    *slot = spte_heads_create();
    if (*slot == 0) {
        return 0;
    }
    s->nr_heads++;
    return *slot + gfn.n % SPTES_PER_PAGE;
}

head_ref_t heads_get(struct shadow *s, gfn_t gfn)
{
    head_ref_t head = heads_find(s, gfn);

    return likely(head != 0) ? head : make(s, gfn);
}

/* The first number after @n whose low @bits are 0. */
static uint64_t next_multiple(uint64_t n, unsigned bits)
{
    return ((n >> bits) + 1) << bits;
}

uint64_t heads_next(const struct shadow *s, uint64_t gfn, uint64_t end)
{
    for (unsigned i = 0; i < MAX_STEPS && gfn < end; i++) {
        uint32_t t = s->top[index_0(gfn)];

        if (t == 0) {
            gfn = next_multiple(gfn, 29);
            continue;
        }
        t = table(t)[index_1(gfn)];
        if (t == 0) {
            gfn = next_multiple(gfn, 19);
            continue;
        }
        if (table(t)[index_2(gfn)] != 0) {
            return gfn;
        }
        gfn = next_multiple(gfn, 9);
    }
    return MIN(gfn, end);
}

static void free_table(struct shadow *s, uint32_t *slot)
{
    page_free(mfn_to_frame(MFN(*slot)), 0);
    s->nr_heads--;
    *slot = 0;
}

/* The page of heads at the cursor, and, where it was the last below one, the
 * table above it; or what is not there is stepped over. Returns units. */
static int64_t destroy_next(struct shadow *s)
{
    uint64_t gfn = s->head_cursor;
    uint32_t *top = &s->top[index_0(gfn)], *one, *two;
    int64_t cost = 40;

    if (*top == 0) {
        s->head_cursor = next_multiple(gfn, 29);
        return cost;
    }
    one = &table(*top)[index_1(gfn)];
    if (*one == 0) {
        s->head_cursor = next_multiple(gfn, 19);
    } else {
        two = &table(*one)[index_2(gfn)];
        if (*two != 0) {
            spte_heads_destroy(*two);
            s->nr_heads--;
            *two = 0;
            cost = 1500;
        }
        s->head_cursor = next_multiple(gfn, 9);
        if (index_2(s->head_cursor) == 0) {
            free_table(s, one);
            cost += 400;
        }
    }
    if (index_1(s->head_cursor) == 0 && index_2(s->head_cursor) == 0) {
        free_table(s, top);
        cost += 400;
    }
    return cost;
}

int heads_destroy(struct shadow *s, struct work *w)
{
    while (s->head_cursor >> P2M_GFN_BITS == 0) {
        if (work_spend(w, destroy_next(s))) {
            return -ERESTART;
        }
    }
    return 0;
}
