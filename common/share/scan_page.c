/*
 * scan_page.c - one visit: what to do with this gfn, by what is remembered.
 *
 *     shared                      count it
 *     broken since                back off, by more if it was merged lately
 *     skip > 0                    one less
 *     known                       compare, and merge, with what had its checksum
 *     checksum has changed        volatile: skip for longer than last time
 *     unchanged                   note it for its equals
 *     seen first                  merge with a shared frame of that checksum
 *
 * A page table in use is unchanged at every visit and yet written by every
 * walk. It is known by having been broken soon after it was merged, and is
 * left alone for 3, 7, 15 ... 255 passes: it costs next to nothing.
 */
#include "scanner.h"

#include <quire/arch.h>

#define AGE_MAX 8               /* the longest skip is 255 passes */
#define CALM 8                  /* passes after which a break is no bad sign */

#define COST_SKIP 250           /* units */
#define COST_SHARED 250
#define COST_SUM 1500
#define COST_MERGE 4000
#define COST_FREE_CHUNKS 2000

static const uint64_t zeros[PAGE_SIZE / sizeof(uint64_t)];
static uint64_t zero_sum;

void scan_visit_init(void)
{
    zero_sum = scan_sum(zeros);
}

static uint32_t scope_of(const struct p2m *p)
{
    return scan_knobs.merge_across_domains != 0
               ? p->trust_group : SCAN_SCOPE_DOMAIN | p->owner;
}

/* Whose the nodes of this scope are: the domain's, and no other's that had
 * its id and may have been of another trust group; or the group's, 0. */
static uint64_t birth_of(const struct scan_visit *v)
{
    return v->scope < SCAN_SCOPE_DOMAIN ? 0 : v->m->birth;
}

void scan_visit_begin(struct scan_visit *v, struct p2m *p,
                      struct scan_member *m, gfn_t gfn,
                      struct scan_pass *pass)
{
    const struct scan_node *n;

    *v = (struct scan_visit){ .p = p, .m = m, .gfn = gfn, .pass = pass,
                              .scope = scope_of(p), .zero = MFN_INVALID };
    n = scan_stable_find(scan_key(zero_sum, v->scope));
    if (n != NULL && n->is_zero && n->birth == birth_of(v)) {
        v->zero = shared_mfn(n->sf);
    }
}

/* ---- what merging is worth ---------------------------------------------- */

/* Domains are scanned one after another, so that a stamp tells whether this
 * frame was met before in this pass, and in this domain. */
static void count_shared(struct scan_visit *v, mfn_t mfn)
{
    struct scan_pass *pass = v->pass;
    struct frame *f = mfn_to_frame(mfn);
    uint16_t stamp = (uint16_t)(pass->number << 12 | v->p->owner);

    if (mfn_eq(mfn, v->zero)) {
        pass->zero_gfns++;
        pass->zero_frames += f->scan_stamp >> 12 != pass->number;
    } else {
        pass->gfns++;
        pass->frames += f->scan_stamp >> 12 != pass->number;
        pass->firsts += f->scan_stamp != stamp;
    }
    f->scan_stamp = stamp;
}

static void count_error(int err)
{
    if (err == -EILSEQ) {
        share_count(&scan_totals.unequal, 1);
    } else if (err == -ENOMEM) {
        share_count(&scan_totals.no_memory, 1);
    }
}

/* ---- reading a page ------------------------------------------------------ */

/* False: @gfn is not of @type any more, or its domain is going. */
static bool read_sum(struct scan_visit *v, gfn_t gfn, enum p2m_type type,
                     uint64_t *sum)
{
    struct p2m_entry e;
    bool good;

    if (!p2m_access_begin(v->p)) {
        return false;
    }
    e = p2m_near_lookup(v->p, &v->hint, gfn);
    good = e.type == type && mfn_is_ram(e.mfn);
    if (good) {
        const void *page = arch_map_frame(e.mfn);

        *sum = scan_sum(page);
        arch_unmap_frame(page);
    }
    p2m_access_end();
    return good;
}

/* @gfn has just been merged; if its frame is still @mfn, is that all zeros? */
static bool has_zeros(struct p2m *p, gfn_t gfn, mfn_t mfn)
{
    bool zero = false;

    if (p2m_access_begin(p)) {
        struct p2m_entry e = p2m_lookup(p, gfn);

        if (e.type == p2m_ram_shared && mfn_eq(e.mfn, mfn)) {
            const void *page = arch_map_frame(mfn);

            zero = scan_is_zero(page);
            arch_unmap_frame(page);
        }
        p2m_access_end();
    }
    return zero;
}

/* ---- merging -------------------------------------------------------------- */

static int merge_stable(struct scan_visit *v, gfn_t gfn, scan_key_t key)
{
    struct scan_node *n = scan_stable_find(key);
    mfn_t mfn;
    int err;

    if (n != NULL && n->birth != birth_of(v)) {
        scan_stable_remove(n);
        n = NULL;
    }
    if (n == NULL) {
        return -ENOENT;
    }
    mfn = shared_mfn(n->sf);
    err = scan_merge(v->p, &v->hint, gfn, n->sf);
    if (err == 0) {
        count_shared(v, mfn);
    } else if (err == -ENOEXEC || err == -EILSEQ) {
        scan_stable_remove(n);      /* gone, or not what it was taken for */
    }
    return err;
}

