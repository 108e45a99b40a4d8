/*
 * test_hypercall.c - the hypercalls, as a 64-bit guest with its own tables
 * makes them and as a 32-bit one does: results, errors, what they change.
 */
#include "../../common/domain/build.h"
#include "domains.h"
#include "test.h"

#include <public/quire.h>
#include <public/xen/cpuid.h>
#include <public/xen/memory.h>
#include <public/xen/sched.h>
#include <public/xen/vcpu.h>
#include <public/xen/version.h>
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/page_alloc.h>
#include <string.h>

#define ARG 0x10000         /* where arguments are put: gpa = gva */
#define UNMAPPED (UINT64_C(1) << 40)

static struct domain *d;
static struct vcpu *v;
static bool is_compat;
static uint64_t nr_free;

/* Identity tables of one 1G page for 64-bit guests; 32-bit ones are unpaged. */
static void set_mode(struct vcpu *t, bool compat)
{
    static const uint64_t pml4 = 0x3007, pdpt = 0x87;
    struct vcpu_state s;
    size_t done;

    pvh_entry_state(&s, 0, 0);
    if (!compat) {
        CHECK_EQ(guest_write_gpa(d->p2m, 0x2000, &pml4, 8, &done), 0);
        CHECK_EQ(guest_write_gpa(d->p2m, 0x3000, &pdpt, 8, &done), 0);
        s.cr0 = 0x80000011;
        s.cr3 = 0x2000;
        s.cr4 = 0x20;
        s.efer = 0x500;
    }
    CHECK_EQ(arch_vcpu_set_state(t, &s), 0);
    is_compat = compat;
}

static void begin_mode(bool compat)
{
    struct domain_config c = test_config("caller", 128);

    test_machine(4096, 1);
    test_settle();
    nr_free = page_nr_free();
    c.nr_vcpus = 3;
    d = test_create(&c);
    v = d->vcpus[0];
    set_mode(v, compat);
    v->initialised = true;
    vcpu_set_online(v, true);
}

static void begin(void)
{
    begin_mode(false);
}

static void end(void)
{
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(page_nr_free(), nr_free);
}

#define RESTARTED INT64_C(-1000)

static int64_t call3(uint64_t nr, uint64_t a, uint64_t b, uint64_t c)
{
    struct vcpu_exit e = { .reason = EXIT_HYPERCALL, .insn_len = 3 };
    uint64_t rip = v->regs.rip;

    v->regs.rax = nr;
    if (is_compat) {
        v->regs.rbx = a;
        v->regs.rcx = b;
        v->regs.rdx = c;
    } else {
        v->regs.rdi = a;
        v->regs.rsi = b;
        v->regs.rdx = c;
    }
    vcpu_handle_exit(v, &e);
    if (v->regs.rip == rip) {
        return RESTARTED;
    }
    CHECK_EQ(v->regs.rip, rip + 3);
    return is_compat ? (int32_t)v->regs.rax : (int64_t)v->regs.rax;
}

static void poke(gpa_t at, const void *buf, size_t len)
{
    size_t done;

    CHECK_EQ(guest_write_gpa(d->p2m, at, buf, len, &done), 0);
}

static void peek(gpa_t at, void *buf, size_t len)
{
    CHECK_EQ(guest_read_gpa(d->p2m, at, buf, len), 0);
}

/* A call whose second argument points at @arg, read back afterwards. */
static int64_t with(uint64_t nr, uint64_t sub, void *arg, size_t len)
{
    poke(ARG, arg, len);
    int64_t r = call3(nr, sub, ARG, 0);
    peek(ARG, arg, len);
    return r;
}

TEST(unknown_numbers_are_enosys)
{
    begin();
    for (uint64_t nr = 0; nr < 300; nr++) {
        int64_t r = call3(nr, 1000, UNMAPPED, 0);

        CHECK(r == -ENOSYS || r == -ENOENT);
    }
    CHECK_EQ(call3(UINT64_MAX, 0, 0, 0), -ENOSYS);
    end();
}

TEST(only_ring_zero_may)
{
    begin();
    struct vcpu_state s;

    arch_vcpu_get_state(v, &s);
    s.seg[SEG_SS].attr |= 3 << 5;
    CHECK_EQ(arch_vcpu_set_state(v, &s), 0);
    CHECK_EQ(call3(__HYPERVISOR_xen_version, XENVER_version, 0, 0), -EPERM);
    end();
}

