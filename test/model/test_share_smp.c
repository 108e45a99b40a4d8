/*
 * test_share_smp.c - sharing on several CPUs under the model TLB.
 *
 * Each CPU owns a domain: it runs its vCPU, which checks every word it reads
 * and writes few values, so that pages are often equal; it fills holes, drops
 * gfns, and kills the domain and makes it anew. And every CPU shares,
 * unshares and audits in all domains, its merges in slices with all the rest
 * in between. Only pages that were compared equal after nomination are
 * merged, as a scanner would; so no guest may ever notice.
 */
#include "test_share.h"

#include <quire/panic.h>

#include <string.h>
#include <unistd.h>

enum { CPUS = 4, GFNS = 20, WORDS = 2, VALUES = 2, SCRIPT_STEPS = 12,
       FOREVER_SECONDS = 300 };

static const unsigned word_at[WORDS] = { 0, 4088 };

struct job {                    /* a merge under way */
    bool active;
    struct p2m *sp, *cp;
    gfn_t sg, cg;
    share_handle_t sh, ch;
    struct share_merge merge;
};

static struct cpu {
    cache_aligned struct vcpu vcpu;
    bool mapped[GFNS];
    uint64_t word[GFNS][WORDS];     /* what the guest must see */
    struct job job;
    struct share_audit audit;
    bool auditing;
    struct rng r;
} cpus[CPUS];

static uint64_t rounds;
static _Atomic uint64_t nr_merges, nr_slices, nr_again, nr_audits, nr_quiet,
                        nr_kills, nr_faults, nr_added;

static domid_t domid_of(unsigned cpu) { return (domid_t)(cpu + 1); }

/* Gfns on both sides of a table's end. */
static gfn_t gfn_of(unsigned g) { return GFN(512 - GFNS / 2 + g); }

static uint64_t load_word(mfn_t m, unsigned byte)
{
    const char *page = arch_map_frame(m);

    return atomic_load_explicit((const _Atomic uint64_t *)(page + byte),
                                memory_order_relaxed);
}

/* ---- a domain's own CPU --------------------------------------------------- */

static void populate(struct cpu *c, unsigned g)
{
    struct frame *f = page_alloc_owned(c->vcpu.p2m->owner, 0);

    BUG_ON(f == NULL);
    page_zero(arch_map_frame(frame_to_mfn(f)));
    BUG_ON(test_p2m_set(c->vcpu.p2m, gfn_of(g).n, frame_to_mfn(f), 0,
                        p2m_ram_rw) != 0);
    c->mapped[g] = true;
    memset(c->word[g], 0, sizeof(c->word[g]));
}

static void create(struct cpu *c, domid_t id)
{
    struct p2m *p;

    /* Others may hold on to the old map for a while. */
    while ((p = p2m_create(id)) == NULL) {
        grace_quiesce();
        arch_relax();
    }
    c->vcpu = (struct vcpu){ .p2m = p };
    BUG_ON(arch_vcpu_init(&c->vcpu) != 0);
    for (unsigned g = 0; g < GFNS; g++) {
        c->mapped[g] = false;
        if (g % 4 != 3) {
            populate(c, g);
        }
    }
}

static void drop_group(struct p2m *p, const struct p2m_group *g)
{
    if (g->type == p2m_ram_shared) {
        share_drop_group(p, g);
        return;
    }
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        unsigned i = (unsigned)__builtin_ctzll(todo);

        frame_put_allocated(mfn_to_frame(p2m_group_mfn(g, i)));
    }
}

static void destroy(struct cpu *c)
{
    struct p2m *p = c->vcpu.p2m;
    gfn_t cursor = GFN(0);
    int err;

    arch_vcpu_fini(&c->vcpu);
    spin_lock(&p->lock);
    p2m_flush(p);
    p->no_users = true;
    spin_unlock(&p->lock);
    do {
        struct work w = { .left = 1 };

        err = p2m_relinquish(p, &cursor, drop_group, &w);
        grace_quiesce();
    } while (err == -ERESTART);
    BUG_ON(err != 0);
    p2m_put(p);
}

/* A gfn of its own becomes a hole. */
static void drop_one(struct cpu *c, unsigned g)
{
    struct p2m *p = c->vcpu.p2m;
    struct p2m_batch b;
    struct p2m_entry e;

    p2m_batch_begin(&b, p);
    e = p2m_lookup_locked(p, gfn_of(g));
    p2m_set(&b, gfn_of(g), MFN_INVALID, 0, p2m_invalid);
    p2m_batch_flush(&b);
    if (e.type == p2m_ram_shared) {
        share_drop(p, gfn_of(g), &e);
    } else {
        frame_put_allocated(mfn_to_frame(e.mfn));
    }
    p2m_batch_end(&b);
    c->mapped[g] = false;
}

