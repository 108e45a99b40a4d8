/*
 * event.h - event channels and the timer, for stress domains.
 *
 * event_init() maps the shared info page and asks for upcalls on one vector;
 * each port has a function, called on the vCPU it is bound to with interrupts
 * off. Ports are bound before the vCPUs that use them run.
 */
#pragma once

#include <public/xen/xen.h>
#include <quire/types.h>

#define EVENT_VECTOR 0xf3

struct shared_info *event_shared_info(void);
/** event_init() - 0, or a negative errno of the call that failed. */
int event_init(void);
/** event_bind_virq(), event_bind_ipi() - a port (> 0) whose events call
 *  @fn(port) on @vcpu, or a negative errno. */
int event_bind_virq(unsigned virq, unsigned vcpu, void (*fn)(unsigned port));
int event_bind_ipi(unsigned vcpu, void (*fn)(unsigned port));
/** event_set() - a port bound by other means. */
void event_set(unsigned port, unsigned vcpu, void (*fn)(unsigned port));
int event_send(unsigned port);
void event_mask(unsigned port);
int event_unmask(unsigned port);
/** event_upcall() - serve this vCPU's pending ports. */
void event_upcall(void);

/** clock_ns() - system time of the calling vCPU, from its vcpu_time_info. */
uint64_t clock_ns(void);
/** clock_is_sane() - the hypervisor filled it in. */
bool clock_is_sane(void);
/** timer_set_ns() - VIRQ_TIMER on this vCPU at @when. */
int timer_set_ns(uint64_t when);