/* Take over the reference to @sf, whose contents @gfn has. */
static void remember(struct scan_visit *v, gfn_t gfn, scan_key_t key,
                     struct shared_frame *sf)
{
    mfn_t mfn = shared_mfn(sf);
    struct scan_node *n = scan_stable_insert(key, birth_of(v), sf);

    if (n == NULL) {
        shared_frame_put(sf);
        count_error(-ENOMEM);
        return;
    }
    if (key == scan_key(zero_sum, v->scope) && has_zeros(v->p, gfn, mfn)) {
        n->is_zero = 1;
        v->zero = mfn;
    }
}

/* Make @gfn, seen earlier, shareable. The record, with a reference, and
 * whether it was private until now. */
static int publish(struct p2m *p, gfn_t gfn, struct shared_frame **out,
                   bool *made)
{
    struct shared_frame *sf;
    struct p2m_entry e;
    struct work w = WORK_INIT;
    share_handle_t h;
    int err;

    if (unlikely(p2m_prepare(p, gfn, 1, &w) != 0)) {
        return -EAGAIN;         /* mapped very often, and less next time */
    }
    *made = p2m_lookup(p, gfn).type == p2m_ram_rw;
    err = share_nominate(p, gfn, &h);
    if (err != 0) {
        return err;
    }
    spin_lock(&p->lock);
    e = p2m_lookup_locked(p, gfn);
    sf = shared_frame_at(&e);
    if (sf == NULL || sf->link.handle != h || !p->is_scanned) {
        err = -EAGAIN;
    } else {
        shared_frame_get(sf);
        if (*made) {
            atomic_fetch_or(&sf->scan, SCAN_MADE);
        }
        *out = sf;
    }
    spin_unlock(&p->lock);
    return err;
}

/* Merge @gfn with the page that @seen tells of. */
static int merge_seen(struct scan_visit *v, gfn_t gfn, scan_key_t key,
                      const struct scan_seen *seen)
{
    struct p2m *p = p2m_get_by_owner((domid_t)((seen->place >> 48) - 1));
    gfn_t other = GFN(seen->place & ((UINT64_C(1) << 48) - 1));
    struct shared_frame *sf = NULL;
    bool made = false;
    int err;

    if (p == NULL) {
        return -ESRCH;
    }
    err = p->is_scanned && scope_of(p) == v->scope
              ? publish(p, other, &sf, &made) : -ESRCH;
    if (err == 0) {
        mfn_t mfn = shared_mfn(sf);

        err = scan_merge(v->p, &v->hint, gfn, sf);
        if (err == 0) {
            remember(v, gfn, key, sf);
            count_shared(v, mfn);
        } else {
            shared_frame_put(sf);
        }
    }
    if (err != 0 && made) {
        /* Without memory it stays as it is, one sharer or more. */
        (void)!share_unshare(p, other);
    }
    p2m_put(p);
    return err;
}

static uint64_t place_of(const struct scan_visit *v, gfn_t gfn)
{
    return (uint64_t)(v->p->owner + 1) << 48 | gfn.n;
}

/* With whatever had that checksum. -ENOENT: nothing is known to have, or what
 * was known is not so and has been forgotten; -EEXIST: nothing but itself. */
static int merge_equal(struct scan_visit *v, gfn_t gfn, scan_key_t key)
{
    int err = merge_stable(v, gfn, key);
    struct scan_seen *seen;

    if (err != -ENOENT) {
        return err;
    }
    seen = scan_unstable_slot(key);
    if (seen == NULL || seen->place == 0 || seen->key != key) {
        return -ENOENT;
    }
    if (seen->place == place_of(v, gfn)) {
        return -EEXIST;
    }
    err = merge_seen(v, gfn, key, seen);
    *seen = (struct scan_seen){ 0, 0 };
    return err;
}

/* For its equals to find. */
static void note_seen(struct scan_visit *v, gfn_t gfn, scan_key_t key)
{
    struct scan_seen *seen = scan_unstable_slot(key);

    if (seen == NULL) {
        count_error(-ENOMEM);
    } else {
        *seen = (struct scan_seen){ key, place_of(v, gfn) };
    }
}

/* ---- visits ---------------------------------------------------------------- */

static void back_off(struct scan_slot *s, unsigned by)
{
    s->age = MIN(s->age + by, AGE_MAX);
    s->skip = (1u << s->age) - 1;
}

