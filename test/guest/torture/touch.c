/*
 * touch.c - an access at random, and what must come of it: the fault that the
 * walk says, with its error code and address, or the right byte of the right
 * frame; accessed and dirty bits as the access demands, and nothing else.
 */
#include "torture.h"

#define HALVES UINT64_C(0xfffffffefffffffe)     /* bit 0 of both is clear */
#define SHOWN 5                                 /* walks printed in full */

static uint64_t word_of(uint64_t gfn, unsigned i)
{
    return mix64(gfn << 9 | i) & HALVES;
}

static uint32_t code_value(uint64_t gfn)
{
    return (uint32_t)word_of(gfn, 0) & 0x00fffffe;
}

static bool is_scratch(unsigned word)
{
    return word - SCRATCH_WORD < GUEST_MAX_VCPUS;
}

/* mov $value, %eax; int $0x80 */
static uint64_t code_word(uint64_t gfn)
{
    return 0xb8 | (uint64_t)code_value(gfn) << 8 | UINT64_C(0x80cd) << 40;
}

static uint64_t data_word(uint64_t gfn, unsigned i)
{
    return i == CODE_OFFSET / 8 ? code_word(gfn) : word_of(gfn, i);
}

/* What a vCPU writes says where it belongs, for data_check(). */
static uint64_t scratch_value(struct world *w, uint64_t gfn)
{
    return (gfn << 33 | random_next(&w->random) >> 32) & HALVES;
}

void data_init(void)
{
    for (uint64_t gfn = DATA_GFN; gfn < setup.top; gfn++) {
        for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
            ((uint64_t *)gfn_ptr(gfn))[i] = is_scratch(i) ? gfn << 33
                                                          : data_word(gfn, i);
        }
    }
}

void data_check(void)
{
    for (uint64_t gfn = DATA_GFN; gfn < setup.top; gfn++) {
        for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
            uint64_t is = ((uint64_t *)gfn_ptr(gfn))[i];

            CHECK(is_scratch(i) ? is >> 33 == gfn : is == data_word(gfn, i),
                  "seed %lu: word %u of frame %lx is %lx", setup.seed, i, gfn,
                  is);
        }
    }
}

/* ---- one access and its judgement --------------------------------------- */
static void complain(struct world *w, const struct touch *t,
                     const struct walk *k, const char *what, uint64_t is,
                     uint64_t must)
{
    static const char *const names[] = { "read", "write", "rmw", "fetch" };
    static _Atomic unsigned shown;

    guest_fail("%s seed %lu vcpu %u round %lu: %s of %lx by ring %u: %s is "
               "%lx, not %lx", w->mode->name, setup.seed, w->id, w->round,
               names[t->kind], t->va,
               t->is_user ? 3 : 0, what, is, must);
    if (shown++ < SHOWN) {
        guest_printf("  cr0 %lx cr4 %lx efer %lx ac %u root %u stale %u\n",
                     w->cr0, w->cr4, w->efer, t->has_ac, w->root, k->stale);
        for (unsigned i = 0; i < k->nr; i++) {
            guest_printf("  entry at %lx: %lx\n", k->at[i], k->entry[i]);
        }
    }
}

/* The entries of the walk: A set in all if it went well (but a PDPTE of PAE
 * has no such bit), D in the last if it wrote; at most A if it did not go
 * well; all else as it was. */
