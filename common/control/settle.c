/*
 * settle.c - a machine at rest, so that two totals can be compared to the
 * frame: grace periods over, every CPU's caches drained by the CPU itself.
 */
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>

#include "job.h"

#define UNITS_PER_CLASS 50      /* besides what it charges itself */
#define GRACE_POLLS 1000        /* of JOB_POLL_US: 200 ms */

static struct task drains[MAX_CPUS];
static unsigned classes[MAX_CPUS];      /* its own CPU's: where it is */
static _Atomic unsigned nr_draining;

static int drain(struct task *t, struct work *w)
{
    unsigned *class = &classes[t - drains];

    do {
        *class = heap_cache_drain_from(*class);
        if (*class != 0 && work_spend(w, UNITS_PER_CLASS)) {
            return -ERESTART;
        }
    } while (*class != 0);
    page_cache_drain();
    atomic_fetch_sub(&nr_draining, 1);
    return 0;
}

static void start_drains(void)
{
    unsigned nr = arch_nr_cpus();

    atomic_store(&nr_draining, nr);
    for (unsigned cpu = 0; cpu < nr; cpu++) {
        list_init(&drains[cpu].link);
        drains[cpu].run = drain;
        drains[cpu].name = "drain";
        task_queue(&drains[cpu], cpu);
    }
}

int settle(struct job *job, struct settle *s)
{
    if (!s->draining) {
        if (grace_nr_pending() != 0 && s->polls < GRACE_POLLS) {
            s->polls++;
            return job_sleep_us(job, JOB_POLL_US);
        }
        s->draining = true;
        start_drains();
    }
    return atomic_load(&nr_draining) == 0 ? 0 :
        job_sleep_us(job, JOB_POLL_US);
}
