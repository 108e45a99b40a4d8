/*
 * events.c - event channels, and every way to sleep: HLT, SCHEDOP_block,
 * SCHEDOP_poll, each woken by an event, a timer or a timeout, and never early.
 */
#include "exits.h"

#include <public/xen/event_channel.h>
#include <public/xen/hvm.h>
#include <public/xen/sched.h>
#include <public/xen/vcpu.h>

#define MS UINT64_C(1000000)

static volatile unsigned timer_events, loop_events, ipi_events;

static void timer_fired(unsigned port)
{
    (void)port;
    timer_events++;
}

static void loop_fired(unsigned port)
{
    (void)port;
    loop_events++;
}

static void ipi_fired(unsigned port)
{
    (void)port;
    ipi_events++;
}

static void open_window(void)
{
    irq_enable();
    cpu_relax();
    irq_disable();
}

static int status_of(unsigned port)
{
    struct evtchn_status s = { .dom = DOMID_SELF, .port = port };
    int64_t rc = hc_event_channel_op(EVTCHNOP_status, &s);

    return rc != 0 ? (int)rc : (int)s.status;
}

/* A channel from this domain to itself: what is sent at one end arrives at
 * the other; closing one end leaves the other unbound. */
static void check_loopback(void)
{
    struct evtchn_alloc_unbound a = { .dom = DOMID_SELF,
                                      .remote_dom = DOMID_SELF };
    struct evtchn_bind_interdomain b = { .remote_dom = DOMID_SELF };

    EXPECT(hc_event_channel_op(EVTCHNOP_alloc_unbound, &a), 0);
    EXPECT(status_of(a.port), EVTCHNSTAT_unbound);
    b.remote_port = a.port;
    EXPECT(hc_event_channel_op(EVTCHNOP_bind_interdomain, &b), 0);
    EXPECT(status_of(a.port), EVTCHNSTAT_interdomain);
    EXPECT(status_of(b.local_port), EVTCHNSTAT_interdomain);
    EXPECT_ERROR(hc_event_channel_op(EVTCHNOP_bind_interdomain, &b));

    event_set(a.port, 0, loop_fired);
    open_window();
    loop_events = 0;
    EXPECT(event_send(b.local_port), 0);
    CHECK(loop_events == 0, "an event came with interrupts off");
    open_window();
    CHECK(loop_events == 1, "%u events for one", loop_events);

    event_mask(a.port);
    EXPECT(event_send(b.local_port), 0);
    EXPECT(event_send(b.local_port), 0);
    open_window();
    CHECK(loop_events == 1, "a masked port fired");
    EXPECT(event_unmask(a.port), 0);
    open_window();
    CHECK(loop_events == 2, "unmasking: %u events, not 2", loop_events);

    struct evtchn_close c = { .port = b.local_port };
    EXPECT(hc_event_channel_op(EVTCHNOP_close, &c), 0);
    EXPECT(status_of(b.local_port), EVTCHNSTAT_closed);
    EXPECT(status_of(a.port), EVTCHNSTAT_unbound);
    c.port = a.port;
    EXPECT(hc_event_channel_op(EVTCHNOP_close, &c), 0);
    EXPECT_ERROR(hc_event_channel_op(EVTCHNOP_close, &c));
}

static void check_refusals(void)
{
    struct evtchn_bind_virq v = { .virq = NR_VIRQS };
    struct evtchn_bind_ipi i = { .vcpu = 5000 };

    EXPECT(hc_event_channel_op(EVTCHNOP_bind_virq, &v), -EINVAL);
    v.virq = VIRQ_TIMER;
    EXPECT(hc_event_channel_op(EVTCHNOP_bind_virq, &v), -EEXIST);
    v.vcpu = 5000;
    EXPECT_ERROR(hc_event_channel_op(EVTCHNOP_bind_virq, &v));
    EXPECT_ERROR(hc_event_channel_op(EVTCHNOP_bind_ipi, &i));
    EXPECT(event_send(0), -EINVAL);
    EXPECT(event_send(4095), -EINVAL);
    EXPECT(event_send(0xffffffff), -EINVAL);
    EXPECT(status_of(0), -EINVAL);
    EXPECT(hc_event_channel_op(EVTCHNOP_send, BAD_GVA), -EFAULT);
    EXPECT(hc_event_channel_op(1000, &v), -ENOSYS);
}

static void check_ipi(void)
{
    int port = event_bind_ipi(0, ipi_fired);

    CHECK(port > 0, "bind_ipi: %d", port);
    if (port > 0) {
        open_window();
        ipi_events = 0;
        EXPECT(event_send((unsigned)port), 0);
        open_window();
        CHECK(ipi_events == 1, "%u IPIs for one", ipi_events);
    }
}

static void slept(const char *how, uint64_t start, uint64_t when)
{
    uint64_t now = clock_ns();

    CHECK(now >= when, "%s: woke %lu ns early", how, when - now);
    CHECK(now < start + 5000 * MS, "%s: slept %lu ms", how,
          (now - start) / MS);
}

