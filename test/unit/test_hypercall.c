/*
 * test_hypercall.c - the hypercalls on the domain, as a 64-bit guest with its
 * own tables makes them and as a 32-bit one does: results, errors, what they
 * change. Those on vCPUs are in test_hypercall_vcpu.c.
 */
#include "test_hypercall.h"

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
