/*
 * policy.h - what a guest's exits mean: one handler a family, called from the
 * table in exit.c. Each ends with the guest's registers as they shall be, a
 * fault injected, or the domain crashed; none returns an error.
 */
#pragma once

#include <quire/domain.h>

#define VECTOR_UD 6
#define VECTOR_GP 13
#define VECTOR_PF 14

void exit_cpuid(struct vcpu *v, struct vcpu_exit *e);
void exit_rdmsr(struct vcpu *v, struct vcpu_exit *e);
void exit_wrmsr(struct vcpu *v, struct vcpu_exit *e);
void exit_io(struct vcpu *v, struct vcpu_exit *e);
void exit_npf(struct vcpu *v, struct vcpu_exit *e);
void exit_pf(struct vcpu *v, struct vcpu_exit *e);
void exit_starved(struct vcpu *v, struct vcpu_exit *e);
void exit_hypercall(struct vcpu *v, struct vcpu_exit *e);

/** oom_settle() - an exit has been handled that may need memory: @v has what it
 *  waited for. */
static inline void oom_settle(struct vcpu *v)
{
    if (unlikely(atomic_load_explicit(&v->oom.state, memory_order_relaxed) ==
                 OOM_PROMISED)) {
        oom_done(v);
    }
}
/** emulate() - the instruction at RIP, for MMIO and string I/O. */
void emulate(struct vcpu *v);
/** port_in(), port_out() - the port policy. */
uint32_t port_in(struct domain *d, uint16_t port, unsigned size);
void port_out(struct domain *d, uint16_t port, uint32_t value, unsigned size);
/** console_write() - a guest's text, up to the end of one line; returns how
 *  many bytes that was. */
size_t console_write(struct domain *d, const char *text, size_t len);
/** hypercall_page_write() - the stubs into the page of @gfn. */
int must_check hypercall_page_write(struct domain *d, gfn_t gfn);
/** vcpu_go_down() - @v goes offline; the last one ends the domain. */
void vcpu_go_down(struct vcpu *v);