TEST(version_and_features)
{
    for (unsigned compat = 0; compat < 2; compat++) {
        struct xen_feature_info f = { .submap_idx = 0 };
        struct xen_extraversion x;

        begin_mode(compat != 0);
        CHECK_EQ(call3(__HYPERVISOR_xen_version, XENVER_version, 0, 0),
                 4 << 16 | 17);
        CHECK_EQ(call3(__HYPERVISOR_xen_version, XENVER_pagesize, 0, 0),
                 4096);
        CHECK_EQ(with(__HYPERVISOR_xen_version, XENVER_get_features, &f,
                      sizeof(f)), 0);
        CHECK((f.submap & 1u << 8) != 0);
        f.submap_idx = 1;
        CHECK_EQ(with(__HYPERVISOR_xen_version, XENVER_get_features, &f,
                      sizeof(f)), -EINVAL);
        CHECK_EQ(with(__HYPERVISOR_xen_version, XENVER_extraversion, &x,
                      sizeof(x)), 0);
        CHECK(strcmp(x.text, ".0-quire") == 0);
        if (compat == 0) {
            CHECK_EQ(call3(__HYPERVISOR_xen_version, XENVER_extraversion,
                           UNMAPPED, 0), -EFAULT);
        }
        end();
    }
}

TEST(console_lines_and_continuation)
{
    static char text[1000];
    int64_t r;

    begin();
    host_console_clear();
    memset(text, 'x', sizeof(text));
    memcpy(text, "hello\nwor", 9);
    poke(ARG, text, 9);
    /* One line at most in one exit. */
    CHECK_EQ(call3(__HYPERVISOR_console_io, CONSOLEIO_write, 9, ARG),
             RESTARTED);
    CHECK(strstr(host_console_text(), "hello") != NULL);
    CHECK_EQ(v->regs.rsi, 3);
    CHECK_EQ(call3(v->regs.rax, v->regs.rdi, v->regs.rsi, v->regs.rdx), 0);
    CHECK(strstr(host_console_text(), "wor") == NULL);
    poke(ARG, "ld\n", 3);
    CHECK_EQ(call3(__HYPERVISOR_console_io, CONSOLEIO_write, 3, ARG), 0);
    CHECK(strstr(host_console_text(), "world") != NULL);
    /* A long one: each slice moves the registers on. */
    memset(text, 'x', 9);
    text[998] = 'Z';
    text[999] = '\n';
    poke(ARG, text, sizeof(text));
    r = call3(__HYPERVISOR_console_io, CONSOLEIO_write, sizeof(text), ARG);
    for (unsigned i = 0; r == RESTARTED; i++) {
        CHECK(i < 10);
        CHECK_EQ(v->regs.rsi, 1000 - 256 * (i + 1));
        r = call3(v->regs.rax, v->regs.rdi, v->regs.rsi, v->regs.rdx);
    }
    CHECK_EQ(r, 0);
    CHECK(strstr(host_console_text(), "xxZ") != NULL);
    /* Escapes fill a line, too. */
    memset(text, 1, 200);
    poke(ARG, text, 200);
    CHECK_EQ(call3(__HYPERVISOR_console_io, CONSOLEIO_write, 200, ARG),
             RESTARTED);
    CHECK_EQ(v->regs.rsi, 200 - 64);
    /* What is not ended comes out when the domain does. */
    poke(ARG, "last words", 10);
    CHECK_EQ(call3(__HYPERVISOR_console_io, CONSOLEIO_write, 10, ARG), 0);
    CHECK(strstr(host_console_text(), "last words") == NULL);
    domain_shutdown(v->domain, SHUTDOWN_POWEROFF);
    CHECK(strstr(host_console_text(), "last words\n") != NULL);
    CHECK(strstr(strstr(host_console_text(), "last words"),
                 "has shut down") != NULL);
    CHECK_EQ(call3(__HYPERVISOR_console_io, CONSOLEIO_write, 5, UNMAPPED),
             -EFAULT);
    CHECK_EQ(call3(__HYPERVISOR_console_io, CONSOLEIO_write, UINT64_MAX,
                   ARG), -EINVAL);
    CHECK_EQ(call3(__HYPERVISOR_console_io, CONSOLEIO_read, 5, ARG), 0);
    CHECK_EQ(call3(__HYPERVISOR_console_io, 9, 5, ARG), -ENOSYS);
    end();
}

