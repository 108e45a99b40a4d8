/*
 * buddy.c - free memory in blocks of 2^k frames, aligned to their size.
 *
 *     order 2:   [ . . . . ]                    two halves of a block are
 *     order 1:   [ . . ][ . . ]                 buddies: their numbers differ
 *     order 0:   [.][.][.][.]                   in bit k alone
 *
 * A free list for each order, linked through the frames' own records. The
 * record of a block's head says FRAME_IN_BUDDY and the order; those of the
 * other frames only say FRAME_FREE, so that adding gigabytes at boot touches
 * one record in a gigabyte.
 */
#include "internal.h"

#include <quire/lock.h>
#include <quire/panic.h>

#define NR_ORDERS (PAGE_ORDER_MAX + 1)
#define NIL UINT32_MAX

static struct spinlock lock = SPINLOCK_INIT(PAGE, 0);
static uint32_t free_list[NR_ORDERS];   /* [page] mfn of the first, or NIL */
static uint32_t nonempty;               /* [page] orders that have blocks */
static _Atomic uint64_t nr_free;        /* [page] to write, (a) to read */
static uint64_t nr_changes;             /* [page] */

static struct frame *frame_at(uint32_t n)
{
    return frame_table + n;
}

static uint32_t number_of(const struct frame *f)
{
    return (uint32_t)(f - frame_table);
}

static void push(struct frame *f, unsigned order)
{
    uint32_t n = number_of(f), next = free_list[order];

    frame_set_flag(f, FRAME_IN_BUDDY);
    f->order = (uint8_t)order;
    f->list.next = next;
    f->list.prev = NIL;
    if (next != NIL) {
        frame_at(next)->list.prev = n;
    }
    free_list[order] = n;
    nonempty |= 1u << order;
}

static void unlink_block(struct frame *f, unsigned order)
{
    uint32_t next = f->list.next, prev = f->list.prev;

    frame_clear_flag(f, FRAME_IN_BUDDY);
    if (next != NIL) {
        frame_at(next)->list.prev = prev;
    }
    if (prev != NIL) {
        frame_at(prev)->list.next = next;
        return;
    }
    free_list[order] = next;
    if (next == NIL) {
        nonempty &= ~(1u << order);
    }
}

static void add_free(int64_t n)
{
    nr_changes++;
    atomic_store_explicit(&nr_free, (uint64_t)((int64_t)
                          atomic_load_explicit(&nr_free,
                                               memory_order_relaxed) + n),
                          memory_order_relaxed);
}

static struct frame *take_locked(unsigned order)
{
    uint32_t fitting = nonempty & ~0u << order;
    struct frame *f;
    unsigned k;

    if (fitting == 0) {
        return NULL;
    }
    k = (unsigned)__builtin_ctz(fitting);
    f = frame_at(free_list[k]);
    unlink_block(f, k);
    while (k > order) {
        k--;
        push(f + (UINT64_C(1) << k), k);    /* the upper half stays */
    }
    return f;
}

static void give_locked(struct frame *f, unsigned order)
{
    uint64_t n = number_of(f);

    for (; order < PAGE_ORDER_MAX; order++) {
        uint64_t other = n ^ UINT64_C(1) << order;
        struct frame *buddy = frame_table + other;

        if (other >= frame_table_end ||
            !frame_has_flag(buddy, FRAME_IN_BUDDY) ||
            buddy->order != order) {
            break;
        }
        unlink_block(buddy, order);
        n &= other;
    }
    push(frame_table + n, order);
}

/* The largest aligned blocks that fit, from the start. */
static void give_range_locked(uint64_t n, uint64_t nr)
{
    while (nr != 0) {
        unsigned order = 63 - (unsigned)__builtin_clzll(nr);

        if (n != 0) {
            order = MIN(order, (unsigned)__builtin_ctzll(n));
        }
        order = MIN(order, PAGE_ORDER_MAX);
        give_locked(frame_table + n, order);
        n += UINT64_C(1) << order;
        nr -= UINT64_C(1) << order;
    }
}

