/*
 * rmap.c - the reverse map of one shared frame: which form answers, and what
 * all forms have in common.
 */
#include "array.h"
#include "table.h"

#include <quire/panic.h>
#include <quire/rng.h>
#include <quire/string.h>

static const struct rmap_ops *const forms[RMAP_NR_FORMS] = {
    [RMAP_ADAPTIVE] = &rmap_adaptive_ops,
    [RMAP_LIST] = &rmap_list_ops,
    [RMAP_HASH256] = &rmap_hash256_ops,
    [RMAP_RBTREE] = &rmap_rbtree_ops,
};

#define AUDIT_WHOLE 64          /* pairs that a quadratic look may have */

struct rmap_usage rmap_usage[MAX_CPUS];
static enum rmap_form boot_form;        /* (c) after boot */

/* What is called without a detour, of form, shape and kind of groups: these,
 * and pairs of two. */
static bool is_one(const struct rmap *r)
{
    return r->count == 1 && r->shape == RMAP_INLINE &&
           r->form == RMAP_ADAPTIVE;
}

static bool is_table(const struct rmap *r)
{
    return r->shape == RMAP_TABLE;
}

static const struct rmap_ops *ops_of(const struct rmap *r)
{
    return forms[r->form];
}

/* Newton's method modulo 2^64: each round doubles the bits that are right, of
 * which an odd number itself has three. */
static uint64_t inverse_of(uint64_t odd)
{
    uint64_t x = odd;

    for (unsigned bits = 3; bits < 64; bits *= 2) {
        x *= 2 - odd * x;
    }
    return x;
}

void rmap_setup(uint64_t seed, enum rmap_form form)
{
    struct rng rng;

    rng_seed(&rng, seed);
    rmap_secret.mask = rng_next(&rng) & WORD_HASH;
    for (unsigned i = 0; i < 2; i++) {
        rmap_secret.factor[i] = rng_next(&rng) | 1;
        rmap_secret.inverse[i] = inverse_of(rmap_secret.factor[i]);
    }
    boot_form = form;
}

int rmap_form_find(const char *name)
{
    for (int i = 0; i < RMAP_NR_FORMS; i++) {
        if (strcmp(forms[i]->name, name) == 0) {
            return i;
        }
    }
    return -EINVAL;
}

const char *rmap_form_name(enum rmap_form form)
{
    return forms[form]->name;
}

void rmap_init_form(struct rmap *r, enum rmap_form form)
{
    *r = (struct rmap){ .form = (uint8_t)form };
}

void rmap_init(struct rmap *r)
{
    rmap_init_form(r, boot_form);
}

void rmap_fini(struct rmap *r)
{
    ops_of(r)->fini(r);
    rmap_init_form(r, r->form);
}

int rmap_init_two(struct rmap *r, gfn_t gfn, domid_t one, domid_t other)
{
    struct rmap_pair p1 = { one, gfn }, p2 = { other, gfn };
    int err;

    rmap_init(r);
    if (r->form == RMAP_ADAPTIVE &&
        one >> RMAP_GROUP_SHIFT == other >> RMAP_GROUP_SHIFT) {
        rmap_adaptive_init_two(r, rmap_key(p1), rmap_key(p2));
        return 0;
    }
    err = rmap_insert(r, p1);
    if (err == 0) {
        err = rmap_insert(r, p2);
    }
    if (err != 0) {
        rmap_fini(r);
    }
    return err;
}

int rmap_insert(struct rmap *r, struct rmap_pair p)
{
    uint64_t key = rmap_key(p);

    if (likely(is_table(r))) {
        uint64_t hash = rmap_hash(key >> RMAP_GROUP_SHIFT);

        struct leaf *l = find_leaf(r, hash);

        size_t k = home_of(hash);
        uint64_t word = pair_word(hash, key);

        if (likely(leaf_add_single(l, k, word))) {
            r->count++;
            return 0;
        }
        return table_add_member(r, l, k, word);
    }
    return ops_of(r)->insert(r, key);
}

/* Out of a map, or of a bucket that is not its home. */
static __attribute__((noinline)) void
remove_elsewhere(struct rmap *r, struct leaf *l, size_t k, uint64_t word)
{
    unsigned used = l->used;

    leaf_remove_member(l, k, word);
    if (unlikely(should_shrink(l, used))) {
        rmap_adaptive_shrink(r, word & WORD_HASH);
    }
}

static __attribute__((noinline)) void
remove_from_map(struct rmap *r, struct leaf *l, size_t k, uint64_t word)
{
    if (!leaf_narrow(l, k, word)) {
        remove_elsewhere(r, l, k, word);
    }
}

int rmap_insert_kin(struct rmap *r, struct rmap_pair p, domid_t relative)
{
    ASSERT(rmap_has(r, (struct rmap_pair){ relative, p.gfn }));
    /* An inline map is one group: no need to ask which. */
    if (likely(is_inline(r) && is_by_gfn(r) && r->form == RMAP_ADAPTIVE &&
               r->count < INLINE_MAX &&
               p.domain >> RMAP_GROUP_SHIFT == relative >> RMAP_GROUP_SHIFT)) {
        ASSERT(!rmap_has(r, p));
        inline_put(r, r->count++, p.domain & 63);
        return 0;
    }
    return rmap_insert(r, p);
}

