/*
 * test_p2m_tlb.c - the model itself: scripted guests exit as real ones do,
 * and the model TLB panics by name at each kind of stale translation. Every
 * rule is broken here by hand, so that its silence elsewhere means something.
 */
#include "test_p2m.h"

#include "../../common/p2m/table.h"

#define STEPS(...) \
    (const struct script){ \
        .steps = (const struct script_step[]){ __VA_ARGS__ }, \
        .nr = ARRAY_SIZE(((const struct script_step[]){ __VA_ARGS__ })) }

static struct p2m *map;
static struct vcpu vcpu;

static void setup(void)
{
    host_machine_init(1 << 13, 2);
    host_tlb_seed(test_seed, 0);
    map = test_p2m_create(3);
    vcpu = (struct vcpu){ .p2m = map };
    CHECK_EQ(arch_vcpu_init(&vcpu), 0);
}

static void teardown(void)
{
    arch_vcpu_fini(&vcpu);
    test_p2m_destroy(map);
    test_p2m_all_gone();
}

static enum vcpu_exit_reason run(struct vcpu_exit *e)
{
    arch_vcpu_run(&vcpu, e);
    CHECK(e->at != 0);
    return e->reason;
}

static void play(struct script s)
{
    host_vcpu_set_script(&vcpu, &s);
}

static void called(struct vcpu *v, void *arg)
{
    CHECK(v == &vcpu);
    ++*(unsigned *)arg;
}

TEST(accesses_fault_and_are_tried_again)
{
    struct vcpu_exit e;
    unsigned calls = 0;
    mfn_t m;

    setup();
    play(STEPS(STEP(WRITE, .gpa = 0x5008, .value = 77),
               STEP(EXPECT, .gpa = 0x5008, .value = 77),
               STEP(ADD, .gpa = 0x5008, .value = 3),
               STEP(READ, .gpa = 0x5008),
               STEP(CALL, .fn = called, .arg = &calls),
               STEP(ADD, .gpa = 0x6000),
               STEP(WALK, .gpa = 0x7000),
               STEP(EXEC, .gpa = 0x8000)));
    CHECK_EQ(run(&e), EXIT_NPF);
    CHECK(e.npf.gpa == 0x5008 && e.npf.access == P2M_W && !e.npf.present);
    m = test_p2m_populate(map, 5, 0);
    CHECK_EQ(run(&e), EXIT_NPF);
    CHECK(e.npf.gpa == 0x6000 && e.npf.access == P2M_R && !e.npf.present);
    CHECK(vcpu.regs.rax == 80 && calls == 1 && vcpu.regs.rip == 5);
    CHECK_EQ(((uint64_t *)arch_map_frame(m))[1], 80);
    CHECK_EQ(test_p2m_set(map, 6, m, 0, p2m_ram_ro), 0);
    CHECK_EQ(run(&e), EXIT_NPF);
    CHECK(e.npf.gpa == 0x6000 && e.npf.access == P2M_W && e.npf.present);
    vcpu.regs.rip++;
    CHECK_EQ(run(&e), EXIT_NPF);
    CHECK(e.npf.gpa == 0x7000 && e.npf.in_walk && e.npf.access == P2M_W);
    vcpu.regs.rip++;
    CHECK_EQ(test_p2m_set(map, 8, MFN(9), 0, p2m_mmio_direct), 0);
    CHECK_EQ(run(&e), EXIT_NPF);
    CHECK(e.npf.gpa == 0x8000 && e.npf.access == P2M_X && e.npf.present);
    vcpu.regs.rip++;
    CHECK_EQ(run(&e), EXIT_SHUTDOWN);       /* the script is over */
    CHECK_EQ(test_p2m_set(map, 6, MFN_INVALID, 0, p2m_invalid), 0);
    teardown();
}

