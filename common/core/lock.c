/*
 * lock.c - ticket spinlocks and the check of their order.
 *
 * Each CPU has a stack of what it holds. Locks are acquired in strictly
 * ascending (rank, key), and taking one out of the middle keeps the rest in
 * order: so the stack is always sorted, and an acquire need only be compared
 * with its top. The check comes before the wait: an inversion is reported
 * where it is made, whether or not it would have deadlocked this time.
 */
#include <quire/arch.h>
#include <quire/lock.h>
#include <quire/panic.h>

#define MAX_HELD 14
#define KEY_BITS 56
#define TICKET_ONE UINT32_C(0x10000)

/* Rank and key in one word: one comparison is the whole check. */
struct held { struct spinlock *lock; uint64_t order; };

struct held_stack {
    cache_aligned uint64_t depth;
    struct held held[MAX_HELD + 1];     /* from 1; 0 is below every lock */
};
static_assert(sizeof(struct held_stack) == 256, "a shift to index");

static struct held_stack held_by[MAX_CPUS];

static uint64_t order_of(const struct spinlock *l)
{
    return (uint64_t)l->rank << KEY_BITS | l->key;
}

static const char *const rank_names[NR_LOCK_RANKS] = {
    [LOCK_RANK_NONE] = "NONE",
#define LOCK_RANK_NAME(name, what) [LOCK_RANK_##name] = #name,
    LOCK_ORDER(LOCK_RANK_NAME)
#undef LOCK_RANK_NAME
};

const char *lock_rank_name(enum lock_rank rank)
{
    return (unsigned)rank < NR_LOCK_RANKS ? rank_names[rank] : "?";
}

void spin_lock_init(struct spinlock *l, enum lock_rank rank, uint64_t key)
{
    ASSERT(key >> KEY_BITS == 0);
    *l = (struct spinlock){ .rank = rank, .key = key };
}

static slow_path void refuse(const struct spinlock *l,
                             const struct held_stack *s)
{
    uint64_t below = s->held[s->depth].order;

    if (s->depth == MAX_HELD && order_of(l) > below) {
        panic("%u locks held, and %s(%lu) wanted", MAX_HELD,
              lock_rank_name(l->rank), l->key);
    }
    panic("lock order: %s(%lu) wanted while holding %s(%lu)",
          lock_rank_name(l->rank), l->key,
          lock_rank_name((enum lock_rank)(below >> KEY_BITS)),
          below & ~(UINT64_MAX << KEY_BITS));
}

fast_path void push_held(struct spinlock *l)
{
    struct held_stack *s = &held_by[arch_cpu()];
    struct held *top = &s->held[s->depth];
    uint64_t order = order_of(l);

    if (unlikely(order <= top->order || s->depth == MAX_HELD)) {
        refuse(l, s);
    }
    s->depth++;
    top[1].lock = l;
    top[1].order = order;
}

/* Not the last taken, or not held at all. */
static slow_path void pop_from_middle(struct held_stack *s, struct spinlock *l)
{
    uint64_t i = s->depth;

    for (; s->held[i].lock != l; i--) {
        if (i == 0) {
            panic("unlock of %s(%lu), which is not held by CPU %u",
                  lock_rank_name(l->rank), l->key, arch_cpu());
        }
    }
    for (; i < s->depth; i++) {
        s->held[i] = s->held[i + 1];
    }
    s->depth--;
}

fast_path void pop_held(struct spinlock *l)
{
    struct held_stack *s = &held_by[arch_cpu()];

    if (unlikely(s->held[s->depth].lock != l)) {
        pop_from_middle(s, l);
    } else {
        s->depth--;
    }
}

static slow_path void spin_until(struct spinlock *l, uint16_t mine)
{
    do {
        arch_relax();
    } while ((uint16_t)atomic_load_explicit(&l->ticket,
                                            memory_order_acquire) != mine);
}

fast_path void acquire(struct spinlock *l)
{
    uint32_t ticket = atomic_fetch_add_explicit(&l->ticket, TICKET_ONE,
                                                memory_order_acquire);

    if (unlikely((uint16_t)ticket != ticket >> 16)) {
        spin_until(l, (uint16_t)(ticket >> 16));
    }
}

fast_path void release(struct spinlock *l)
{
    /* Only the holder writes the low half; it wraps within itself. */
    _Atomic uint16_t *serving = (_Atomic uint16_t *)&l->ticket;
    uint16_t now = atomic_load_explicit(serving, memory_order_relaxed);

    atomic_store_explicit(serving, (uint16_t)(now + 1),
                          memory_order_release);
}

void spin_lock(struct spinlock *l)
{
    push_held(l);
    acquire(l);
}

bool spin_trylock(struct spinlock *l)
{
    uint32_t ticket = atomic_load_explicit(&l->ticket, memory_order_relaxed);

    push_held(l);
    if ((uint16_t)ticket == (uint16_t)(ticket >> 16) &&
        atomic_compare_exchange_strong_explicit(&l->ticket, &ticket,
                                                ticket + TICKET_ONE,
                                                memory_order_acquire,
                                                memory_order_relaxed)) {
        return true;
    }
    pop_held(l);
    return false;
}

void spin_unlock(struct spinlock *l)
{
    pop_held(l);
    release(l);
}

void spin_lock_next(struct spinlock *held, struct spinlock *next)
{
    struct held_stack *s = &held_by[arch_cpu()];
    struct held *top = &s->held[s->depth];
    uint64_t order = order_of(next);

    if (unlikely(top->lock != held || order <= top[-1].order)) {
        spin_unlock(held);      /* these say what is wrong, if something is */
        spin_lock(next);
        return;
    }
    top->lock = next;
    top->order = order;
    release(held);
    acquire(next);
}

void spin_lock_pair(struct spinlock *a, struct spinlock *b)
{
    if (a == b) {
        spin_lock(a);
    } else if (a->key < b->key) {
        spin_lock(a);
        spin_lock(b);
    } else {
        spin_lock(b);
        spin_lock(a);
    }
}

void spin_unlock_pair(struct spinlock *a, struct spinlock *b)
{
    spin_unlock(a);
    if (a != b) {
        spin_unlock(b);
    }
}

bool is_lock_held(const struct spinlock *l)
{
    const struct held_stack *s = &held_by[arch_cpu()];

    for (uint64_t i = 1; i <= s->depth; i++) {
        if (s->held[i].lock == l) {
            return true;
        }
    }
    return false;
}

unsigned nr_locks_held(void)
{
    return (unsigned)held_by[arch_cpu()].depth;
}