/* Of a map that is no table: beside the table's way, so that neither has the
 * other's registers to save. */
static __attribute__((noinline)) void remove_small(struct rmap *r, uint64_t key)
{
    if (is_two(r)) {
        two_remove(r, key);
    } else if (is_one(r)) {
        inline_remove_last(r, key);
    } else if (likely(r->form == RMAP_ADAPTIVE)) {
        rmap_adaptive_remove_pair(r, key);
    } else {
        ops_of(r)->remove(r, key);
    }
}

void rmap_remove(struct rmap *r, struct rmap_pair p)
{
    uint64_t key = rmap_key(p);

    if (likely(is_table(r))) {
        uint64_t hash = rmap_hash(key >> RMAP_GROUP_SHIFT);
        struct leaf *l = find_leaf(r, hash);
        size_t k = home_of(hash);
        uint64_t word = pair_word(hash, key);

        r->count--;
        if (unlikely(!leaf_cut_single(l, k, word))) {
            remove_from_map(r, l, k, word);
        } else if (unlikely(should_shrink_by_one(l))) {
            rmap_adaptive_shrink(r, word & WORD_HASH);
        }
        return;
    }
    remove_small(r, key);
}

bool rmap_has(const struct rmap *r, struct rmap_pair p)
{
    uint64_t key = rmap_key(p), hash;

    if (likely(is_table(r))) {
        hash = rmap_hash(key >> RMAP_GROUP_SHIFT);
        struct leaf *l = find_leaf(r, hash);
        size_t k = home_of(hash);
        uint64_t word = pair_word(hash, key);

        return bucket_find(l, k, l->fill[k], word) != BUCKET_WORDS ||
               leaf_has_elsewhere(l, k, word);
    }
    return ops_of(r)->has(r, key);
}

/* ---- groups: one pair after the other, where there are no such groups ---- */

static bool has_groups(const struct rmap *r)
{
    return r->form == RMAP_ADAPTIVE && (r->shape & RMAP_BY_GFN) == 0;
}

void rmap_remove_group(struct rmap *r, domid_t domain, uint64_t group,
                       uint64_t map)
{
    uint64_t first = rmap_group_key(domain, group) << RMAP_GROUP_SHIFT;

    if (likely(has_groups(r) && map != 0)) {
        rmap_adaptive_remove(r, rmap_group_key(domain, group), map);
        return;
    }
    for (; map != 0; map &= map - 1) {
        ops_of(r)->remove(r, first + (unsigned)__builtin_ctzll(map));
    }
}

int rmap_insert_group(struct rmap *r, domid_t domain, uint64_t group,
                      uint64_t map)
{
    uint64_t first = rmap_group_key(domain, group) << RMAP_GROUP_SHIFT;
    uint64_t done = 0;

    if (likely(is_table(r)) ||
        (r->form == RMAP_ADAPTIVE && rmap_adaptive_takes_group(r, map))) {
        return rmap_adaptive_add(r, rmap_group_key(domain, group), map);
    }
    for (uint64_t left = map; left != 0; left &= left - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(left);

        if (ops_of(r)->insert(r, first + bit) != 0) {
            rmap_remove_group(r, domain, group, done);
            return -ENOMEM;
        }
        done |= UINT64_C(1) << bit;
    }
    return 0;
}

uint64_t rmap_find_group(const struct rmap *r, domid_t domain, uint64_t group)
{
    return ops_of(r)->find_group(r, rmap_group_key(domain, group));
}

/* ---- all pairs ------------------------------------------------------------ */

struct taken { struct rmap_pair *out; unsigned n, max; };

static int take_pair(struct rmap_pair p, void *arg)
{
    struct taken *t = arg;

    t->out[t->n++] = p;
    return t->n == t->max;
}

unsigned rmap_take(const struct rmap *r, struct rmap_pair *out, unsigned max)
{
    struct taken t = { out, 0, max };

    if (max != 0) {
        (void)ops_of(r)->for_each(r, take_pair, &t);
    }
    return t.n;
}

unsigned rmap_scan(struct rmap *r, struct rmap_pair *out, unsigned max)
{
    max = (unsigned)MIN(max, rmap_count(r));
    return max == 0 ? 0 : ops_of(r)->scan(r, out, max);
}

int rmap_move(struct rmap *to, struct rmap *from, struct rmap_pair p)
{
    int err = rmap_insert(to, p);

    if (err == 0) {
        rmap_remove(from, p);
    }
    return err;
}

int rmap_for_each(const struct rmap *r, rmap_visit_fn *fn, void *arg)
{
    return ops_of(r)->for_each(r, fn, arg);
}

uint64_t rmap_bytes(void)
{
    uint64_t bytes = 0;

    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        bytes += atomic_load_explicit(&rmap_usage[cpu].bytes,
                                      memory_order_relaxed);
    }
    return bytes;
}

unsigned rmap_audit(const struct rmap *r)
{
    return ops_of(r)->audit(r);
}

unsigned rmap_audit_next(const struct rmap *r, uint64_t *at)
{
    if ((r->shape & RMAP_TABLE) != 0) {
        return table_audit_leaf(r, at);
    }
    *at = 0;
    return rmap_count(r) <= AUDIT_WHOLE ? rmap_audit(r) : 0;
}
