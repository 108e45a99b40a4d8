/*
 * tables.c - the page tables: random entries and random edits of them.
 *
 * Each table has a level it was made for, but nothing holds the entries to it:
 * one in ten points anywhere, so that tables are shared, recursive, reached at
 * two levels, and mapped as pages. Only entries at the live indices are used.
 *
 * An edit of a present entry is noted as stale until all translations are
 * gone. An entry that is not noted has been what it is ever since, or absent,
 * which nothing caches; so an address needs INVLPG exactly if there is a noted
 * entry on its walk.
 */
#include "torture.h"

#define SIZE_2M (UINT64_C(1) << 21)
#define SIZE_4M (UINT64_C(1) << 22)
#define SHARED_INDEX 2
#define ALIAS_TRIES 8
#define AVAILABLE UINT64_C(0x07f0000000000e00)  /* software's bits */

/* The level a table was made for; the roots are the first ones. */
static unsigned home_level(const struct mode *m, unsigned table)
{
    unsigned level = 1;

    while (level < m->levels && table < m->first[level]) {
        level++;
    }
    return level;
}

bool tables_is_cached(const struct world *w)
{
    return w->mode == &mode_long;
}

static bool chance(struct world *w, unsigned percent)
{
    return random_below(&w->random, 100) < percent;
}

uint64_t entry_read(const struct world *w, uint64_t at)
{
    return w->mode->entry_len == 8 ? *(volatile uint64_t *)(uintptr_t)at
                                   : *(volatile uint32_t *)(uintptr_t)at;
}

bool tables_has(const struct world *w, uint64_t gpa)
{
    return gpa - w->tables < NR_TABLES * PAGE_SIZE;
}

static void entry_write(const struct world *w, uint64_t at, uint64_t entry)
{
    if (w->mode->entry_len == 8) {
        *(volatile uint64_t *)(uintptr_t)at = entry;
    } else {
        *(volatile uint32_t *)(uintptr_t)at = (uint32_t)entry;
    }
}

static uint64_t copy_of(const struct world *w, uint64_t at)
{
    return GVA(w->copy) + (at - w->tables);
}

uint64_t tables_expect(const struct world *w, uint64_t at)
{
    return entry_read(w, copy_of(w, at));
}

void tables_note(struct world *w, uint64_t at, uint64_t entry)
{
    entry_write(w, copy_of(w, at), entry);
}

enum stale tables_stale(const struct world *w, uint64_t at)
{
    return tables_has(w, at) ? (enum stale)w->flags[(at - w->tables) / 4]
                             : STALE_NOT;
}

void tables_fresh(struct world *w)
{
    memset(w->flags, STALE_NOT, NR_TABLES * PAGE_SIZE / 4);
    w->has_global = (w->cr4 & CR4_PGE) != 0;
    w->is_switched = false;
}

/* Half of the time one of the last few: so that what an edit made stale has
 * been used before, and is used after. */
uint64_t tables_random_va(struct world *w)
{
    const struct mode *m = w->mode;
    uint64_t *recent = &w->recent[random_below(&w->random, NR_RECENT)];
    uint64_t va = random_below(&w->random, PAGE_SIZE);

    if (*recent != 0 && chance(w, 50)) {
        return *recent;
    }

    for (unsigned level = 1; level <= m->levels; level++) {
        unsigned i = (unsigned)random_below(&w->random, NR_LIVE);
        uint64_t index = level == m->levels ? w->live_root[i] : w->live[i];

        va |= index << (PAGE_SHIFT + m->index_bits * (level - 1));
    }
    if (m == &mode_none) {              /* tables and data, as they lie */
        uint64_t first = w->tables >> PAGE_SHIFT;
        uint64_t gfn = chance(w, 10) ? first + random_below(&w->random,
                                                            NR_TABLES)
            : DATA_GFN + random_below(&w->random, setup.top - DATA_GFN);

        return gfn << PAGE_SHIFT | va % PAGE_SIZE;
    }
    if (m == &mode_long && chance(w, 2)) {
        return va | UINT64_C(0x1234) << 48;     /* not canonical */
    }
    *recent = m == &mode_long ? (uint64_t)((int64_t)(va << 16) >> 16)
                              : (uint32_t)va;
    return *recent;
}

/* An entry that may be edited: any, or one that an address in use needs. */
static uint64_t random_place(struct world *w)
{
    unsigned table = (unsigned)random_below(&w->random, NR_TABLES);
    unsigned i = (unsigned)random_below(&w->random, NR_LIVE);
    const unsigned *live = table < NR_ROOTS ? w->live_root : w->live;
    struct touch t = { .va = w->recent[i % NR_RECENT], .kind = READ };
    struct walk k;

    if (chance(w, 60)) {
        walk_address(w, &t, &k);
        if (k.nr > 0 && tables_has(w, k.at[k.nr - 1])) {
            return k.at[chance(w, 70) ? k.nr - 1 : 0];
        }
    }
    return w->tables + table * PAGE_SIZE + live[i] * w->mode->entry_len;
}