TEST(memory_map_and_reservation)
{
    struct xen_memory_map m = { .nr_entries = 9, .buffer = ARG + 0x100 };
    struct xen_e820_entry e;
    domid_t self = DOMID_SELF, other = 99;

    begin();
    CHECK_EQ(with(__HYPERVISOR_memory_op, XENMEM_memory_map, &m, sizeof(m)),
             0);
    CHECK_EQ(m.nr_entries, 1);
    peek(ARG + 0x100, &e, sizeof(e));
    CHECK_EQ(e.addr, 0);
    CHECK_EQ(e.size, 128 << 12);
    CHECK_EQ(e.type, E820_RAM);
    m.buffer = UNMAPPED;
    CHECK_EQ(with(__HYPERVISOR_memory_op, XENMEM_memory_map, &m, sizeof(m)),
             -EFAULT);
    CHECK_EQ(with(__HYPERVISOR_memory_op, XENMEM_current_reservation, &self,
                  2), 129);
    CHECK_EQ(with(__HYPERVISOR_memory_op, XENMEM_maximum_gpfn, &self, 2),
             127);
    CHECK_EQ(with(__HYPERVISOR_memory_op, XENMEM_maximum_gpfn, &other, 2),
             -EPERM);
    end();
}

static int64_t place(uint64_t gfn)
{
    struct xen_add_to_physmap a = { .domid = DOMID_SELF,
                                    .space = XENMAPSPACE_shared_info,
                                    .gpfn = gfn };

    return with(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &a,
                sizeof(a));
}

static int64_t take_away(uint64_t gfn)
{
    struct xen_remove_from_physmap r = { .domid = DOMID_SELF, .gpfn = gfn };

    return with(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, &r,
                sizeof(r));
}

TEST(shared_info_can_be_placed_and_moved)
{
    begin();
    mfn_t page = frame_to_mfn(evtchn_shared_frame(d->events));

    CHECK_EQ(place(100), 0);        /* over RAM, which is dropped */
    CHECK(mfn_eq(p2m_lookup(d->p2m, GFN(100)).mfn, page));
    CHECK_EQ(domain_audit(), 0);
    CHECK_EQ(place(100), 0);
    CHECK_EQ(place(0xf0000), 0);    /* into a hole; the old place is one */
    CHECK(mfn_eq(p2m_lookup(d->p2m, GFN(0xf0000)).mfn, page));
    CHECK_EQ(p2m_lookup(d->p2m, GFN(100)).type, p2m_invalid);
    CHECK_EQ(domain_audit(), 0);
    CHECK_EQ(take_away(0xf0000), 0);
    CHECK_EQ(take_away(0xf0000), -ENOENT);
    CHECK_EQ(domain_audit(), 0);
    CHECK_EQ(place(0xf0000), 0);
    CHECK_EQ(place(UINT64_C(1) << 36), -ERANGE);
    CHECK_EQ(take_away(5), 0);
    CHECK_EQ(domain_audit(), 0);
    end();
}

TEST(shared_info_in_both_layouts_of_the_call)
{
    struct { uint16_t domid, size; uint32_t space, idx, gpfn; } a =
        { DOMID_SELF, 0, XENMAPSPACE_shared_info, 0, 0x50 };

    begin_mode(true);
    CHECK_EQ(with(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &a,
                  sizeof(a)), 0);
    CHECK(mfn_eq(p2m_lookup(d->p2m, GFN(0x50)).mfn,
                 frame_to_mfn(evtchn_shared_frame(d->events))));
    a.space = XENMAPSPACE_grant_table;
    CHECK_EQ(with(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &a,
                  sizeof(a)), -ENOSYS);
    a.domid = 77;
    CHECK_EQ(with(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &a,
                  sizeof(a)), -EPERM);
    end();
}

TEST(shutdown_by_request)
{
    struct sched_shutdown s = { SHUTDOWN_suspend };

    begin();
    CHECK_EQ(with(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &s, sizeof(s)),
             0);
    CHECK_EQ(atomic_load(&d->state), DOMAIN_SHUTDOWN);
    CHECK_EQ(d->shutdown, SHUTDOWN_SUSPEND);
    CHECK_EQ(domain_resume(d), 0);
    s.reason = 77;
    CHECK_EQ(with(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &s, sizeof(s)),
             -EINVAL);
    CHECK_EQ(atomic_load(&d->state), DOMAIN_RUNNING);
    end();
}

