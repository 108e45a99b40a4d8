/*
 * test_sched.c - who runs, when and for how long: slices, blocking, tasks
 * between guests, pausing from another CPU, idle CPUs woken.
 */
#include "domains.h"
#include "kick.h"
#include "test.h"

#include <public/xen/vcpu.h>
#include <public/xen/xen.h>
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/panic.h>
#include <quire/task.h>
#include <string.h>

static const struct script_step spin[] = {
    { .op = SCRIPT_ADD, .gpa = 0x1000, .value = 1 },
    { .op = SCRIPT_JUMP, .value = 0 },
};
static const struct script_step yielder[] = {
    { .op = SCRIPT_ADD, .gpa = 0x1000, .value = 1 },
    { .op = SCRIPT_PAUSE },
    { .op = SCRIPT_JUMP, .value = 0 },
};

static struct domain *make(unsigned vcpus)
{
    struct domain_config c = test_config("s", 4);

    c.nr_vcpus = vcpus;
    return test_create(&c);
}

static uint64_t counter(struct domain *d)
{
    uint64_t n;

    CHECK_EQ(guest_read_gpa(d->p2m, 0x1000, &n, sizeof(n)), 0);
    return n;
}

TEST(yielding_vcpus_take_turns)
{
    test_machine(4096, 1);
    struct domain *d[3] = { make(1), make(1), make(1) };

    for (unsigned i = 0; i < 3; i++) {
        test_start(d[i], yielder, 3);
    }
    for (unsigned i = 0; i < 300; i++) {
        CHECK(run_loop_once());
    }
    for (unsigned i = 0; i < 3; i++) {
        /* Now and then a busy host makes a slice end before its yield. */
        CHECK(counter(d[i]) >= 90 && counter(d[i]) <= 110);
        test_kill(d[i]);
    }
    test_settle();
}

static const struct vcpu *interrupted;

static int always_pending(struct vcpu *v)
{
    return v == interrupted ? 0x40 : -1;
}

static void never_taken(struct vcpu *v, uint8_t vector)
{
    (void)v;
    (void)vector;
}

/* Whoever raised it may have looked before the vCPU was blocked. */
TEST(nobody_blocks_with_an_interrupt_pending)
{
    static const struct irq_source source = { always_pending, never_taken };

    test_machine(4096, 1);
    irq_source_register(&source);
    struct domain *d = make(1);
    struct vcpu *v = d->vcpus[0];

    vcpu_block(v);
    CHECK(atomic_load(&v->blocked));
    vcpu_wake(v);
    interrupted = v;
    vcpu_block(v);
    interrupted = NULL;
    CHECK(!atomic_load(&v->blocked));
    test_kill(d);
    test_settle();
}

/* Two that never exit by themselves: only the slice's end parts them. */
TEST(slices_part_those_that_spin)
{
    test_machine(4096, 1);
    struct domain *d[2] = { make(1), make(1) };
    ticks_t until;

    test_start(d[0], spin, 2);
    test_start(d[1], spin, 2);
    until = arch_now() + arch_tick_hz() / 20;
    while (arch_now() < until) {
        CHECK(run_loop_once());
    }
    ticks_t a = d[0]->vcpus[0]->run_time, b = d[1]->vcpus[0]->run_time;

    CHECK(a > 0 && b > 0);
    /* What a busy host does meanwhile counts as one's or the other's. */
    CHECK(a < 20 * b && b < 20 * a);
    test_kill(d[0]);
    test_kill(d[1]);
    test_settle();
}

TEST(alone_it_takes_no_timer_interrupts)
{
    static const struct script_step long_run[] = {
        { .op = SCRIPT_SET, .reg = 3, .value = 1 },
        { .op = SCRIPT_CPUID },
        { .op = SCRIPT_JUMP, .value = 0 },
    };
    test_machine(4096, 1);
    struct domain *d = make(1);

    test_start(d, long_run, 3);
    run_loop_once();
    CHECK_EQ(d->vcpus[0]->nr_exits[EXIT_INTR], 0);
    CHECK(d->vcpus[0]->nr_exits[EXIT_CPUID] > 100);
    test_kill(d);
    test_settle();
}

static ticks_t patience;

static void wait_without_exit(struct vcpu *v, void *arg)
{
    (void)v, (void)arg;
    CHECK(arch_now() < patience);
}

/* A guest wakes another vCPU of its own CPU and then never exits by itself:
 * it was alone until then, and its slice was not timed. */
