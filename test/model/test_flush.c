/*
 * test_flush.c - the flush protocol with several CPUs under the model TLB.
 *
 * Every CPU by turns runs guests and changes the maps that others run on:
 * pages are exchanged, protected, removed (and their tables with them), whole
 * superpages split and replaced. The model TLB panics if a frame or a table
 * is freed, or a change declared done, while some CPU could still go the old
 * way; that a page made read-only stays as it is, is checked here.
 */
#include "test_p2m.h"

#include <quire/panic.h>

#include <unistd.h>

enum { CPUS = 4, MAPS = 2, GFNS = 12, VCPUS = 2 };

/* Three tables of four pages each, and one superpage of its own. */
#define GFN_OF(i) ((uint64_t)(i) / 4 * 512 + (uint64_t)(i) % 4 * 3)
#define BIG_GFN UINT64_C(0x200000)
#define FOREVER_SECONDS 60

struct world {
    struct p2m *map[MAPS];
    struct vcpu vcpu[CPUS][MAPS][VCPUS];
    _Atomic bool busy[CPUS][MAPS][VCPUS];
    uint64_t rounds;
    _Atomic uint64_t writes_seen, faults, kicks, protections;
};

static struct world w;

/* ---- guests ---------------------------------------------------------- */

/* Step @i of the guest of a seed: an access somewhere, seldom a PAUSE. */
static void random_step(void *arg, uint64_t i, struct script_step *out)
{
    uint64_t x = mix64((uintptr_t)arg * 0x10001 + i), g = x >> 8 & 15;
    static const enum script_op ops[] = { SCRIPT_READ, SCRIPT_WRITE,
                                          SCRIPT_ADD, SCRIPT_EXEC };

    *out = (struct script_step){ .op = ops[x & 3], .value = x };
    if (x >> 4 << 58 == 0) {
        out->op = SCRIPT_PAUSE;
    }
    out->gpa = g < GFNS ? GFN_OF(g) << PAGE_SHIFT
                        : (BIG_GFN + (x >> 16 & 511)) << PAGE_SHIFT;
    out->gpa += x >> 32 & 0xff8;
}

static void run_vcpu(struct vcpu *v)
{
    for (unsigned n = 0; n < 20; n++) {
        struct vcpu_exit e;

        arch_vcpu_run(v, &e);
        switch (e.reason) {
        case EXIT_INTR:
            w.kicks++;
            arch_poll();
            break;
        case EXIT_NPF:
            w.faults++;
            if (p2m_fault(v->p2m, &e.npf) != P2M_FAULT_RETRY) {
                v->regs.rip++;
            }
            break;
        default:
            arch_vcpu_skip(v, &e);
            return;
        }
    }
}

/* Any vCPU that no other CPU has: most come from elsewhere. */
static void run_guest(struct rng *r)
{
    unsigned i = (unsigned)rng_below(r, CPUS * MAPS * VCPUS);
    _Atomic bool *busy = &w.busy[0][0][0] + i;

    if (!atomic_exchange(busy, true)) {
        run_vcpu(&w.vcpu[0][0][0] + i);
        *busy = false;
    }
}

/* Reading takes no lock: tables must stay while anybody looks. */
static void look_around(struct rng *r)
{
    struct p2m *p = w.map[rng_below(r, MAPS)];
    uint64_t end = BIG_GFN + 512;
    struct p2m_entry e;
    gfn_t g = GFN(0);

    for (unsigned n = 0; n < 60 && p2m_next(p, g, GFN(end), &g, &e); n++) {
        BUG_ON(e.type != p2m_ram_rw && e.type != p2m_ram_ro);
        g.n++;
    }
    for (unsigned i = 0; i < GFNS; i++) {
        e = p2m_lookup(p, GFN(GFN_OF(i)));
        BUG_ON(e.type != p2m_invalid && mfn_eq(e.mfn, MFN_INVALID));
    }
}

/* ---- changes --------------------------------------------------------- */

static void replace(struct p2m *p, uint64_t gfn, struct frame *new,
                    enum p2m_type type)
{
    struct p2m_entry old;
    struct p2m_batch b;