TEST(exits_carry_what_they_must)
{
    struct vcpu_exit e;

    setup();
    CHECK_EQ(run(&e), EXIT_HLT);            /* no script */
    play(STEPS(STEP(HYPERCALL), STEP(CPUID),
               STEP(RDMSR, .value = 0x10),
               STEP(SET, .reg = 0, .value = 0x55),
               STEP(SET, .reg = 2, .value = 0x66),
               STEP(WRMSR, .value = 0x20), STEP(IN, .value = 0x60),
               STEP(OUT, .value = 0xe9), STEP(PAUSE),
               STEP(UNDEFINED), STEP(JUMP, .value = 0)));
    for (unsigned round = 0; round < 2; round++) {
        static const enum vcpu_exit_reason expect[] = {
            EXIT_HYPERCALL, EXIT_CPUID, EXIT_RDMSR, EXIT_WRMSR, EXIT_IO,
            EXIT_IO, EXIT_PAUSE, EXIT_UNDEFINED,
        };

        for (unsigned i = 0; i < ARRAY_SIZE(expect); i++) {
            CHECK_EQ(run(&e), expect[i]);
            CHECK_EQ(e.insn_len, 1);
            CHECK(i != 2 || e.msr.index == 0x10);
            CHECK(i != 3 || (e.msr.index == 0x20 &&
                             e.msr.value == UINT64_C(0x6600000055)));
            CHECK(i != 4 || (e.io.port == 0x60 && e.io.is_in));
            CHECK(i != 5 || (e.io.port == 0xe9 && !e.io.is_in));
            CHECK_EQ(run(&e), expect[i]);   /* not skipped: again */
            arch_vcpu_skip(&vcpu, &e);
        }
    }
    teardown();
}

static unsigned handler_ran;

static void on_interrupt(struct vcpu *v, uint8_t vector)
{
    CHECK(v == &vcpu && vector == 0xf3);
    handler_ran++;
}

TEST(events_are_delivered_at_entry)
{
    struct host_injection log[4];
    struct vcpu_exit e;
    struct script s;

    setup();
    s = STEPS(STEP(CPUID), STEP(STI), STEP(HLT));
    s.on_interrupt = on_interrupt;
    play(s);
    CHECK(!arch_vcpu_is_interruptible(&vcpu));
    CHECK(!arch_vcpu_inject_interrupt(&vcpu, 0xf3));
    CHECK_EQ(run(&e), EXIT_CPUID);
    arch_vcpu_skip(&vcpu, &e);
    CHECK_EQ(run(&e), EXIT_INTR_WINDOW);
    CHECK(arch_vcpu_inject_interrupt(&vcpu, 0xf3));
    CHECK(!arch_vcpu_inject_interrupt(&vcpu, 0xf3));    /* one at a time */
    CHECK_EQ(handler_ran, 0);
    CHECK_EQ(run(&e), EXIT_INTR_WINDOW);
    CHECK_EQ(handler_ran, 1);
    CHECK_EQ(run(&e), EXIT_HLT);
    vcpu.regs.rip = 0;
    arch_vcpu_inject_page_fault(&vcpu, 0x1234, 2);
    CHECK_EQ(run(&e), EXIT_HLT);            /* stepped over */
    CHECK_EQ(host_vcpu_injections(&vcpu, log, 4), 2);
    CHECK(log[0].vector == 0xf3 && log[0].is_external);
    CHECK(log[1].vector == 14 && log[1].error == 2 && !log[1].is_external);
    teardown();
}

TEST(a_kick_ends_the_stay_until_it_is_taken)
{
    struct vcpu_exit e;

    setup();
    play(STEPS(STEP(HLT)));
    arch_kick(arch_cpu());
    CHECK_EQ(run(&e), EXIT_INTR);
    CHECK_EQ(run(&e), EXIT_INTR);
    arch_poll();
    CHECK_EQ(run(&e), EXIT_HLT);
    arch_kick(arch_cpu());
    arch_idle();                            /* returns at once, takes it */
    CHECK_EQ(run(&e), EXIT_HLT);
    arch_set_deadline(arch_now());
    CHECK_EQ(run(&e), EXIT_INTR);
    arch_idle();
    CHECK_EQ(run(&e), EXIT_HLT);
    arch_set_deadline(UINT64_MAX);
    teardown();
}