TEST(one_woken_by_its_neighbour_gets_its_turn)
{
    static const struct script_step up[] = {
        { .op = SCRIPT_SET, .reg = 0, .value = __HYPERVISOR_vcpu_op },
        { .op = SCRIPT_SET, .reg = 3, .value = VCPUOP_up },
        { .op = SCRIPT_SET, .reg = 1, .value = 1 },
        { .op = SCRIPT_HYPERCALL },
        { .op = SCRIPT_CALL, .fn = wait_without_exit },
        { .op = SCRIPT_JUMP, .value = 4 },
    };
    static const struct script_step end[] = { { .op = SCRIPT_SHUTDOWN } };

    test_machine(4096, 1);
    struct domain *d = make(2);

    patience = arch_now() + arch_tick_hz();
    test_script(d, 1, end, 1);
    vcpu_set_online(d->vcpus[1], false);
    test_start(d, up, 6);
    CHECK(test_run_until(d, DOMAIN_SHUTDOWN));
    CHECK_EQ(d->shutdown, SHUTDOWN_REBOOT);
    test_kill(d);
    test_settle();
}

static unsigned nr_slices;
static struct domain *beside;

static int count_slices(struct task *t, struct work *w)
{
    (void)t;
    BUG_ON(w->left != WORK_SLICE);
    nr_slices++;
    if (nr_slices < 50) {
        return -ERESTART;
    }
    /* Alone it would not give the CPU back. */
    return domain_pause(beside);
}

TEST(tasks_run_beside_a_spinning_guest)
{
    static struct task t = { .run = count_slices, .name = "test" };

    test_machine(4096, 1);
    beside = make(1);
    nr_slices = 0;
    test_start(beside, spin, 2);
    task_queue(&t, 0);
    for (unsigned i = 0; nr_slices < 50; i++) {
        CHECK(i < 100000);
        CHECK(run_loop_once());
    }
    CHECK(!task_is_pending());
    CHECK(counter(beside) > 0);
    test_kill(beside);
    test_settle();
}

TEST(least_loaded_cpu_is_taken)
{
    test_machine(4096, 4);
    struct domain *d = make(8);
    unsigned on[4] = { 0 };

    for (unsigned i = 0; i < 8; i++) {
        on[d->vcpus[i]->cpu]++;
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(on[i], 2);
    }
    test_kill(d);
    test_settle();
    CHECK_EQ(sched_least_loaded(), 0);
}

TEST(latency_names_the_longest_stretch)
{
    static const struct script_step steps[] = {
        { .op = SCRIPT_CPUID }, { .op = SCRIPT_HLT },
    };
    struct latency l;

    test_machine(4096, 1);
    struct domain *d = make(1);

    latency_reset();
    latency_get(0, &l);
    CHECK_EQ(l.longest, 0);
    test_start(d, steps, 2);
    CHECK(test_run_until(d, DOMAIN_SHUTDOWN));
    latency_get(0, &l);
    CHECK(l.longest > 0);
    CHECK(strlen(l.what) > 0);
    test_kill(d);
    test_settle();
}

static int long_slice(struct task *t, struct work *w)
{
    ticks_t until = arch_now() + arch_tick_hz() / 20;

    (void)t;
    (void)w;
    task_note(77);
    while (arch_now() < until) {
        arch_relax();
    }
    return 0;
}

static int short_slice(struct task *t, struct work *w)
{
    (void)t;
    (void)w;
    return 0;
}

TEST(latency_says_what_the_slice_was_about)
{
    struct task slow = { .run = long_slice, .name = "slow" };
    struct task quick = { .run = short_slice, .name = "quick" };
    struct latency l;

    test_machine(4096, 1);
    latency_reset();
    task_queue(&slow, 0);
    task_queue(&quick, 0);
    CHECK(test_run_idle());
    latency_get(0, &l);
    CHECK_EQ(strcmp(l.what, "slow"), 0);
    CHECK_EQ(l.arg, 77);
    CHECK_EQ(task_last_note(), 0);
    test_settle();
}

/* Four CPUs run guests while CPU 0's test pauses, unpauses and kills them. */
static struct domain *many[8];
static _Atomic bool is_over;
static _Atomic unsigned nr_bad;

static void cpu_main(void *arg)
{
    (void)arg;
    if (arch_cpu() != 0) {
        grace_enter();
        while (!atomic_load(&is_over)) {
            if (!run_loop_once()) {
                grace_leave();
                arch_idle();
                grace_enter();
            }
        }
        grace_leave();
        return;
    }
    for (unsigned round = 0; round < 30; round++) {
        struct domain *d = many[round % ARRAY_SIZE(many)];
        uint64_t before = 0, after = 1;

        arch_poll();
        grace_quiesce();
        if (domain_pause(d) != 0 ||
            guest_read_gpa(d->p2m, 0x1000, &before, 8) != 0) {
            atomic_fetch_add(&nr_bad, 1);
        }
        for (unsigned i = 0; i < 3000; i++) {
            arch_relax();
        }
        if (guest_read_gpa(d->p2m, 0x1000, &after, 8) != 0 ||
            before != after || domain_unpause(d) != 0) {
            atomic_fetch_add(&nr_bad, 1);
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
        struct work w = WORK_INIT;

        while (domain_kill(many[i], &w) != 0) {
            w = (struct work)WORK_INIT;
            arch_poll();
            grace_quiesce();
        }
    }
    atomic_store(&is_over, true);
    for (unsigned i = 1; i < 4; i++) {
        arch_kick(i);
    }
}

TEST(paused_means_off_the_cpu)
{
    test_machine(8192, 4);
    for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
        many[i] = make(1);
        test_start(many[i], i % 2 == 0 ? spin : yielder, i % 2 == 0 ? 2 : 3);
    }
    atomic_store(&is_over, false);
    host_run_on_cpus(4, cpu_main, NULL);
    CHECK_EQ(atomic_load(&nr_bad), 0);
    /* Not each: a busy host may keep one of its CPUs waiting throughout. */
    ticks_t ran = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
        ran += many[i]->vcpus[0]->run_time;
        domain_put(many[i]);
    }
    CHECK(ran > 0);
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(mem_audit(), 0);
}

