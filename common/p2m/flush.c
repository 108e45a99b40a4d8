/*
 * flush.c - when a change of a p2m is final for every CPU.
 *
 *      a CPU entering a guest            a CPU that changed the p2m
 *      ----------------------            --------------------------
 *   1  publish: entries becomes odd   a  bump the generation
 *   2  read the generation            b  read every CPU's entries
 *   3  VMRUN under an ASID for it     c  odd, and on this p2m: kick, wait
 *                                        until entries has moved on
 *
 * In the one total order of these (seq_cst), either 1 is before b, and the
 * kick ends that stay in the guest; or a is before 2, and the entry happens
 * under a new ASID, which has no translation yet. A kick that comes between
 * 1 and 3 stays pending and makes VMRUN return at once.
 *
 * Waiting cannot deadlock, interrupts off or not: a CPU that waits is not in
 * a guest, and one in a guest always leaves on a kick.
 */
#include <quire/arch.h>
#include <quire/p2m.h>
#include <quire/panic.h>

static struct {
    cache_aligned _Atomic uint64_t entries; /* (a) odd: in a guest */
    struct p2m *_Atomic p2m;                /* (a) the last one entered */
} presence[MAX_CPUS];

uint64_t p2m_guest_enter(struct p2m *p)
{
    unsigned cpu = arch_cpu();
    uint64_t n = atomic_load_explicit(&presence[cpu].entries,
                                      memory_order_relaxed);

    ASSERT(n % 2 == 0);
    ASSERT(!p->no_users);
    atomic_store_explicit(&presence[cpu].p2m, p, memory_order_release);
    atomic_store(&presence[cpu].entries, n + 1);
    return p->generation;
}

void p2m_guest_leave(void)
{
    unsigned cpu = arch_cpu();
    uint64_t n = atomic_load_explicit(&presence[cpu].entries,
                                      memory_order_relaxed);

    ASSERT(n % 2 == 1);
    atomic_store(&presence[cpu].entries, n + 1);
}

/* Like an entry, but there may be no user left: then nobody waits for us. */
bool p2m_access_begin(struct p2m *p)
{
    unsigned cpu = arch_cpu();
    uint64_t n = atomic_load_explicit(&presence[cpu].entries,
                                      memory_order_relaxed);

    ASSERT(n % 2 == 0);
    atomic_store_explicit(&presence[cpu].p2m, p, memory_order_release);
    atomic_store(&presence[cpu].entries, n + 1);
    if (unlikely(p->no_users)) {
        p2m_guest_leave();
        return false;
    }
    return true;
}

void p2m_access_end(void)
{
    p2m_guest_leave();
}

static void flush(struct p2m *p)
{
    uint64_t stay[MAX_CPUS];
    unsigned nr = arch_nr_cpus();

    /* Inside an access this CPU would wait for itself. */
    ASSERT(presence[arch_cpu()].entries % 2 == 0);
    atomic_fetch_add(&p->generation, 1);
    atomic_fetch_add_explicit(&p->nr_flushes, 1, memory_order_relaxed);
    for (unsigned cpu = 0; cpu < nr; cpu++) {
        stay[cpu] = presence[cpu].entries;
        if (stay[cpu] % 2 == 0 || presence[cpu].p2m != p) {
            stay[cpu] = 0;
        } else {
            arch_kick(cpu);
        }
    }
    for (unsigned cpu = 0; cpu < nr; cpu++) {
        while (stay[cpu] != 0 && presence[cpu].entries == stay[cpu]) {
            arch_relax();
        }
    }
}

void p2m_flush(struct p2m *p)
{
    if (!p->no_users) {
        flush(p);
    }
}

/* The store is before the look at each CPU, as an access's publication is
 * before its look at no_users: one of the two sees the other. */
void p2m_retire(struct p2m *p)
{
    p->no_users = true;
    flush(p);
}