/* A guest that has just read gfn 5 and 6 and is about to do so again. */
static void look_at_5_and_6(void)
{
    static const struct script_step steps[] = {
        STEP(READ, .gpa = 0x5000), STEP(READ, .gpa = 0x6000), STEP(PAUSE),
        STEP(JUMP, .value = 0),
    };
    struct vcpu_exit e;

    setup();
    (void)test_p2m_populate(map, 5, 0);
    (void)test_p2m_populate(map, 6, 0);
    play((struct script){ .steps = steps, .nr = ARRAY_SIZE(steps) });
    CHECK_EQ(run(&e), EXIT_PAUSE);
    arch_vcpu_skip(&vcpu, &e);
    /* three tables on the way, two leaves */
    CHECK_EQ(host_tlb_entries(map), 5);
    host_tlb_check(map);
}

static struct p2m_table *leaf_of(uint64_t gfn, struct p2m_table **up)
{
    struct p2m_table *t = p2m_table_of(map->root);

    while (t->level > 1) {
        *up = t;
        t = p2m_table_of(npte_mfn(p2m_table_read(t, npt_index(gfn,
                                                             t->level))));
    }
    return t;
}

static void free_reachable_page(void *arg)
{
    (void)arg;
    frame_put_allocated(mfn_to_frame(p2m_lookup(map, GFN(5)).mfn));
}

static void free_reachable_table(void *arg)
{
    struct p2m_table *up, *t = leaf_of(5, &up);

    (void)arg;
    (void)p2m_table_write(up, 0, 0);
    p2m_table_free(t);
}

static void run_again(void)
{
    struct vcpu_exit e;

    (void)run(&e);
}

static void exchange_unflushed(void *arg)
{
    struct p2m_table *up, *t = leaf_of(5, &up);

    (void)arg;
    (void)p2m_table_write(t, 5, p2m_table_read(t, 6));
    run_again();
}

static void protect_unflushed(void *arg)
{
    struct p2m_table *up, *t = leaf_of(5, &up);

    (void)arg;
    (void)p2m_table_write(t, 5, p2m_table_read(t, 5) & ~NPTE_W);
    host_tlb_check(map);
}

static void enter_anothers_asid(void *arg)
{
    static struct vcpu other;

    (void)arg;
    other.p2m = test_p2m_create(4);
    CHECK_EQ(arch_vcpu_init(&other), 0);
    other.asid = vcpu.asid;
    other.asid.p2m = other.p2m;
    other.asid.p2m_generation = other.p2m->generation;
    arch_vcpu_run(&other, &(struct vcpu_exit){ 0 });
}

static void enter_old_generation(void *arg)
{
    (void)arg;
    p2m_flush(map);
    vcpu.asid.p2m_generation = map->generation;
    run_again();
}

TEST(each_rule_can_be_broken)
{
    look_at_5_and_6();
    CHECK(host_expect_panic(free_reachable_page, NULL, "T1: mfn"));
    CHECK(host_expect_panic(free_reachable_table, NULL, "a table"));
    CHECK(host_expect_panic(exchange_unflushed, NULL, "T2"));
    CHECK(host_expect_panic(protect_unflushed, NULL, "T2"));
    CHECK(host_expect_panic(enter_anothers_asid, NULL, "T3"));
    CHECK(host_expect_panic(enter_old_generation, NULL, "T3"));
    p2m_flush(map);
    CHECK_EQ(host_tlb_entries(map), 0);
    run_again();
    teardown();
}

TEST(a_wrong_value_ends_the_test)
{
    setup();
    (void)test_p2m_populate(map, 5, 0);
    *(uint64_t *)arch_map_frame(p2m_lookup(map, GFN(5)).mfn) = 1;
    play(STEPS(STEP(EXPECT, .gpa = 0x5000, .value = 2)));
    CHECK(host_expect_panic((void (*)(void *))run_again, NULL, "reads"));
    teardown();
}

