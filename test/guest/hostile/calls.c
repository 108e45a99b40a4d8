/* calls.c - hypercalls with pointers to nowhere, over a page's end, into
 * read-only pages, with lengths and numbers that overflow. */
#include "hostile.h"

#include <public/xen/event_channel.h>
#include <public/xen/hvm.h>
#include <public/xen/memory.h>
#include <public/xen/sched.h>
#include <public/xen/sharing.h>
#include <public/xen/vcpu.h>
#include <public/xen/version.h>

#define REFUSED(call) \
    do { \
        int64_t rc_ = (call); \
        CHECK(rc_ < 0 && rc_ > -200, "%s: %ld", #call, rc_); \
    } while (0)

/* Each operation that takes a pointer, with each bad pointer. */
static const struct { unsigned nr; uint64_t sub; } ops[] = {
    { __HYPERVISOR_memory_op, XENMEM_memory_map },
    { __HYPERVISOR_memory_op, XENMEM_add_to_physmap },
    { __HYPERVISOR_memory_op, XENMEM_current_reservation },
    { __HYPERVISOR_memory_op, XENMEM_decrease_reservation },
    { __HYPERVISOR_memory_op, XENMEM_populate_physmap },
    { __HYPERVISOR_memory_op, XENMEM_remove_from_physmap },
    { __HYPERVISOR_memory_op, XENMEM_exchange },
    { __HYPERVISOR_memory_op, XENMEM_sharing_op },
    { __HYPERVISOR_xen_version, XENVER_extraversion },
    { __HYPERVISOR_xen_version, XENVER_capabilities },
    { __HYPERVISOR_xen_version, XENVER_get_features },
    { __HYPERVISOR_sched_op, SCHEDOP_poll },
    { __HYPERVISOR_sched_op, SCHEDOP_shutdown },
    { __HYPERVISOR_sched_op, SCHEDOP_remote_shutdown },
    { __HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq },
    { __HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound },
    { __HYPERVISOR_event_channel_op, EVTCHNOP_status },
    { __HYPERVISOR_event_channel_op, EVTCHNOP_send },
    { __HYPERVISOR_hvm_op, HVMOP_set_param },
    { __HYPERVISOR_hvm_op, HVMOP_get_param },
    { __HYPERVISOR_hvm_op, HVMOP_set_evtchn_upcall_vector },
};

static void bad_pointers(void)
{
    static const uint64_t bad[] = {
        0, 4, UINT64_C(0xffff900000000000), UINT64_C(0x7fffffffffff),
        UINT64_C(0x8000000000000000), UINT64_C(0xffffffffffffffff),
        UINT64_C(0xfffffffffffffffc), UINT64_C(0xffff7fffffffffff),
    };

    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
        for (unsigned j = 0; j < ARRAY_SIZE(bad); j++) {
            int64_t rc = hypercall(ops[i].nr, ops[i].sub, bad[j], 0, 0, 0);

            CHECK(rc < 0 && rc > -200, "hypercall %u sub %lu pointer %lx: "
                  "%ld", ops[i].nr, ops[i].sub, bad[j], rc);
        }
    }
}

/* Results go where the guest itself could not write: refused. */
static void read_only_results(void)
{
    struct xen_feature_info *f = gfn_ptr(SCRATCH_GFN);

    f->submap_idx = 0;
    f->submap = 0x5555;
    memory_protect(SCRATCH_GFN, false);
    REFUSED(hc_xen_version(XENVER_get_features, f));
    REFUSED(hc_xen_version(XENVER_capabilities, f));
    CHECK(f->submap == 0x5555, "a read-only page was written");
    memory_protect(SCRATCH_GFN, true);
}

