/*
 * test_scan.c - the scanner against guests that write meanwhile, under the
 * model TLB.
 *
 * CPU 0 scans, in slices of random length, and audits; each other CPU runs the
 * vCPU of a domain of its own, which checks every word it reads, and writes
 * values of which there are few, so that pages are often equal. One gfn of
 * each is a page table: it is "walked", that is written to with what is there
 * already. Now and then a domain is killed and made anew under the same id,
 * opts in or out, or the scanner is stopped, or made to undo everything. Two
 * of the domains are in one trust group, the third in another.
 */
#include "test_share.h"

#include <quire/panic.h>
#include <quire/scan.h>

#include <quire/p2m_near.h>

#include <string.h>
#include <unistd.h>

enum { CPUS = 4, GFNS = 24, WORDS = 2, VALUES = 2, SCRIPT_STEPS = 12,
       TABLE = 5, FOREVER_SECONDS = 300 };

static const unsigned word_at[WORDS] = { 0, 4088 };

static struct cpu {
    cache_aligned struct vcpu vcpu;
    uint64_t word[GFNS][WORDS];     /* what the guest must see */
    struct rng r;
} cpus[CPUS];

static uint64_t rounds;
static _Atomic unsigned nr_running;
static _Atomic uint64_t nr_faults, nr_kills;

static domid_t domid_of(unsigned cpu) { return (domid_t)(cpu + 1); }

/* Gfns on both sides of a table's end. */
static gfn_t gfn_of(unsigned g) { return GFN(512 - GFNS / 2 + g); }

static void create(struct cpu *c, unsigned cpu)
{
    struct p2m *p;

    /* The scanner may hold on to the old map for a slice. */
    while ((p = p2m_create(domid_of(cpu))) == NULL) {
        grace_quiesce();
        arch_relax();
    }
    p->trust_group = cpu == 3;
    c->vcpu = (struct vcpu){ .p2m = p };
    BUG_ON(arch_vcpu_init(&c->vcpu) != 0);
    for (unsigned g = 0; g < GFNS; g++) {
        struct frame *f = page_alloc_owned(p->owner, 0);

        BUG_ON(f == NULL);
        page_zero(arch_map_frame(frame_to_mfn(f)));
        BUG_ON(test_p2m_set(p, gfn_of(g).n, frame_to_mfn(f), 0,
                            p2m_ram_rw) != 0);
    }
    memset(c->word, 0, sizeof(c->word));
    scan_domain_add(p);
}

static void destroy(struct cpu *c)
{
    struct p2m *p = c->vcpu.p2m;
    gfn_t cursor = GFN(0);
    int err;

    arch_vcpu_fini(&c->vcpu);
    spin_lock(&p->lock);
    p2m_retire(p);
    spin_unlock(&p->lock);
    do {
        struct work w = { .left = 1 };

        err = p2m_relinquish(p, &cursor, test_share_drop_group, &w);
        grace_quiesce();
    } while (err == -ERESTART);
    BUG_ON(err != 0);
    p2m_put(p);
}

/* A script of checked reads and of writes, and what it leaves behind. */
static unsigned make_script(struct cpu *c, struct script_step *s)
{
    unsigned n = 0;

    while (n < SCRIPT_STEPS) {
        unsigned g = (unsigned)rng_below(&c->r, GFNS);
        unsigned k = (unsigned)rng_below(&c->r, WORDS);

        s[n] = (struct script_step){
            .op = SCRIPT_EXPECT, .gpa = gfn_to_gpa(gfn_of(g)) + word_at[k],
        };
        if (g == TABLE) {
            s[n].op = SCRIPT_WRITE;
        } else if (rng_below(&c->r, 4) == 0) {
            s[n].op = SCRIPT_WRITE;
            c->word[g][k] = rng_below(&c->r, VALUES);
        }
        s[n].value = c->word[g][k];
        n++;
    }
    s[n] = (struct script_step){ .op = SCRIPT_HLT };
    return n + 1;
}