/* Superpages: parts of a cached one go stale one by one. */
TEST(a_split_needs_no_flush_a_changed_part_does)
{
    struct p2m_batch b;
    struct vcpu_exit e;
    uint64_t flushes;

    setup();
    (void)test_p2m_populate(map, 512, P2M_ORDER_2M);
    play(STEPS(STEP(READ, .gpa = 0x200000), STEP(PAUSE),
               STEP(READ, .gpa = 0x201000),
               STEP(WRITE, .gpa = 0x202000), STEP(PAUSE)));
    CHECK_EQ(run(&e), EXIT_PAUSE);
    arch_vcpu_skip(&vcpu, &e);
    flushes = map->nr_flushes;
    p2m_batch_begin(&b, map);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(600), 1, 0), 0);
    p2m_set_tracking(&b, GFN(600), 0);
    p2m_batch_end(&b);
    CHECK_EQ(map->nr_flushes, flushes);
    host_tlb_check(map);
    p2m_batch_begin(&b, map);
    p2m_set_tracking(&b, GFN(514), P2M_TRACK_LOGDIRTY);
    p2m_batch_end(&b);
    CHECK_EQ(map->nr_flushes, flushes + 1);
    CHECK_EQ(host_tlb_entries(map), 0);
    CHECK_EQ(run(&e), EXIT_NPF);
    CHECK(e.npf.gpa == 0x202000 && e.npf.present);
    teardown();
}

/* No page was reachable through the table; the table itself was. */
TEST(a_table_of_holes_is_flushed_too)
{
    struct vcpu_exit e;

    setup();
    CHECK_EQ(test_p2m_set(map, 5, MFN_INVALID, 0, p2m_mmio_dm), 0);
    play(STEPS(STEP(READ, .gpa = 0x5000)));
    CHECK_EQ(run(&e), EXIT_NPF);
    CHECK_EQ(host_tlb_entries(map), 3);
    CHECK_EQ(test_p2m_set(map, 5, MFN_INVALID, 0, p2m_invalid), 0);
    CHECK_EQ(map->nr_tables, 1);
    test_drain_grace();                 /* freed now: T1, if cached */
    CHECK_EQ(host_tlb_entries(map), 0);
    teardown();
}

TEST(few_asids_serve_many_vcpus)
{
    enum { NR = 40 };
    static struct vcpu many[NR];
    struct script s = STEPS(STEP(READ, .gpa = 0x5000), STEP(PAUSE),
                            STEP(JUMP, .value = 0));
    struct vcpu_exit e;

    setup();
    host_set_nr_asids(4);
    (void)test_p2m_populate(map, 5, 0);
    for (unsigned i = 0; i < NR; i++) {
        many[i] = (struct vcpu){ .p2m = map };
        CHECK_EQ(arch_vcpu_init(&many[i]), 0);
        host_vcpu_set_script(&many[i], &s);
    }
    for (unsigned k = 0; k < 20 * NR; k++) {
        struct vcpu *v = &many[k * 7 % NR];
        struct asid_slot before;

        arch_vcpu_run(v, &e);
        CHECK_EQ(e.reason, EXIT_PAUSE);
        CHECK(v->asid.asid >= 1 && v->asid.asid < 4);
        arch_vcpu_skip(v, &e);
        before = v->asid;
        arch_vcpu_run(v, &e);           /* at once: keeps what it has */
        CHECK_EQ(before.asid, v->asid.asid);
        CHECK_EQ(before.cpu_generation, v->asid.cpu_generation);
        arch_vcpu_skip(v, &e);
    }
    for (unsigned i = 0; i < NR; i++) {
        arch_vcpu_fini(&many[i]);
    }
    host_set_nr_asids(16);
    teardown();
}