static struct timer busy_timer;
static _Atomic bool is_busy, was_kept;

static void take_a_while(struct timer *t)
{
    ticks_t until = arch_now() + arch_tick_hz() / 200;

    (void)t;
    atomic_store(&is_busy, true);
    while (arch_now() < until) {
        arch_relax();
    }
}

static void cancel_main(void *arg)
{
    (void)arg;
    if (arch_cpu() == 1) {
        timer_set(&busy_timer, 0);
        timer_run_due();
        return;
    }
    while (!atomic_load(&is_busy)) {
        arch_relax();
    }
    arch_kick(0);
    timer_cancel(&busy_timer);
    atomic_store(&was_kept, host_is_interrupt_pending());
}

/* An exit that cancels another CPU's timer waits for it. What kicked this CPU
 * meanwhile must still keep it out of the guest. */
TEST(a_kick_outlives_a_cancel)
{
    test_machine(1024, 2);
    timer_init(&busy_timer, 1, take_a_while);
    atomic_store(&is_busy, false);
    host_run_on_cpus(2, cancel_main, NULL);
    CHECK(atomic_load(&was_kept));
}

/* A vCPU on one CPU sends to one that sleeps on another, and back. */
static evtchn_port_t ping, pong;
static struct domain *pd;
static _Atomic unsigned nr_pings;

static void answer(struct vcpu *v, uint8_t vector)
{
    struct shared_info *s =
        arch_map_frame(frame_to_mfn(evtchn_shared_frame(pd->events)));

    (void)vector;
    __atomic_store_n(&s->vcpu_info[v->id].evtchn_upcall_pending, 0,
                     __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->vcpu_info[v->id].evtchn_pending_sel, 0,
                     __ATOMIC_SEQ_CST);
    __atomic_fetch_and(&s->evtchn_pending[0],
                       ~(UINT64_C(1) << (v->id == 0 ? ping : pong)),
                       __ATOMIC_SEQ_CST);
    if (atomic_fetch_add(&nr_pings, 1) < 500 &&
        evtchn_send(pd->events, v->id == 0 ? pong : ping) != 0) {
        atomic_fetch_add(&nr_bad, 1);
    }
}

static void ping_main(void *arg)
{
    (void)arg;
    grace_enter();
    while (atomic_load(&nr_pings) < 500) {
        if (!run_loop_once()) {
            grace_leave();
            arch_idle();
            grace_enter();
        }
    }
    arch_kick(1 - arch_cpu());
    grace_leave();
}

TEST(events_wake_the_other_cpu)
{
    static const struct script_step sleeper[] = {
        { .op = SCRIPT_STI }, { .op = SCRIPT_HLT },
        { .op = SCRIPT_JUMP, .value = 0 },
    };
    struct script s = { .steps = sleeper, .nr = 3, .on_interrupt = answer };

    test_machine(4096, 2);
    pd = make(2);
    evtchn_set_callback(pd->events, 0x40, false);
    CHECK_EQ(evtchn_bind_ipi(pd->events, 0, &ping), 0);
    CHECK_EQ(evtchn_bind_ipi(pd->events, 1, &pong), 0);
    for (unsigned i = 0; i < 2; i++) {
        test_script(pd, i, sleeper, 3);
        host_vcpu_set_script(pd->vcpus[i], &s);
    }
    CHECK(pd->vcpus[0]->cpu != pd->vcpus[1]->cpu);
    CHECK_EQ(domain_unpause(pd), 0);
    CHECK_EQ(evtchn_send(pd->events, ping), 0);
    ticks_t start = arch_now();

    host_run_on_cpus(2, ping_main, NULL);
    /* A lost wake-up costs a sleep of 10 ms; a few may be bad luck. */
    CHECK(arch_now() - start < arch_tick_hz() * 2);
    CHECK_EQ(atomic_load(&nr_bad), 0);
    test_kill(pd);
    test_settle();
}
