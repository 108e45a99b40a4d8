/*
 * oom_policy.c - what becomes of a vCPU that lacks memory: it waits, or its
 * domain is killed; and what there is to see of it.
 */
#include <quire/log.h>
#include <quire/panic.h>

#include "oom_queue.h"

void oom_notice(const struct vcpu *v, enum notice_kind kind, bool is_limit,
                uint64_t value)
{
    struct notice n = { .kind = kind, .domain = v->domain->id,
                        .vcpu = v->id, .is_limit = is_limit,
                        .gfn = v->oom.gfn, .value = value };

    notice_add(&n);
}

/* Once a domain; its vCPUs stop here, the rest is done by a task. */
static void kill(struct vcpu *v, gfn_t gfn)
{
    struct domain *d = v->domain;

    if (atomic_exchange(&d->oom.is_killed, true)) {
        return;
    }
    v->oom.gfn = gfn;
    oom_notice(v, NOTICE_OOM_KILL, false, 0);
    spin_lock(&oom.lock);
    oom.stats.kills++;
    spin_unlock(&oom.lock);
    domain_crash(d, "killed by oom=kill: no memory %s gfn %llu",
                 v->oom.is_shadows ? "for the shadow of the tables at"
                                   : "to unshare",
                 (unsigned long long)gfn.n);
    domain_kill_async(d);
}

static void park(struct vcpu *v, gfn_t gfn, bool is_shadows)
{
    v->oom.is_shadows = is_shadows;
    if (atomic_load(&v->domain->oom.policy) == OOM_KILL) {
        kill(v, gfn);
    } else {
        oom_wait(v, gfn);
    }
}

void oom_park(struct vcpu *v, gfn_t gfn)
{
    park(v, gfn, false);
}

void oom_park_shadow(struct vcpu *v, gfn_t gfn)
{
    park(v, gfn, true);
}

void oom_set_policy(struct domain *d, enum oom_policy policy)
{
    atomic_store(&d->oom.policy, policy);
    for (unsigned i = 0; policy == OOM_KILL && i < d->nr_vcpus; i++) {
        struct vcpu *v = d->vcpus[i];
        int state = atomic_load(&v->oom.state);

        if (state != OOM_NONE && state != OOM_PROMISED) {
            kill(v, v->oom.gfn);
        }
    }
}

void oom_domain_init(struct domain *d)
{
    list_init(&d->oom.waiters);
    atomic_store(&d->oom.policy, d->config.oom);
}

void oom_stats_get(struct oom_stats *s)
{
    spin_lock(&oom.lock);
    *s = oom.stats;
    s->waiting = oom.nr_waiting;
    s->promised = oom.nr_promised;
    spin_unlock(&oom.lock);
}

/* O1 of one queue; counts it. [oom] */
static unsigned audit_queue(const struct list *queue, int state,
                            uint64_t *nr, uint64_t *need)
{
    unsigned bad = 0;

    for (const struct list *l = queue->next; l != queue; l = l->next) {
        const struct vcpu *v = container_of(l, struct vcpu, oom.link);

        if (atomic_load(&v->oom.state) != state) {
            log_error("audit: O1 d%u v%u: state %d in the queue of state %d",
                      v->domain->id, v->id, atomic_load(&v->oom.state), state);
            bad++;
        }
        ++*nr;
        *need += v->oom.need;
    }
    return bad;
}

/* Of one domain; [oom]. */
static unsigned audit_domain(const struct domain *d, uint64_t *stalled,
                             uint64_t *nr)
{
    unsigned waiting = 0, parked = atomic_load(&d->oom.nr_parked);
    unsigned bad;
    uint64_t need = 0;

    bad = audit_queue(&d->oom.waiters, OOM_LIMIT, nr, &need);
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        int state = atomic_load(&d->vcpus[i]->oom.state);

        *stalled += state == OOM_STALLED;
        waiting += state != OOM_NONE && state != OOM_PROMISED;
    }
    if (waiting != parked) {
        log_error("audit: O2 d%u: %u vCPUs wait, counted %u", d->id, waiting,
                  parked);
        bad++;
    }
    return bad;
}

unsigned oom_audit_domain(const struct domain *d)
{
    uint64_t nr = 0;
    unsigned bad;

    spin_lock(&oom.lock);
    bad = audit_domain(d, &nr, &nr);
    spin_unlock(&oom.lock);
    return bad;
}

unsigned oom_audit(void)
{
    uint64_t waiting = 0, promised = 0, held = 0, need = 0;
    unsigned bad;

    spin_lock(&oom.lock);
    bad = audit_queue(&oom.machine, OOM_MACHINE, &waiting, &need);
    bad += audit_queue(&oom.promised, OOM_PROMISED, &promised, &held);
    spin_unlock(&oom.lock);
    for (unsigned id = 0; id < MAX_DOMAINS; id++) {
        struct domain *d = domain_next((domid_t)id);

        if (d == NULL) {
            break;
        }
        id = d->id;
        spin_lock(&oom.lock);
        bad += audit_domain(d, &waiting, &waiting);
        spin_unlock(&oom.lock);
        domain_put(d);
    }
    if (waiting != oom.nr_waiting || promised != oom.nr_promised) {
        log_error("audit: O2 %lu wait and %lu are promised, counted %u, %u",
                  waiting, promised, oom.nr_waiting, oom.nr_promised);
        bad++;
    }
    if (held != oom.held) {
        log_error("audit: O3 %lu frames held, promised %lu", oom.held, held);
        bad++;
    }
    return bad;
}