void buddy_init(void)
{
    for (unsigned i = 0; i < NR_ORDERS; i++) {
        free_list[i] = NIL;
    }
    nonempty = 0;
    nr_free = 0;
}

void buddy_add_range(mfn_t start, uint64_t nr)
{
    spin_lock(&lock);
    give_range_locked(start.n, nr);
    add_free((int64_t)nr);
    spin_unlock(&lock);
}

/* How many may go for @floor to stay. [page] */
static uint64_t above(uint64_t floor)
{
    uint64_t n = atomic_load_explicit(&nr_free, memory_order_relaxed);

    return n > floor ? n - floor : 0;
}

struct frame *buddy_take(unsigned order, uint64_t floor)
{
    struct frame *f = NULL;

    spin_lock(&lock);
    if (above(floor) >> order != 0) {
        f = take_locked(order);
    }
    if (f != NULL) {
        add_free(-(INT64_C(1) << order));
    }
    spin_unlock(&lock);
    return f;
}

void buddy_give(struct frame *f, unsigned order)
{
    spin_lock(&lock);
    give_locked(f, order);
    add_free(INT64_C(1) << order);
    spin_unlock(&lock);
}

/*
 * The smallest blocks first, whole if they fit: big ones stay big, and none
 * is cut for the sake of the last few, which would leave crumbs to every
 * caller after. The frames of a block come last to first, since the caller's
 * stack turns them round.
 */
unsigned buddy_take_singles(struct frame **out, unsigned n, uint64_t floor)
{
    unsigned got = 0;

    spin_lock(&lock);
    n = (unsigned)MIN(n, above(floor));
    while (got < n && nonempty != 0) {
        unsigned fits = 31 - (unsigned)__builtin_clz(n - got);
        unsigned order = MIN((unsigned)__builtin_ctz(nonempty), fits);
        struct frame *f;

        if (got != 0 && !(nonempty & 1u << order)) {
            break;
        }
        f = take_locked(order);
        for (unsigned i = 1u << order; i != 0; i--) {
            out[got++] = f + i - 1;
        }
    }
    add_free(-(int64_t)got);
    spin_unlock(&lock);
    return got;
}

/* Neighbours are mostly freed together, up or down: a run goes in at once. */
unsigned buddy_give_singles(struct frame *const *f, unsigned n)
{
    unsigned runs = 0;

    spin_lock(&lock);
    for (unsigned i = 0; i < n; runs++) {
        uint32_t low = number_of(f[i]), end = low + 1;

        for (i++; i < n; i++) {
            uint32_t next = number_of(f[i]);

            if (next == end) {
                end++;
            } else if (next + 1 == low) {
                low = next;
            } else {
                break;
            }
        }
        give_range_locked(low, end - low);
    }
    add_free((int64_t)n);
    spin_unlock(&lock);
    return runs;
}

void buddy_give_runs(const struct frame_run *r, unsigned n)
{
    int64_t nr = 0;

    spin_lock(&lock);
    for (unsigned i = 0; i < n; i++) {
        give_range_locked(r[i].start, r[i].nr);
        nr += r[i].nr;
    }
    add_free(nr);
    spin_unlock(&lock);
}

uint64_t buddy_nr_free(void)
{
    return atomic_load_explicit(&nr_free, memory_order_relaxed);
}

void buddy_lock(void)
{
    spin_lock(&lock);
}

void buddy_unlock(void)
{
    spin_unlock(&lock);
}

uint64_t buddy_block_end(mfn_t m)
{
    for (unsigned order = 1; order <= PAGE_ORDER_MAX; order++) {
        uint64_t head = m.n & ~UINT64_C(0) << order;

        if (head != m.n && frame_has_flag(frame_table + head,
                                          FRAME_IN_BUDDY) &&
            frame_table[head].order == order) {
            return head + (UINT64_C(1) << order);
        }
    }
    return m.n;
}

uint32_t buddy_first(unsigned order)
{
    return free_list[order];
}

uint64_t buddy_changes(void)
{
    return nr_changes;
}
