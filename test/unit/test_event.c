/*
 * test_event.c - event channels: the two levels of bits, the states of a
 * port, what crosses domains, and ports against a naive model.
 */
#include "domains.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/rng.h>
#include <string.h>

static struct domain *make(unsigned vcpus)
{
    struct domain_config c = test_config("e", 4);

    c.nr_vcpus = vcpus;
    return test_create(&c);
}

static struct shared_info *shared(struct domain *d)
{
    return arch_map_frame(frame_to_mfn(evtchn_shared_frame(d->events)));
}

static bool is_pending(struct domain *d, evtchn_port_t p)
{
    return (shared(d)->evtchn_pending[p / 64] >> p % 64 & 1) != 0;
}

TEST(two_levels_of_bits)
{
    evtchn_port_t port;

    test_machine(4096, 1);
    struct domain *d = make(2);
    struct vcpu_info *info = &shared(d)->vcpu_info[1];

    CHECK_EQ(evtchn_bind_ipi(d->events, 1, &port), 0);
    shared(d)->evtchn_mask[0] = UINT64_C(1) << port;
    CHECK_EQ(evtchn_send(d->events, port), 0);
    CHECK(is_pending(d, port));
    CHECK_EQ(info->evtchn_upcall_pending, 0);
    CHECK_EQ(evtchn_unmask(d->events, port), 0);
    CHECK_EQ(shared(d)->evtchn_mask[0], 0);
    CHECK_EQ(info->evtchn_pending_sel, 1);
    CHECK_EQ(info->evtchn_upcall_pending, 1);
    CHECK_EQ(shared(d)->vcpu_info[0].evtchn_upcall_pending, 0);
    /* Seen by the guest: once more is once more. */
    info->evtchn_upcall_pending = 0;
    info->evtchn_pending_sel = 0;
    CHECK_EQ(evtchn_send(d->events, port), 0);
    CHECK_EQ(info->evtchn_upcall_pending, 0);   /* its bit is still set */
    shared(d)->evtchn_pending[0] = 0;
    CHECK_EQ(evtchn_send(d->events, port), 0);
    CHECK_EQ(info->evtchn_upcall_pending, 1);
    test_kill(d);
    test_settle();
}

/* The work of a reset is in looking for ports as much as in closing them. */
TEST(reset_charges_for_what_it_does)
{
    unsigned left = EVTCHN_2L_NR_CHANNELS - 1, slices = 0;
    evtchn_port_t port;
    int err;

    test_machine(8192, 1);
    struct domain *d = make(1);

    for (unsigned i = 0; i < left; i++) {
        CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), 0);
    }
    for (port = 1; port < EVTCHN_2L_NR_CHANNELS; port++) {
        if (port % 64 != 63) {
            CHECK_EQ(evtchn_close(d->events, port), 0);
        }
    }
    do {
        struct work w = WORK_INIT;

        err = evtchn_reset(d->events, &w);
        slices++;
    } while (err == -ERESTART);
    CHECK_EQ(err, 0);
    /* 64 closed, each behind 63 that were looked at: by about one
     * instruction a unit, two or three slices at the least. */
    CHECK(slices >= 3);
    test_kill(d);
    test_settle();
}

TEST(compat_layout)
{
    evtchn_port_t port = 0;

    test_machine(4096, 1);
    struct domain *d = make(1);
    uint8_t *page = (uint8_t *)shared(d);

    evtchn_set_callback(d->events, 0x30, true);
    for (unsigned i = 0; i < 40; i++) {
        CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), 0);
    }
    CHECK_EQ(port, 40);
    CHECK_EQ(evtchn_send(d->events, 40), 0);
    CHECK_EQ(page[2048 + 5], 1);            /* pending, bit 40 */
    CHECK_EQ(page[4], 2);                   /* selector: word 1 of 32 bits */
    page[2048 + 128 + 4] = 0x80;            /* mask, bit 39 */
    page[0] = 0;
    page[4] = 0;
    CHECK_EQ(evtchn_send(d->events, 39), 0);
    CHECK_EQ(page[0], 0);
    for (unsigned i = 41; i < 1024; i++) {
        CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), 0);
    }
    CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), -ENOSPC);
    test_kill(d);
    test_settle();
}

TEST(all_ports_can_be_bound_and_closed)
{
    evtchn_port_t port;

    test_machine(4096, 1);
    struct domain *d = make(1);

    for (unsigned i = 1; i < 4096; i++) {
        CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), 0);
        CHECK_EQ(port, i);
    }
    CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), -ENOSPC);
    /* Ports above 1023 are bound: the small layout has to wait. */
    evtchn_set_callback(d->events, 0x30, true);
    CHECK_EQ(evtchn_send(d->events, 4095), 0);
    CHECK(is_pending(d, 4095));
    CHECK_EQ(evtchn_close(d->events, 2000), 0);
    CHECK_EQ(evtchn_close(d->events, 2000), -EINVAL);
    CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), 0);
    CHECK_EQ(port, 2000);
    CHECK_EQ(evtchn_close(d->events, 0), -EINVAL);
    CHECK_EQ(evtchn_close(d->events, 4096), -EINVAL);
    CHECK_EQ(evtchn_send(d->events, UINT32_MAX), -EINVAL);
    test_kill(d);
    test_settle();
}

