/*
 * hypercall.h - calls from a stress domain to the hypervisor, Xen's ABI.
 *
 * hypercall() goes through the page that hypercall_init() had the hypervisor
 * fill; hypercall_raw() executes VMMCALL with any number. Without Xen's leaves
 * (a `leaves=none` domain, or no hypervisor at all) hypercall() answers
 * -ENOSYS.
 */
#pragma once

#include <public/quire.h>
#include <quire/errno.h>
#include <quire/types.h>

extern uint8_t hypercall_page[PAGE_SIZE];

/** hypercall_init() - find Xen's leaves and install the hypercall page. */
void hypercall_init(void);
bool hypercall_is_present(void);
/** hypercall_leaf() - the first of Xen's CPUID leaves; 0: none. */
uint32_t hypercall_leaf(void);

int64_t hypercall(unsigned nr, uint64_t a1, uint64_t a2, uint64_t a3,
                  uint64_t a4, uint64_t a5);
int64_t hypercall_raw(uint64_t nr, uint64_t a1, uint64_t a2, uint64_t a3,
                      uint64_t a4, uint64_t a5);

#define GVA(p) ((uint64_t)(uintptr_t)(p))

static inline int64_t hc_console_io(uint64_t sub, uint64_t n, const void *p)
{
    return hypercall(__HYPERVISOR_console_io, sub, n, GVA(p), 0, 0);
}
static inline int64_t hc_memory_op(uint64_t sub, void *arg)
{
    return hypercall(__HYPERVISOR_memory_op, sub, GVA(arg), 0, 0, 0);
}
static inline int64_t hc_sched_op(uint64_t sub, void *arg)
{
    return hypercall(__HYPERVISOR_sched_op, sub, GVA(arg), 0, 0, 0);
}
static inline int64_t hc_vcpu_op(uint64_t sub, uint64_t vcpu, void *arg)
{
    return hypercall(__HYPERVISOR_vcpu_op, sub, vcpu, GVA(arg), 0, 0);
}
static inline int64_t hc_event_channel_op(uint64_t sub, void *arg)
{
    return hypercall(__HYPERVISOR_event_channel_op, sub, GVA(arg), 0, 0, 0);
}
static inline int64_t hc_hvm_op(uint64_t sub, void *arg)
{
    return hypercall(__HYPERVISOR_hvm_op, sub, GVA(arg), 0, 0, 0);
}
static inline int64_t hc_xen_version(uint64_t sub, void *arg)
{
    return hypercall(__HYPERVISOR_xen_version, sub, GVA(arg), 0, 0, 0);
}
static inline int64_t hc_quire_op(uint64_t sub, uint64_t a1, uint64_t a2,
                                  uint64_t a3)
{
    return hypercall(__HYPERVISOR_quire_op, sub, a1, a2, a3, 0);
}
