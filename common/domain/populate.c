/*
 * populate.c - frames into and out of a domain's physical map.
 *
 * A frame is zeroed before the guest can see it. Single frames are zeroed
 * first and set then, a batch at a time. A block of 2M or 1G takes longer to
 * zero than a slice, so it is set first, which is allowed only while the
 * domain is being built and nobody can look.
 */
#include "build.h"

#include <quire/arch.h>
#include <quire/clone.h>
#include <quire/errno.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>
#include <quire/print.h>
#include <quire/string.h>

#include "domain_life.h"

#define BATCH 16
#define COST_PAGE 1500      /* allocate, zero and set one */
#define COST_BLOCK 2000     /* a block taken and set, but for its records */
#define COST_RECORD 15
#define RECORDS_AT_ONCE 128

static void zero_frame(mfn_t mfn)
{
    void *page = arch_map_frame(mfn);

    page_zero(page);
    arch_unmap_frame(page);
}

/* Set @n frames at the holes from @gfn on; what is not needed is freed. */
static int set_frames(struct domain *d, gfn_t gfn, struct frame **f,
                      unsigned n)
{
    struct p2m_batch b;
    unsigned used = 0;
    int err;

    p2m_batch_begin(&b, d->p2m);
    err = p2m_batch_reserve(&b, gfn, n, P2M_ORDER_4K);
    for (unsigned i = 0; i < n && err == 0; i++) {
        gfn_t g = gfn_add(gfn, i);

        if (p2m_lookup_locked(d->p2m, g).type == p2m_invalid) {
            p2m_set(&b, g, frame_to_mfn(f[used]), P2M_ORDER_4K, p2m_ram_rw);
            used++;
        }
    }
    p2m_batch_end(&b);
    for (; used < n; used++) {
        frame_put_allocated(f[used]);
    }
    return err;
}

int domain_populate(struct domain *d, gfn_t gfn, uint64_t nr, uint64_t *done,
                    struct work *w)
{
    struct frame *f[BATCH];

    while (*done < nr) {
        unsigned want = (unsigned)MIN(nr - *done, BATCH), n = 0;
        bool is_over = false;
        int err = 0;

        while (n < want && !is_over) {
            f[n] = page_alloc_owned(d->id, 0);
            if (f[n] == NULL) {
                err = -ENOMEM;
                break;
            }
            zero_frame(frame_to_mfn(f[n]));
            n++;
            is_over = work_spend(w, COST_PAGE);
        }
        if (n > 0) {
            int set = set_frames(d, gfn_add(gfn, *done), f, n);

            if (set != 0) {
                return set;
            }
            *done += n;
        }
        if (err != 0) {
            return err;
        }
        if (is_over && *done < nr) {
            return -ERESTART;
        }
    }
    return 0;
}

/* Set a block into the map; its records come later. */
static int set_block(struct domain *d, struct domain_build *b, gfn_t gfn,
                     unsigned order)
{
    uint64_t size = UINT64_C(1) << order;
    struct frame *f = page_block_take(d->id, order);
    struct p2m_batch batch;
    int err;

    if (f == NULL) {
        return -ENOENT;
    }
    p2m_batch_begin(&batch, d->p2m);
    err = p2m_batch_reserve(&batch, gfn, size, order);
    if (err == 0) {
        p2m_set(&batch, gfn, frame_to_mfn(f), order, p2m_ram_rw);
    }
    p2m_batch_end(&batch);
    if (err != 0) {
        page_block_give_back(f, order, d->id);
        return err;
    }
    b->block = f;
    b->block_nr = size;
    b->block_done = 0;
    return 0;
}

/* The largest block that fits at @gfn and that there is memory for. */
static int set_largest(struct domain *d, struct domain_build *b, gfn_t gfn,
                       uint64_t nr)
{
    static const unsigned orders[] = { P2M_ORDER_1G, P2M_ORDER_2M };

    for (unsigned i = 0; i < ARRAY_SIZE(orders); i++) {
        uint64_t size = UINT64_C(1) << orders[i];
        int err;

        if ((gfn.n & (size - 1)) != 0 || nr < size) {
            continue;
        }
        err = set_block(d, b, gfn, orders[i]);
        if (err != -ENOENT) {
            return err;
        }
    }
    return -ENOENT;     /* single frames, then */
}

