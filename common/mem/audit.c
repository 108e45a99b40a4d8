/*
 * audit.c - does the memory add up?
 *
 *   M1  every frame of RAM is in one use, and the running counters agree
 *   M2  the free lists and caches hold each FRAME_FREE frame once, nothing
 *       else, and as many as page_nr_free() says
 *   M3  each owner's page count is the number of frames that name it
 *   M4  references are sane: none on a free frame, some on a used one, no
 *       more type references than references, ALLOCATED only if owned; the
 *       frames of a whole block but the first have none
 *
 * One walk over the frame table, a chunk at a time under the buddy's lock,
 * knows the free blocks by their heads; another over the free lists must meet
 * exactly these heads. What is free and in no block must be in the caches.
 *
 * Others may allocate between two chunks, and then the sums are of different
 * moments. So a pass that finds something is made again, up to PASSES times:
 * only what the last one finds counts, and is printed.
 */
#include "internal.h"

#include <quire/errno.h>
#include <quire/log.h>

#define MAX_PRINTED 20
#define PASSES 3
#define CHUNK 64                /* frames or blocks under one lock */
#define MAX_RESTARTS 64         /* of the walks over the lists, a pass */

/* Units, measured. */
#define COST_FRAME 60
#define COST_BLOCK 25
#define COST_CACHED 34          /* for each place it is compared with */
#define COST_OWNER 55

static const char *const use_names[NR_FRAME_USES] = {
    "absent", "free", "boot", "percpu", "heap", "table", "guest", "shared",
};

enum stage { FRAMES, LISTS, CACHES, OWNERS };

/* One audit at a time. The owners' counts are too big for a stack; each is 0
 * again once it has been compared. */
static uint64_t by_owner[NR_OWNERS];
static struct tally {
    uint64_t by_use[NR_FRAME_USES];
    uint64_t heads[PAGE_ORDER_MAX + 1];     /* free blocks, by order */
    uint64_t in_blocks;                     /* free frames */
    uint64_t loose;                         /* free frames in no block */
    uint64_t cached;
} tally;

#define VIOLATION(a, name, ...) \
    do { \
        if ((a)->bad++ < MAX_PRINTED && (a)->pass == PASSES - 1) { \
            log_error(name ": " __VA_ARGS__); \
        } \
    } while (0)

/* Whether @f may head a free block of @order. */
static bool is_head(struct mem_audit *a, const struct frame *f,
                    unsigned order)
{
    uint64_t n = frame_to_mfn(f).n;

    if (frame_has_flag(f, FRAME_IN_BUDDY) && f->order == order &&
        order <= PAGE_ORDER_MAX && (n & ((UINT64_C(1) << order) - 1)) == 0 &&
        n + (UINT64_C(1) << order) <= frame_table_end) {
        return true;
    }
    VIOLATION(a, "M2", "mfn %lx is no head of a block of order %u", n, order);
    return false;
}

static void check_owner(struct mem_audit *a, const struct frame *f, mfn_t mfn)
{
    unsigned i = owner_index(frame_owner(f));

    if (i == NR_OWNERS || frame_owner(f) == DOMID_XEN ||
        (f->use == FRAME_SHARED) != (frame_owner(f) == DOMID_COW)) {
        VIOLATION(a, "M3", "mfn %lx, use %s, is owned by %u", mfn.n,
                  use_names[f->use], (unsigned)frame_owner(f));
    } else {
        by_owner[i]++;
    }
}

static void check_refs(struct mem_audit *a, const struct frame *f, mfn_t mfn,
                       bool is_owned)
{
    uint64_t types = frame_type_count(f);

    if (f->use <= FRAME_FREE) {
        if (f->refs != 0 || types != 0) {
            VIOLATION(a, "M4", "free mfn %lx has refs %lx, type %lx", mfn.n,
                      f->refs, f->type);
        }
        return;
    }
    /* The later frames of a block of page_alloc() have none. */
    if (types > frame_refs(f) || (f->refs & FRAME_ALLOCATED && !is_owned) ||
        (is_owned && frame_refs(f) == 0)) {
        VIOLATION(a, "M4", "mfn %lx, use %s, has refs %lx, type %lx", mfn.n,
                  use_names[f->use], f->refs, f->type);
    }
}

