/*
 * timer.c - each CPU's timers, in a leftist heap.
 *
 * A domain may set as many timers as it has vCPUs, and 4,096 domains may sit
 * on one CPU: a sorted list would make one guest's hypercall as long as the
 * others' number. In a leftist heap (every left subtree is at least as deep,
 * along its right spine, as the right one) insert, remove and pop take
 * O(log n) steps in the worst case, and the nodes are the timers themselves.
 *
 * The hardware deadline of a CPU is the earlier of its first timer and the
 * end of the running vCPU's slice. A timer may be set from any CPU; its own
 * is then kicked, and looks again in timer_run_due().
 */
#include <quire/arch.h>
#include <quire/event.h>
#include <quire/lock.h>
#include <quire/panic.h>

#include "evtchn.h"

#define RUN_MAX 16      /* timers run in one pass, a preemption point each */

static struct timer_cpu {
    cache_aligned struct spinlock lock;
    struct timer *root;                 /* [timer] */
    struct timer *_Atomic running;      /* (a) the one whose fn runs */
    ticks_t slice;                      /* this CPU only */
    ticks_t programmed;                 /* this CPU only */
} cpus[MAX_CPUS];

static struct timer_cpu *timer_cpu(unsigned cpu)
{
    BUG_ON(cpu >= MAX_CPUS);
    return &cpus[cpu];
}

void timer_init_cpus(void)
{
    for (unsigned i = 0; i < MAX_CPUS; i++) {
        spin_lock_init(&cpus[i].lock, LOCK_RANK_TIMER, i);
        cpus[i].root = NULL;
        cpus[i].running = NULL;
        cpus[i].slice = UINT64_MAX;
        cpus[i].programmed = UINT64_MAX;
    }
}

static uint32_t rank_of(const struct timer *t)
{
    return t == NULL ? 0 : t->rank;
}

/* Restore the leftist shape at @t after a change below; true if its rank
 * changed. */
static bool settle(struct timer *t)
{
    uint32_t old = t->rank;

    if (rank_of(t->left) < rank_of(t->right)) {
        struct timer *swap = t->left;

        t->left = t->right;
        t->right = swap;
    }
    t->rank = rank_of(t->right) + 1;
    return t->rank != old;
}

/* Recursion is along right spines: at most 2 log2(n) deep. */
static struct timer *meld(struct timer *a, struct timer *b)
{
    if (a == NULL) {
        return b;
    }
    if (b == NULL) {
        return a;
    }
    if (b->when < a->when) {
        struct timer *swap = a;

        a = b;
        b = swap;
    }
    a->right = meld(a->right, b);
    a->right->up = a;
    settle(a);
    return a;
}

static void heap_remove(struct timer_cpu *c, struct timer *t)
{
    struct timer *up = t->up;
    struct timer *rest = meld(t->left, t->right);

    if (rest != NULL) {
        rest->up = up;
    }
    if (up == NULL) {
        c->root = rest;
    } else {
        *(up->left == t ? &up->left : &up->right) = rest;
        while (up != NULL && settle(up)) {
            up = up->up;
        }
    }
    t->left = t->right = t->up = NULL;
    t->armed = false;
}

static void heap_insert(struct timer_cpu *c, struct timer *t)
{
    t->left = t->right = t->up = NULL;
    t->rank = 1;
    t->armed = true;
    c->root = meld(c->root, t);
    c->root->up = NULL;
}

void timer_init(struct timer *t, unsigned cpu, void (*fn)(struct timer *))
{
    *t = (struct timer){ .cpu = cpu, .fn = fn };
}

/* Program the hardware, unless it is already set for that instant. A deadline
 * in the past has fired and is gone, so it is set again. */
static void program(struct timer_cpu *c, ticks_t first)
{
    ticks_t when = MIN(first, c->slice);

    if (when == c->programmed &&
        (when == UINT64_MAX || when > arch_now())) {
        return;
    }
    c->programmed = when;
    arch_set_deadline(when);
}

void timer_set(struct timer *t, ticks_t when)
{
    struct timer_cpu *c = timer_cpu(t->cpu);

    spin_lock(&c->lock);
    if (t->armed) {
        heap_remove(c, t);
    }
    t->when = when;
    heap_insert(c, t);
    bool is_first = c->root == t;
    spin_unlock(&c->lock);
    if (is_first && t->cpu == arch_cpu()) {
        program(c, when);
    } else if (is_first) {
        arch_kick(t->cpu);
    }
}

/* Whether @t is neither armed nor running on another CPU, now. */
static bool try_cancel(struct timer_cpu *c, struct timer *t)
{
    spin_lock(&c->lock);
    if (t->armed) {
        heap_remove(c, t);
    }
    bool is_away = t->cpu == arch_cpu() || atomic_load(&c->running) != t;
    spin_unlock(&c->lock);
    return is_away;
}

/* Its fn may set it again while it runs, so both are looked at together. An
 * fn waits for no CPU, so interrupts stay off: one let in here, in the middle
 * of an exit, could not end the guest's turn any more. */
void timer_cancel(struct timer *t)
{
    struct timer_cpu *c = timer_cpu(t->cpu);

    while (!try_cancel(c, t)) {
        arch_relax();
    }
}

bool timer_run_due(void)
{
    struct timer_cpu *c = timer_cpu(arch_cpu());
    ticks_t first = UINT64_MAX;
    unsigned n = 0;

    spin_lock(&c->lock);
    while (c->root != NULL) {
        struct timer *t = c->root;

        first = t->when;
        if (first > arch_now() || n == RUN_MAX) {
            break;
        }
        heap_remove(c, t);
        atomic_store(&c->running, t);
        spin_unlock(&c->lock);
        t->fn(t);
        n++;
        spin_lock(&c->lock);
        atomic_store(&c->running, NULL);
        first = UINT64_MAX;
    }
    spin_unlock(&c->lock);
    program(c, first);
    return n == RUN_MAX;
}

void timer_set_slice(ticks_t when)
{
    struct timer_cpu *c = timer_cpu(arch_cpu());

    if (when == c->slice) {
        return;
    }
    c->slice = when;
    spin_lock(&c->lock);
    ticks_t first = c->root == NULL ? UINT64_MAX : c->root->when;
    spin_unlock(&c->lock);
    program(c, first);
}