TEST(interdomain_life)
{
    evtchn_port_t a, b, other;
    struct evtchn_status s = { .dom = DOMID_SELF };

    test_machine(4096, 1);
    struct domain *da = make(1), *db = make(2), *dc = make(1);

    CHECK_EQ(evtchn_alloc_unbound(da->events, db->id, &a), 0);
    CHECK_EQ(evtchn_send(da->events, a), 0);            /* to nobody */
    CHECK_EQ(evtchn_bind_interdomain(dc->events, da->events, a, 0, &other),
             -EINVAL);                                  /* not for dc */
    CHECK_EQ(evtchn_bind_interdomain(db->events, da->events, a + 1, 0, &b),
             -EINVAL);
    CHECK_EQ(evtchn_bind_interdomain(db->events, da->events, a, 1, &b), 0);
    CHECK(is_pending(db, b));
    CHECK_EQ(evtchn_bind_interdomain(db->events, da->events, a, 0, &other),
             -EINVAL);                                  /* taken */
    s.port = a;
    CHECK_EQ(evtchn_status(da->events, &s), 0);
    CHECK_EQ(s.status, EVTCHNSTAT_interdomain);
    CHECK_EQ(s.u.interdomain.dom, db->id);
    CHECK_EQ(s.u.interdomain.port, b);
    CHECK_EQ(evtchn_send(db->events, b), 0);
    CHECK(is_pending(da, a));
    CHECK_EQ(evtchn_bind_vcpu(db->events, b, 0), 0);
    CHECK_EQ(evtchn_bind_vcpu(db->events, b, 2), -EINVAL);
    /* One end closes: the other waits for its domain again. */
    CHECK_EQ(evtchn_close(db->events, b), 0);
    CHECK_EQ(evtchn_status(da->events, &s), 0);
    CHECK_EQ(s.status, EVTCHNSTAT_unbound);
    CHECK_EQ(s.u.unbound.dom, db->id);
    CHECK_EQ(evtchn_bind_interdomain(db->events, da->events, a, 0, &b), 0);
    /* One end dies. */
    test_kill(db);
    test_settle();
    CHECK_EQ(evtchn_status(da->events, &s), 0);
    CHECK_EQ(s.status, EVTCHNSTAT_unbound);
    CHECK_EQ(evtchn_send(da->events, a), 0);
    test_kill(da);
    test_kill(dc);
    test_settle();
}

TEST(loopback_within_one_domain)
{
    evtchn_port_t a, b;

    test_machine(4096, 1);
    struct domain *d = make(1);

    CHECK_EQ(evtchn_alloc_unbound(d->events, d->id, &a), 0);
    CHECK_EQ(evtchn_bind_interdomain(d->events, d->events, a, 0, &b), 0);
    CHECK_EQ(evtchn_send(d->events, b), 0);
    CHECK(is_pending(d, a));
    CHECK_EQ(evtchn_close(d->events, a), 0);
    CHECK_EQ(evtchn_close(d->events, b), 0);
    test_kill(d);
    test_settle();
}

TEST(a_virq_is_bound_once_a_vcpu)
{
    evtchn_port_t a, b;

    test_machine(4096, 1);
    struct domain *d = make(2);

    CHECK_EQ(evtchn_bind_virq(d->events, VIRQ_TIMER, 0, &a), 0);
    CHECK_EQ(evtchn_bind_virq(d->events, VIRQ_TIMER, 0, &b), -EEXIST);
    CHECK_EQ(evtchn_bind_virq(d->events, VIRQ_TIMER, 1, &b), 0);
    CHECK_EQ(evtchn_bind_virq(d->events, NR_VIRQS, 1, &b), -EINVAL);
    CHECK_EQ(evtchn_send(d->events, a), -EINVAL);
    evtchn_raise_virq(d->vcpus[1], VIRQ_TIMER);
    CHECK(is_pending(d, b) && !is_pending(d, a));
    CHECK_EQ(evtchn_close(d->events, b), 0);
    evtchn_raise_virq(d->vcpus[1], VIRQ_TIMER);
    CHECK(!is_pending(d, b));
    CHECK_EQ(evtchn_bind_vcpu(d->events, a, 1), -EINVAL);
    test_kill(d);
    test_settle();
}

