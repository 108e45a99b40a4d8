/*
 * tlb.c - the model TLB; tlb.h says what it models and what it judges.
 */
#include "tlb.h"
#include "host.h"

#include <quire/arch.h>
#include <quire/frame_table.h>
#include <quire/panic.h>
#include <quire/rng.h>

#include <pthread.h>

/* The processor's view of an entry, on purpose not common/p2m's. */
#define HW_P (UINT64_C(1) << 0)
#define HW_W (UINT64_C(1) << 1)
#define HW_U (UINT64_C(1) << 2)
#define HW_PS (UINT64_C(1) << 7)
#define HW_ADDRESS UINT64_C(0x000ffffffffff000)
#define HW_NX (UINT64_C(1) << 63)
#define HW_LEVELS 4u

#define TLB_ENTRIES 192u

struct tlb_entry {
    struct tlb_tag tag;
    uint64_t first;         /* first gfn covered */
    unsigned order;         /* log2 of the gfns covered */
    unsigned table_level;   /* 0: a leaf; else the level of table @mfn */
    mfn_t mfn;
    unsigned rights;        /* of a leaf */
};

static struct tlb {
    cache_aligned pthread_mutex_t mutex;
    _Atomic unsigned nr;
    struct tlb_entry entry[TLB_ENTRIES];
    struct tlb_tag now;     /* while running */
    bool running;
    uint64_t last_gfn;
    struct rng rng;
    bool seeded;
} tlbs[MAX_CPUS] = {
    [0 ... MAX_CPUS - 1] = { .mutex = PTHREAD_MUTEX_INITIALIZER },
};

static unsigned speculation = 250;      /* permille of steps */

static uint64_t base_of(uint64_t gfn, unsigned order)
{
    return gfn >> order << order;
}

static uint64_t hw_read(mfn_t table, uint64_t gfn, unsigned level)
{
    const _Atomic uint64_t *entries = arch_map_frame(table);
    unsigned i = (gfn >> (9 * (level - 1))) & 511;
    uint64_t e = atomic_load_explicit(&entries[i], memory_order_acquire);

    arch_unmap_frame((const void *)(uintptr_t)entries);
    return e;
}

static mfn_t hw_mfn(uint64_t e)
{
    return MFN((e & HW_ADDRESS) >> PAGE_SHIFT);
}

static bool is_leaf(uint64_t e, unsigned level)
{
    return level == 1 || (e & HW_PS) != 0;
}

static unsigned leaf_rights(uint64_t e)
{
    return P2M_R | (e & HW_W ? P2M_W : 0) | (e & HW_NX ? 0 : P2M_X);
}

/* Whether the tables of @e's p2m give what @e says of @gfn, walked from the
 * root. A cached superpage may have been split since: that alone is right. */
static bool agrees(const struct tlb_entry *e, uint64_t gfn)
{
    mfn_t table = e->tag.p2m->root;

    for (unsigned level = HW_LEVELS; level != e->table_level; level--) {
        uint64_t raw = hw_read(table, gfn, level);

        if (!(raw & HW_P)) {
            return false;
        }
        if (is_leaf(raw, level)) {
            uint64_t offset = gfn - base_of(gfn, 9 * (level - 1));

            return e->table_level == 0 &&
                   mfn_eq(mfn_add(hw_mfn(raw), offset),
                          mfn_add(e->mfn, gfn - e->first)) &&
                   (e->rights & ~leaf_rights(raw)) == 0;
        }
        table = hw_mfn(raw);
    }
    return mfn_eq(table, e->mfn);
}

/*
 * T2. The p2m lock's ticket serves as a sequence count: unchanged and free
 * at both ends, no batch was open in between; generation unchanged, every
 * flush is acknowledged. In any other case an old translation is allowed.
 */
static void judge_use(const struct tlb_entry *e, uint64_t gfn)
{
    const struct p2m *p = e->tag.p2m;
    uint32_t ticket = p->lock.ticket;
    bool ok;

    if (ticket >> 16 != (ticket & 0xffff) ||
        p->generation != e->tag.generation) {
        return;
    }
    ok = agrees(e, gfn);
    if (!ok && p->lock.ticket == ticket &&
        p->generation == e->tag.generation) {
        panic("T2: CPU %u uses a stale %s for gfn %lx of d%u: mfn %lx",
              arch_cpu(), e->table_level ? "table" : "translation", gfn,
              p->owner, e->mfn.n);
    }
}

