/*
 * lock.h - ticket spinlocks whose order is checked at run time.
 *
 * Each CPU keeps a stack of the (rank, key) it holds; an acquire that is not
 * strictly greater than all of them, or a release of a lock not held, stops
 * the machine with both names. The check is on in every build.
 *
 * The hypervisor runs with interrupts off except while idle, in a guest, or
 * in arch_poll(); interrupt handlers take no lock. So a lock needs no
 * interrupt-saving form.
 */
#pragma once

#include <quire/lock_order.h>
#include <quire/types.h>

struct spinlock {
    _Atomic uint32_t ticket;    /* low half: now serving; high half: next */
    uint32_t rank;              /* (c) enum lock_rank */
    uint64_t key;               /* (c) orders locks within one rank; < 2^56 */
};

#define SPINLOCK_INIT(r, k) { .ticket = 0, .rank = LOCK_RANK_##r, .key = (k) }

void spin_lock_init(struct spinlock *l, enum lock_rank rank, uint64_t key);
void spin_lock(struct spinlock *l);
/** spin_trylock() - true if taken. The order is checked all the same. */
bool must_check spin_trylock(struct spinlock *l);
void spin_unlock(struct spinlock *l);

/** spin_lock_next() - drop @held, the last taken, and take @next: one step's
 *  work for a walk along locks of which one is held at a time. */
void spin_lock_next(struct spinlock *held, struct spinlock *next);

/** Take two locks of one class in ascending key order; a == b takes one. */
void spin_lock_pair(struct spinlock *a, struct spinlock *b);
void spin_unlock_pair(struct spinlock *a, struct spinlock *b);

/** is_lock_taken() - whether any CPU held @l just now: what its holders do is
 *  under way. */
static inline bool is_lock_taken(const struct spinlock *l)
{
    uint32_t t = atomic_load_explicit(&l->ticket, memory_order_acquire);

    return t >> 16 != (t & 0xffff);
}
/** is_lock_held() - whether this CPU holds @l. For ASSERT. */
bool is_lock_held(const struct spinlock *l);
/** nr_locks_held() - how many locks this CPU holds: 0 at a preemption point. */
unsigned nr_locks_held(void);
/** lock_rank_name() - "P2M" and so on. */
const char *lock_rank_name(enum lock_rank rank);
