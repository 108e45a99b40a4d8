/*
 * frame_ref.c - references, type references and owners of single frames.
 *
 * A frame's life:
 *
 *     page_alloc_owned()  refs = ALLOCATED | 1     owner's page count + 1
 *     frame_get()         refs + 1                 only while ALLOCATED
 *     frame_put_allocated() clears ALLOCATED, refs - 1: no new references
 *     frame_put()         refs - 1; at 0 freed     owner's page count - 1
 *
 * So a frame cannot be found again once its owner has let go, and goes when
 * the last who had found it before does.
 */
#include "internal.h"

#include <quire/errno.h>
#include <quire/panic.h>

/* Far from the field's end: no burst of increments can pass it. */
#define REFS_LIMIT (FRAME_REFS_MASK - MAX_CPUS)

int frame_get(struct frame *f, domid_t owner)
{
    uint64_t refs = atomic_load_explicit(&f->refs, memory_order_relaxed);

    do {
        while (unlikely(!(refs & FRAME_ALLOCATED))) {
            if (!frame_part(f)) {
                return -ESRCH;
            }
            refs = atomic_load_explicit(&f->refs, memory_order_relaxed);
        }
        if ((refs & FRAME_REFS_MASK) >= REFS_LIMIT) {
            return -EOVERFLOW;
        }
    } while (!atomic_compare_exchange_weak_explicit(
                 &f->refs, &refs, refs + 1, memory_order_acquire,
                 memory_order_relaxed));
    /* It cannot change hands by being freed now; was it ours in time? */
    if (unlikely(frame_owner(f) != owner)) {
        frame_put(f);
        return -ESRCH;
    }
    return 0;
}

static void drop(struct frame *f, uint64_t what)
{
    uint64_t was = atomic_fetch_sub_explicit(&f->refs, what,
                                             memory_order_acq_rel);

    BUG_ON((was & FRAME_REFS_MASK) < (what & FRAME_REFS_MASK));
    if (was - what == 0) {
        BUG_ON(frame_type_count(f) != 0);
        page_give_single(f);
    } else {
        BUG_ON(was - what == FRAME_ALLOCATED);
    }
}

void frame_put(struct frame *f)
{
    drop(f, 1);
}

void frame_put_many(struct frame *f, uint32_t n)
{
    drop(f, n);
}

/* @f is allocated: its record is to speak for it alone. */
fast_path void own_record(struct frame *f)
{
    if (unlikely((f->refs & (FRAME_ALLOCATED | FRAME_WHOLE |
                             FRAME_PARTING)) != FRAME_ALLOCATED)) {
        (void)frame_part(f);
    }
}

void frame_put_allocated(struct frame *f)
{
    own_record(f);
    BUG_ON(!(f->refs & FRAME_ALLOCATED));
    drop(f, FRAME_ALLOCATED | 1);
}

int frame_get_type(struct frame *f, enum frame_type t)
{
    uint64_t old = atomic_load_explicit(&f->type, memory_order_relaxed);
    uint64_t new;

    do {
        if (old << 8 == 0) {            /* no references: any type will do */
            new = (uint64_t)t << 56 | 1;
        } else if (old >> 56 == (uint64_t)t) {
            new = old + 1;
        } else {
            return -EBUSY;
        }
    } while (!atomic_compare_exchange_weak_explicit(
                 &f->type, &old, new, memory_order_acquire,
                 memory_order_relaxed));
    return 0;
}

void frame_put_type(struct frame *f)
{
    frame_put_type_many(f, 1);
}

void frame_put_type_many(struct frame *f, uint32_t n)
{
    uint64_t old = atomic_load_explicit(&f->type, memory_order_relaxed);
    uint64_t new;

    do {
        BUG_ON(old << 8 < (uint64_t)n << 8);
        new = (old - n) << 8 == 0 ? FRAME_TYPE_NONE : old - n;
    } while (!atomic_compare_exchange_weak_explicit(
                 &f->type, &old, new, memory_order_release,
                 memory_order_relaxed));
}

int frame_get_many(struct frame *f, uint32_t n)
{
    uint64_t refs = atomic_load_explicit(&f->refs, memory_order_relaxed);

    do {
        if (n > REFS_LIMIT || (refs & FRAME_REFS_MASK) > REFS_LIMIT - n) {
            return -EOVERFLOW;
        }
    } while (!atomic_compare_exchange_weak_explicit(
                 &f->refs, &refs, refs + n, memory_order_acquire,
                 memory_order_relaxed));
    /* Types have more room than references, and ours cannot change. */
    atomic_fetch_add_explicit(&f->type, n, memory_order_acquire);
    return 0;
}

/* Type references belong to references: there are none but ours. */
static bool try_hold(struct frame *f, uint32_t holders)
{
    uint64_t refs = FRAME_ALLOCATED | 1;

    return frame_type_count(f) == 0 &&
           atomic_compare_exchange_strong_explicit(
               &f->refs, &refs, FRAME_ALLOCATED | holders,
               memory_order_acquire, memory_order_relaxed);
}

bool frame_try_share(struct frame *f, uint32_t holders)
{
    BUG_ON(frame_use_of(f) != FRAME_GUEST);
    if (!try_hold(f, holders) && !(frame_part(f) && try_hold(f, holders))) {
        return false;
    }
    atomic_store_explicit(&f->type, (uint64_t)FRAME_TYPE_SHARED << 56 |
                          holders, memory_order_relaxed);
    frame_set_use(f, FRAME_SHARED);
    atomic_store_explicit(&f->owner, DOMID_COW, memory_order_release);
    return true;
}

int frame_unshare(struct frame *f, domid_t to)
{
    BUG_ON(f->use != FRAME_SHARED || frame_type_count(f) != 1);
    if (unlikely(!owner_charge(to, 1))) {
        return -ENOMEM;
    }
    owner_uncharge(DOMID_COW, 1);
    /* The page lock keeps others from taking the type meanwhile. */
    atomic_store_explicit(&f->type, 0, memory_order_relaxed);
    frame_set_use(f, FRAME_GUEST);
    count_use(FRAME_SHARED, -1);
    count_use(FRAME_GUEST, 1);
    atomic_store_explicit(&f->owner, to, memory_order_release);
    pressure_check(DOMID_COW);
    return 0;
}

void frame_move_pages(domid_t from, uint64_t nr)
{
    BUG_ON(!owner_charge(DOMID_COW, nr));       /* it has no limit */
    owner_uncharge(from, nr);
    count_use(FRAME_GUEST, -(int64_t)nr);
    count_use(FRAME_SHARED, (int64_t)nr);
}

int frame_set_owner(struct frame *f, domid_t to)
{
    enum frame_use use = to == DOMID_COW ? FRAME_SHARED : FRAME_GUEST;
    domid_t from = frame_owner(f);

    own_record(f);
    BUG_ON(f->use != FRAME_GUEST && f->use != FRAME_SHARED);
    if (!owner_charge(to, 1)) {
        return -ENOMEM;
    }
    owner_uncharge(from, 1);
    atomic_store_explicit(&f->owner, to, memory_order_release);
    if (use != (enum frame_use)f->use) {
        count_use((enum frame_use)f->use, -1);
        count_use(use, 1);
        __atomic_store_n(&f->use, (uint8_t)use, __ATOMIC_RELAXED);
    }
    pressure_check(from);
    return 0;
}