/* Whether some entry into a guest could still look @e up. */
static bool is_live(const struct tlb *t, const struct tlb_entry *e)
{
    if (t->running && t->now.asid == e->tag.asid) {
        return true;
    }
    return !e->tag.p2m->no_users &&
           e->tag.p2m->generation == e->tag.generation;
}

static void forget(struct tlb *t, unsigned i)
{
    t->entry[i] = t->entry[t->nr - 1];
    t->nr--;
}

/* A root goes with its p2m: nothing of that map can be entered any more. */
static void forget_map(struct tlb *t, mfn_t root)
{
    for (unsigned i = 0; i < t->nr;) {
        if (mfn_eq(t->entry[i].tag.p2m->root, root)) {
            forget(t, i);
        } else {
            i++;
        }
    }
}

static void frame_freed(mfn_t mfn, unsigned order)
{
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        struct tlb *t = &tlbs[cpu];

        if (t->nr == 0) {
            continue;
        }
        pthread_mutex_lock(&t->mutex);
        if (t->running && t->now.p2m->root.n >> order == mfn.n >> order) {
            panic("T1: the root %lx is freed while CPU %u is in its guest",
                  mfn.n, cpu);
        }
        forget_map(t, mfn);
        for (unsigned i = 0; i < t->nr; i++) {
            struct tlb_entry *e = &t->entry[i];
            unsigned size = e->table_level ? 0 : e->order;
            unsigned both = MAX(size, order);

            if (e->mfn.n >> both == mfn.n >> both && is_live(t, e)) {
                panic("T1: mfn %lx is freed, but CPU %u may use it as %s "
                      "for gfn %lx of d%u", mfn.n, cpu,
                      e->table_level ? "a table" : "a page", e->first,
                      e->tag.p2m->owner);
            }
        }
        pthread_mutex_unlock(&t->mutex);
    }
}

static void __attribute__((constructor)) watch_frames(void)
{
    host_frame_freed_hook = frame_freed;
}

void tlb_enter(const struct p2m *p, uint64_t generation,
               const struct asid_slot *slot, bool flush)
{
    struct tlb *t = &tlbs[arch_cpu()];

    pthread_mutex_lock(&t->mutex);
    if (!t->seeded) {
        rng_seed(&t->rng, arch_cpu());
        t->seeded = true;
    }
    if (flush) {
        t->nr = 0;
    }
    t->now = (struct tlb_tag){ p, generation, slot, slot->asid };
    t->running = true;
    for (unsigned i = 0; i < t->nr; i++) {
        const struct tlb_tag *tag = &t->entry[i].tag;

        if (tag->asid == slot->asid &&
            (tag->p2m != p || tag->generation != generation ||
             tag->slot != slot)) {
            panic("T3: CPU %u enters d%u under ASID %u, which still has "
                  "gfn %lx of another", arch_cpu(), p->owner, slot->asid,
                  t->entry[i].first);
        }
    }
    pthread_mutex_unlock(&t->mutex);
}

void tlb_leave(void)
{
    struct tlb *t = &tlbs[arch_cpu()];

    pthread_mutex_lock(&t->mutex);
    t->running = false;
    pthread_mutex_unlock(&t->mutex);
}

static struct tlb_entry *find(struct tlb *t, uint64_t gfn, unsigned level)
{
    for (unsigned i = 0; i < t->nr; i++) {
        struct tlb_entry *e = &t->entry[i];

        if (e->tag.asid == t->now.asid && e->table_level == level &&
            base_of(gfn, e->order) == e->first) {
            return e;
        }
    }
    return NULL;
}

static void insert(struct tlb *t, uint64_t gfn, unsigned order,
                   unsigned table_level, mfn_t mfn, unsigned rights)
{
    if (t->nr < TLB_ENTRIES) {      /* full: this one is not remembered */
        t->entry[t->nr++] = (struct tlb_entry){
            .tag = t->now, .first = base_of(gfn, order), .order = order,
            .table_level = table_level, .mfn = mfn, .rights = rights,
        };
    }
}

/*
 * Walk for @gfn from the deepest table remembered, remembering all that is
 * met. Zero rights: not present.
 */