TEST(poll_ends_by_event_or_time)
{
    struct evtchn_bind_ipi b = { .vcpu = 0 };
    struct sched_poll p = { .ports = ARG + 0x200, .nr_ports = 1 };

    begin();
    CHECK_EQ(with(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, &b,
                  sizeof(b)), 0);
    CHECK_EQ(b.port, 1);
    poke(ARG + 0x200, &b.port, 4);
    CHECK_EQ(with(__HYPERVISOR_sched_op, SCHEDOP_poll, &p, sizeof(p)), 0);
    CHECK(atomic_load(&v->blocked));
    CHECK_EQ(evtchn_send(d->events, b.port), 0);
    CHECK(!atomic_load(&v->blocked));
    /* Pending already: does not sleep. */
    CHECK_EQ(with(__HYPERVISOR_sched_op, SCHEDOP_poll, &p, sizeof(p)), 0);
    CHECK(!atomic_load(&v->blocked));
    p.nr_ports = 0;
    p.timeout = clock_ns(arch_now()) + 1000000;
    v->events->info->evtchn_upcall_pending = 0;
    CHECK_EQ(with(__HYPERVISOR_sched_op, SCHEDOP_poll, &p, sizeof(p)), 0);
    CHECK(atomic_load(&v->blocked));
    while (clock_ns(arch_now()) < p.timeout) {
        timer_run_due();
    }
    timer_run_due();
    CHECK(!atomic_load(&v->blocked));
    /* A masked port wakes a poller, though it interrupts nobody. */
    struct shared_info *page =
        arch_map_frame(frame_to_mfn(evtchn_shared_frame(d->events)));

    page->evtchn_mask[0] = page->evtchn_pending[0] = 0;
    page->evtchn_mask[0] = UINT64_C(1) << b.port;
    p.nr_ports = 1;
    p.timeout = 0;
    CHECK_EQ(with(__HYPERVISOR_sched_op, SCHEDOP_poll, &p, sizeof(p)), 0);
    CHECK(atomic_load(&v->blocked));
    CHECK_EQ(evtchn_send(d->events, b.port), 0);
    CHECK(!atomic_load(&v->blocked));
    CHECK_EQ(v->events->info->evtchn_upcall_pending, 0);
    p.nr_ports = 129;
    CHECK_EQ(with(__HYPERVISOR_sched_op, SCHEDOP_poll, &p, sizeof(p)),
             -EINVAL);
    p.nr_ports = 1;
    b.port = 9999;
    poke(ARG + 0x200, &b.port, 4);
    CHECK_EQ(with(__HYPERVISOR_sched_op, SCHEDOP_poll, &p, sizeof(p)),
             -EINVAL);
    end();
}

TEST(block_wakes_by_event)
{
    struct evtchn_bind_ipi b = { .vcpu = 0 };

    begin();
    CHECK_EQ(with(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, &b,
                  sizeof(b)), 0);
    CHECK_EQ(call3(__HYPERVISOR_sched_op, SCHEDOP_block, 0, 0), 0);
    CHECK(atomic_load(&v->blocked));
    CHECK_EQ(evtchn_send(d->events, b.port), 0);
    CHECK(!atomic_load(&v->blocked));
    CHECK_EQ(call3(__HYPERVISOR_sched_op, SCHEDOP_block, 0, 0), 0);
    CHECK(!atomic_load(&v->blocked));       /* still pending */
    end();
}

TEST(vcpus_come_up_and_go_down)
{
    struct vcpu_hvm_context c = { .mode = VCPU_HVM_MODE_64B };

    begin();
    poke(ARG, &c, sizeof(c));
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_up, 1, 0), -EINVAL);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_initialise, 3, ARG),
             -ENOENT);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, ARG),
             -EINVAL);      /* long mode without paging */
    c.cpu_regs.x86_64.cr0 = 0x80000011;
    c.cpu_regs.x86_64.cr4 = 0x20;
    c.cpu_regs.x86_64.efer = 0x100;
    c.cpu_regs.x86_64.rip = 0x1234;
    poke(ARG, &c, sizeof(c));
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, UNMAPPED),
             -EFAULT);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, ARG), 0);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, ARG),
             -EEXIST);
    CHECK_EQ(d->vcpus[1]->regs.rip, 0x1234);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 1, 0), 0);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_up, 1, 0), 0);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 1, 0), 1);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_down, 1, 0), 0);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 1, 0), 0);
    CHECK_EQ(atomic_load(&d->state), DOMAIN_RUNNING);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_down, 0, 0), 0);
    CHECK_EQ(atomic_load(&d->state), DOMAIN_SHUTDOWN);
    end();
}

