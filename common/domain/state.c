/*
 * state.c - starting and stopping a domain: pause, shutdown, resume, crash.
 *
 * Each reason to stop adds one to every vCPU's pause count and takes one away
 * again when it ends: the toolstack's pauses (counted), and being SHUTDOWN.
 * So the reasons are independent of each other and of the kill.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/log.h>
#include <quire/notice.h>
#include <quire/panic.h>
#include <quire/print.h>

#include "domain_life.h"
#include "sharing_op.h"

void domain_pause_vcpus(struct domain *d)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        vcpu_pause_nosync(d->vcpus[i]);
    }
}

void domain_unpause_vcpus(struct domain *d)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        vcpu_unpause(d->vcpus[i]);
    }
}

bool domain_has_running(const struct domain *d)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        if (atomic_load(&d->vcpus[i]->running)) {
            return true;
        }
    }
    return false;
}

/* Whether the toolstack may still pause, unpause or resume it. */
static bool is_alive(const struct domain *d)
{
    int state = atomic_load(&d->state);

    return state == DOMAIN_RUNNING || state == DOMAIN_SHUTDOWN;
}

int domain_pause(struct domain *d)
{
    struct vcpu *v = vcpu_current();
    bool is_ok;

    if (v != NULL && v->domain == d) {
        return -EBUSY;
    }
    spin_lock(&d->lock);
    is_ok = is_alive(d);
    if (is_ok) {
        d->pause_count++;
        domain_pause_vcpus(d);
    }
    spin_unlock(&d->lock);
    if (!is_ok) {
        return -ESRCH;
    }
    while (domain_has_running(d)) {
        arch_relax();
        arch_poll();
    }
    return 0;
}

int domain_unpause(struct domain *d)
{
    int err = 0;

    spin_lock(&d->lock);
    if (!is_alive(d)) {
        err = -ESRCH;
    } else if (d->pause_count == 0) {
        err = -EINVAL;
    } else {
        d->pause_count--;
        domain_unpause_vcpus(d);
    }
    spin_unlock(&d->lock);
    return err;
}

/* RUNNING -> SHUTDOWN, once. [domain] */
static bool stop(struct domain *d, enum shutdown_code code)
{
    if (atomic_load(&d->state) != DOMAIN_RUNNING) {
        return false;
    }
    atomic_store(&d->state, DOMAIN_SHUTDOWN);
    d->shutdown = code;
    domain_pause_vcpus(d);
    return true;
}

static void tell(const struct domain *d, enum notice_kind kind,
                 uint64_t value)
{
    struct notice n = { .kind = kind, .domain = d->id, .gfn = GFN_INVALID,
                        .vcpu = NOTICE_NO_VCPU, .value = value };

    notice_add(&n);
}

void domain_shutdown(struct domain *d, enum shutdown_code code)
{
    spin_lock(&d->lock);
    bool is_new = stop(d, code);
    spin_unlock(&d->lock);
    if (is_new) {
        sharing_stop(d);
        console_flush(d);
        log_info("d%u has shut down (code %d)", d->id, (int)code);
        tell(d, NOTICE_SHUTDOWN, (uint64_t)code);
    }
}

int domain_resume(struct domain *d)
{
    int err = -EINVAL;

    spin_lock(&d->lock);
    if (atomic_load(&d->state) == DOMAIN_SHUTDOWN &&
        d->shutdown == SHUTDOWN_SUSPEND) {
        atomic_store(&d->state, DOMAIN_RUNNING);
        domain_unpause_vcpus(d);
        err = 0;
    }
    spin_unlock(&d->lock);
    return err;
}

void domain_crash(struct domain *d, const char *fmt, ...)
{
    char reason[sizeof(d->crash_reason)];
    va_list ap;

    va_start(ap, fmt);
    vprint_to(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    spin_lock(&d->lock);
    bool is_new = stop(d, SHUTDOWN_CRASH);
    if (is_new) {
        print_to(d->crash_reason, sizeof(d->crash_reason), "%s", reason);
    }
    spin_unlock(&d->lock);
    if (is_new) {
        sharing_stop(d);
        console_flush(d);
        log_error("d%u crashed: %s", d->id, reason);
        tell(d, NOTICE_CRASH, 0);
    }
}

void domain_phase_allow(struct domain *d, uint64_t phase)
{
    uint64_t now = atomic_load(&d->phase_allowed);

    while (now < phase &&
           !atomic_compare_exchange_weak(&d->phase_allowed, &now, phase)) {
    }
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        vcpu_wake(d->vcpus[i]);
    }
}
