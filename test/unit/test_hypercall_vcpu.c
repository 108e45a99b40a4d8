/* test_hypercall_vcpu.c - the hypercalls on vCPUs and on time: up and down,
 * block and poll, timers, vcpu_info. */
#include "test_hypercall.h"

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
