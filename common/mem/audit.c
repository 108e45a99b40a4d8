/*
 * audit.c - does the memory add up?
 *
 *   M1  every frame of RAM is in one use, and the running counters agree
 *   M2  the free lists and caches hold each FRAME_FREE frame once, nothing
 *       else, and as many as page_nr_free() says
 *   M3  each owner's page count is the number of frames that name it
 *   M4  references are sane: none on a free frame, some on a used one, no
 *       more type references than references, ALLOCATED only if owned
 *
 * One walk over the free lists marks what it meets (FRAME_SEEN), one over the
 * table compares and unmarks.
 */
#include "internal.h"

#include <quire/log.h>
#include <quire/string.h>

#define MAX_PRINTED 20

static const char *const use_names[NR_FRAME_USES] = {
    "absent", "free", "boot", "percpu", "heap", "table", "guest", "shared",
};

struct tally {
    unsigned bad;
    uint64_t by_use[NR_FRAME_USES];
    uint64_t on_lists;
    uint64_t by_owner[NR_OWNERS];
};

static struct tally tally;      /* too big for a stack; one audit at a time */

#define VIOLATION(name, ...) \
    do { \
        if (tally.bad++ < MAX_PRINTED) { \
            log_error(name ": " __VA_ARGS__); \
        } \
    } while (0)

static void see_free(struct frame *f)
{
    mfn_t mfn = frame_to_mfn(f);

    if (mfn.n >= frame_table_end) {
        VIOLATION("M2", "frame %lx on a free list is beyond RAM", mfn.n);
        return;
    }
    if (f->use != FRAME_FREE) {
        VIOLATION("M2", "mfn %lx on a free list is in use %u", mfn.n,
                  (unsigned)f->use);
    }
    if (frame_has_flag(f, FRAME_SEEN)) {
        VIOLATION("M2", "mfn %lx is on the free lists twice", mfn.n);
    }
    frame_set_flag(f, FRAME_SEEN);
    tally.on_lists++;
}

static void see_block(struct frame *f, unsigned order, void *arg)
{
    mfn_t mfn = frame_to_mfn(f);

    (void)arg;
    if (!frame_has_flag(f, FRAME_IN_BUDDY) || f->order != order ||
        mfn.n & ((UINT64_C(1) << order) - 1)) {
        VIOLATION("M2", "mfn %lx is no head of a block of order %u", mfn.n,
                  order);
        return;
    }
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++) {
        see_free(f + i);
    }
}

static void see_cached(struct frame *f, void *arg)
{
    (void)arg;
    if (frame_has_flag(f, FRAME_IN_BUDDY)) {
        VIOLATION("M2", "mfn %lx is in a cache and in the buddy",
                  frame_to_mfn(f).n);
    }
    see_free(f);
}

static void check_owner(const struct frame *f, mfn_t mfn)
{
    unsigned i = owner_index(frame_owner(f));

    if (i == NR_OWNERS || frame_owner(f) == DOMID_XEN ||
        (f->use == FRAME_SHARED) != (frame_owner(f) == DOMID_COW)) {
        VIOLATION("M3", "mfn %lx, use %s, is owned by %u", mfn.n,
                  use_names[f->use], (unsigned)frame_owner(f));
    } else {
        tally.by_owner[i]++;
    }
}

static void check_refs(const struct frame *f, mfn_t mfn, bool is_owned)
{
    uint64_t types = frame_type_count(f);

    if (f->use <= FRAME_FREE) {
        if (f->refs != 0 || types != 0) {
            VIOLATION("M4", "free mfn %lx has refs %lx, type %lx", mfn.n,
                      f->refs, f->type);
        }
        return;
    }
    /* The later frames of a block of page_alloc() have none. */
    if (types > frame_refs(f) || (f->refs & FRAME_ALLOCATED && !is_owned) ||
        (is_owned && frame_refs(f) == 0)) {
        VIOLATION("M4", "mfn %lx, use %s, has refs %lx, type %lx", mfn.n,
                  use_names[f->use], f->refs, f->type);
    }
}

static void check_frame(struct frame *f)
{
    mfn_t mfn = frame_to_mfn(f);
    bool is_owned = f->use == FRAME_GUEST || f->use == FRAME_SHARED;
    bool is_seen = frame_has_flag(f, FRAME_SEEN);

    frame_clear_flag(f, FRAME_SEEN);
    if (f->use >= NR_FRAME_USES) {
        VIOLATION("M1", "mfn %lx is in use %u", mfn.n, (unsigned)f->use);
        return;
    }
    tally.by_use[f->use]++;
    if (f->use == FRAME_FREE && !is_seen) {
        VIOLATION("M2", "mfn %lx is free and on no list", mfn.n);
    }
    if (is_owned) {
        check_owner(f, mfn);
    }
    check_refs(f, mfn, is_owned);
}

static void check_sums(void)
{
    struct mem_totals t;
    uint64_t sum = 0;

    mem_totals_get(&t);
    for (unsigned use = 0; use < NR_FRAME_USES; use++) {
        if (t.frames[use] != tally.by_use[use]) {
            VIOLATION("M1", "%lu frames %s, counted %lu", tally.by_use[use],
                      use_names[use], t.frames[use]);
        }
        sum += use != FRAME_ABSENT ? t.frames[use] : 0;
    }
    if (sum != t.total) {
        VIOLATION("M1", "the uses add up to %lu frames of %lu", sum,
                  t.total);
    }
    if (tally.on_lists != page_nr_free()) {
        VIOLATION("M2", "%lu frames on the free lists, counted %lu",
                  tally.on_lists, page_nr_free());
    }
    for (unsigned i = 0; i < NR_OWNERS; i++) {
        if (owner_pages(i) != tally.by_owner[i]) {
            VIOLATION("M3", "%lu frames name owner %u, counted %lu",
                      tally.by_owner[i], (unsigned)owner_id(i),
                      owner_pages(i));
        }
    }
}

unsigned mem_audit(void)
{
    memset(&tally, 0, sizeof(tally));
    buddy_for_each(see_block, NULL);
    page_for_each_cached(see_cached, NULL);
    for (uint64_t n = 0; n < frame_table_end; n++) {
        check_frame(mfn_to_frame(MFN(n)));
    }
    check_sums();
    if (tally.bad > MAX_PRINTED) {
        log_error("memory: %u violations more", tally.bad - MAX_PRINTED);
    }
    return tally.bad;
}
