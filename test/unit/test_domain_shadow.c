/*
 * test_domain_shadow.c - a domain on shadow paging: made and taken apart with
 * its shadow, whatever fails and whenever it is stopped; its page faults; that
 * the shadow hears of what Quire writes.
 */
#include "domains.h"
#include "test.h"
#include "test_fork.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/shadow.h>
#include <string.h>

/* Of the guest's tables: 2M of addresses, page i at gfn DATA + i. */
enum { PML4 = 1, PDPT = 2, PD = 3, PT = 4, DATA = 16, PAGES = 48 };
#define ENTRY UINT64_C(0x67)            /* P, W, U, A and D */
#define NEW_ENTRY UINT64_C(0x07)        /* P, W, U */
#define READ_ONLY UINT64_C(0x25)        /* P, U and A */
#define HOLE_GFN 1000
#define RIP 0x10000                     /* the first byte of gfn DATA */

static uint64_t nr_free;

static struct domain_config config(unsigned nr_vcpus)
{
    struct domain_config c = test_config("shadow", PAGES);

    c.shadow = true;
    c.nr_vcpus = nr_vcpus;
    return c;
}

static void poke(struct domain *d, uint64_t gfn, unsigned i, uint64_t value)
{
    size_t done;

    CHECK_EQ(guest_write_gpa(d->p2m, gfn << 12 | i * 8, &value, 8, &done), 0);
}

static void load(struct vcpu *v)
{
    struct guest_paging pg;

    arch_vcpu_paging(v, &pg);
    CHECK_EQ(shadow_load(v->shadow, v->shadow_vcpu, &pg, NULL), 0);
}

/* In long mode, on these tables. */
static struct domain *make(void)
{
    struct domain_config c = config(1);
    struct vcpu_state state = { .cr0 = 0x80010001, .cr3 = PML4 << 12,
                                .cr4 = 0x20, .efer = 0x500,
                                .regs.rip = RIP, .seg[SEG_CS].attr = 0x29b };

    test_settle();
    nr_free = page_nr_free();
    struct domain *d = test_create(&c);

    poke(d, PML4, 0, PDPT << 12 | ENTRY);
    poke(d, PDPT, 0, PD << 12 | ENTRY);
    poke(d, PD, 0, PT << 12 | ENTRY);
    for (unsigned i = 0; i < 32; i++) {
        poke(d, PT, i, (uint64_t)(DATA + i) << 12 | NEW_ENTRY);
    }
    CHECK_EQ(arch_vcpu_set_state(d->vcpus[0], &state), 0);
    load(d->vcpus[0]);
    return d;
}

static void end(struct domain *d)
{
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
    CHECK_EQ(domain_nr_unfreed(), 0);
}

/* As the run loop hands it over; what it was in the end. */
static enum vcpu_exit_reason page_fault(struct domain *d, gva_t at,
                                        uint32_t error, bool in_delivery)
{
    struct vcpu_exit e = { .reason = EXIT_PF, .in_delivery = in_delivery,
                           .pf = { .address = at, .error = error } };

    vcpu_handle_exit(d->vcpus[0], &e);
    return e.reason;
}

static unsigned injected(struct domain *d, struct host_injection *last)
{
    struct host_injection in[HOST_INJECTIONS_MAX];
    unsigned n = host_vcpu_injections(d->vcpus[0], in, HOST_INJECTIONS_MAX);

    if (n != 0) {
        *last = in[n - 1];
    }
    return n;
}

TEST(page_faults_are_hidden_or_the_guests)
{
    struct host_injection in;
    struct vcpu_state state;

    test_machine(4096, 1);
    struct domain *d = make();
    const struct shadow_stats *st = shadow_stats(d->shadow);

    CHECK_EQ(page_fault(d, 0x3008, PF_W, false), EXIT_PF);
    CHECK_EQ(st->hidden, 1);
    CHECK_EQ(injected(d, &in), 0);
    CHECK_EQ(page_fault(d, 0x203000, PF_W, false), EXIT_PF);
    CHECK_EQ(injected(d, &in), 1);
    CHECK(in.vector == 14 && in.error == PF_W);
    arch_vcpu_get_state(d->vcpus[0], &state);
    CHECK_EQ(state.cr2, 0x203000);
    end(d);
}

