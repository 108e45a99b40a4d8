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

#define MAX_HELD 16
#define TICKET_ONE UINT32_C(0x10000)

struct held { struct spinlock *lock; uint64_t key; uint32_t rank; };

static struct {
    cache_aligned unsigned depth;
    struct held stack[MAX_HELD];
} held_by[MAX_CPUS];

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
    *l = (struct spinlock){ .rank = rank, .key = key };
}

static _Noreturn __attribute__((cold, noinline)) void
order_violated(const struct spinlock *l, const struct held *top)
{
    panic("lock order: %s(%lu) wanted while holding %s(%lu)",
          lock_rank_name(l->rank), l->key, lock_rank_name(top->rank),
          top->key);
}

static void push_held(struct spinlock *l)
{
    unsigned cpu = arch_cpu(), depth = held_by[cpu].depth;
    struct held *top = &held_by[cpu].stack[depth];

    if (depth != 0) {
        const struct held *below = top - 1;

        if (unlikely(l->rank < below->rank ||
                     (l->rank == below->rank && l->key <= below->key))) {
            order_violated(l, below);
        }
        BUG_ON(depth == MAX_HELD);
    }
    top->lock = l;
    top->rank = l->rank;
    top->key = l->key;
    held_by[cpu].depth = depth + 1;
}

static void pop_held(struct spinlock *l)
{
    unsigned cpu = arch_cpu(), depth = held_by[cpu].depth, i = depth;
    struct held *stack = held_by[cpu].stack;

    do {
        if (unlikely(i == 0)) {
            panic("unlock of %s(%lu), which is not held by CPU %u",
                  lock_rank_name(l->rank), l->key, cpu);
        }
        i--;
    } while (stack[i].lock != l);
    for (; i + 1 < depth; i++) {
        stack[i] = stack[i + 1];
    }
    held_by[cpu].depth = depth - 1;
}

void spin_lock(struct spinlock *l)
{
    uint32_t ticket;
    uint16_t mine;

    push_held(l);
    ticket = atomic_fetch_add_explicit(&l->ticket, TICKET_ONE,
                                       memory_order_acquire);
    mine = (uint16_t)(ticket >> 16);
    while (unlikely((uint16_t)ticket != mine)) {
        arch_relax();
        ticket = atomic_load_explicit(&l->ticket, memory_order_acquire);
    }
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
    /* Only the holder writes the low half; it wraps within itself. */
    _Atomic uint16_t *serving = (_Atomic uint16_t *)&l->ticket;
    uint16_t now = atomic_load_explicit(serving, memory_order_relaxed);

    pop_held(l);
    atomic_store_explicit(serving, (uint16_t)(now + 1),
                          memory_order_release);
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
    unsigned cpu = arch_cpu();

    for (unsigned i = 0; i < held_by[cpu].depth; i++) {
        if (held_by[cpu].stack[i].lock == l) {
            return true;
        }
    }
    return false;
}

unsigned nr_locks_held(void)
{
    return held_by[arch_cpu()].depth;
}