static unsigned walk(struct tlb *t, uint64_t gfn, mfn_t *mfn)
{
    mfn_t table = t->now.p2m->root;
    unsigned level = HW_LEVELS;

    for (unsigned l = 1; l < HW_LEVELS; l++) {
        const struct tlb_entry *e = find(t, gfn, l);

        if (e != NULL) {
            judge_use(e, gfn);
            table = e->mfn;
            level = l;
            break;
        }
    }
    for (;; level--) {
        uint64_t raw = hw_read(table, gfn, level);
        unsigned order = 9 * (level - 1);

        if (!(raw & HW_P)) {
            return 0;
        }
        if (!(raw & HW_U)) {
            panic("entry %lx for gfn %lx lacks U", raw, gfn);
        }
        if (is_leaf(raw, level)) {
            insert(t, gfn, order, 0, hw_mfn(raw), leaf_rights(raw));
            *mfn = mfn_add(hw_mfn(raw), gfn - base_of(gfn, order));
            return leaf_rights(raw);
        }
        table = hw_mfn(raw);
        insert(t, gfn, order, level - 1, table, 0);
    }
}

static bool access_locked(struct tlb *t, uint64_t gfn, unsigned access,
                          mfn_t *mfn, bool *present)
{
    struct tlb_entry *e;
    unsigned rights;

    *present = true;
    while ((e = find(t, gfn, 0)) != NULL) {
        if ((access & ~e->rights) == 0) {
            judge_use(e, gfn);
            *mfn = mfn_add(e->mfn, gfn - e->first);
            return true;
        }
        /* A processor looks again before it reports lacking rights. */
        forget(t, (unsigned)(e - t->entry));
    }
    rights = walk(t, gfn, mfn);
    *present = rights != 0;
    return rights != 0 && (access & ~rights) == 0;
}

bool tlb_access(gpa_t gpa, unsigned access, mfn_t *mfn, bool *present)
{
    struct tlb *t = &tlbs[arch_cpu()];
    uint64_t gfn = gpa_to_gfn(gpa).n;
    bool ok;

    pthread_mutex_lock(&t->mutex);
    t->last_gfn = gfn;
    ok = access_locked(t, gfn, access, mfn, present);
    pthread_mutex_unlock(&t->mutex);
    return ok;
}

void tlb_speculate(void)
{
    struct tlb *t = &tlbs[arch_cpu()];
    static const unsigned reach[] = { 0, 3, 9, 12, 18 };
    uint64_t gfn, mask;
    mfn_t mfn;

    pthread_mutex_lock(&t->mutex);
    if (rng_below(&t->rng, 1000) < speculation) {
        mask = (UINT64_C(1) <<
                reach[rng_below(&t->rng, ARRAY_SIZE(reach))]) - 1;
        gfn = t->last_gfn ^ (rng_next(&t->rng) & mask);
        if (find(t, gfn, 0) == NULL) {
            (void)walk(t, gfn, &mfn);
        }
    }
    pthread_mutex_unlock(&t->mutex);
}

void host_tlb_reset(void)
{
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        tlbs[cpu].nr = 0;
        tlbs[cpu].running = false;
    }
}

void host_tlb_seed(uint64_t seed, unsigned permille)
{
    speculation = permille;
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        rng_seed(&tlbs[cpu].rng, mix64(seed + cpu));
        tlbs[cpu].seeded = true;
    }
}

static unsigned for_each_live(const struct p2m *p,
                              void (*fn)(const struct tlb_entry *e))
{
    unsigned nr = 0;

    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        struct tlb *t = &tlbs[cpu];

        pthread_mutex_lock(&t->mutex);
        for (unsigned i = 0; i < t->nr; i++) {
            if (t->entry[i].tag.p2m == p && is_live(t, &t->entry[i])) {
                fn(&t->entry[i]);
                nr++;
            }
        }
        pthread_mutex_unlock(&t->mutex);
    }
    return nr;
}

static void count_only(const struct tlb_entry *e) { (void)e; }

static void judge_whole(const struct tlb_entry *e)
{
    uint64_t nr = e->table_level ? 1 : UINT64_C(1) << e->order;

    for (uint64_t k = 0; k < nr; k++) {
        judge_use(e, e->first + k);
    }
}

unsigned host_tlb_entries(const struct p2m *p)
{
    return for_each_live(p, count_only);
}

void host_tlb_check(const struct p2m *p)
{
    (void)for_each_live(p, judge_whole);
}
