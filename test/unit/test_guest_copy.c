/*
 * test_guest_copy.c - the hypervisor's reads and writes of guest memory:
 * across pages, into holes and read-only pages, of shared pages, through the
 * guest's tables, and on four CPUs while others share, remove and kill.
 */
#include "../../common/domain/build.h"
#include "domains.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/rng.h>
#include <string.h>

static struct domain *make(uint64_t pages)
{
    struct domain_config c = test_config("g", pages);

    return test_create(&c);
}

TEST(bytes_across_pages)
{
    char in[10000], out[10000];
    size_t done;

    test_machine(4096, 1);
    struct domain *d = make(8);

    for (unsigned i = 0; i < sizeof(in); i++) {
        in[i] = (char)(i * 31);
    }
    CHECK_EQ(guest_write_gpa(d->p2m, 4000, in, sizeof(in), &done), 0);
    CHECK_EQ(done, sizeof(in));
    CHECK_EQ(guest_read_gpa(d->p2m, 4000, out, sizeof(out)), 0);
    CHECK(memcmp(in, out, sizeof(in)) == 0);
    /* Up to the hole, and no further. */
    CHECK_EQ(guest_write_gpa(d->p2m, 6 * 4096 + 100, in, sizeof(in), &done),
             -ENOENT);
    CHECK_EQ(done, 2 * 4096 - 100);
    CHECK_EQ(guest_read_gpa(d->p2m, 6 * 4096, out, sizeof(out)), -ENOENT);
    CHECK_EQ(guest_read_gpa(d->p2m, UINT64_MAX - 4, out, 8), -ENOENT);
    CHECK_EQ(guest_read_gpa(d->p2m, (UINT64_C(1) << 48) - 4, out, 8),
             -ENOENT);
    test_kill(d);
    test_settle();
}

TEST(read_only_is_denied)
{
    struct p2m_batch b;
    uint64_t word = 1;
    size_t done;

    test_machine(4096, 1);
    struct domain *d = make(8);
    mfn_t mfn = p2m_lookup(d->p2m, GFN(3)).mfn;

    p2m_batch_begin(&b, d->p2m);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(3), 1, 0), 0);
    p2m_set(&b, GFN(3), mfn, 0, p2m_ram_ro);
    p2m_batch_end(&b);
    CHECK_EQ(guest_write_gpa(d->p2m, 3 << 12, &word, 8, &done), -EACCES);
    CHECK_EQ(done, 0);
    CHECK_EQ(guest_read_gpa(d->p2m, 3 << 12, &word, 8), 0);
    CHECK_EQ(word, 0);
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_settle();
}

TEST(a_write_unshares_first)
{
    share_handle_t h;
    uint64_t word = 7;
    size_t done;

    test_machine(4096, 1);
    test_settle();
    uint64_t nr_free = page_nr_free();
    struct domain *a = make(8), *b = make(8);

    CHECK_EQ(share_nominate(a->p2m, GFN(2), &h), 0);
    CHECK_EQ(domain_remove_gfn(b, GFN(5)), 0);
    CHECK_EQ(share_add_physmap(a->p2m, GFN(2), h, b->p2m, GFN(5)), 0);
    CHECK_EQ(domain_audit(), 0);
    CHECK_EQ(guest_write_gpa(b->p2m, 5 << 12, &word, 8, &done), 0);
    CHECK_EQ(guest_read_gpa(a->p2m, 2 << 12, &word, 8), 0);
    CHECK_EQ(word, 0);
    CHECK_EQ(guest_read_gpa(b->p2m, 5 << 12, &word, 8), 0);
    CHECK_EQ(word, 7);
    CHECK_EQ(domain_remove_gfn(a, GFN(2)), 0);      /* the last sharer */
    CHECK_EQ(domain_audit(), 0);
    test_kill(a);
    test_kill(b);
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
}

TEST(no_memory_to_unshare)
{
    share_handle_t h;
    uint64_t word = 7;
    size_t done;

    test_machine(4096, 1);
    struct domain *a = make(8), *b = make(8);

    CHECK_EQ(share_nominate(a->p2m, GFN(2), &h), 0);
    CHECK_EQ(domain_remove_gfn(b, GFN(5)), 0);
    CHECK_EQ(share_add_physmap(a->p2m, GFN(2), h, b->p2m, GFN(5)), 0);
    host_fail_alloc_at(1);
    CHECK_EQ(guest_write_gpa(b->p2m, 5 << 12, &word, 8, &done), -ENOMEM);
    host_fail_alloc_at(0);
    CHECK_EQ(p2m_lookup(b->p2m, GFN(5)).type, p2m_ram_shared);
    test_kill(a);
    test_kill(b);
    test_settle();
}

