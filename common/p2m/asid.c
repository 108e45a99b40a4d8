/*
 * asid.c - a few ASIDs a CPU for any number of vCPUs.
 *
 * ASIDs are handed out in ascending order and never given back one by one.
 * When they run out the CPU starts a new generation: everything in its TLB
 * goes at the next entry, and every slot of the old generation is void. A
 * flush of a p2m makes its slots void in the same way, by the p2m's
 * generation, without a look at any TLB (APM vol. 2, 15.16).
 */
#include <quire/arch.h>
#include <quire/p2m.h>
#include <quire/panic.h>

static struct {
    cache_aligned uint64_t generation;  /* 0: not initialised */
    uint32_t next, nr;
} asids[MAX_CPUS];                      /* each touched by its CPU alone */

void asid_cpu_init(unsigned nr_asids)
{
    unsigned cpu = arch_cpu();

    BUG_ON(nr_asids < 2);               /* 0 is the host's */
    asids[cpu].generation++;
    asids[cpu].nr = nr_asids;
    asids[cpu].next = nr_asids;         /* the first entry flushes */
}

bool asid_assign(struct asid_slot *slot, const struct p2m *p,
                 uint64_t p2m_generation)
{
    unsigned cpu = arch_cpu();
    bool flush = false;

    if (slot->cpu == cpu && slot->p2m == p &&
        slot->cpu_generation == asids[cpu].generation &&
        slot->p2m_generation == p2m_generation) {
        return false;
    }
    BUG_ON(asids[cpu].nr == 0);
    if (asids[cpu].next == asids[cpu].nr) {
        asids[cpu].generation++;
        asids[cpu].next = 1;
        flush = true;
    }
    *slot = (struct asid_slot){
        .cpu_generation = asids[cpu].generation,
        .p2m_generation = p2m_generation,
        .p2m = p,
        .asid = asids[cpu].next++,
        .cpu = cpu,
    };
    return flush;
}