/* A script of checked reads and of writes, and what it leaves behind. */
static unsigned make_script(struct cpu *c, struct script_step *s)
{
    unsigned n = 0;

    while (n < SCRIPT_STEPS) {
        unsigned g = (unsigned)rng_below(&c->r, GFNS);
        unsigned k = (unsigned)rng_below(&c->r, WORDS);

        if (!c->mapped[g]) {
            continue;
        }
        s[n] = (struct script_step){
            .op = SCRIPT_EXPECT, .gpa = gfn_to_gpa(gfn_of(g)) + word_at[k],
        };
        if (rng_below(&c->r, 3) == 0) {
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

/* Map a page of anybody's at a hole of this CPU's own domain. */
static void add_one(struct cpu *c, struct p2m *sp, gfn_t sg, unsigned g)
{
    struct p2m *p = c->vcpu.p2m;
    share_handle_t h;
    mfn_t m;

    if (share_nominate(sp, sg, &h) != 0 ||
        share_add_physmap(sp, sg, h, p, gfn_of(g)) != 0) {
        return;
    }
    /* It may be merged or unshared under us; its contents stay. */
    spin_lock(&p->lock);
    m = p2m_lookup_locked(p, gfn_of(g)).mfn;
    for (unsigned k = 0; k < WORDS; k++) {
        c->word[g][k] = load_word(m, word_at[k]);
    }
    spin_unlock(&p->lock);
    c->mapped[g] = true;
    nr_added++;
}

static void change_own(struct cpu *c, struct p2m *p, gfn_t gfn)
{
    unsigned g = (unsigned)rng_below(&c->r, GFNS);

    if (c->mapped[g]) {
        if (rng_below(&c->r, 4) == 0 && g != 0) {
            drop_one(c, g);
        }
    } else if (rng_below(&c->r, 4) == 0) {
        populate(c, g);
    } else {
        add_one(c, p, gfn, g);
    }
}

/* ---- everybody's ----------------------------------------------------------- */

/* The frame behind @gfn, held, and still behind it once held. */
static struct frame *hold(struct p2m *p, gfn_t gfn)
{
    struct p2m_entry e = p2m_lookup(p, gfn);
    struct frame *f;

    if (e.type != p2m_ram_shared) {
        return NULL;
    }
    f = mfn_to_frame(e.mfn);
    if (frame_get(f, DOMID_COW) != 0) {
        return NULL;
    }
    if (!mfn_eq(p2m_lookup(p, gfn).mfn, e.mfn)) {
        frame_put(f);
        return NULL;
    }
    return f;
}

static bool are_equal(struct p2m *p, gfn_t g, struct p2m *q, gfn_t h)
{
    struct frame *a = hold(p, g), *b = a == NULL ? NULL : hold(q, h);
    bool same = a != NULL && b != NULL;

    for (unsigned k = 0; same && k < WORDS; k++) {
        same = load_word(frame_to_mfn(a), word_at[k]) ==
               load_word(frame_to_mfn(b), word_at[k]);
    }
    if (b != NULL) {
        frame_put(b);
    }
    if (a != NULL) {
        frame_put(a);
    }
    return same;
}

static void end_job(struct job *j)
{
    j->active = false;
    p2m_put(j->sp);
    p2m_put(j->cp);
}

static void step_job(struct cpu *c, int64_t units)
{
    struct job *j = &c->job;
    struct work w = { .left = units };
    int err = share_frames(j->sp, j->sg, j->sh, j->cp, j->cg, j->ch,
                           &j->merge, units == 0 ? NULL : &w);

    nr_slices++;
    if (err == -ERESTART) {
        if (rng_below(&c->r, 50) == 0) {
            share_merge_abort(&j->merge);
            end_job(j);
        }
        return;
    }
    BUG_ON(err != 0 && err != -ENOEXEC && err != -EBADF && err != -EEXIST &&
           err != -EAGAIN);
    nr_again += err == -EAGAIN;
    nr_merges += err == 0;
    end_job(j);
}

static void start_job(struct cpu *c, struct p2m *p, gfn_t g, struct p2m *q,
                      gfn_t h)
{
    struct job *j = &c->job;

    *j = (struct job){ .sp = p, .cp = q, .sg = g, .cg = h };
    if (share_nominate(p, g, &j->sh) != 0 ||
        share_nominate(q, h, &j->ch) != 0 || !are_equal(p, g, q, h)) {
        return;
    }
    p2m_get(p);
    p2m_get(q);
    j->active = true;
    step_job(c, 1 + (int64_t)rng_below(&c->r, 2000));
}

static void step_audit(struct cpu *c)
{
    struct work w = { .left = 3000 };

    if (!c->auditing) {
        c->audit = (struct share_audit){ 0 };
        c->auditing = true;
    }
    if (share_audit(&c->audit, &w) == 0) {
        c->auditing = false;
        nr_audits++;
        nr_quiet += !c->audit.changed;
        BUG_ON(c->audit.bad != 0);
    }
}

/* One thing, somewhere, in maps that may go away at any time. */
static void share_something(struct cpu *c)
{
    struct p2m *p = p2m_get_by_owner(domid_of(
        (unsigned)rng_below(&c->r, CPUS)));
    struct p2m *q = p2m_get_by_owner(domid_of(
        (unsigned)rng_below(&c->r, CPUS)));
    gfn_t g = gfn_of((unsigned)rng_below(&c->r, GFNS));
    gfn_t h = gfn_of((unsigned)rng_below(&c->r, GFNS));

    if (p != NULL && q != NULL) {
        switch (rng_below(&c->r, 8)) {
        case 0:
            (void)!share_unshare(p, g);
            break;
        case 1:
            change_own(c, p, g);
            break;
        default:
            if (!c->job.active) {
                start_job(c, p, g, q, h);
            }
            break;
        }
    }
    if (p != NULL) {
        p2m_put(p);
    }
    if (q != NULL) {
        p2m_put(q);
    }
}

static void cpu_main(void *arg)
{
    struct cpu *c = &cpus[arch_cpu()];

    (void)arg;
    for (uint64_t i = 0; i < rounds; i++) {
        switch (rng_below(&c->r, 8)) {
        case 0: case 1: case 2:
            run_guest(c);
            break;
        case 3:
            step_audit(c);
            break;
        default:
            if (c->job.active && rng_below(&c->r, 2) == 0) {
                step_job(c, 1 + (int64_t)rng_below(&c->r, 2000));
            } else {
                share_something(c);
            }
            break;
        }
        if (rng_below(&c->r, 200) == 0) {
            if (c->job.active) {    /* it would wait for itself */
                step_job(c, 0);
            }
            destroy(c);
            create(c, domid_of(arch_cpu()));
            nr_kills++;
        }
        BUG_ON(nr_locks_held() != 0);
        grace_quiesce();
    }
    if (c->job.active) {
        step_job(c, 0);
    }
    while (c->auditing) {
        step_audit(c);
    }
}

TEST(everybody_shares_with_everybody)
{
    alarm(FOREVER_SECONDS);
    test_share_machine(1 << 13, CPUS);
    host_tlb_seed(test_seed, 200);
    rounds = 15000 * test_rounds;
    for (unsigned i = 0; i < CPUS; i++) {
        cpus[i] = (struct cpu){ .auditing = false };
        rng_seed(&cpus[i].r, test_seed * 100 + i);
        CHECK_EQ(owner_claim(domid_of(i), NULL, 1 << 20), domid_of(i));
        create(&cpus[i], domid_of(i));
    }
    host_run_on_cpus(CPUS, cpu_main, NULL);
    for (unsigned i = 0; i < CPUS; i++) {
        for (unsigned g = 0; g < GFNS; g++) {
            struct p2m_entry e = p2m_lookup(cpus[i].vcpu.p2m, gfn_of(g));

            CHECK_EQ(e.type != p2m_invalid, cpus[i].mapped[g]);
            for (unsigned k = 0; cpus[i].mapped[g] && k < WORDS; k++) {
                CHECK_EQ(load_word(e.mfn, word_at[k]), cpus[i].word[g][k]);
            }
        }
    }
    test_share_audit_all();
    for (unsigned i = 0; i < CPUS; i++) {
        destroy(&cpus[i]);
    }
    test_drain_grace();
    test_share_all_gone();
    printf("%lu merges in %lu slices, %lu to try again, %lu added, %lu "
           "faults, %lu kills, %lu audits (%lu quiet)\n", nr_merges,
           nr_slices, nr_again, nr_added, nr_faults, nr_kills, nr_audits,
           nr_quiet);
    CHECK(nr_merges > 100 && nr_kills > 10 && nr_added > 100);
    CHECK(nr_faults > 1000 && nr_audits > 10);
    alarm(0);
}