/* Of a whole block, but not its first. */
static void check_part(struct mem_audit *a, const struct frame *f, mfn_t mfn)
{
    tally.by_use[FRAME_GUEST]++;
    check_owner(a, f, mfn);
    if (f->refs != 0 || f->type != 0 || f->use != FRAME_FREE) {
        VIOLATION(a, "M4", "mfn %lx of a whole block has refs %lx, type %lx",
                  mfn.n, f->refs, f->type);
    }
}

static void check_frame(struct mem_audit *a, struct frame *f, bool is_listed)
{
    mfn_t mfn = frame_to_mfn(f);
    bool is_owned = f->use == FRAME_GUEST || f->use == FRAME_SHARED;

    if (f->use == FRAME_FREE && !is_listed && frame_is_in_whole(f)) {
        check_part(a, f, mfn);
        return;
    }
    if (f->use >= NR_FRAME_USES) {
        VIOLATION(a, "M1", "mfn %lx is in use %u", mfn.n, (unsigned)f->use);
        return;
    }
    tally.by_use[f->use]++;
    if (is_listed && f->use != FRAME_FREE) {
        VIOLATION(a, "M2", "mfn %lx on a free list is in use %u", mfn.n,
                  (unsigned)f->use);
    }
    tally.loose += f->use == FRAME_FREE && !is_listed;
    if (is_owned) {
        check_owner(a, f, mfn);
    }
    check_refs(a, f, mfn, is_owned);
}

static void check_chunk(struct mem_audit *a, uint64_t end)
{
    uint64_t n = a->cursor, block_end;

    buddy_lock();
    block_end = buddy_block_end(MFN(n));
    for (; n < end; n++) {
        struct frame *f = frame_table + n;

        if (unlikely(frame_has_flag(f, FRAME_IN_BUDDY))) {
            if (n < block_end) {
                VIOLATION(a, "M2", "mfn %lx is on the free lists twice", n);
            } else if (is_head(a, f, f->order)) {
                block_end = n + (UINT64_C(1) << f->order);
                tally.heads[f->order]++;
                tally.in_blocks += UINT64_C(1) << f->order;
            }
        }
        check_frame(a, f, n < block_end);
    }
    buddy_unlock();
    a->cursor = end;
}