TEST(vcpu_info_moves_once_and_is_pinned)
{
    struct vcpu_register_vcpu_info r = { .mfn = 20, .offset = 0x100 };
    struct vcpu_info info;

    begin();
    r.offset = 4096 - 63;
    poke(ARG, &r, sizeof(r));
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, ARG),
             -EINVAL);
    r.offset = 0x100;
    r.mfn = 5000;
    poke(ARG, &r, sizeof(r));
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, ARG),
             -EINVAL);
    r.mfn = 20;
    poke(ARG, &r, sizeof(r));
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, ARG),
             0);
    peek(20 * 4096 + 0x100, &info, sizeof(info));
    CHECK_EQ(info.evtchn_upcall_pending, 1);
    CHECK(info.time.tsc_to_system_mul != 0);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, ARG),
             -EINVAL);
    struct frame *f = mfn_to_frame(p2m_lookup(d->p2m, GFN(20)).mfn);

    CHECK_EQ(frame_refs(f), 2);
    share_handle_t h;

    CHECK_EQ(share_nominate(d->p2m, GFN(20), &h), -E2BIG);
    CHECK_EQ(take_away(20), 0);         /* it stays the vCPU's */
    CHECK_EQ(frame_refs(f), 1);
    end();
}

TEST(single_shot_timer_raises_its_virq)
{
    struct evtchn_bind_virq b = { .virq = VIRQ_TIMER, .vcpu = 0 };
    struct vcpu_set_singleshot_timer t = { .timeout_abs_ns = 1,
                                           .flags = VCPU_SSHOTTMR_future };

    begin();
    CHECK_EQ(with(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &b,
                  sizeof(b)), 0);
    poke(ARG, &t, sizeof(t));
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0,
                   ARG), -ETIME);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 1,
                   ARG), -EINVAL);
    t.flags = 0;
    poke(ARG, &t, sizeof(t));
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0,
                   ARG), 0);
    CHECK_EQ(v->events->info->evtchn_upcall_pending, 0);
    timer_run_due();
    CHECK_EQ(v->events->info->evtchn_upcall_pending, 1);
    end();
}

/* A period beyond the clock's reach is a first time that never comes. */
TEST(a_periodic_timer_of_centuries_never_fires)
{
    struct evtchn_bind_virq b = { .virq = VIRQ_TIMER, .vcpu = 0 };
    struct vcpu_set_periodic_timer t = { .period_ns = INT64_MAX };

    begin();
    CHECK_EQ(with(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &b,
                  sizeof(b)), 0);
    poke(ARG, &t, sizeof(t));
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_set_periodic_timer, 0, ARG),
             0);
    CHECK(!timer_run_due());
    CHECK_EQ(v->events->info->evtchn_upcall_pending, 0);
    CHECK_EQ(call3(__HYPERVISOR_vcpu_op, VCPUOP_stop_periodic_timer, 0, 0),
             0);
    end();
}

TEST(parameters_are_xens)
{
    struct xen_hvm_param p = { .domid = DOMID_SELF,
                               .index = HVM_PARAM_CALLBACK_IRQ };
    struct xen_hvm_evtchn_upcall_vector u = { .vcpu = 1, .vector = 0x33 };

    begin();
    p.value = HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | 0x30;
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_set_param, &p, sizeof(p)), 0);
    p.value = 0;
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_get_param, &p, sizeof(p)), 0);
    CHECK_EQ(p.value, HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | 0x30);
    p.value = 5;
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_set_param, &p, sizeof(p)),
             -EINVAL);
    p.index = HVM_PARAM_STORE_PFN;
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_set_param, &p, sizeof(p)),
             -EPERM);
    p.index = HVM_NR_PARAMS;
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_get_param, &p, sizeof(p)),
             -EINVAL);
    p.domid = 55;
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_get_param, &p, sizeof(p)),
             -EPERM);
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_set_evtchn_upcall_vector, &u,
                  sizeof(u)), 0);
    u.vector = 3;
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_set_evtchn_upcall_vector, &u,
                  sizeof(u)), -EINVAL);
    u.vcpu = 3;
    u.vector = 0x33;
    CHECK_EQ(with(__HYPERVISOR_hvm_op, HVMOP_set_evtchn_upcall_vector, &u,
                  sizeof(u)), -ENOENT);
    end();
}