static void check_entries(struct world *w, const struct touch *t,
                          const struct walk *k, uint64_t written_at)
{
    bool is_write = t->kind == WRITE || t->kind == RMW;

    for (unsigned i = 0; i < k->nr; i++) {
        uint64_t at = k->at[i], must = k->entry[i], is = entry_read(w, at);
        bool is_leaf = false;

        if (!tables_has(w, at)) {
            continue;
        }
        for (unsigned j = 0; j < k->nr; j++) {  /* one entry, two levels */
            is_leaf |= k->at[j] == at && j == k->nr - 1;
        }
        if (at == written_at) {
            must = t->value;
        } else if (k->vector == 0 && (i > 0 || w->mode != &mode_pae)) {
            must |= setup.rule == RULE_ACCESSED ? 0 : PTE_A;
            must |= is_leaf && is_write && setup.rule != RULE_DIRTY ? PTE_D
                                                                    : 0;
        } else if (is == (must | PTE_A) && (must & PTE_P) != 0) {
            must = is;          /* even in a PDPTE, if the processor is QEMU */
        }
        if (is != must) {
            complain(w, t, k, "an entry", is, must);
        }
        tables_note(w, at, is);
    }
}

/* P comes with RSV, say the manuals; QEMU 7.2 leaves it out. The first fault
 * decides which it is here, figure 10 tells, and all others must agree. */
static bool is_without_p(const struct outcome *o)
{
    unsigned is = (o->error & PF_P) != 0 ? RSV_WITH_P : RSV_WITHOUT_P;
    unsigned unknown = 0;

    (void)atomic_compare_exchange_strong(&setup.rsv_form, &unknown, is);
    return setup.rsv_form == RSV_WITHOUT_P;
}

static bool is_as_walked(const struct touch *t, const struct walk *k,
                         const struct outcome *o)
{
    uint64_t differs = o->error ^ k->error;

    if (o->vector != k->vector) {
        return false;
    }
    if (k->vector == 0) {
        return true;
    }
    if (k->vector == TRAP_GP) {
        return o->error == 0;
    }
    if ((k->error & o->error & PF_RSV) != 0 && is_without_p(o)) {
        differs ^= PF_P;
    }
    /* Where nothing may be read either, a read-modify-write may have failed
     * as the read that it begins with. */
    if (t->kind == RMW && !k->is_readable) {
        differs &= ~(uint64_t)PF_W;
    }
    return differs == 0 && o->cr2 == t->va;
}

/* Returns whether it went as the walk says. */
static bool judge(struct world *w, const struct touch *t, const struct walk *k,
                  const struct outcome *o, uint64_t written_at)
{
    bool is_right = is_as_walked(t, k, o);

    if (!is_right) {
        if (o->vector != k->vector) {
            complain(w, t, k, "the vector", o->vector, k->vector);
        } else if (o->error != k->error) {
            complain(w, t, k, "the error code", o->error, k->error);
        } else {
            complain(w, t, k, "CR2", o->cr2, t->va);
        }
    }
    check_entries(w, t, k, written_at);
    return is_right;
}

static void run(struct world *w, const struct touch *t, const struct walk *k,
                struct outcome *o)
{
    w->nr_touches++;
    harness_run(w, t, o);
    /* More rights without INVLPG: the fault itself drops the old ones. */
    if (o->vector == TRAP_PF && k->vector == 0 && k->stale == STALE_RIGHTS) {
        w->nr_spurious++;
        harness_run(w, t, o);
    }
    w->nr_faults += o->vector != 0;
}

void touch_write(struct world *w, uint64_t va, uint64_t value)
{
    struct touch t = { .va = va, .value = value, .kind = WRITE,
                       .has_ac = true };
    struct walk k;
    struct outcome o;

    walk_address(w, &t, &k);
    run(w, &t, &k, &o);
    if (judge(w, &t, &k, &o, k.gpa)) {
        uint64_t is = entry_read(w, k.gpa);

        if (is != value) {
            complain(w, &t, &k, "the table written by an alias", is, value);
        }
        tables_note(w, k.gpa, is);
    }
}

static bool is_data(uint64_t gpa)
{
    return gpa >> PAGE_SHIFT >= DATA_GFN && gpa >> PAGE_SHIFT < setup.top;
}