/* Numbers that overflow: counts times sizes, gfns above everything. */
static void bad_numbers(void)
{
    struct xen_memory_map map = { .nr_entries = UINT32_MAX,
                                  .buffer = UINT64_C(0xfffffffffffff000) };
    struct xen_add_to_physmap a = { .domid = DOMID_SELF,
        .space = XENMAPSPACE_shared_info, .gpfn = UINT64_MAX };
    struct sched_poll poll = { .ports = 0x180000, .nr_ports = UINT32_MAX,
                               .timeout = 1 };
    struct vcpu_register_vcpu_info v = { .mfn = UINT64_MAX >> 12 };
    struct xen_hvm_param p = { .domid = DOMID_SELF,
        .index = HVM_PARAM_TRIPLE_FAULT_REASON, .value = 1000 };

    REFUSED(hc_memory_op(XENMEM_memory_map, &map));
    REFUSED(hc_memory_op(XENMEM_add_to_physmap, &a));
    a.gpfn = UINT64_C(1) << 52;
    REFUSED(hc_memory_op(XENMEM_add_to_physmap, &a));
    a.gpfn = UINT64_C(1) << 36;
    REFUSED(hc_memory_op(XENMEM_add_to_physmap, &a));
    REFUSED(hc_sched_op(SCHEDOP_poll, &poll));
    REFUSED(hc_vcpu_op(VCPUOP_register_vcpu_info, 0, &v));
    v.mfn = 0xf1000;            /* a hole */
    REFUSED(hc_vcpu_op(VCPUOP_register_vcpu_info, 0, &v));
    v.mfn = SCRATCH_GFN;
    v.offset = UINT32_MAX - 7;
    REFUSED(hc_vcpu_op(VCPUOP_register_vcpu_info, 0, &v));
    REFUSED(hc_hvm_op(HVMOP_set_param, &p));
    REFUSED(hc_console_io(CONSOLEIO_write, UINT64_MAX, (void *)8));
    REFUSED(hc_quire_op(QUIRE_OP_report_figure, UINT64_MAX, 1, 0));
    REFUSED(hc_quire_op(QUIRE_OP_report_figure, UINT64_C(1) << 32, 1, 0));
}

/* A context that VMRUN would refuse must be refused before it. */
static void bad_context(void)
{
    static struct vcpu_hvm_context c;
    struct vcpu_hvm_x86_64 *r = &c.cpu_regs.x86_64;

    if (hc_vcpu_op(VCPUOP_is_up, 1, NULL) != 0) {
        return;                 /* no second vCPU to try it on */
    }
    c.mode = 7;
    REFUSED(hc_vcpu_op(VCPUOP_initialise, 1, &c));
    c.mode = VCPU_HVM_MODE_64B;
    r->cr0 = UINT64_C(1) << 63 | 0x80000011;
    r->cr4 = 0x20;
    r->efer = EFER_LME | EFER_LMA;
    REFUSED(hc_vcpu_op(VCPUOP_initialise, 1, &c));
    r->cr0 = 0x80000011;
    r->cr4 = UINT64_MAX;
    REFUSED(hc_vcpu_op(VCPUOP_initialise, 1, &c));
    r->cr4 = 0x20;
    r->efer = UINT64_MAX;
    REFUSED(hc_vcpu_op(VCPUOP_initialise, 1, &c));
    REFUSED(hc_vcpu_op(VCPUOP_up, 1, NULL));
}

/* Another domain's things, without being privileged. */
static void not_mine(void)
{
    struct sched_remote_shutdown s = { .domain_id = 0, .reason = 0 };
    struct evtchn_bind_interdomain b = { .remote_dom = 0, .remote_port = 1 };
    struct xen_mem_sharing_op m = { .op = XENMEM_sharing_op_nominate_gfn,
                                    .domain = 0 };
    domid_t id = 0;

    if (guest_domid() == 0) {
        s.domain_id = b.remote_dom = m.domain = id = 1;
    }
    REFUSED(hc_sched_op(SCHEDOP_remote_shutdown, &s));
    REFUSED(hc_memory_op(XENMEM_current_reservation, &id));
    REFUSED(hc_memory_op(XENMEM_sharing_op, &m));
    REFUSED(hc_event_channel_op(EVTCHNOP_bind_interdomain, &b));
    REFUSED(hypercall(__HYPERVISOR_domctl, 0x180000, 0, 0, 0, 0));
    REFUSED(hypercall(__HYPERVISOR_platform_op, 0x180000, 0, 0, 0, 0));
}

void probe_calls(void)
{
    for (uint64_t nr = 0; nr < 64; nr++) {
        if (hypercall_raw(nr << 32 | 12345, 0, 0, 0, 0, 0) != -ENOSYS) {
            guest_fail("hypercall %lx is there", nr << 32 | 12345);
        }
    }
    bad_pointers();
    read_only_results();
    bad_numbers();
    bad_context();
    not_mine();
}