/* A guest's write finds no memory: its vCPU waits, and goes on by itself. */
TEST(a_guest_without_memory_waits)
{
    static const struct script_step steps[] = {
        { .op = SCRIPT_WRITE, .gpa = 5 << 12, .value = 9 },
        { .op = SCRIPT_HLT },
    };
    share_handle_t h;

    test_machine(4096, 1);
    struct domain *a = make(8), *b = make(8);

    CHECK_EQ(share_nominate(a->p2m, GFN(2), &h), 0);
    CHECK_EQ(domain_remove_gfn(b, GFN(5)), 0);
    CHECK_EQ(share_add_physmap(a->p2m, GFN(2), h, b->p2m, GFN(5)), 0);
    test_start(b, steps, 2);
    host_fail_alloc_at(1);
    CHECK(test_run_until(b, DOMAIN_SHUTDOWN));
    host_fail_alloc_at(0);
    CHECK_EQ(atomic_load(&b->oom.parks), 1);
    CHECK_EQ(atomic_load(&b->oom.resumes), 1);
    CHECK_EQ(b->crash_reason[0], 0);
    CHECK_EQ(p2m_lookup(b->p2m, GFN(5)).type, p2m_ram_rw);
    CHECK_EQ(b->unshare_ticks.count, 1);
    test_kill(a);
    test_kill(b);
    test_settle();
}

/* Two vCPUs find none at once: each waits by itself, none twice. */
TEST(vcpus_wait_each_for_itself)
{
    struct vcpu_exit e = {
        .reason = EXIT_NPF,
        .npf = { .gpa = 5 << 12, .access = P2M_W, .present = true },
    };
    struct domain_config c = test_config("g", 8);
    share_handle_t h;

    test_machine(4096, 1);
    c.nr_vcpus = 2;
    struct domain *a = make(8), *b = test_create(&c);

    CHECK_EQ(share_nominate(a->p2m, GFN(2), &h), 0);
    CHECK_EQ(domain_remove_gfn(b, GFN(5)), 0);
    CHECK_EQ(share_add_physmap(a->p2m, GFN(2), h, b->p2m, GFN(5)), 0);
    CHECK_EQ(domain_unpause(b), 0);
    for (unsigned i = 0; i < 2; i++) {
        host_fail_alloc_at(1);
        vcpu_handle_exit(b->vcpus[i], &e);
        host_fail_alloc_at(0);
        CHECK_EQ(atomic_load(&b->oom.nr_parked), i + 1);
        CHECK_EQ(atomic_load(&b->vcpus[i]->pause_count), 1);
    }
    CHECK_EQ(b->pause_count, 0);
    CHECK_EQ(oom_audit(), 0);
    CHECK(test_run_idle());         /* there is memory after all */
    CHECK_EQ(atomic_load(&b->oom.nr_parked), 0);
    CHECK_EQ(atomic_load(&b->vcpus[0]->pause_count), 0);
    test_kill(a);
    test_kill(b);
    test_settle();
}

/* An event whose stack lies in a hole cannot be delivered; the instruction at
 * RIP has nothing to do with it and is not emulated in its place. */
TEST(an_event_delivered_into_a_hole_is_gp)
{
    static const uint8_t store[] = { 0x88, 0x07 };      /* mov %al, (%edi) */
    struct vcpu_exit e = {
        .reason = EXIT_NPF, .in_delivery = true,
        .npf = { .gpa = 100 << 12, .access = P2M_W },
    };
    struct host_injection in;
    struct vcpu_state s;
    size_t done;

    test_machine(4096, 1);
    struct domain *d = make(8);
    struct vcpu *v = d->vcpus[0];

    pvh_entry_state(&s, 0x2000, 0);
    CHECK_EQ(arch_vcpu_set_state(v, &s), 0);
    v->regs.rdi = 0x3000;
    v->regs.rax = 0x55;
    CHECK_EQ(guest_write_gpa(d->p2m, 0x2000, store, 2, &done), 0);
    vcpu_handle_exit(v, &e);
    CHECK_EQ(v->regs.rip, 0x2000);
    CHECK_EQ(host_vcpu_injections(v, &in, 1), 1);
    CHECK_EQ(in.vector, 13);
    test_kill(d);
    test_settle();
}