static void check_timer(void)
{
    uint64_t start = clock_ns(), when = start + 3 * MS;

    open_window();
    timer_events = 0;
    EXPECT(timer_set_ns(when), 0);
    while (timer_events == 0) {
        irq_enable_halt();
        irq_disable();
    }
    slept("hlt", start, when);
    CHECK(timer_events == 1, "%u timer events for one", timer_events);

    start = clock_ns();
    when = start + 3 * MS;
    EXPECT(timer_set_ns(when), 0);
    while (timer_events == 1) {
        /* With interrupts off, or the event could come, and be over, between
         * the look at the count and the call. It ends the sleep all the same.
         */
        EXPECT(hc_sched_op(SCHEDOP_block, NULL), 0);
        open_window();
    }
    slept("block", start, when);

    /* A deadline in the past fires at once; one that is stopped, never. */
    EXPECT(timer_set_ns(1), 0);
    open_window();
    CHECK(timer_events == 3, "a past deadline: %u events", timer_events);
    do {    /* again if a busy host let it fire before it was stopped */
        open_window();
        timer_events = 3;
        when = clock_ns() + 2 * MS;
        EXPECT(timer_set_ns(when), 0);
        EXPECT(hc_vcpu_op(VCPUOP_stop_singleshot_timer, 0, NULL), 0);
    } while (clock_ns() >= when);
    when += 5 * MS;
    irq_enable();
    while (clock_ns() < when) {
        (void)hc_sched_op(SCHEDOP_yield, NULL);
    }
    irq_disable();
    CHECK(timer_events == 3, "a stopped timer fired");

    struct vcpu_set_singleshot_timer late = { .timeout_abs_ns = 1,
                                       .flags = VCPU_SSHOTTMR_future };
    EXPECT(hc_vcpu_op(VCPUOP_set_singleshot_timer, 0, &late), -ETIME);
}

static void check_poll(unsigned timer_port)
{
    evtchn_port_t ports[2] = { timer_port, 5 };
    struct sched_poll p = { .ports = GVA(ports), .nr_ports = 1 };
    uint64_t start = clock_ns(), when = start + 3 * MS;

    p.timeout = when;
    EXPECT(hc_sched_op(SCHEDOP_poll, &p), 0);
    slept("poll with a timeout", start, when);

    start = clock_ns();
    when = start + 3 * MS;
    p.timeout = 0;
    EXPECT(timer_set_ns(when), 0);
    EXPECT(hc_sched_op(SCHEDOP_poll, &p), 0);
    slept("poll for the timer", start, when);
    EXPECT(hc_sched_op(SCHEDOP_poll, &p), 0);   /* still pending: at once */
    event_upcall();

    p.nr_ports = 1000000;
    EXPECT(hc_sched_op(SCHEDOP_poll, &p), -EINVAL);
    p.nr_ports = 1;
    p.ports = GVA(BAD_GVA);
    EXPECT(hc_sched_op(SCHEDOP_poll, &p), -EFAULT);
    p.ports = GVA(ports);
    ports[0] = 0x7fffffff;
    EXPECT(hc_sched_op(SCHEDOP_poll, &p), -EINVAL);
}

/* The vCPU's own vector instead of the domain's. */
static volatile unsigned own_vector;

static void own_upcall(void)
{
    own_vector++;
    event_upcall();
}

static void check_own_vector(void)
{
    struct xen_hvm_evtchn_upcall_vector v = { .vcpu = 0, .vector = 0x66 };
    unsigned before = timer_events;

    trap_set_irq(0x66, own_upcall);
    EXPECT(hc_hvm_op(HVMOP_set_evtchn_upcall_vector, &v), 0);
    EXPECT(timer_set_ns(1), 0);
    open_window();
    CHECK(timer_events == before + 1 && own_vector == 1,
          "own vector: %u calls, %u events", own_vector,
          timer_events - before);
    v.vector = 3;
    EXPECT(hc_hvm_op(HVMOP_set_evtchn_upcall_vector, &v), -EINVAL);
    v.vcpu = 5000;
    v.vector = 0x66;
    EXPECT(hc_hvm_op(HVMOP_set_evtchn_upcall_vector, &v), -ENOENT);
}

void check_events(void)
{
    int rc = event_init();

    CHECK(rc == 0, "event_init: %d", rc);
    CHECK(clock_is_sane(), "no clock in vcpu_info");
    int port = event_bind_virq(VIRQ_TIMER, 0, timer_fired);
    CHECK(port > 0, "bind_virq: %d", port);
    if (rc != 0 || port <= 0 || !clock_is_sane()) {
        return;
    }
    check_loopback();
    check_refusals();
    check_ipi();
    check_timer();
    check_poll((unsigned)port);
    check_own_vector();
}
