/* calls.c - hypercalls that answer at once: version, memory, vCPU, HVM
 * parameters, the console and quire_op, with good and with bad arguments. */
#include "exits.h"

#include <public/xen/features.h>
#include <public/xen/hvm.h>
#include <public/xen/memory.h>
#include <public/xen/sched.h>
#include <public/xen/vcpu.h>
#include <public/xen/version.h>

static void check_version(void)
{
    static union {
        struct xen_extraversion extra;
        struct xen_compile_info compile;
        struct xen_capabilities_info caps;
        struct xen_changeset_info changeset;
        struct xen_commandline cmdline;
        struct xen_domain_handle handle;
    } u;
    struct xen_feature_info f = { .submap_idx = 0 };

    CHECK(hc_xen_version(XENVER_version, NULL) >> 16 >= 4,
          "version %lx", hc_xen_version(XENVER_version, NULL));
    EXPECT(hc_xen_version(XENVER_pagesize, NULL), 4096);
    EXPECT(hc_xen_version(XENVER_extraversion, &u), 0);
    CHECK(strlen(u.extra.text) < sizeof(u.extra), "extraversion");
    EXPECT(hc_xen_version(XENVER_compile_info, &u), 0);
    EXPECT(hc_xen_version(XENVER_capabilities, &u), 0);
    CHECK(u.caps.text[0] != '\0' && strlen(u.caps.text) < sizeof(u.caps),
          "capabilities");
    EXPECT(hc_xen_version(XENVER_changeset, &u), 0);
    EXPECT(hc_xen_version(XENVER_guest_handle, &u), 0);
    EXPECT(hc_xen_version(XENVER_get_features, &f), 0);
    CHECK((f.submap >> XENFEAT_auto_translated_physmap & 1) != 0
          && (f.submap >> XENFEAT_hvm_callback_vector & 1) != 0,
          "features %x", f.submap);
    f.submap_idx = XENFEAT_NR_SUBMAPS;
    EXPECT(hc_xen_version(XENVER_get_features, &f), -EINVAL);
    EXPECT(hc_xen_version(XENVER_extraversion, BAD_GVA), -EFAULT);
    EXPECT(hc_xen_version(XENVER_extraversion, NON_CANONICAL), -EFAULT);
    EXPECT(hc_xen_version(1000, &u), -ENOSYS);
}

static void check_memory_map(void)
{
    static struct xen_e820_entry map[32];
    struct xen_memory_map m = { .nr_entries = ARRAY_SIZE(map),
                                .buffer = GVA(map) };
    uint64_t ram = 0, want = 0;

    EXPECT(hc_memory_op(XENMEM_memory_map, &m), 0);
    CHECK(m.nr_entries > 0 && m.nr_entries <= ARRAY_SIZE(map),
          "%u entries", m.nr_entries);
    for (unsigned i = 0; i < MIN(m.nr_entries, ARRAY_SIZE(map)); i++) {
        ram += map[i].type == E820_RAM ? map[i].size : 0;
    }
    for (unsigned i = 0; i < memory_nr_ranges(); i++) {
        const struct hvm_memmap_table_entry *e = memory_range(i);

        want += e->type == XEN_HVM_MEMMAP_TYPE_RAM ? e->size : 0;
    }
    CHECK(ram == want, "memory_map has %lx bytes, start_info %lx", ram, want);
    m.nr_entries = ARRAY_SIZE(map);
    m.buffer = GVA(BAD_GVA);
    EXPECT(hc_memory_op(XENMEM_memory_map, &m), -EFAULT);
    EXPECT(hc_memory_op(XENMEM_memory_map, BAD_GVA), -EFAULT);
}

static void check_memory(void)
{
    domid_t self = DOMID_SELF, other = 4095;
    struct xen_add_to_physmap a = { .domid = DOMID_SELF,
        .space = XENMAPSPACE_shared_info, .idx = 1, .gpfn = 0xf8000 };

    check_memory_map();
    CHECK(hc_memory_op(XENMEM_current_reservation, &self) > 0,
          "current_reservation");
    CHECK(hc_memory_op(XENMEM_maximum_reservation, &self)
          >= hc_memory_op(XENMEM_current_reservation, &self),
          "maximum_reservation");
    CHECK(hc_memory_op(XENMEM_maximum_gpfn, &self)
          >= (int64_t)(memory_run(GUEST_FREE_GFN) + GUEST_FREE_GFN - 1),
          "maximum_gpfn %ld", hc_memory_op(XENMEM_maximum_gpfn, &self));
    EXPECT_ERROR(hc_memory_op(XENMEM_current_reservation, &other));
    EXPECT(hc_memory_op(XENMEM_add_to_physmap, &a), -EINVAL);
    a.idx = 0;
    a.gpfn = UINT64_C(1) << 60;
    EXPECT_ERROR(hc_memory_op(XENMEM_add_to_physmap, &a));
    a.gpfn = 0xf8000;
    a.domid = other;
    EXPECT_ERROR(hc_memory_op(XENMEM_add_to_physmap, &a));
    a.domid = DOMID_SELF;
    a.space = 77;
    EXPECT_ERROR(hc_memory_op(XENMEM_add_to_physmap, &a));
    EXPECT(hc_memory_op(XENMEM_add_to_physmap, NON_CANONICAL), -EFAULT);
    EXPECT(hc_memory_op(60, &a), -ENOSYS);
}