TEST(an_event_interrupts_and_wakes)
{
    static const struct script_step steps[] = {
        { .op = SCRIPT_STI }, { .op = SCRIPT_HLT }, { .op = SCRIPT_CLI },
        { .op = SCRIPT_HLT },
    };
    evtchn_port_t port;

    test_machine(4096, 1);
    struct domain *d = make(1);
    struct host_injection in[4];

    CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), 0);
    evtchn_set_callback(d->events, 0x40, false);
    test_start(d, steps, ARRAY_SIZE(steps));
    CHECK(test_run_idle());
    CHECK(atomic_load(&d->vcpus[0]->blocked));
    CHECK_EQ(evtchn_send(d->events, port), 0);
    CHECK(!atomic_load(&d->vcpus[0]->blocked));
    run_loop_once();
    CHECK(host_vcpu_injections(d->vcpus[0], in, 4) >= 1);
    CHECK_EQ(in[0].vector, 0x40);
    CHECK(in[0].is_external);
    /* An own vector goes before the domain's. */
    atomic_store(&d->vcpus[0]->events->upcall_vector, 0x51);
    CHECK(irq_is_pending(d->vcpus[0]));
    CHECK(test_run_until(d, DOMAIN_SHUTDOWN));
    test_kill(d);
    test_settle();
}

TEST(no_memory_for_ports)
{
    evtchn_port_t port;

    test_machine(4096, 1);
    struct domain *d = make(1);

    host_fail_alloc_at(1);
    CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), -ENOMEM);
    host_fail_alloc_at(0);
    CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), 0);
    CHECK_EQ(port, 1);
    test_kill(d);
    test_settle();
}

/* Two domains, random operations; the model is an array of states. */
#define PORTS 40
static struct model { int state; unsigned peer; bool pending; } m[2][PORTS];

static unsigned model_alloc(unsigned k)
{
    for (unsigned p = 1; p < PORTS; p++) {
        if (m[k][p].state == EVTCHNSTAT_closed) {
            m[k][p] = (struct model){ 0 };
            return p;
        }
    }
    return 0;
}

static void model_step(struct domain *const d[2], struct rng *r)
{
    unsigned k = (unsigned)rng_below(r, 2), o = 1 - k;
    unsigned p = (unsigned)rng_below(r, PORTS), q, n = model_alloc(k);
    struct model *x = &m[k][p];
    evtchn_port_t port = 0;
    int err;

    switch (rng_below(r, n == 0 ? 2 : 5)) {
    case 0:
        err = evtchn_close(d[k]->events, p);
        CHECK_EQ(err, x->state == EVTCHNSTAT_closed ? -EINVAL : 0);
        if (x->state == EVTCHNSTAT_interdomain) {
            m[o][x->peer].state = EVTCHNSTAT_unbound;
        }
        *x = (struct model){ 0 };
        break;
    case 1:
        err = evtchn_send(d[k]->events, p);
        CHECK_EQ(err, p == 0 ? -EINVAL : x->state == EVTCHNSTAT_closed ?
                 err : 0);
        if (x->state == EVTCHNSTAT_interdomain) {
            m[o][x->peer].pending = true;
        } else if (x->state == EVTCHNSTAT_ipi) {
            x->pending = true;
        }
        break;
    case 2:
        CHECK_EQ(evtchn_alloc_unbound(d[k]->events, d[o]->id, &port), 0);
        CHECK_EQ(port, n);
        m[k][n].state = EVTCHNSTAT_unbound;
        break;
    case 3:
        CHECK_EQ(evtchn_bind_ipi(d[k]->events, 0, &port), 0);
        CHECK_EQ(port, n);
        m[k][n].state = EVTCHNSTAT_ipi;
        break;
    case 4:
        q = (unsigned)rng_below(r, PORTS);
        err = evtchn_bind_interdomain(d[k]->events, d[o]->events, q, 0,
                                      &port);
        if (m[o][q].state != EVTCHNSTAT_unbound) {
            CHECK_EQ(err, -EINVAL);
            break;
        }
        CHECK_EQ(err, 0);
        CHECK_EQ(port, n);
        m[k][n] = (struct model){ EVTCHNSTAT_interdomain, q, true };
        m[o][q].state = EVTCHNSTAT_interdomain;
        m[o][q].peer = n;
        break;
    }
}

TEST(ports_against_a_model)
{
    struct rng r;

    test_machine(4096, 1);
    struct domain *d[2] = { make(1), make(1) };

    memset(m, 0, sizeof(m));
    rng_seed(&r, test_seed);
    for (unsigned i = 0; i < 20000 * test_rounds; i++) {
        model_step(d, &r);
        for (unsigned k = 0; k < 2; k++) {
            unsigned p = (unsigned)rng_below(&r, PORTS - 1) + 1;
            struct evtchn_status s = { .port = p };

            if (evtchn_status(d[k]->events, &s) == 0) {
                CHECK_EQ(s.status, m[k][p].state);
                CHECK_EQ(is_pending(d[k], p), m[k][p].pending);
            }
        }
    }
    test_kill(d[0]);
    test_kill(d[1]);
    test_settle();
    CHECK_EQ(mem_audit(), 0);
}