static void run_guest(struct cpu *c)
{
    struct script_step steps[SCRIPT_STEPS + 1];
    struct script s = { .steps = steps, .nr = make_script(c, steps) };
    struct vcpu *v = &c->vcpu;

    host_vcpu_set_script(v, &s);
    for (;;) {
        struct vcpu_exit e;

        arch_vcpu_run(v, &e);
        if (e.reason == EXIT_INTR) {
            arch_poll();
        } else if (e.reason == EXIT_NPF) {
            nr_faults++;
            BUG_ON(p2m_fault(v->p2m, &e.npf) != P2M_FAULT_RETRY);
        } else {
            BUG_ON(e.reason != EXIT_HLT);
            return;
        }
        grace_quiesce();
    }
}

static void guest_main(struct cpu *c)
{
    for (uint64_t i = 0; i < rounds; i++) {
        run_guest(c);
        switch (rng_below(&c->r, 400)) {
        case 0:
            destroy(c);
            create(c, arch_cpu());
            nr_kills++;
            break;
        case 1:
            scan_domain_remove(c->vcpu.p2m);
            break;
        case 2:
            scan_domain_add(c->vcpu.p2m);
            break;
        case 3: {
            gfn_t cursor = GFN(0);

            scan_domain_remove(c->vcpu.p2m);
            BUG_ON(scan_unmerge(c->vcpu.p2m, &cursor, NULL) != 0);
            scan_domain_add(c->vcpu.p2m);
            break;
        }
        default:
            break;
        }
        BUG_ON(nr_locks_held() != 0);
        grace_quiesce();
    }
    nr_running--;
}

static void audit(void)
{
    struct share_audit a = { 0 };
    int err;

    do {
        struct work w = { .left = 3000 };

        err = share_audit(&a, &w);
        grace_quiesce();
        arch_poll();
    } while (err == -ERESTART);
    BUG_ON(a.bad != 0);
}

static void scanner_main(struct cpu *c)
{
    while (nr_running != 0) {
        struct work w = { .left = 1 + (int64_t)rng_below(&c->r, 9000) };

        if (rng_below(&c->r, 300) == 0) {
            w.force_at = 1 + rng_below(&c->r, 4);
        }
        (void)!scan_run(&w);
        switch (rng_below(&c->r, 600)) {
        case 0:
            audit();
            break;
        case 1:
            scan_knobs.run = rng_below(&c->r, 3);
            break;
        default:
            if (rng_below(&c->r, 10) == 0) {
                scan_knobs.run = SCAN_RUN;
            }
            break;
        }
        BUG_ON(nr_locks_held() != 0);
        grace_quiesce();
        arch_poll();
    }
}

static void cpu_main(void *arg)
{
    (void)arg;
    if (arch_cpu() == 0) {
        scanner_main(&cpus[0]);
    } else {
        guest_main(&cpus[arch_cpu()]);
    }
}

static void check_contents(void)
{
    for (unsigned i = 1; i < CPUS; i++) {
        for (unsigned g = 0; g < GFNS; g++) {
            struct p2m_entry e = p2m_lookup(cpus[i].vcpu.p2m, gfn_of(g));
            const char *page = arch_map_frame(e.mfn);

            for (unsigned k = 0; k < WORDS; k++) {
                CHECK_EQ(*(const uint64_t *)(page + word_at[k]),
                         cpus[i].word[g][k]);
            }
        }
    }
}

static void finish(struct scan_stats *t)
{
    while (scan_has_work()) {
        struct work w = WORK_INIT;

        scan_knobs.run = SCAN_UNMERGE;
        (void)!scan_run(&w);
    }
    check_contents();
    test_share_audit_all();
    scan_stats_get(t);
    CHECK_EQ(t->bytes, 0);
    for (unsigned i = 1; i < CPUS; i++) {
        destroy(&cpus[i]);
    }
    test_drain_grace();
    test_share_all_gone();
}