static int check_frames(struct mem_audit *a, struct work *w)
{
    while (a->cursor < frame_table_end) {
        uint64_t end = MIN(a->cursor + CHUNK, frame_table_end);
        int64_t nr = (int64_t)(end - a->cursor);

        check_chunk(a, end);
        if (work_spend(w, nr * COST_FRAME)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* The next blocks of the list of a->order. True: it is walked. */
static bool check_list(struct mem_audit *a)
{
    bool is_done = false;

    buddy_lock();
    if (!a->is_walking || a->changes != buddy_changes()) {
        a->restarts += a->is_walking;
        a->is_walking = true;
        a->changes = buddy_changes();
        a->next = buddy_first(a->order);
        a->cursor = 0;
    }
    for (unsigned i = 0; i < CHUNK && !is_done; i++) {
        if (a->next >= frame_table_end ||
            a->cursor > tally.heads[a->order] ||
            !is_head(a, frame_table + a->next, a->order)) {
            is_done = true;
        } else {
            a->cursor++;
            a->next = frame_table[a->next].list.next;
        }
    }
    buddy_unlock();
    return is_done || a->restarts > MAX_RESTARTS;
}

static int check_lists(struct mem_audit *a, struct work *w)
{
    while (a->order <= PAGE_ORDER_MAX) {
        if (check_list(a)) {
            if (a->restarts <= MAX_RESTARTS &&
                a->cursor != tally.heads[a->order]) {
                VIOLATION(a, "M2", "%lu blocks of order %u, %lu on their "
                          "list", tally.heads[a->order], a->order, a->cursor);
            }
            a->is_walking = false;
            a->order++;
        }
        if (work_spend(w, CHUNK * COST_BLOCK)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* Each frame of a cache is free, in no block, and in no other place. */
static int check_caches(struct mem_audit *a, struct work *w)
{
    for (; a->cursor < PAGE_CACHED_MAX; a->cursor++) {
        struct frame *f = page_cached((unsigned)a->cursor);
        unsigned i = 0;

        while (f != NULL && i < a->cursor && page_cached(i) != f) {
            i++;
        }
        tally.cached += f != NULL;
        if (f != NULL && (i < a->cursor || f->use != FRAME_FREE ||
                          frame_has_flag(f, FRAME_IN_BUDDY))) {
            VIOLATION(a, "M2", "mfn %lx in a cache is there twice, in use or "
                      "in the buddy, too", frame_to_mfn(f).n);
        }
        if (work_spend(w, (i + 2) * COST_CACHED)) {
            a->cursor++;
            return -ERESTART;
        }
    }
    return 0;
}

static void check_sums(struct mem_audit *a)
{
    struct mem_totals t;
    uint64_t sum = 0;

    mem_totals_get(&t);
    for (unsigned use = 0; use < NR_FRAME_USES; use++) {
        if (t.frames[use] != tally.by_use[use]) {
            VIOLATION(a, "M1", "%lu frames %s, counted %lu",
                      tally.by_use[use], use_names[use], t.frames[use]);
        }
        sum += use != FRAME_ABSENT ? t.frames[use] : 0;
    }
    if (sum != t.total) {
        VIOLATION(a, "M1", "the uses add up to %lu frames of %lu", sum,
                  t.total);
    }
    if (tally.loose != tally.cached) {
        VIOLATION(a, "M2", "%lu frames are free and in no block, %lu cached",
                  tally.loose, tally.cached);
    }
    if (tally.in_blocks + tally.cached != page_nr_free()) {
        VIOLATION(a, "M2", "%lu frames on the free lists, counted %lu",
                  tally.in_blocks + tally.cached, page_nr_free());
    }
}

static int check_owners(struct mem_audit *a, struct work *w)
{
    for (; a->cursor < NR_OWNERS; a->cursor++) {
        unsigned i = (unsigned)a->cursor;

        if (owner_pages(i) != by_owner[i]) {
            VIOLATION(a, "M3", "%lu frames name owner %u, counted %lu",
                      by_owner[i], (unsigned)owner_id(i),
                      owner_pages(i));
        }
        by_owner[i] = 0;
        if (work_spend(w, COST_OWNER)) {
            a->cursor++;
            return -ERESTART;
        }
    }
    return 0;
}

static int run_stage(struct mem_audit *a, struct work *w)
{
    switch (a->stage) {
    case FRAMES:
        if (a->cursor == 0) {
            tally = (struct tally){ 0 };
        }
        return check_frames(a, w);
    case LISTS:
        return check_lists(a, w);
    case CACHES:
        return check_caches(a, w);
    default:
        return check_owners(a, w);
    }
}

int mem_audit_run(struct mem_audit *a, struct work *w)
{
    for (;;) {
        if (run_stage(a, w) != 0) {
            return -ERESTART;
        }
        a->cursor = 0;
        a->stage++;
        if (a->stage == OWNERS) {
            check_sums(a);
        }
        if (a->stage > OWNERS) {
            if (a->bad == 0 || a->pass == PASSES - 1) {
                break;
            }
            *a = (struct mem_audit){ .pass = a->pass + 1 };
        }
        if (work_spend(w, 1000)) {
            return -ERESTART;
        }
    }
    if (a->bad > MAX_PRINTED) {
        log_error("memory: %u violations more", a->bad - MAX_PRINTED);
    }
    return 0;
}

unsigned mem_audit(void)
{
    struct mem_audit a = { 0 };

    return mem_audit_run(&a, NULL) != 0 ? UINT32_MAX : a.bad;
}