TEST(linear_addresses_through_the_tables)
{
    /* 0x400000 -> gfn 5 writable, 0x401000 -> gfn 6 read-only */
    static const uint64_t tables[][2] = {
        { 0x1000, 0x2007 }, { 0x2000, 0x3007 }, { 0x3010, 0x4007 },
        { 0x4000, 0x5007 }, { 0x4008, 0x6005 },
    };
    struct vcpu_state s;
    char buf[8192];
    size_t done;

    test_machine(4096, 1);
    struct domain *d = make(8);
    struct vcpu *v = d->vcpus[0];

    for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
        CHECK_EQ(guest_write_gpa(d->p2m, tables[i][0], &tables[i][1], 8,
                                 &done), 0);
    }
    pvh_entry_state(&s, 0, 0);
    s.cr0 = 0x80010011;         /* WP */
    s.cr3 = 0x1000;
    s.cr4 = 0x20;
    s.efer = 0x500;
    CHECK_EQ(arch_vcpu_set_state(v, &s), 0);
    memset(buf, 'a', sizeof(buf));
    CHECK_EQ(guest_write_gva(v, 0x400ff0, buf, 16), 0);
    CHECK_EQ(guest_read_gpa(d->p2m, 0x5ff0, buf, 16), 0);
    CHECK_EQ(buf[15], 'a');
    CHECK_EQ(guest_read_gva(v, 0x400ff0, buf, 32), 0);
    CHECK_EQ(guest_write_gva(v, 0x400ff0, buf, 32), -EFAULT);
    CHECK_EQ(guest_read_gva(v, 0x402000, buf, 1), -EFAULT);
    CHECK_EQ(guest_read_gva(v, UINT64_C(1) << 60, buf, 1), -EFAULT);
    CHECK_EQ(guest_read_gva(v, UINT64_MAX - 3, buf, 8), -EFAULT);
    test_kill(d);
    test_settle();
}

/*
 * Three CPUs read and write a page that CPU 0 shares, unshares, removes and
 * populates, and then kills. A frame that went while it was accessed is
 * poisoned: the sanitizer, or the audit of its next use, would tell.
 */
static struct domain *victim;
static _Atomic bool is_over;
static _Atomic uint64_t nr_bad, nr_done;

static void access(void)
{
    uint64_t words[4];
    struct rng r;
    size_t done;
    int err;

    rng_seed(&r, test_seed + arch_cpu());
    while (!atomic_load(&is_over)) {
        gpa_t gpa = (rng_below(&r, 4) + 2) << 12 | 64;

        if (rng_below(&r, 2) == 0) {
            err = guest_read_gpa(victim->p2m, gpa, words, sizeof(words));
        } else {
            memset(words, 0x55, sizeof(words));
            err = guest_write_gpa(victim->p2m, gpa, words, sizeof(words),
                                  &done);
        }
        if (err != 0 && err != -ENOENT && err != -ESRCH && err != -EAGAIN) {
            atomic_fetch_add(&nr_bad, 1);
        }
        atomic_fetch_add(&nr_done, 1);
        arch_poll();
        grace_quiesce();
    }
}

static void change(void)
{
    struct rng r;

    rng_seed(&r, test_seed);
    while (atomic_load(&nr_done) == 0) {
        arch_poll();        /* the others have begun */
        grace_quiesce();
    }
    for (unsigned i = 0; i < 3000; i++) {
        gfn_t gfn = GFN(rng_below(&r, 4) + 2);
        share_handle_t h;
        uint64_t done = 0;
        int err;

        switch (rng_below(&r, 4)) {
        case 0:
            err = share_nominate(victim->p2m, gfn, &h);
            break;
        case 1:
            err = share_unshare(victim->p2m, gfn);
            break;
        case 2:
            err = domain_remove_gfn(victim, gfn);
            break;
        default:
            err = domain_populate(victim, gfn, 1, &done, NULL);
            break;
        }
        if (err != 0 && err != -ENOENT && err != -EINVAL && err != -EAGAIN) {
            atomic_fetch_add(&nr_bad, 1);
        }
        arch_poll();
        grace_quiesce();
    }
    while (domain_kill(victim, NULL) != 0) {
        arch_poll();
        grace_quiesce();
    }
    atomic_store(&is_over, true);
}

static void storm(void *arg)
{
    (void)arg;
    grace_enter();
    if (arch_cpu() == 0) {
        change();
    } else {
        access();
    }
    heap_cache_drain();
    grace_leave();
}

TEST(access_while_all_changes)
{
    test_machine(4096, 4);
    test_settle();
    uint64_t nr_free = page_nr_free();

    victim = make(8);
    host_run_on_cpus(4, storm, NULL);
    grace_enter();
    CHECK_EQ(atomic_load(&nr_bad), 0);
    CHECK(atomic_load(&nr_done) > 0);
    domain_put(victim);
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
    CHECK_EQ(mem_audit(), 0);
}