static uint64_t random_table(struct world *w, unsigned level)
{
    unsigned first = w->mode->first[level];
    unsigned end = level == 1 ? NR_TABLES : w->mode->first[level - 1];

    return w->tables + (first + random_below(&w->random, end - first))
                       * PAGE_SIZE;
}

static uint64_t random_page(struct world *w)
{
    return (DATA_GFN + random_below(&w->random, setup.top - DATA_GFN))
           << PAGE_SHIFT;
}

/* Mostly aligned to what @level maps; 2M in a 1G entry are reserved bits. */
static uint64_t random_large(struct world *w, unsigned level)
{
    if (w->mode == &mode_two_level) {   /* the tables end below 4M */
        return PTE_PS | SIZE_4M;
    }
    return PTE_PS | (chance(w, level == 3 ? 90 : 20) ? 0 :
        random_below(&w->random, (setup.top << PAGE_SHIFT) / SIZE_2M)
        * SIZE_2M);
}

static uint64_t random_target(struct world *w, unsigned level)
{
    unsigned kind = (unsigned)random_below(&w->random, 100);

    if (kind < 6) {            /* a table of any level, at any level */
        return w->tables + random_below(&w->random, NR_TABLES) * PAGE_SIZE;
    }
    if (level > 1) {
        bool is_table = kind < 75 || (w->mode != &mode_two_level &&
                                      level == w->mode->levels);

        return is_table ? random_table(w, level - 1)
             : kind < 98 ? random_large(w, level) : random_page(w);
    }
    return kind < 95 ? random_page(w) : random_large(w, level);
}

static uint64_t random_entry(struct world *w, unsigned level)
{
    const struct mode *m = w->mode;
    uint64_t bits = random_next(&w->random);
    uint64_t extra = PTE_A | PTE_D | AVAILABLE;

    if (m != &mode_long) {
        extra &= 0xfff;         /* PAE has no bits to spare above */
    }
    if (m == &mode_two_level) {
        bits &= UINT32_MAX;
    }
    if (m == &mode_pae && level == m->levels) {     /* else CR3 may fault */
        return (random_table(w, chance(w, 94) ? level - 1 : level)
                | (chance(w, 96) ? PTE_P : 0) | (bits & 0xe00));
    }
    if (chance(w, 4)) {
        return bits & ~PTE_P;           /* absent: the rest means nothing */
    }
    uint64_t e = random_target(w, level) | PTE_P
               | (bits & extra);

    e |= chance(w, 90) ? PTE_W : 0;
    e |= chance(w, 88) ? PTE_U : 0;
    if (m == &mode_two_level) {
        return e | (chance(w, 1) && (e & PTE_PS) != 0 ? UINT64_C(1) << 21 : 0);
    }
    e |= chance(w, 4) ? PTE_NX : 0;
    e |= level == 1 && chance(w, 30) ? PTE_G : 0;
    if (chance(w, 1)) {                 /* a reserved bit of the address */
        unsigned n = 52 - setup.phys_bits;

        e |= UINT64_C(1) << (52 - n + random_below(&w->random, n));
    }
    return e;
}

/* One bit, or all: from small steps come the rights that were raised only. */
static uint64_t changed_entry(struct world *w, uint64_t old, unsigned level)
{
    static const uint64_t bits[] = { PTE_W, PTE_U, PTE_NX, PTE_A, PTE_D,
                                     PTE_A | PTE_D, PTE_G, PTE_P };

    uint64_t gfn = (old & PTE_ADDR) >> PAGE_SHIFT;
    bool is_sound = tables_has(w, old & PTE_ADDR) ||
                    (gfn >= DATA_GFN && gfn < setup.top);

    if (chance(w, 60) || ((old & PTE_P) == 0 && !is_sound)) {
        return random_entry(w, level);
    }
    uint64_t flip = bits[random_below(&w->random, ARRAY_SIZE(bits))];

    if (w->mode == &mode_pae && level == w->mode->levels) {
        return old ^ PTE_P;             /* it has no rights */
    }
    return w->mode == &mode_two_level ? old ^ (uint32_t)flip : old ^ flip;
}

/* How much of what the processor may have cached of @old is wrong now. */
static enum stale staleness(uint64_t old, uint64_t new)
{
    const uint64_t rights = PTE_W | PTE_U | PTE_A | PTE_D;