TEST(phases_figures_and_verdict)
{
    begin();
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_report_phase, 2, 0), 0);
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_report_phase, 1, 0),
             -EINVAL);
    CHECK_EQ(atomic_load(&d->phase), 2);
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_wait_phase, 3, 0),
             RESTARTED);
    CHECK(atomic_load(&v->blocked));
    domain_phase_allow(d, 3);
    CHECK(!atomic_load(&v->blocked));
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_wait_phase, 3, 0), 0);
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_report_figure, 31, 9), 0);
    CHECK_EQ(d->figure[31], 9);
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_report_figure, 32, 9),
             -EINVAL);
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_verdict, 1, ARG), 0);
    CHECK_EQ(atomic_load(&d->verdict), 1);
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_verdict, 2, ARG), 0);
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_verdict, 1, ARG), 0);
    CHECK_EQ(atomic_load(&d->verdict), 2);
    CHECK_EQ(call3(__HYPERVISOR_quire_op, QUIRE_OP_verdict, 3, ARG),
             -EINVAL);
    CHECK(call3(__HYPERVISOR_quire_op, QUIRE_OP_now, 0, 0) > 0);
    end();
}

TEST(hypercall_page_by_msr)
{
    struct vcpu_exit e = { .reason = EXIT_WRMSR, .insn_len = 2,
                           .msr = { XEN_MSR_HYPERCALL_PAGE, 0x30000 } };
    uint8_t stub[9];

    begin();
    vcpu_handle_exit(v, &e);
    peek(0x30000 + 32 * 29, stub, sizeof(stub));
    CHECK(memcmp(stub, "\xb8\x1d\0\0\0\x0f\x01\xd9\xc3", 9) == 0);
    CHECK_EQ(host_vcpu_injections(v, NULL, 0), 0);
    e.msr.value = UINT64_C(1) << 40;
    vcpu_handle_exit(v, &e);
    e.msr.value = 0x30001;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(host_vcpu_injections(v, NULL, 0), 2);
    end();
}

static void cpuid(uint32_t leaf, uint32_t r[4])
{
    struct vcpu_exit e = { .reason = EXIT_CPUID, .insn_len = 2 };

    v->regs.rax = leaf;
    v->regs.rcx = 0;
    vcpu_handle_exit(v, &e);
    r[0] = (uint32_t)v->regs.rax;
    r[1] = (uint32_t)v->regs.rbx;
    r[2] = (uint32_t)v->regs.rcx;
    r[3] = (uint32_t)v->regs.rdx;
}

TEST(cpuid_hides_what_is_not_virtualised)
{
    uint32_t r[4];

    begin();
    cpuid(1, r);
    CHECK_EQ(r[2] & (1u << 3 | 1u << 12 | 1u << 17 | 1u << 21 | 1u << 26 |
                     1u << 27 | 1u << 28 | 1u << 30), 0);
    CHECK(r[2] >> 31 == 1);
    CHECK_EQ(r[3] & (1u << 9 | 1u << 12), 0);
    cpuid(0x80000001, r);
    CHECK_EQ(r[2] & 4, 0);
    CHECK((r[3] & 1u << 29) != 0);
    cpuid(0x8000000a, r);
    CHECK_EQ(r[0] | r[1] | r[2] | r[3], 0);
    cpuid(7, r);
    CHECK_EQ(r[1] & (1u << 10 | 1u << 18), 0);
    cpuid(0x40000000, r);
    CHECK_EQ(r[0], 0x40000004);
    CHECK(memcmp(&r[1], "XenVMMXenVMM", 12) == 0);
    cpuid(0x40000002, r);
    CHECK_EQ(r[1], XEN_MSR_HYPERCALL_PAGE);
    cpuid(0x40000004, r);
    CHECK_EQ(r[2], d->id);
    d->config.leaves = LEAVES_NONE;
    cpuid(0x40000000, r);
    CHECK_EQ(r[0] | r[1] | r[2] | r[3], 0);
    cpuid(1, r);
    CHECK_EQ(r[2] >> 31, 0);
    end();
}

TEST(msrs_and_ports)
{
    struct vcpu_exit e = { .reason = EXIT_RDMSR, .insn_len = 2,
                           .msr = { .index = 0xc0010015 } };

    begin();
    v->regs.rax = 5;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(v->regs.rax, 0);
    e.msr.index = 0x1234;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(host_vcpu_injections(v, NULL, 0), 1);
    e = (struct vcpu_exit){ .reason = EXIT_IO, .insn_len = 1,
                            .io = { .port = 0x60, .size = 1,
                                    .is_in = true } };
    v->regs.rax = 0x1122334455667788;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(v->regs.rax, 0x11223344556677ff);
    e.io.size = 4;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(v->regs.rax, 0xffffffff);
    end();
}