/* A frame that others have shared may have takers among the scanned. */
static void adopt(struct scan_visit *v, gfn_t gfn)
{
    struct shared_frame *sf;
    struct p2m_entry e;
    scan_key_t key;
    uint64_t sum;

    spin_lock(&v->p->lock);
    e = p2m_lookup_locked(v->p, gfn);
    sf = shared_frame_at(&e);
    if (sf == NULL || (sf->scan & SCAN_KNOWN) != 0) {
        spin_unlock(&v->p->lock);
        return;
    }
    shared_frame_get(sf);
    spin_unlock(&v->p->lock);
    if (v->scope < SCAN_SCOPE_DOMAIN &&
        read_sum(v, gfn, p2m_ram_shared, &sum)) {
        key = scan_key(sum, v->scope);
        if (scan_stable_find(key) == NULL) {
            remember(v, gfn, key, sf);
            return;
        }
    }
    shared_frame_put(sf);
}

static void visit_shared(struct scan_visit *v, gfn_t gfn, mfn_t mfn,
                         struct scan_slot *s, int64_t *cost)
{
    *cost = COST_SHARED;
    if (s != NULL && !s->is_merged) {
        s->is_merged = 1;
        s->survived = 0;
        adopt(v, gfn);
        *cost += COST_SUM;
    } else if (s != NULL && s->survived < 15) {
        s->survived++;
    }
    count_shared(v, mfn);
}

/* What was merged last time is not any more. */
static void visit_broken(struct scan_slot *s)
{
    s->is_merged = 0;
    s->is_known = 0;
    share_count(&scan_totals.broken, 1);
    if (s->survived >= CALM) {
        s->age = 0;
    } else {
        back_off(s, 2);
    }
}

static void end_merge(struct scan_slot *s)
{
    s->is_merged = 1;
    s->survived = 0;
    share_count(&scan_totals.merged, 1);
}

/*
 * Last time it had the checksum s->sum. Before that is made anew: if another
 * page has it, comparing the two costs no more and may be all there is to do.
 * True: the page is still to be looked at. *@noted: it is in its place in the
 * unstable table.
 */
static bool visit_known(struct scan_visit *v, gfn_t gfn, struct scan_slot *s,
                        bool *noted, int64_t *cost)
{
    int err = merge_equal(v, gfn, scan_key(s->sum, v->scope));

    *noted = err == -EEXIST;
    if (err == -ENOENT || err == -EEXIST) {
        return true;
    }
    *cost += COST_MERGE;
    if (err == 0) {
        end_merge(s);
        s->age -= s->age != 0;
        return false;
    }
    count_error(err);
    if (err == -ENOEXEC || err == -EILSEQ) {
        return true;
    }
    v->pass->unshared++;        /* it cannot be merged now */
    return false;
}

/* It has a checksum now: is it new, changed or unchanged? */
static void visit_summed(struct scan_visit *v, gfn_t gfn, struct scan_slot *s,
                         uint64_t sum, bool noted, int64_t *cost)
{
    scan_key_t key = scan_key(sum, v->scope);
    bool was_known = s->is_known, changed = s->sum != sum;

    s->is_known = 1;
    s->sum = sum;
    if (was_known && changed) {
        back_off(s, 1);
        v->pass->volatiles++;
        return;
    }
    if (was_known) {
        s->age -= s->age != 0;
        if (!noted) {
            note_seen(v, gfn, key);
        }
    } else if (s->age == 0) {
        int err = merge_stable(v, gfn, key);

        if (err == 0) {
            end_merge(s);
            *cost += COST_MERGE;
            return;
        }
        count_error(err);
    }
    v->pass->unshared++;
}

static int visit_private(struct scan_visit *v, gfn_t gfn, struct scan_slot *s,
                         int64_t *cost)
{
    bool noted = false;
    uint64_t sum;

    *cost = COST_SKIP;
    if (s->is_merged) {
        visit_broken(s);
    }
    if (s->skip != 0) {
        s->skip--;
        v->pass->volatiles++;
        share_count(&scan_totals.pages_skipped, 1);
        return 0;
    }
    if (!s->is_known || visit_known(v, gfn, s, &noted, cost)) {
        *cost += COST_SUM;
        if (read_sum(v, gfn, p2m_ram_rw, &sum)) {
            visit_summed(v, gfn, s, sum, noted, cost);
        }
    }
    return 1;
}

int scan_visit_next(struct scan_visit *v, int64_t *cost)
{
    /* Nothing is remembered of it: it is always seen first. */
    struct scan_slot none = { .age = 0 }, *s;
    struct p2m_entry e;
    gfn_t gfn;
    int err;

    *cost = COST_SKIP;
    if (!p2m_near_next(v->p, &v->hint, v->gfn, &gfn, &e)) {
        err = scan_slots_end(v->m);
        return err == 0 ? -ENOENT : err;
    }
    if (e.type != p2m_ram_rw && e.type != p2m_ram_shared) {
        v->gfn = GFN(((gfn.n >> e.order) + 1) << e.order);
        return 0;
    }
    err = scan_slot_at(v->m, gfn, &s);
    if (err != 0) {
        *cost = COST_FREE_CHUNKS;
        return err;
    }
    v->gfn = gfn_add(gfn, 1);
    if (e.type == p2m_ram_shared) {
        visit_shared(v, gfn, e.mfn, s, cost);
        return 1;
    }
    if (s == NULL) {
        count_error(-ENOMEM);
    }
    return visit_private(v, gfn, s != NULL ? s : &none, cost);
}