    if ((old & PTE_P) == 0 || old == new) {
        return STALE_NOT;
    }
    if (((old ^ new) & ~(rights | PTE_NX)) != 0 || (old & ~new & rights) != 0
        || (new & ~old & PTE_NX) != 0) {
        return STALE_ANY;
    }
    return (new & ~old & PTE_U) != 0 ? STALE_USER : STALE_RIGHTS;
}

/* An address that writes to one of the tables, and which entry it writes. */
static bool find_alias(struct world *w, uint64_t *at, struct touch *t)
{
    for (unsigned i = 0; i < ALIAS_TRIES; i++) {
        struct walk k;

        *t = (struct touch){ .va = tables_random_va(w), .kind = WRITE,
                             .has_ac = true };
        t->va = (t->va & -PAGE_SIZE) | w->live[i % NR_LIVE]
                                       * w->mode->entry_len;
        walk_address(w, t, &k);
        if (k.vector != 0 || k.stale != STALE_NOT || w->is_switched) {
            continue;
        }
        if (k.size > PAGE_SIZE && (k.gpa ^ *at) < k.size) {
            t->va = (t->va & -k.size) | (*at & (k.size - 1));
            k.gpa = *at;
        }
        if (tables_has(w, k.gpa)) {
            *at = k.gpa;
            return true;
        }
    }
    return false;
}

void tables_edit(struct world *w)
{
    uint64_t at = random_place(w);
    struct touch t;
    /* A store of 4 bytes is half an entry of PAE. */
    bool is_alias = w->mode != &mode_pae && chance(w, 25) &&
                    find_alias(w, &at, &t);

    unsigned table = (unsigned)((at - w->tables) >> PAGE_SHIFT);

    if (table < NR_ROOTS &&
        at % PAGE_SIZE / w->mode->entry_len < w->mode->root_fixed) {
        return;
    }
    uint64_t old = entry_read(w, at);
    uint64_t new = changed_entry(w, old, home_level(w->mode, table));

    w->nr_edits++;
    if (is_alias) {
        w->nr_alias_edits++;
        touch_write(w, t.va, new);
    } else {
        entry_write(w, at, new);
        tables_note(w, at, new);
    }
    if (!tables_is_cached(w)) {
        return;
    }
    /* The access may have set bits of the entry before it wrote the entry. */
    uint8_t *flag = &w->flags[(at - w->tables) / 4];
    *flag = (uint8_t)MAX((enum stale)*flag,
                         is_alias && (old & PTE_P) != 0 ? STALE_ANY
                                                        : staleness(old, new));
}

void tables_init(struct world *w)
{
    extern uint64_t boot_pml4[512];
    const struct mode *m = w->mode;

    memset(w->recent, 0, sizeof(w->recent));
    for (unsigned i = 0; i < NR_LIVE; i++) {
        /* Low ones too: in a large page they lead to where RAM is. */
        w->live[i] = i < 4 ? i : 4 + (unsigned)random_below(&w->random, 508);
        w->live_root[i] = m->root_fixed
            + (unsigned)random_below(&w->random,
                                     m->root_entries - m->root_fixed);
    }
    for (unsigned i = 0; i < 4 * NR_RECENT; i++) {
        (void)tables_random_va(w);
    }
    memset((void *)(uintptr_t)w->tables, 0, NR_TABLES * PAGE_SIZE);
    for (unsigned t = 0; t < NR_TABLES; t++) {
        uint64_t table = w->tables + t * PAGE_SIZE;
        const unsigned *live = t < NR_ROOTS ? w->live_root : w->live;

        for (unsigned i = 0; i < NR_LIVE; i++) {
            entry_write(w, table + live[i] * m->entry_len,
                        random_entry(w, home_level(m, t)));
        }
        if (t < NR_ROOTS && m == &mode_long) {
            entry_write(w, table, boot_pml4[0]);
            entry_write(w, table + 8, harness_entry());
            entry_write(w, table + 8 * SHARED_INDEX, shootdown_entry());
        } else if (t < NR_ROOTS) {
            entry_write(w, table, legacy_entry(m));
        }
    }
    memcpy(w->copy, (const void *)(uintptr_t)w->tables,
           NR_TABLES * PAGE_SIZE);
    tables_fresh(w);
}

void tables_check(struct world *w)
{
    for (uint64_t at = w->tables; tables_has(w, at); at += w->mode->entry_len) {
        uint64_t is = entry_read(w, at), must = tables_expect(w, at);

        if (is == must) {
            continue;
        }
        if (is == (must | PTE_A)) {     /* the processor may look ahead */
            w->nr_early++;
        } else {
            guest_fail("seed %lu vcpu %u round %lu: table %lu entry %lu is "
                       "%lx, not %lx", setup.seed, w->id, w->round,
                       (at - w->tables) >> PAGE_SHIFT,
                       at % PAGE_SIZE / w->mode->entry_len, is, must);
        }
        tables_note(w, at, is);
    }
}