int build_block(struct domain *d, struct domain_build *b, struct work *w)
{
    while (b->block_done < b->block_nr) {
        uint64_t n = MIN(b->block_nr - b->block_done, RECORDS_AT_ONCE);

        page_block_set_up(b->block + b->block_done, n, d->id);
        b->block_done += n;
        if (work_spend(w, (int64_t)n * COST_RECORD)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* Up to the next 2M boundary by single frames. */
static int fill_to_boundary(struct domain *d, const struct domain_range *r,
                            struct domain_build *b, struct work *w)
{
    uint64_t gfn = r->start.n + b->done;
    uint64_t end = MIN((gfn | 511) + 1, r->start.n + r->nr);
    uint64_t done = 0;
    int err = domain_populate(d, GFN(gfn), end - gfn, &done, w);

    b->done += done;
    return err;
}

/* The next part of a range. */
static int build_part(struct domain *d, struct domain_build *b,
                      struct work *w)
{
    const struct domain_range *r = &d->config.ranges[b->range];
    int err = -ENOENT;

    if (d->config.superpages) {
        err = set_largest(d, b, gfn_add(r->start, b->done), r->nr - b->done);
    }
    if (err == 0) {
        b->done += b->block_nr;
        return work_spend(w, COST_BLOCK) ? -ERESTART : 0;
    }
    if (err == -ENOENT) {
        err = fill_to_boundary(d, r, b, w);
    }
    if (err == -ENOMEM) {
        print_to(b->why, DOMAIN_WHY_MAX, "out of memory after %llu pages of "
                 "range %u", (unsigned long long)b->done, b->range);
    }
    return err;
}

int build_memory(struct domain *d, struct domain_build *b, struct work *w)
{
    for (; b->range < d->config.nr_ranges; b->range++, b->done = 0) {
        while (b->done < d->config.ranges[b->range].nr ||
               b->block_done < b->block_nr) {
            int err = build_block(d, b, w);

            if (err == 0 && b->done < d->config.ranges[b->range].nr) {
                err = build_part(d, b, w);
            }
            if (err != 0) {
                return err;
            }
        }
    }
    return 0;
}

int build_zero(struct domain *d, struct domain_build *b, struct work *w)
{
    for (; b->range < d->config.nr_ranges; b->range++, b->done = 0) {
        const struct domain_range *r = &d->config.ranges[b->range];

        while (d->config.superpages && b->done < r->nr) {
            gfn_t gfn = gfn_add(r->start, b->done);
            struct p2m_entry e = p2m_lookup(d->p2m, gfn);

            b->done++;
            if (e.order == P2M_ORDER_4K) {
                b->done = MIN((gfn.n | 511) + 1 - r->start.n, r->nr);
            } else {
                zero_frame(e.mfn);
            }
            if (work_spend(w, COST_PAGE) && b->done < r->nr) {
                return -ERESTART;
            }
        }
    }
    return 0;
}

/* Whether the entry is one that may be taken out: RAM, somebody else's RAM,
 * or nothing. */
static bool is_removable(const struct p2m_entry *e)
{
    return e->type == p2m_invalid || e->type == p2m_ram_rw ||
           e->type == p2m_ram_ro || e->type == p2m_ram_shared ||
           e->type == p2m_map_foreign;
}

/* Swap what is at @gfn, @e, for @new (NULL: a hole). The old frame goes after
 * the flush; until then a reference keeps it from its next user. What is
 * foreign has one already. */
static int replace_locked(struct domain *d, struct p2m_batch *b, gfn_t gfn,
                          const struct p2m_entry *e, struct frame *new,
                          enum p2m_type type)
{
    struct frame *old = e->type == p2m_invalid ? NULL : mfn_to_frame(e->mfn);
    int err = p2m_batch_reserve(b, gfn, 1, P2M_ORDER_4K);

    if (err == 0) {
        err = share_drop_prepare(d->p2m, gfn);
    }
    if (err == 0 && old != NULL && e->type != p2m_map_foreign) {
        err = frame_get(old, frame_owner(old));
    }
    if (err != 0) {
        return err;
    }
    p2m_set(b, gfn, new == NULL ? MFN_INVALID : frame_to_mfn(new),
            P2M_ORDER_4K, new == NULL ? p2m_invalid : type);
    if (old != NULL) {
        /* As long as somebody may read a shared page its pair must stay, or
         * another sharer could be the last and write to it. */
        p2m_batch_flush(b);
        domain_drop_frame(d, gfn, e);
        if (e->type != p2m_map_foreign) {
            p2m_batch_put_frame(b, old);
        }
    }
    return 0;
}

int domain_replace_gfn(struct domain *d, gfn_t gfn, struct frame *new,
                       enum p2m_type type)
{
    struct p2m_batch b;
    struct p2m_entry e;
    int err;

    p2m_batch_begin(&b, d->p2m);
    e = p2m_lookup_locked(d->p2m, gfn);
    if (!is_removable(&e)) {
        err = -EINVAL;
    } else if (new == NULL && e.type == p2m_invalid) {
        err = -ENOENT;
    } else {
        err = replace_locked(d, &b, gfn, &e, new, type);
    }
    p2m_batch_end(&b);
    return err;
}

/* The shared page, with a reference of the entry's. */
static int place_shared_info(struct domain *d, gfn_t gfn, struct frame *page)
{
    int err = frame_get(page, d->id);

    if (err == 0) {
        err = domain_replace_gfn(d, gfn, page, p2m_ram_rw);
        if (err != 0) {
            frame_put(page);
        }
    }
    return err;
}

int domain_remove_gfn(struct domain *d, gfn_t gfn)
{
    return domain_replace_gfn(d, gfn, NULL, p2m_invalid);
}

int domain_map_shared_info(struct domain *d, gfn_t gfn)
{
    struct frame *page = evtchn_shared_frame(d->events);
    mfn_t mfn = frame_to_mfn(page);
    int err = 0;

    spin_lock(&d->lock);
    if (!gfn_eq(d->shared_gfn, gfn)) {
        gfn_t old = d->shared_gfn;

        err = place_shared_info(d, gfn, page);
        if (err == 0) {
            d->shared_gfn = gfn;
        }
        /* One place at a time. The guest may have removed it itself. */
        if (err == 0 && !gfn_eq(old, GFN_INVALID) &&
            mfn_eq(p2m_lookup(d->p2m, old).mfn, mfn)) {
            err = domain_remove_gfn(d, old);
        }
    } else if (!mfn_eq(p2m_lookup(d->p2m, gfn).mfn, mfn)) {
        err = place_shared_info(d, gfn, page);
    }
    spin_unlock(&d->lock);
    return err;
}
