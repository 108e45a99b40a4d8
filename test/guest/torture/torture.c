/*
 * torture - page tables edited at random, and every access to memory held
 * against a walk of them in software.
 *
 * Each vCPU has two dozen tables, all but a few entries of which it may edit:
 * levels, page sizes, U/S, R/W, NX, G, accessed and dirty, reserved bits and
 * absent entries; aliases, tables that hold themselves or each other at any
 * level, two roots that share what is below, tables inside large pages, edits
 * made through an alias of the table. Between edits it switches CR0.WP, CR3,
 * CR4.PGE, SMEP and SMAP, and EFER.NXE. Then it reads, writes, reads and
 * writes back, and jumps, in ring 0 and in ring 3, with RFLAGS.AC and without,
 * and demands: this fault with this error code and this CR2, or this word of
 * this frame; and these accessed and dirty bits.
 *
 * Only what the architecture determines is demanded. An address whose walk
 * meets an entry that changed since the last drop of all translations gets
 * INVLPG first, others do not; one that got more rights may fault once too
 * often; some reads are made without INVLPG, to be answered in any way.
 *
 * Several vCPUs do so at once and share pages besides, see shootdown.c.
 *
 * modes= says under which paging: long (the default), pae, legacy, none, or
 * several with commas between, in that order and for `rounds` each. All but
 * long are entered for one access at a time, see legacy.c.
 *
 * Phase 1: all is set up. Phase 2: it begins. Options: seed=1, rounds=1000,
 * touches=16 a round, modes=, then=; break=nx|wp|user|rsv|smep|smap|dirty|
 * accessed|invlpg|shootdown makes the test itself wrong: it has to fail.
 * Figures: 0 vCPUs, 1 touches, 2 faults, 3 edits, 4 edits by an alias, 5 reads
 * with a stale translation, 6 accesses retried after more rights, 7 A bits
 * set early, 8 accesses not made, 9 ticks, 10 the error code of a reserved bit:
 * 1 without P, 2 with it.
 */
#include "torture.h"

#include <public/xen/sched.h>
#include <public/xen/vcpu.h>

#define MAX_EDITS 6
#define CHECK_EVERY 16          /* rounds from one look at all entries on */
#define FAILURES_ENOUGH 20      /* but 1 under a wrong rule: it may do harm */

struct setup setup;
static struct world worlds[GUEST_MAX_VCPUS];
static unsigned touches, nr_modes;
static const struct mode *modes[4];
static _Atomic unsigned nr_ready, nr_done;

static void read_rule(void)
{
    static const char *const names[] = { "none", "nx", "wp", "user", "rsv",
        "smep", "smap", "dirty", "accessed", "invlpg", "shootdown" };
    char name[16];

    option_str("break", "none", name, sizeof(name));
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            setup.rule = (enum rule)i;
            return;
        }
    }
    guest_fail("break=%s is not a rule", name);
    guest_finish("the command line");
}

/* modes=long,pae: in this order, each for `rounds`. */
static void read_modes(void)
{
    static const struct mode *const all[] = { &mode_long, &mode_pae,
                                              &mode_two_level, &mode_none };
    char text[32];

    option_str("modes", "long", text, sizeof(text));
    for (const char *p = text; nr_modes < ARRAY_SIZE(modes);) {
        size_t n = 0;

        while (p[n] != '\0' && p[n] != ',') {
            n++;
        }
        for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
            if (strlen(all[i]->name) == n && memcmp(all[i]->name, p, n) == 0) {
                modes[nr_modes++] = all[i];
            }
        }
        if (p[n] == '\0') {
            break;
        }
        p += n + 1;
    }
    if (nr_modes == 0) {
        guest_fail("modes=%s: long, pae, legacy, none", text);
        guest_finish("the command line");
    }
}

static unsigned count_vcpus(void)
{
    unsigned n = 1;

    while (n < GUEST_MAX_VCPUS && hc_vcpu_op(VCPUOP_is_up, n, NULL) >= 0) {
        n++;
    }
    return n;
}

static void read_processor(void)
{
    uint32_t r[4];

    cpuid(7, 0, r);
    setup.has_smep = (r[1] & 1u << 7) != 0;
    setup.has_smap = (r[1] & 1u << 20) != 0;
    cpuid(0x80000001, 0, r);
    setup.has_1g = (r[3] & 1u << 26) != 0;
    cpuid(0x80000008, 0, r);
    setup.phys_bits = r[0] & 0xff;
}