/* Make @t one that does no harm where it goes; false: there is none. */
static bool aim(struct world *w, struct touch *t)
{
    unsigned word = (unsigned)random_below(&w->random, PAGE_SIZE / 8);
    struct walk k;

    if (is_scratch(word)) {
        word = SCRATCH_WORD + w->id;    /* others write theirs */
    }
    t->va &= -PAGE_SIZE;
    walk_address(w, t, &k);
    if (k.vector != 0) {
        t->va |= t->kind == FETCH ? CODE_OFFSET : word * 8;
        return true;
    }
    if (is_data(k.gpa)) {
        t->va |= t->kind == FETCH ? CODE_OFFSET
               : t->kind == READ ? word * 8 : (SCRATCH_WORD + w->id) * 8;
        t->value = scratch_value(w, k.gpa >> PAGE_SHIFT);
        return true;
    }
    t->va |= word * 8;
    for (unsigned i = 0; i < k.nr && t->kind != READ; i++) {
        if (k.at[i] == (k.gpa | word * 8)) {
            return false;       /* the write might undo its own D bit */
        }
    }
    if (t->kind == WRITE && tables_has(w, k.gpa)) {
        t->kind = RMW;
        return true;
    }
    return t->kind != FETCH && k.gpa >> PAGE_SHIFT < setup.top &&
           (t->kind == READ || tables_has(w, k.gpa));
}

static void check_value(struct world *w, const struct touch *t,
                        const struct walk *k, const struct outcome *o)
{
    uint64_t gfn = k->gpa >> PAGE_SHIFT;

    if (t->kind == FETCH) {
        if ((uint32_t)o->value != code_value(gfn)) {
            complain(w, t, k, "what the code returned", o->value,
                     code_value(gfn));
        }
    } else if (t->kind != RMW && (is_data(k->gpa) || tables_has(w, k->gpa))) {
        uint64_t is = *(volatile uint64_t *)(uintptr_t)k->gpa;
        uint64_t must = t->kind == WRITE ? t->value : o->value;

        if (w->mode != &mode_long) {    /* accesses of 4 bytes */
            is = (uint32_t)is;
            must = (uint32_t)must;
        }

        if (is != must) {
            complain(w, t, k, "the frame's word", must, is);
        }
    }
}

/* A read by a translation that may be stale: any page that was ever mapped
 * there may answer, but nothing may break. */
static void read_stale(struct world *w, struct touch *t)
{
    struct outcome o;
    struct walk k;

    t->kind = READ;
    walk_address(w, t, &k);
    w->nr_stale++;
    harness_run(w, t, &o);
    for (unsigned i = 0; i < k.nr; i++) {
        uint64_t is = entry_read(w, k.at[i]);

        if (tables_has(w, k.at[i]) && is == (k.entry[i] | PTE_A)) {
            tables_note(w, k.at[i], is);
        }
    }
}

void touch_random(struct world *w)
{
    uint64_t bits = random_next(&w->random);
    struct touch t = { .va = tables_random_va(w),
                       .kind = (enum kind)(bits & 3),
                       .is_user = (bits & 4) != 0,
                       .has_ac = (bits & 8) != 0 };
    struct outcome o;
    struct walk k;

    if (!aim(w, &t)) {
        w->nr_skipped++;
        return;
    }
    walk_address(w, &t, &k);
    if (k.vector == TRAP_GP && t.kind == FETCH) {
        w->nr_skipped++;        /* whether the jump faults or its target */
        return;
    }
    if (tables_is_cached(w) && k.vector != TRAP_GP &&
        (k.stale == STALE_ANY || w->is_switched)) {
        if ((bits & 0x70) == 0) {
            read_stale(w, &t);
            return;
        }
        if (setup.rule != RULE_INVLPG) {
            invlpg((const void *)(uintptr_t)t.va);
        }
    }
    run(w, &t, &k, &o);
    if (judge(w, &t, &k, &o, UINT64_MAX) && o.vector == 0) {
        check_value(w, &t, &k, &o);
    }
}
