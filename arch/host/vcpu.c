/*
 * vcpu.c - arch_vcpu_*() of the host machine: the same entry and exit as the
 * world switch of SVM, around a scripted guest.
 */
#include "vcpu.h"
#include "kick.h"
#include "tlb.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/panic.h>

#define RFLAGS_IF (UINT64_C(1) << 9)
#define VECTOR_PF 14
#define PENDING (UINT64_C(1) << 63)     /* of vcpu_state.event_inject */

static unsigned nr_asids = 16;
static _Thread_local bool has_asids;

void host_set_nr_asids(unsigned nr)
{
    nr_asids = nr;
    has_asids = false;
}

int arch_vcpu_init(struct vcpu *v)
{
    struct host_vcpu *h = heap_zalloc(sizeof(*h));

    if (h == NULL) {
        return -ENOMEM;
    }
    v->arch = h;
    return 0;
}

void arch_vcpu_fini(struct vcpu *v)
{
    heap_free(v->arch);
    v->arch = NULL;
}

/* Hand the event that was injected to the guest's handler. */
static void deliver(struct vcpu *v, struct host_vcpu *h)
{
    const struct host_injection in = h->pending;

    h->is_pending = false;
    if (in.is_external) {
        if (h->script.on_interrupt != NULL) {
            h->script.on_interrupt(v, in.vector);
        }
    } else if (h->script.on_exception != NULL) {
        h->script.on_exception(v, in.vector, in.error);
    } else {
        v->regs.rip++;
    }
}

/* The time in the guest: until a step exits or an interrupt comes. */
static void run_guest(struct vcpu *v, struct vcpu_exit *exit)
{
    struct host_vcpu *h = v->arch;

    for (;;) {
        if (host_is_interrupt_pending()) {
            exit->reason = EXIT_INTR;
            return;
        }
        if (h->is_pending) {
            deliver(v, h);
        }
        if (h->wants_window && (v->regs.rflags & RFLAGS_IF)) {
            h->wants_window = false;
            exit->reason = EXIT_INTR_WINDOW;
            return;
        }
        tlb_speculate();
        if (script_run_step(v, exit)) {
            return;
        }
    }
}

void arch_vcpu_run(struct vcpu *v, struct vcpu_exit *exit)
{
    uint64_t generation;
    bool flush;

    BUG_ON(nr_locks_held() != 0);
    if (!has_asids) {
        asid_cpu_init(nr_asids);
        has_asids = true;
    }
    *exit = (struct vcpu_exit){ .reason = EXIT_NONE };
    generation = p2m_guest_enter(v->p2m);
    flush = asid_assign(&v->asid, v->p2m, generation);
    grace_leave();
    tlb_enter(v->p2m, generation, &v->asid, flush);
    exit->entered_at = arch_now();
    run_guest(v, exit);
    exit->at = arch_now();
    tlb_leave();
    p2m_guest_leave();
    grace_enter();
}

void arch_vcpu_get_state(struct vcpu *v, struct vcpu_state *s)
{
    const struct host_vcpu *h = v->arch;

    *s = h->state;
    s->regs = v->regs;
    s->event_inject = !h->is_pending ? 0
        : PENDING | (uint64_t)h->pending.error << 16 |
          (uint64_t)h->pending.is_external << 8 | h->pending.vector;
}

int arch_vcpu_set_state(struct vcpu *v, const struct vcpu_state *s)
{
    struct host_vcpu *h = v->arch;

    h->state = *s;
    v->regs = s->regs;
    h->is_pending = (s->event_inject & PENDING) != 0;
    h->pending = (struct host_injection){
        .vector = (uint8_t)s->event_inject,
        .is_external = (s->event_inject >> 8 & 1) != 0,
        .error = (uint32_t)(s->event_inject >> 16) };
    return 0;
}

void arch_vcpu_paging(struct vcpu *v, struct guest_paging *pg)
{
    const struct vcpu_state *s = &((struct host_vcpu *)v->arch)->state;

    *pg = (struct guest_paging){
        .cr0 = s->cr0, .cr3 = s->cr3, .cr4 = s->cr4, .efer = s->efer,
        .rflags = v->regs.rflags,
        .cpl = s->seg[SEG_SS].attr >> 5 & 3,
        .p2m = v->p2m,
    };
}

static void inject(struct host_vcpu *h, struct host_injection in)
{
    if (h->nr_log < HOST_INJECTIONS_MAX) {
        h->log[h->nr_log] = in;
    }
    h->nr_log++;
    h->pending = in;
    h->is_pending = true;
}

void arch_vcpu_inject_exception(struct vcpu *v, uint8_t vector,
                                uint32_t error)
{
    inject(v->arch, (struct host_injection){ vector, false, error });
}

void arch_vcpu_inject_page_fault(struct vcpu *v, gva_t addr, uint32_t error)
{
    ((struct host_vcpu *)v->arch)->state.cr2 = addr;
    arch_vcpu_inject_exception(v, VECTOR_PF, error);
}

bool arch_vcpu_is_interruptible(const struct vcpu *v)
{
    const struct host_vcpu *h = v->arch;

    return (v->regs.rflags & RFLAGS_IF) && !h->is_pending;
}

bool arch_vcpu_inject_interrupt(struct vcpu *v, uint8_t vector)
{
    struct host_vcpu *h = v->arch;

    if (!arch_vcpu_is_interruptible(v)) {
        h->wants_window = true;
        return false;
    }
    inject(h, (struct host_injection){ vector, true, 0 });
    return true;
}

void arch_vcpu_skip(struct vcpu *v, const struct vcpu_exit *exit)
{
    v->regs.rip += exit->insn_len;
}

unsigned host_vcpu_injections(const struct vcpu *v,
                              struct host_injection *out, unsigned max)
{
    const struct host_vcpu *h = v->arch;

    for (unsigned i = 0; i < MIN(MIN(max, h->nr_log),
                                 HOST_INJECTIONS_MAX); i++) {
        out[i] = h->log[i];
    }
    return h->nr_log;
}
