/*
 * heads.c - the heads of the chains, by gfn: a radix tree of three levels of
 * frames, made as gfns are mapped.
 *
 *      gfn   35    29 28     19 18      9 8      0
 *            in the    1024 mfns 1024      a page of
 *            struct              refs      512 heads
 *
 * The pages of heads are in a ring, oldest first. Each new one is paid for by
 * a look at the two oldest: empty ones go, with the tables above them that
 * they were the last of. So at most about half of them are empty.
 */
#include "pages.h"

#include <quire/page_alloc.h>
#include <quire/string.h>

#define FANOUT 1024
#define MAX_STEPS 400           /* in search of a page, in one go */
#define LOOKS 2                 /* at old pages, for a new one */

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

/* Of a table: how many of its slots are in use. */
static void count_slots(uint32_t t, int change)
{
    struct frame *f = mfn_to_frame(MFN(t));

    f->user = (void *)((uintptr_t)f->user + (uintptr_t)(intptr_t)change);
}

static bool has_slots(uint32_t t)
{
    return mfn_to_frame(MFN(t))->user != NULL;
}

static void free_table(struct shadow *s, uint32_t *slot)
{
    struct frame *f = mfn_to_frame(MFN(*slot));

    f->user = NULL;
    page_free(f, 0);
    s->nr_heads--;
    *slot = 0;
}

/* The tables on the way to @gfn, if there is nothing below them. */
static void prune(struct shadow *s, uint64_t gfn)
{
    uint32_t *top = &s->top[index_0(gfn)], *one;

    if (*top == 0) {
        return;
    }
    one = &table(*top)[index_1(gfn)];
    if (*one != 0 && !has_slots(*one)) {
        free_table(s, one);
        count_slots(*top, -1);
    }
    if (!has_slots(*top)) {
        free_table(s, top);
    }
}

/* ---- the ring of pages of heads ---------------------------------------- */

/* In frame->user: the first gfn / 512, and the mfn of the next newer one (of
 * the newest: of the oldest). */
#define NEXT_BITS 32

static uint32_t heads_mfn(head_ref_t first)
{
    return (uint32_t)((uint64_t)first * 8 >> PAGE_SHIFT);
}

static uintptr_t ring_word(uint32_t mfn)
{
    return (uintptr_t)mfn_to_frame(MFN(mfn))->user;
}

static void ring_set(uint32_t mfn, uint64_t block, uint32_t next)
{
    mfn_to_frame(MFN(mfn))->user = (void *)(uintptr_t)(block << NEXT_BITS |
                                                       next);
}

static void ring_append(struct shadow *s, uint32_t mfn, uint64_t gfn)
{
    uint32_t last = s->last_heads;

    if (last == 0) {
        ring_set(mfn, gfn >> 9, mfn);
    } else {
        ring_set(mfn, gfn >> 9, (uint32_t)ring_word(last));
        ring_set(last, ring_word(last) >> NEXT_BITS, mfn);
    }
    s->last_heads = mfn;
}

static bool is_empty(head_ref_t first)
{
    for (unsigned i = 0; i < SPTES_PER_PAGE; i++) {
        if (!spte_rmap_is_empty(first + i)) {
            return false;
        }
    }
    return true;
}

/* The oldest page goes if it is empty, and is the newest otherwise. */
static void look_at_oldest(struct shadow *s)
{
    uint32_t last = s->last_heads, mfn, *one, *two;
    uint64_t gfn;

    if (last == 0) {
        return;
    }
    mfn = (uint32_t)ring_word(last);
    gfn = ring_word(mfn) >> NEXT_BITS << 9;
    one = &table(s->top[index_0(gfn)])[index_1(gfn)];
    two = &table(*one)[index_2(gfn)];
    if (!is_empty(*two)) {
        s->last_heads = mfn;
        return;
    }
    if (mfn == last) {
        s->last_heads = 0;
    } else {
        ring_set(last, ring_word(last) >> NEXT_BITS,
                 (uint32_t)ring_word(mfn));
    }
    mfn_to_frame(MFN(mfn))->user = NULL;
    spte_heads_destroy(*two);
    s->nr_heads--;
    s->changes++;               /* an audit may stand in it */
    *two = 0;
    count_slots(*one, -1);
    prune(s, gfn);
}

/* ---- making ------------------------------------------------------------ */

/* What *@slot of table @above (0: the struct) names, made if there is nothing
 * yet. */
static uint32_t get_table(struct shadow *s, uint32_t above, uint32_t *slot)
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
    f->user = NULL;
    s->nr_heads++;
    if (above != 0) {
        count_slots(above, 1);
    }
    *slot = (uint32_t)frame_to_mfn(f).n;
    return *slot;
}

static slow_path head_ref_t make(struct shadow *s, gfn_t gfn)
{
    uint32_t t, *slot;

    for (unsigned i = 0; i < LOOKS; i++) {
        look_at_oldest(s);
    }
    t = get_table(s, 0, &s->top[index_0(gfn.n)]);
    if (t == 0) {
        return 0;
    }
    t = get_table(s, t, &table(t)[index_1(gfn.n)]);
    if (t == 0) {
        prune(s, gfn.n);
        return 0;
    }
    slot = &table(t)[index_2(gfn.n)];
    *slot = spte_heads_create();
    if (*slot == 0) {
        prune(s, gfn.n);
        return 0;
    }
    count_slots(t, 1);
    ring_append(s, heads_mfn(*slot), gfn.n);
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
            mfn_to_frame(MFN(heads_mfn(*two)))->user = NULL;
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
    s->last_heads = 0;
    while (s->head_cursor >> P2M_GFN_BITS == 0) {
        if (work_spend(w, destroy_next(s))) {
            return -ERESTART;
        }
    }
    return 0;
}