TEST(a_write_to_a_shared_page_is_a_nested_fault)
{
    test_machine(4096, 1);
    struct domain *d = make();
    struct p2m *p = d->p2m;

    CHECK_EQ(test_share(p, DATA + 5, p, DATA + 6), 0);
    CHECK_EQ(page_fault(d, 0x5000, 0, false), EXIT_PF);
    CHECK_EQ(page_fault(d, 0x5000, PF_P | PF_W, false), EXIT_NPF);
    CHECK_EQ(p2m_lookup(p, GFN(DATA + 5)).type, p2m_ram_rw);
    CHECK_EQ(page_fault(d, 0x5000, PF_P | PF_W, false), EXIT_PF);
    CHECK_EQ(shadow_stats(d->shadow)->p2m, 1);
    end(d);
}

/* mov %al, (%rdi) */
static void run_store(struct domain *d, gva_t to)
{
    static const uint8_t store[] = { 0x88, 0x07 };
    size_t done;

    CHECK_EQ(guest_write_gpa(d->p2m, RIP, store, sizeof(store), &done), 0);
    poke(d, PT, RIP >> 12, RIP | ENTRY);
    d->vcpus[0]->regs.rdi = to;
    d->vcpus[0]->regs.rax = 0x55;
}

TEST(holes_are_emulated)
{
    struct host_injection in;

    test_machine(4096, 1);
    struct domain *d = make();

    poke(d, PT, 9, (uint64_t)HOLE_GFN << 12 | ENTRY);
    run_store(d, 0x9000);
    CHECK_EQ(page_fault(d, 0x9000, PF_W, false), EXIT_NPF);
    CHECK_EQ(d->vcpus[0]->regs.rip, RIP + 2);
    CHECK_EQ(injected(d, &in), 0);
    /* What is at RIP has nothing to do with a delivery. */
    CHECK_EQ(page_fault(d, 0x9000, PF_W, true), EXIT_NPF);
    CHECK_EQ(d->vcpus[0]->regs.rip, RIP + 2);
    CHECK_EQ(injected(d, &in), 1);
    CHECK_EQ(in.vector, 13);
    end(d);
}

/* CR0.WP clear, SMAP, RFLAGS.AC: the supervisor may write a page that is
 * read-only and the user's, and no spte can say so. */
TEST(writes_that_no_spte_allows_are_emulated)
{
    struct vcpu_state state;
    struct host_injection in;
    uint8_t byte = 0;

    test_machine(4096, 1);
    struct domain *d = make();
    struct vcpu *v = d->vcpus[0];

    poke(d, PT, 7, (uint64_t)(DATA + 7) << 12 | READ_ONLY);
    arch_vcpu_get_state(v, &state);
    state.cr0 &= ~UINT64_C(0x10000);
    state.cr4 |= 1 << 21;
    state.regs.rflags = 1 << 18;
    CHECK_EQ(arch_vcpu_set_state(v, &state), 0);
    run_store(d, 0x7000);
    load(v);
    CHECK_EQ(page_fault(d, 0x7000, PF_P | PF_W, false), EXIT_PF);
    CHECK_EQ(v->regs.rip, RIP + 2);
    CHECK_EQ(guest_read_gpa(d->p2m, (DATA + 7) << 12, &byte, 1), 0);
    CHECK_EQ(byte, 0x55);
    CHECK_EQ(shadow_stats(d->shadow)->emulated, 1);
    CHECK_EQ(page_fault(d, 0x7000, PF_P | PF_W, true), EXIT_PF);
    CHECK_EQ(injected(d, &in), 1);
    CHECK_EQ(in.vector, 13);
    end(d);
}

TEST(what_quire_writes_is_heard_of)
{
    test_machine(4096, 1);
    struct domain *d = make();
    const struct shadow_stats *st = shadow_stats(d->shadow);

    CHECK_EQ(page_fault(d, 0x3000, 0, false), EXIT_PF);
    CHECK_EQ(st->unsyncs, 0);
    poke(d, DATA + 4, 0, 1);
    CHECK_EQ(st->unsyncs, 0);
    poke(d, PT, 3, (uint64_t)(DATA + 4) << 12 | ENTRY);
    CHECK_EQ(st->unsyncs, 1);
    CHECK_EQ(domain_audit(), 0);
    load(d->vcpus[0]);
    CHECK_EQ(st->syncs, 1);
    end(d);
}

/* No frame for the first shadow page: it waits for the machine's, whatever
 * its own limit is; and is as it was. */