/* ---- one page, one writer, merged again and again ------------------------- */

struct shared_frame;
int scan_merge(struct p2m *p, struct p2m_hint *h, gfn_t gfn,
               struct shared_frame *sf);

static void write_or_merge(void *arg)
{
    struct script_step steps[] = {
        { .op = SCRIPT_WRITE, .gpa = gfn_to_gpa(gfn_of(1)), .value = 1 },
        { .op = SCRIPT_EXPECT, .gpa = gfn_to_gpa(gfn_of(1)), .value = 1 },
        { .op = SCRIPT_WRITE, .gpa = gfn_to_gpa(gfn_of(1)), .value = 0 },
        { .op = SCRIPT_EXPECT, .gpa = gfn_to_gpa(gfn_of(1)), .value = 0 },
        { .op = SCRIPT_HLT },
    };
    struct vcpu *v = &cpus[1].vcpu;
    _Atomic uint64_t *merges = arg;

    if (arch_cpu() == 0) {
        struct shared_frame *sf =
            mfn_to_frame(p2m_lookup(v->p2m, gfn_of(2)).mfn)->user;

        while (nr_running != 0) {
            struct p2m_hint h = { .leaf = NULL };

            *merges += scan_merge(v->p2m, &h, gfn_of(1), sf) == 0;
            grace_quiesce();
            arch_poll();
        }
        return;
    }
    while (*merges < 3000 * test_rounds) {
        struct script s = { .steps = steps, .nr = ARRAY_SIZE(steps) };
        struct vcpu_exit e = { .reason = EXIT_NONE };

        host_vcpu_set_script(v, &s);
        while (e.reason != EXIT_HLT) {
            arch_vcpu_run(v, &e);
            if (e.reason == EXIT_NPF) {
                BUG_ON(p2m_fault(v->p2m, &e.npf) != P2M_FAULT_RETRY);
            }
            arch_poll();
            grace_quiesce();
        }
    }
    nr_running = 0;
}

TEST(no_write_is_lost)
{
    share_handle_t h;
    _Atomic uint64_t merges = 0;

    alarm(FOREVER_SECONDS);
    test_share_machine(1 << 13, 2);
    host_tlb_seed(test_seed, 200);
    nr_running = 1;
    CHECK_EQ(owner_claim(domid_of(1), NULL, 1 << 20), domid_of(1));
    create(&cpus[1], 1);
    CHECK_EQ(share_nominate(cpus[1].vcpu.p2m, gfn_of(2), &h), 0);
    host_run_on_cpus(2, write_or_merge, &merges);
    test_share_audit_all();
    destroy(&cpus[1]);
    test_drain_grace();
    test_share_all_gone();
    alarm(0);
}

TEST(guests_never_notice)
{
    struct scan_stats t;

    alarm(FOREVER_SECONDS);
    test_share_machine(1 << 13, CPUS);
    host_tlb_seed(test_seed, 200);
    rounds = 40000 * test_rounds;
    scan_knobs.run = SCAN_RUN;
    nr_running = CPUS - 1;
    for (unsigned i = 0; i < CPUS; i++) {
        cpus[i] = (struct cpu){ .vcpu = { .p2m = NULL } };
        rng_seed(&cpus[i].r, test_seed * 100 + i);
        if (i != 0) {
            CHECK_EQ(owner_claim(domid_of(i), NULL, 1 << 20), domid_of(i));
            create(&cpus[i], i);
        }
    }
    host_run_on_cpus(CPUS, cpu_main, NULL);
    check_contents();
    finish(&t);
    printf("%lu merged, %lu broken, %lu unequal, %lu scans, %lu skipped, "
           "%lu faults, %lu kills\n", t.merged, t.broken, t.unequal,
           t.full_scans, t.pages_skipped, nr_faults, nr_kills);
    CHECK(t.merged > 100 && t.broken > 50 && t.full_scans > 20);
    CHECK(nr_kills > 10 && nr_faults > 100);
    alarm(0);
}