static void check_vcpu(void)
{
    static struct vcpu_hvm_context ctx;
    struct vcpu_register_vcpu_info r = { .mfn = 0x100, .offset = 4090 };

    EXPECT(hc_vcpu_op(VCPUOP_is_up, 0, NULL), 1);
    EXPECT(hc_vcpu_op(VCPUOP_is_up, 5000, NULL), -ENOENT);
    EXPECT(hc_vcpu_op(VCPUOP_initialise, 0, &ctx), -EEXIST);
    EXPECT(hc_vcpu_op(VCPUOP_initialise, 5000, &ctx), -ENOENT);
    EXPECT(hc_vcpu_op(VCPUOP_register_vcpu_info, 0, &r), -EINVAL);
    EXPECT_ERROR(hc_vcpu_op(VCPUOP_register_vcpu_info, 0, BAD_GVA));
    EXPECT(hc_vcpu_op(1000, 0, NULL), -ENOSYS);
}

static void check_hvm(void)
{
    struct xen_hvm_param p = { .domid = DOMID_SELF,
                               .index = HVM_PARAM_CALLBACK_IRQ };
    uint64_t old;

    EXPECT(hc_hvm_op(HVMOP_get_param, &p), 0);
    old = p.value;
    p.value = HVM_PARAM_CALLBACK_TYPE_VECTOR
              << HVM_PARAM_CALLBACK_TYPE_SHIFT | 0x55;
    EXPECT(hc_hvm_op(HVMOP_set_param, &p), 0);
    p.value = 0;
    EXPECT(hc_hvm_op(HVMOP_get_param, &p), 0);
    CHECK(p.value >> 56 == 2 && (p.value & 0xff) == 0x55,
          "CALLBACK_IRQ %lx", p.value);
    p.value = old;
    EXPECT(hc_hvm_op(HVMOP_set_param, &p), 0);
    p.index = 1000;
    EXPECT(hc_hvm_op(HVMOP_get_param, &p), -EINVAL);
    EXPECT(hc_hvm_op(HVMOP_set_param, &p), -EINVAL);
    p.index = HVM_PARAM_CALLBACK_IRQ;
    p.domid = 4095;
    EXPECT_ERROR(hc_hvm_op(HVMOP_get_param, &p));
    EXPECT(hc_hvm_op(HVMOP_get_param, BAD_GVA), -EFAULT);
    EXPECT_ERROR(hc_hvm_op(1000, &p));
}

static void check_quire(void)
{
    EXPECT(hc_quire_op(QUIRE_OP_report_figure, 31, 0, 0), 0);
    EXPECT(hc_quire_op(QUIRE_OP_report_figure, 32, 0, 0), -EINVAL);
    EXPECT(hc_quire_op(QUIRE_OP_report_phase, 1, 0, 0), 0);
    EXPECT(hc_quire_op(QUIRE_OP_report_phase, 0, 0, 0), -EINVAL);
    EXPECT(hc_quire_op(QUIRE_OP_wait_phase, 0, 0, 0), 0);
    EXPECT(hc_quire_op(QUIRE_OP_verdict, 3, 0, 0), -EINVAL);
    EXPECT(hc_quire_op(QUIRE_OP_verdict, QUIRE_VERDICT_PASS, GVA(BAD_GVA),
                       10), -EFAULT);
    EXPECT(hc_quire_op(1000, 0, 0, 0), -ENOSYS);
}

/* The stubs of the page and VMMCALL by hand are the same call; numbers with
 * nothing behind them answer so. */
static void check_numbers(void)
{
    CHECK(hypercall_raw(__HYPERVISOR_xen_version, XENVER_pagesize, 0, 0, 0, 0)
          == 4096, "vmmcall by hand");
    EXPECT(hypercall_raw(200, 0, 0, 0, 0, 0), -ENOSYS);
    EXPECT(hypercall_raw(UINT64_C(0xffffffff), 0, 0, 0, 0, 0), -ENOSYS);
    EXPECT(hypercall(__HYPERVISOR_mmu_update, 0, 0, 0, 0, 0), -ENOSYS);
    EXPECT(hypercall(__HYPERVISOR_set_trap_table, 0, 0, 0, 0, 0), -ENOSYS);
    EXPECT_ERROR(hypercall(__HYPERVISOR_domctl, 0, 0, 0, 0, 0));
    EXPECT_ERROR(hypercall(__HYPERVISOR_sysctl, 0, 0, 0, 0, 0));
    EXPECT(hypercall(63, 0, 0, 0, 0, 0), -ENOSYS);
}

void check_calls(void)
{
    check_numbers();
    check_version();
    check_memory();
    check_vcpu();
    check_hvm();
    check_quire();
    EXPECT_ERROR(hc_console_io(CONSOLEIO_write, 10, BAD_GVA));
    EXPECT_ERROR(hc_console_io(77, 10, ""));
    EXPECT(hc_sched_op(SCHEDOP_yield, NULL), 0);
    EXPECT(hc_sched_op(1000, NULL), -ENOSYS);
    EXPECT(hc_sched_op(SCHEDOP_shutdown, BAD_GVA), -EFAULT);
}