TEST(it_waits_for_memory)
{
    struct frame *hog = NULL, *f;

    test_machine(4096, 1);
    struct domain *d = make();
    struct vcpu *v = d->vcpus[0];

    while ((f = page_alloc(0, FRAME_PERCPU)) != NULL) {
        f->user = hog;
        hog = f;
    }
    owner_get(d->id)->max_pages = owner_get(d->id)->pages;
    CHECK_EQ(page_fault(d, 0x3000, 0, false), EXIT_PF);
    CHECK_EQ(atomic_load(&d->oom.nr_parked), 1);
    CHECK(v->oom.is_shadows && v->oom.gfn.n == PML4);
    CHECK_EQ(atomic_load(&v->oom.state), OOM_MACHINE);
    while (hog != NULL) {
        f = hog;
        hog = f->user;
        f->user = NULL;
        page_free(f, 0);
    }
    CHECK_EQ(page_fault(d, 0x3000, 0, false), EXIT_PF);
    CHECK_EQ(shadow_stats(d->shadow)->hidden, 1);
    end(d);
}

TEST(nothing_is_left_by_any_failure)
{
    struct domain_config c = config(2);

    test_machine(4096, 1);
    for (uint64_t n = 1; n < 1000; n++) {
        struct domain *d = NULL;
        char why[DOMAIN_WHY_MAX] = "";

        test_settle();
        nr_free = page_nr_free();
        host_fail_alloc_at(n);
        int err = domain_create(&c, &d, why, NULL);
        bool has_failed = host_alloc_failed();
        host_fail_alloc_at(0);
        if (err == 0) {
            domain_get(d);
            end(d);
        } else {
            CHECK_EQ(err, -ENOMEM);
            test_settle();
            CHECK_EQ(page_nr_free(), nr_free);
        }
        if (!has_failed) {
            CHECK(n > 20);
            return;
        }
    }
    CHECK(false);
}

TEST(what_is_refused)
{
    static const unsigned bad[] = { 1, SHADOW_PAGES_MIN - 1,
                                    SHADOW_PAGES_MAX + 1 };
    char why[DOMAIN_WHY_MAX];
    struct domain *d = NULL;

    test_machine(4096, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct domain_config c = config(1);

        c.shadow_pages = bad[i];
        CHECK_EQ(domain_create(&c, &d, why, NULL), -EINVAL);
        CHECK(strstr(why, "shadow pages") != NULL);
    }
}

/* A kill comes back, as often as it likes, until the last user has gone. */
TEST(a_kill_waits_for_who_uses_it)
{
    test_machine(4096, 1);
    struct domain *d = make();
    struct shadow *s = domain_shadow_get(d);
    struct work w = WORK_INIT;

    CHECK(s != NULL);
    CHECK_EQ(page_fault(d, 0x3000, 0, false), EXIT_PF);
    for (unsigned i = 0; i < 100; i++) {
        w = (struct work)WORK_INIT;
        CHECK_EQ(domain_kill(d, &w), -ERESTART);
    }
    CHECK(domain_shadow_get(d) == NULL);
    CHECK_EQ(shadow_audit(s), 0);
    domain_shadow_put(d);
    test_kill(d);
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
}

TEST(a_kill_in_slices)
{
    test_machine(4096, 1);
    struct domain *d = make();
    unsigned slices = 0;

    for (unsigned i = 0; i < 32; i++) {
        page_fault(d, (gva_t)i << 12, PF_W, false);
    }
    for (;;) {
        struct work w = { .left = 1 };

        if (domain_kill(d, &w) == 0) {
            break;
        }
        CHECK_EQ(domain_audit(), 0);
        slices++;
    }
    CHECK(slices > 30);
    domain_put(d);
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
}

/* A fork has a shadow of its own, with nothing in it. */
TEST(a_fork_has_its_own)
{
    struct domain *child;

    test_machine(8192, 1);
    struct domain *d = make();

    CHECK_EQ(page_fault(d, 0x3000, PF_W, false), EXIT_PF);
    CHECK_EQ(test_fork(d, "child", 0, 0, &child), 0);
    CHECK(child->config.shadow && child->shadow != d->shadow);
    CHECK(child->vcpus[0]->shadow == child->shadow);
    CHECK_EQ(shadow_nr_pages(child->shadow), 0);
    CHECK_EQ(page_fault(d, 0x3000, PF_P | PF_W, false), EXIT_NPF);
    CHECK_EQ(test_reset(child, RESET_ALL, 0), 0);
    test_kill(child);
    end(d);
}