    p2m_batch_begin(&b, p);
    BUG_ON(p2m_batch_reserve(&b, GFN(gfn), 1, 0) != 0);
    old = p2m_lookup_locked(p, GFN(gfn));
    p2m_set(&b, GFN(gfn), new != NULL ? frame_to_mfn(new) : MFN_INVALID, 0,
            type);
    if (!mfn_eq(old.mfn, MFN_INVALID)) {
        struct frame *f = mfn_to_frame(old.mfn);

        BUG_ON(frame_get(f, p->owner) != 0);
        frame_put_allocated(f);
        p2m_batch_put_frame(&b, f);
    }
    p2m_batch_end(&b);
}

static uint64_t sum_page(mfn_t mfn)
{
    const _Atomic uint64_t *word = arch_map_frame(mfn);
    uint64_t sum = 0;

    for (unsigned i = 0; i < 512; i++) {
        sum = mix64(sum + atomic_load_explicit(&word[i],
                                               memory_order_relaxed));
    }
    return sum;
}

/* Read-only means that it keeps still, from the moment the batch ends. */
static void protect(struct p2m *p, uint64_t gfn)
{
    struct p2m_batch b;
    struct p2m_entry e;
    uint64_t sum;

    p2m_batch_begin(&b, p);
    BUG_ON(p2m_batch_reserve(&b, GFN(gfn), 1, 0) != 0);
    e = p2m_lookup_locked(p, GFN(gfn));
    if (e.type != p2m_ram_rw ||
        frame_get(mfn_to_frame(e.mfn), p->owner) != 0) {
        p2m_batch_end(&b);
        return;
    }
    p2m_set(&b, GFN(gfn), e.mfn, 0, p2m_ram_ro);
    p2m_batch_end(&b);
    sum = sum_page(e.mfn);

    /* Writable again only under the lock: hold it while looking. */
    p2m_batch_begin(&b, p);
    if (mfn_eq(p2m_lookup_locked(p, GFN(gfn)).mfn, e.mfn) &&
        p2m_lookup_locked(p, GFN(gfn)).type == p2m_ram_ro) {
        for (unsigned i = 0; i < 20; i++) {
            arch_relax();
            if (sum_page(e.mfn) != sum) {
                panic("gfn %lx changed after it was made read-only", gfn);
            }
        }
        w.protections++;
        p2m_set(&b, GFN(gfn), e.mfn, 0, p2m_ram_rw);
    }
    p2m_batch_end(&b);
    frame_put(mfn_to_frame(e.mfn));
}

static void remove_all(struct p2m *p, unsigned table)
{
    for (unsigned i = table * 4; i < table * 4 + 4; i++) {
        replace(p, GFN_OF(i), NULL, p2m_invalid);
    }
}

/* The superpage whole, or a page of it away, or nothing of it left. */
static void change_big(struct p2m *p, struct rng *r)
{
    struct p2m_entry e = p2m_lookup(p, GFN(BIG_GFN));
    struct frame *f;

    if (e.order == P2M_ORDER_2M && e.type == p2m_ram_rw) {
        replace(p, BIG_GFN + 1 + rng_below(r, 511), NULL, p2m_invalid);
    } else if (e.type == p2m_ram_rw) {
        for (unsigned k = 0; k < 512; k++) {
            replace(p, BIG_GFN + k, NULL, p2m_invalid);
        }
    } else {
        struct p2m_batch b;
        gfn_t g;

        f = page_alloc_owned(p->owner, P2M_ORDER_2M);
        BUG_ON(f == NULL);
        p2m_batch_begin(&b, p);
        if (p2m_batch_reserve(&b, GFN(BIG_GFN), 512, P2M_ORDER_2M) == 0 &&
            !p2m_next(p, GFN(BIG_GFN), GFN(BIG_GFN + 512), &g, &e)) {
            p2m_set(&b, GFN(BIG_GFN), frame_to_mfn(f), P2M_ORDER_2M,
                    p2m_ram_rw);
            f = NULL;
        }
        p2m_batch_end(&b);
        for (unsigned k = 0; f != NULL && k < 512; k++) {
            frame_put_allocated(f + k);
        }
    }
}

