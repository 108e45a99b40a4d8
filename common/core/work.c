/* work.c - which slice each CPU runs, for charges from where the work is. */
#include <quire/arch.h>
#include <quire/work.h>

static struct { cache_aligned struct work *slice; } cpu_work[MAX_CPUS];

void work_begin(struct work *w)
{
    cpu_work[arch_cpu()].slice = w;
}

void work_end(void)
{
    cpu_work[arch_cpu()].slice = NULL;
}

void work_charge(int64_t units)
{
    struct work *w = cpu_work[arch_cpu()].slice;

    if (w != NULL) {
        w->left -= units;
    }
}
