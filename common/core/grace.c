/*
 * grace.c - grace periods by epochs.
 *
 * A callback is stamped with the epoch in which it was deferred. The epoch
 * moves on whenever callbacks of the current one wait; a CPU that has passed
 * a quiescent point in a later epoch than the stamp can hold no pointer to
 * what the callback frees, nor can one that is away.
 *
 *     CPU 0   defer(h), h.epoch = 7 ......... quiesce: epoch = 8, seen = 8
 *     CPU 1   ...reading...  quiesce: seen = 7 ...  quiesce: seen = 8
 *     CPU 2   away (idle or in a guest): seen = AWAY
 *                                       h is due when all seen > 7 ---^
 *
 * All orderings are sequentially consistent: unlink, then read the epoch
 * (defer); set the epoch, then read it as seen (quiesce), then follow
 * pointers. A CPU that comes back from away stores what it saw before it
 * follows any.
 */
#include <quire/arch.h>
#include <quire/grace.h>
#include <quire/lock.h>
#include <quire/work.h>

#define AWAY 0
#define NOTHING UINT64_MAX
#define CALLBACKS_AT_ONCE 8
#define COST_CALLBACK 300       /* units, besides what it charges itself */
#define COST_PASS 3000          /* no further callback from here on */

static struct {
    cache_aligned _Atomic uint64_t seen;    /* an epoch, or AWAY */
} cpu_state[MAX_CPUS];

static _Atomic uint64_t epoch = 1;
static _Atomic uint64_t nr_pending;
static struct spinlock lock = SPINLOCK_INIT(GRACE, 0);
static struct list pending = LIST_INIT(pending);    /* by epoch, ascending */
static _Atomic uint64_t first_stamp = NOTHING;      /* [grace] of pending */

void grace_defer(struct grace_head *h, void (*fn)(struct grace_head *))
{
    h->fn = fn;
    spin_lock(&lock);
    atomic_thread_fence(memory_order_seq_cst);
    h->epoch = epoch;
    if (list_is_empty(&pending)) {
        first_stamp = h->epoch;
    }
    list_append(&pending, &h->link);
    atomic_fetch_add(&nr_pending, 1);
    spin_unlock(&lock);
}

void grace_enter(void)
{
    cpu_state[arch_cpu()].seen = epoch;
}

void grace_leave(void)
{
    cpu_state[arch_cpu()].seen = AWAY;
}

uint64_t grace_nr_pending(void)
{
    return nr_pending;
}

/* The oldest epoch that some CPU may still be reading in. */
static uint64_t oldest_seen(void)
{
    uint64_t oldest = UINT64_MAX;

    for (unsigned i = 0; i < MAX_CPUS; i++) {
        uint64_t seen = cpu_state[i].seen;

        if (seen != AWAY) {
            oldest = MIN(oldest, seen);
        }
    }
    return oldest;
}

static bool is_due(uint64_t stamp)
{
    return oldest_seen() > stamp;
}

/* Whether the first callback may be due; moves the epoch on if it must. Every
 * CPU asks in each of its passes, so this takes no lock. */
static bool may_be_due(void)
{
    uint64_t first = first_stamp, now = first;

    if (first == NOTHING) {
        return false;
    }
    (void)atomic_compare_exchange_strong(&epoch, &now, first + 1);
    return is_due(first);
}

/* The first callback that is due, or NULL. */
static struct grace_head *take_due(void)
{
    struct grace_head *h = NULL;

    if (!may_be_due() || !spin_trylock(&lock)) {
        return NULL;            /* who has the lock comes here again, too */
    }
    if (!list_is_empty(&pending)) {
        h = container_of(pending.next, struct grace_head, link);
        if (is_due(h->epoch)) {
            list_remove(&h->link);
            first_stamp = list_is_empty(&pending) ? NOTHING :
                container_of(pending.next, struct grace_head, link)->epoch;
            atomic_fetch_sub(&nr_pending, 1);
        } else {
            h = NULL;
        }
    }
    spin_unlock(&lock);
    return h;
}

void grace_quiesce(void)
{
    struct work w = { .left = COST_PASS };

    cpu_state[arch_cpu()].seen = epoch;
    if (likely(atomic_load_explicit(&nr_pending, memory_order_relaxed) ==
               0)) {
        return;
    }
    work_begin(&w);
    for (unsigned i = 0; i < CALLBACKS_AT_ONCE; i++) {
        struct grace_head *h = take_due();

        if (h == NULL) {
            break;
        }
        h->fn(h);
        if (work_spend(&w, COST_CALLBACK)) {
            break;
        }
    }
    work_end();
}