static void change_map(struct rng *r)
{
    struct p2m *p = w.map[rng_below(r, MAPS)];
    uint64_t gfn = GFN_OF(rng_below(r, GFNS));
    struct frame *f;

    switch (rng_below(r, 32)) {
    case 0:
        change_big(p, r);
        break;
    case 1: case 2:
        remove_all(p, (unsigned)rng_below(r, GFNS / 4));
        break;
    case 3: case 4: case 5: case 6: case 7: case 8:
        protect(p, gfn);
        break;
    case 9: case 10:
        replace(p, gfn, NULL, p2m_invalid);
        break;
    default:
        f = page_alloc_owned(p->owner, 0);
        BUG_ON(f == NULL);
        replace(p, gfn, f, p2m_ram_rw);
    }
}

static void cpu_main(void *arg)
{
    struct rng r;

    (void)arg;
    rng_seed(&r, test_seed * 1000 + arch_cpu());
    for (uint64_t i = 0; i < w.rounds; i++) {
        switch (rng_below(&r, 4)) {
        case 0:
            change_map(&r);
            break;
        case 1:
            look_around(&r);
            break;
        default:
            run_guest(&r);
        }
        grace_quiesce();
    }
}

static void setup(void)
{
    alarm(FOREVER_SECONDS);     /* a flush that never returns */
    host_machine_init(1 << 15, CPUS);
    host_tlb_seed(test_seed, 300);
    w = (struct world){ .rounds = 4000 * test_rounds };
    for (unsigned m = 0; m < MAPS; m++) {
        w.map[m] = test_p2m_create((domid_t)(m + 1));
        for (unsigned i = 0; i < GFNS; i++) {
            (void)test_p2m_populate(w.map[m], GFN_OF(i), 0);
        }
    }
    for (uintptr_t i = 0; i < CPUS * MAPS * VCPUS; i++) {
        struct vcpu *v = &w.vcpu[0][0][0] + i;
        struct script s = { .step = random_step,
                            .arg = (void *)(i + test_seed * 100) };

        v->p2m = w.map[i / VCPUS % MAPS];
        CHECK_EQ(arch_vcpu_init(v), 0);
        host_vcpu_set_script(v, &s);
    }
}

static void teardown(void)
{
    for (unsigned i = 0; i < CPUS * MAPS * VCPUS; i++) {
        arch_vcpu_fini(&w.vcpu[0][0][0] + i);
    }
    for (unsigned m = 0; m < MAPS; m++) {
        CHECK_EQ(p2m_audit(w.map[m]), 0);
        host_tlb_check(w.map[m]);
        test_p2m_destroy(w.map[m]);
    }
    test_p2m_all_gone();
    alarm(0);
}

TEST(guests_run_while_their_maps_change)
{
    setup();
    host_set_nr_asids(5);       /* runs out often */
    host_run_on_cpus(CPUS, cpu_main, NULL);
    host_set_nr_asids(16);
    CHECK(w.faults > 100);
    CHECK(w.protections > 20);
    teardown();
}

/* ---- one flush, looked at closely -------------------------------------- */

static _Atomic unsigned phase;

static const struct script_step spin[] = {
    STEP(ADD, .gpa = 0, .value = 1), STEP(JUMP, .value = 0),
};

static void flush_a_spinner(void *arg)
{
    struct vcpu *v = &w.vcpu[1][0][0];
    struct vcpu_exit e;

    (void)arg;
    if (arch_cpu() == 1) {
        struct script s = { .steps = spin, .nr = ARRAY_SIZE(spin) };

        host_vcpu_set_script(v, &s);
        arch_poll();
        arch_vcpu_run(v, &e);           /* never ends by itself */
        BUG_ON(e.reason != EXIT_INTR);
        phase = 2;
        arch_poll();
        arch_vcpu_run(v, &e);
        BUG_ON(e.reason != EXIT_NPF || e.npf.access != P2M_W);
    } else if (arch_cpu() == 0) {
        mfn_t m = p2m_lookup(w.map[0], GFN(0)).mfn;
        _Atomic uint64_t *word = arch_map_frame(m);
        uint64_t last, start = *word;

        while (*word == start) {
            arch_relax();
        }
        BUG_ON(test_p2m_set(w.map[0], 0, m, 0, p2m_ram_ro) != 0);
        last = *word;
        while (phase != 2) {
            arch_relax();
        }
        BUG_ON(*word != last);
    }
}

TEST(a_flush_ends_a_guest_that_never_exits)
{
    setup();
    phase = 0;
    host_run_on_cpus(2, flush_a_spinner, NULL);
    teardown();
}

