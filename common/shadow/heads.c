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

uint64_t heads_next(const struct shadow *s, uint64_t gfn)
{
    while (gfn >> P2M_GFN_BITS == 0) {
        uint32_t t = s->top[index_0(gfn)];

        if (t == 0) {
            gfn = (gfn | ((UINT64_C(1) << 29) - 1)) + 1;
            continue;
        }
        t = table(t)[index_1(gfn)];
        if (t == 0) {
            gfn = (gfn | ((UINT64_C(1) << 19) - 1)) + 1;
            continue;
        }
        if (table(t)[index_2(gfn)] != 0) {
            return gfn;
        }
        gfn = (gfn | (SPTES_PER_PAGE - 1)) + 1;
    }
    return UINT64_MAX;
}

static void free_table(struct shadow *s, uint32_t *slot)
{
    page_free(mfn_to_frame(MFN(*slot)), 0);
    s->nr_heads--;
    *slot = 0;
}

/* A page of heads and, where it was the last of them, what is above it. The
 * tree goes in ascending order, so what is behind the cursor is empty. */
int heads_destroy(struct shadow *s, struct work *w)
{
    for (unsigned i = 0; i < HEADS_TOP; i++) {
        uint32_t *one = s->top[i] != 0 ? table(s->top[i]) : NULL;

        for (unsigned j = 0; one != NULL && j < FANOUT; j++) {
            uint32_t *two = one[j] != 0 ? table(one[j]) : NULL;

            for (unsigned k = 0; two != NULL && k < FANOUT; k++) {
                if (two[k] == 0) {
                    continue;
                }
                spte_heads_destroy(two[k]);
                s->nr_heads--;
                two[k] = 0;
                if (work_spend(w, 1500)) {
                    return -ERESTART;
                }
            }
            if (two != NULL) {
                free_table(s, &one[j]);
                if (work_spend(w, 2500)) {
                    return -ERESTART;
                }
            }
        }
        if (one != NULL) {
            free_table(s, &s->top[i]);
        }
    }
    return 0;
}
