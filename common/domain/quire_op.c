/*
 * quire_op.c - Quire's own hypercall: a stress domain and the toolstack walk
 * in step, and the guest says how it went.
 */
#include <public/quire.h>
#include <quire/arch.h>
#include <quire/log.h>

#include "hypercall.h"

static int64_t report_phase(struct hypercall *h, uint64_t phase)
{
    uint64_t now = atomic_load(&h->d->phase);

    do {
        if (phase < now) {
            return -EINVAL;
        }
    } while (!atomic_compare_exchange_weak(&h->d->phase, &now, phase));
    return 0;
}

/* Sleep on the VMMCALL itself: whatever wakes the vCPU, an event's handler
 * included, comes back here and asks again. */
static int64_t wait_phase(struct hypercall *h, uint64_t phase)
{
    struct vcpu *v = h->v;

    if (atomic_load(&h->d->phase_allowed) >= phase) {
        return 0;
    }
    atomic_store(&v->blocked, true);
    if (atomic_load(&h->d->phase_allowed) >= phase ||
        (irq_is_pending(v) && arch_vcpu_is_interruptible(v))) {
        atomic_store(&v->blocked, false);
    }
    return -ERESTART;
}

static int64_t verdict(struct hypercall *h, uint64_t what, gva_t message,
                       uint64_t len)
{
    char text[QUIRE_VERDICT_MAX];
    int now = 0;

    if (what != QUIRE_VERDICT_PASS && what != QUIRE_VERDICT_FAIL) {
        return -EINVAL;
    }
    len = MIN(len, sizeof(text));
    if (hypercall_get(h, message, text, (size_t)len) != 0) {
        return -EFAULT;
    }
    /* The worse of two stays. */
    while (now < (int)what &&
           !atomic_compare_exchange_weak(&h->d->verdict, &now, (int)what)) {
    }
    log_info("d%u verdict: %s", h->d->id,
             what == QUIRE_VERDICT_PASS ? "pass" : "FAIL");
    log_guest_line(h->d->id, text, (size_t)len);
    return 0;
}

int64_t hypercall_quire_op(struct hypercall *h)
{
    switch (h->arg[0]) {
    case QUIRE_OP_report_phase:
        return report_phase(h, h->arg[1]);
    case QUIRE_OP_wait_phase:
        return wait_phase(h, h->arg[1]);
    case QUIRE_OP_report_figure:
        if (h->arg[1] >= QUIRE_NR_FIGURES) {
            return -EINVAL;
        }
        h->d->figure[h->arg[1]] = h->arg[2];
        return 0;
    case QUIRE_OP_verdict:
        return verdict(h, h->arg[1], h->arg[2], h->arg[3]);
    case QUIRE_OP_now:
        return (int64_t)(arch_now() & INT64_MAX);
    default:
        return -ENOSYS;
    }
}