/* A CPU in another guest, or in none, is neither kicked nor waited for. */
static void flush_around_a_bystander(void *arg)
{
    struct vcpu *v = &w.vcpu[1][1][0];
    struct vcpu_exit e;

    (void)arg;
    if (arch_cpu() == 1) {
        struct script s = { .steps = spin, .nr = ARRAY_SIZE(spin) };

        host_vcpu_set_script(v, &s);
        arch_poll();
        arch_vcpu_run(v, &e);
        BUG_ON(phase != 1);
        arch_poll();
    } else {
        _Atomic uint64_t *word =
            arch_map_frame(p2m_lookup(w.map[1], GFN(0)).mfn);
        uint64_t start = *word;

        while (*word == start) {
            arch_relax();
        }
        p2m_flush(w.map[0]);
        start = *word;
        while (*word < start + 1000) {  /* still at it */
            arch_relax();
        }
        phase = 1;
        arch_kick(1);
    }
}

TEST(a_flush_leaves_other_guests_alone)
{
    setup();
    phase = 0;
    host_run_on_cpus(2, flush_around_a_bystander, NULL);
    teardown();
}

/*
 * The race of entry and flush alone, as fast as it goes. Once a flush has
 * returned, nobody is in the guest with an older generation: whoever is in
 * looks at what has been acknowledged so far.
 */
static _Atomic uint64_t acknowledged;

static void enter_and_leave(void *arg)
{
    struct p2m *p = w.map[0];
    ticks_t end = arch_now() + arch_tick_hz() * test_rounds;

    (void)arg;
    while (arch_cpu() != 0 && phase == 0) {
        uint64_t with = p2m_guest_enter(p), done = acknowledged;

        if (done > with) {
            panic("entered with generation %lx, flushed at %lx", with, done);
        }
        p2m_guest_leave();
    }
    while (arch_cpu() == 0 && arch_now() < end) {
        p2m_flush(p);
        acknowledged = p->generation;
    }
    phase = 1;
}

TEST(no_entry_slips_past_a_flush)
{
    setup();
    phase = 0;
    acknowledged = 0;
    CHECK(arch_tick_hz() != 0);         /* calibrated by now */
    host_run_on_cpus(3, enter_and_leave, NULL);
    teardown();
}

/* A table comes and goes under those who look without a lock. */
static void look_at_what_goes(void *arg)
{
    struct p2m *p = w.map[0];
    ticks_t end = arch_now() + arch_tick_hz() / 2 * test_rounds;
    uint64_t gfn = UINT64_C(0x80000000);

    (void)arg;
    for (unsigned i = 0; arch_now() < end; i++) {
        struct p2m_entry e;

        if (arch_cpu() == 0) {
            BUG_ON(test_p2m_set(p, gfn, MFN(0x9999), 0, p2m_mmio_direct));
            BUG_ON(test_p2m_set(p, gfn, MFN_INVALID, 0, p2m_invalid));
        } else {
            e = p2m_lookup(p, GFN(gfn));
            BUG_ON(e.type != p2m_invalid && e.mfn.n != 0x9999);
        }
        if (arch_cpu() == 0 || i % 64 == 0) {
            grace_quiesce();
        }
    }
}

TEST(tables_outlast_those_who_look)
{
    setup();
    host_run_on_cpus(3, look_at_what_goes, NULL);
    teardown();
}

/* Everybody changes the map that everybody runs on: waiters wait for CPUs
 * that wait for others, and none for long. */
static void flush_at_once(void *arg)
{
    struct p2m *p = w.map[0];
    struct vcpu *v = &w.vcpu[arch_cpu()][0][0];
    struct vcpu_exit e;

    (void)arg;
    for (unsigned i = 0; i < 300; i++) {
        arch_vcpu_run(v, &e);
        arch_poll();
        if (e.reason == EXIT_NPF || e.reason == EXIT_PAUSE) {
            v->regs.rip++;
        }
        spin_lock(&p->lock);
        p2m_flush(p);
        spin_unlock(&p->lock);
    }
}

TEST(flushes_of_all_cpus_at_once)
{
    uint64_t before;

    setup();
    before = w.map[0]->generation;
    host_run_on_cpus(CPUS, flush_at_once, NULL);
    CHECK_EQ(w.map[0]->generation - before, CPUS * 300);
    teardown();
}