static void world_init(struct world *w, unsigned id)
{
    uint64_t gfn = GUEST_FREE_GFN + id * WORLD_FRAMES;

    *w = (struct world){ .id = id, .mode = modes[0],
        .random = { mix64(setup.seed * GUEST_MAX_VCPUS + id) },
        .tables = gfn << PAGE_SHIFT, .copy = gfn_ptr(gfn + NR_TABLES),
        .flags = gfn_ptr(gfn + NR_TABLES + COPY_FRAMES) };
    tables_init(w);
}

static void torture_mode(struct world *w)
{
    unsigned enough = setup.rule == RULE_NONE ? FAILURES_ENOUGH : 1;
    bool is_long = w->mode == &mode_long;

    control_init(w);
    for (w->round = 0; w->round < setup.rounds; w->round++) {
        if (guest_failures() >= enough) {
            break;
        }
        control_random(w);
        for (uint64_t n = random_below(&w->random, MAX_EDITS);
             n > 0 && w->mode != &mode_none; n--) {
            tables_edit(w);
        }
        for (unsigned i = 0; i < touches; i++) {
            if (is_long) {
                shootdown_use(w);
            } else {
                (void)shootdown_poll(w);
            }
            touch_random(w);
        }
        if (is_long) {
            shootdown_turn(w);
        }
        if (w->round % CHECK_EVERY == 0) {
            tables_check(w);
        }
    }
    tables_check(w);
    control_fini(w);
}

static void torture(unsigned id)
{
    struct world *w = &worlds[id];

    harness_cpu_init(id);
    nr_ready++;
    while (nr_ready < setup.nr_vcpus) {
        (void)hc_sched_op(SCHEDOP_yield, NULL);
    }
    for (unsigned i = 0; i < nr_modes; i++) {
        if (i > 0) {
            w->mode = modes[i];
            tables_init(w);
        }
        torture_mode(w);
    }
    nr_done++;
    while (nr_done < setup.nr_vcpus) {  /* others may wait for our answer */
        (void)shootdown_poll(w);
        (void)hc_sched_op(SCHEDOP_yield, NULL);
    }
}

static void report(uint64_t ticks)
{
    uint64_t f[11] = { setup.nr_vcpus };

    for (unsigned i = 0; i < setup.nr_vcpus; i++) {
        const struct world *w = &worlds[i];
        const uint64_t add[] = { w->nr_touches, w->nr_faults, w->nr_edits,
            w->nr_alias_edits, w->nr_stale, w->nr_spurious, w->nr_early,
            w->nr_skipped };

        for (unsigned j = 0; j < ARRAY_SIZE(add); j++) {
            f[1 + j] += add[j];
        }
    }
    f[9] = ticks;
    f[10] = setup.rsv_form;
    for (unsigned i = 0; i < ARRAY_SIZE(f); i++) {
        guest_figure(i, f[i]);
    }
    guest_printf("%lu touches, %lu faults, %lu edits, %lu by alias, %lu stale,"
                 " %lu retried, %lu early, %lu skipped\n", f[1], f[2], f[3],
                 f[4], f[5], f[6], f[7], f[8]);
}

void guest_main(void)
{
    setup.seed = option_u64("seed", 1);
    setup.rounds = option_u64("rounds", 1000);
    touches = (unsigned)option_u64("touches", 16);
    read_rule();
    read_modes();
    read_processor();
    setup.nr_vcpus = count_vcpus();
    setup.top = GUEST_FREE_GFN + memory_run(GUEST_FREE_GFN);
    if (setup.top < 2 * DATA_GFN) {
        guest_fail("at least 5M of RAM, please: it ends at gfn %lx",
                   setup.top);
        guest_finish("torture");
    }
    harness_init();
    legacy_init();
    shootdown_init();
    data_init();
    for (unsigned i = 0; i < setup.nr_vcpus; i++) {
        world_init(&worlds[i], i);
    }
    guest_phase_report(1);
    guest_phase_wait(2);
    uint64_t start = guest_ticks();
    for (unsigned i = 1; i < setup.nr_vcpus; i++) {
        CHECK(guest_start_vcpu(i, torture) == 0, "vcpu %u does not start", i);
    }
    torture(0);
    data_check();
    report(guest_ticks() - start);
    guest_phase_report(2);
    guest_finish("torture");
}
