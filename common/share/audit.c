/*
 * audit.c - do the records, the frames and the p2ms tell the same story?
 *
 *   S1  a linked frame has type SHARED
 *   S2  ... and belongs to DOMID_COW
 *   S3  its references = its type references = its rmap entries, plus one
 *       while a merge holds it; no pair twice
 *   S4  each rmap entry's gfn maps the frame as ram_shared, and each
 *       ram_shared entry is in the rmap of its frame
 *   S5  no writable mapping of a shared frame
 *   S6  linked frames and DOMID_COW's pages, pairs and totals, a p2m's
 *       ram_shared entries and its count: equal
 *
 * First every record, pair by pair; then every p2m, entry by entry. The two
 * sets of (domain, gfn, mfn) are compared by a sum of hashes, which needs no
 * memory. The place in the list is a link in the list itself, so that it
 * stays good whatever is retired meanwhile. Each check is made under the
 * locks that make it exact; only the sums, and references too many (a reader
 * may have one for a moment), need the machine to be quiet, and are left out
 * if anything has changed since the start (a->changed): pairs, or the place in
 * a reverse map, when another audit scans it as well.
 */
#include "shared_frame.h"

#include <quire/log.h>
#include <quire/owner.h>
#include <quire/rng.h>

#define GROUP 4                 /* pairs or entries under one lock */
#define RMAP_AUDIT_MAX 32       /* longer ones: the sums of S4 must do */
#define COST_FRAME 400          /* units */
#define COST_PAIR 450
#define COST_RMAP_PAIR 24
#define LARGE 64                /* from here on a scan looks for its place: */
#define COST_SCAN 12000
#define COST_DOMAIN 250
#define COST_ENTRY 450

enum { START, FRAMES, P2MS, SUMS };

#define violation(a, ...) \
    do { \
        (a)->bad++; \
        log_error("share: " __VA_ARGS__); \
    } while (0)

/* Grows whenever a pair comes, goes or moves. */
static uint64_t count_changes(void)
{
    return share_read(&share_totals.added) +
           share_read(&share_totals.removed) +
           share_read(&share_totals.moved) +
           share_read(&share_totals.kept) +
           share_read(&share_totals.released);
}

static _Atomic uint64_t nr_scans;   /* of groups of pairs, by all audits */

static uint64_t fingerprint(domid_t domain, gfn_t gfn, mfn_t mfn)
{
    return mix64(mix64((uint64_t)domain << 48 | gfn.n) + mfn.n);
}

static void start(struct share_audit *a)
{
    *a = (struct share_audit){ .stage = FRAMES };
    list_init(&a->cursor.link);
    a->changes = count_changes();
    a->scans = share_read(&nr_scans);
    spin_lock(&shared_frames_lock);
    list_push(&shared_frames, &a->cursor.link);
    spin_unlock(&shared_frames_lock);
}

/* Move the cursor on by one record; NULL: it was at the end, and is gone. */
static struct shared_frame *next_frame(struct share_audit *a)
{
    struct shared_frame *sf = NULL;
    struct list *n;

    spin_lock(&shared_frames_lock);
    n = a->cursor.link.next;
    while (sf == NULL && n != &shared_frames) {
        struct share_link *link = container_of(n, struct share_link, link);

        if (link->handle != 0) {        /* else another audit's cursor */
            sf = container_of(link, struct shared_frame, link);
        }
        n = n->next;
    }
    list_remove(&a->cursor.link);
    if (sf != NULL) {
        shared_frame_get(sf);
        list_push(&sf->link.link, &a->cursor.link);
    }
    spin_unlock(&shared_frames_lock);
    return sf;
}

/* S1 to S3. Returns how many pairs to check. */
static uint64_t check_frame(struct share_audit *a, struct shared_frame *sf)
{
    const struct frame *f = shared_frame_frame(sf);
    mfn_t mfn = shared_mfn(sf);
    uint64_t nr = 0, holders;

    spin_lock(&sf->lock);
    if (sf->link.handle != 0) {
        nr = rmap_count(&sf->rmap);
        holders = nr + (sf->role != SHARED_IDLE);
        a->frames++;
        if (frame_type(f) != FRAME_TYPE_SHARED) {
            violation(a, "S1 mfn %lx: type %d", mfn.n, frame_type(f));
        }
        if (frame_owner(f) != DOMID_COW || f->use != FRAME_SHARED ||
            f->user != sf) {
            violation(a, "S2 mfn %lx: owner d%d, use %d", mfn.n,
                      frame_owner(f), f->use);
        }
        if (frame_type_count(f) > holders &&    /* kept by forks */
            frame_refs(f) >= frame_type_count(f)) {
            a->held += frame_type_count(f) - holders;
            holders = frame_type_count(f);
        }
        if (frame_refs(f) < holders || frame_type_count(f) != holders) {
            violation(a, "S3 mfn %lx: %u references, %lu of the type, %lu "
                      "holders", mfn.n, frame_refs(f), frame_type_count(f),
                      holders);
        } else if (frame_refs(f) > holders) {
            a->surplus = mfn;   /* wrong, unless somebody reads it just now */
            a->nr_surplus++;
        }
        if (nr <= RMAP_AUDIT_MAX && rmap_audit(&sf->rmap) != 0) {
            violation(a, "S3 mfn %lx: its rmap is damaged", mfn.n);
        }
    }
    spin_unlock(&sf->lock);
    return nr;
}

/* S4 and S5 of one pair found in @sf's rmap. */
static void check_pair(struct share_audit *a, struct shared_frame *sf,
                       struct rmap_pair pair)
{
    struct p2m *p = p2m_get_by_owner(pair.domain);
    mfn_t mfn = shared_mfn(sf);
    struct p2m_entry e = { .mfn = MFN_INVALID, .type = p2m_invalid };
    bool is_in;

    if (p != NULL) {
        spin_lock(&p->lock);
        e = p2m_lookup_locked(p, pair.gfn);
    }
    if (e.type == p2m_ram_shared && mfn_eq(e.mfn, mfn)) {
        a->sharers++;
        a->fingerprint += fingerprint(pair.domain, pair.gfn, mfn);
    } else {
        /* It may have left since it was copied out of the rmap. */
        spin_lock(&sf->lock);
        is_in = rmap_has(&sf->rmap, pair);
        spin_unlock(&sf->lock);
        if (is_in) {
            violation(a, "S4 mfn %lx: d%d gfn %lx maps mfn %lx as %s", mfn.n,
                      pair.domain, pair.gfn.n, e.mfn.n,
                      p2m_type_name(e.type));
        }
    }
    if (p != NULL) {
        spin_unlock(&p->lock);
        p2m_put(p);
    }
}

static bool has_large_map(struct shared_frame *sf)
{
    bool is_large;

    spin_lock(&sf->lock);
    is_large = rmap_count(&sf->rmap) > LARGE;
    spin_unlock(&sf->lock);
    return is_large;
}

/* The next pairs of a->current. True: the slice is over. Where a scan is as
 * long as a slice it gets one to itself. */
static bool scan_pairs(struct share_audit *a, struct work *w)
{
    struct shared_frame *sf = a->current;
    bool is_large = has_large_map(sf);

    if (is_large && !a->is_scanning && w != NULL) {
        a->is_scanning = true;
        if (work_spend(w, COST_SCAN)) {
            return true;
        }
    }
    a->is_scanning = false;
    spin_lock(&sf->lock);
    a->nr = rmap_scan(&sf->rmap, a->pairs,
                      (unsigned)MIN(a->left, ARRAY_SIZE(a->pairs)));
    share_count(&nr_scans, 1);
    a->scans++;
    spin_unlock(&sf->lock);
    a->left = a->nr == 0 ? 0 : a->left - a->nr;
    return work_spend(w, is_large ? COST_SCAN : COST_PAIR);
}

/* Some pairs of a->current, in two steps, since either may be long. */
static bool check_pairs(struct share_audit *a, struct work *w)
{
    bool over = a->nr == 0 && scan_pairs(a, w);

    while (!over && a->nr != 0) {
        check_pair(a, a->current, a->pairs[--a->nr]);
        over = work_spend(w, COST_PAIR);
    }
    if (a->nr == 0 && a->left == 0) {
        shared_frame_put(a->current);
        a->current = NULL;
    }
    return over;
}

/* All records. True: the slice is over. */
static bool check_frames(struct share_audit *a, struct work *w)
{
    for (;;) {
        uint64_t pairs;

        if (a->current == NULL) {
            a->current = next_frame(a);
            if (a->current == NULL) {
                a->stage = P2MS;
                return false;
            }
            a->left = check_frame(a, a->current);
            pairs = MIN(a->left, RMAP_AUDIT_MAX);
            if (work_spend(w, COST_FRAME +
                           (int64_t)(pairs * pairs) * COST_RMAP_PAIR / 2)) {
                return true;
            }
        }
        if (check_pairs(a, w)) {
            return true;
        }
    }
}

/* The other side of S4 and S5: one entry of a p2m. */
static void check_entry(struct share_audit *a, domid_t domain, gfn_t gfn,
                        const struct p2m_entry *e)
{
    bool is_cow = mfn_is_ram(e->mfn) &&
                  frame_owner(mfn_to_frame(e->mfn)) == DOMID_COW;

    if (e->type == p2m_ram_shared) {
        a->seen++;
        a->fingerprint -= fingerprint(domain, gfn, e->mfn);
    }
    if (e->type == p2m_ram_shared ? p2m_rights(e->type, e->tracking) & P2M_W
                                  : is_cow && e->order == P2M_ORDER_4K) {
        violation(a, "S5 d%d gfn %lx: mfn %lx mapped as %s", domain, gfn.n,
                  e->mfn.n, p2m_type_name(e->type));
    }
    if (e->type == p2m_ram_shared && !is_cow) {
        violation(a, "S2 d%d gfn %lx: mfn %lx is not shared", domain, gfn.n,
                  e->mfn.n);
    }
}

/* One group of entries of @p. True: there are no more. */
static bool check_entries(struct share_audit *a, struct p2m *p,
                          struct work *w, bool *over)
{
    gfn_t end = GFN(UINT64_C(1) << P2M_GFN_BITS);
    struct p2m_entry e;
    bool more = true;

    spin_lock(&p->lock);
    for (unsigned i = 0; i < GROUP && more && !*over; i++) {
        more = p2m_next(p, a->gfn, end, &a->gfn, &e);
        if (more) {
            check_entry(a, p->owner, a->gfn, &e);
            /* A superpage's frames are private; P3 looks at each. */
            a->gfn.n = ((a->gfn.n >> e.order) + 1) << e.order;
        }
        *over = work_spend(w, COST_ENTRY);
    }
    if (!more) {
        if (a->seen != p->count[p2m_ram_shared] &&
            count_changes() == a->changes) {
            violation(a, "S6 d%d: %lu shared entries, counted %lu", p->owner,
                      a->seen, share_read(&p->count[p2m_ram_shared]));
        }
    }
    spin_unlock(&p->lock);
    return !more;
}

static bool check_p2ms(struct share_audit *a, struct work *w)
{
    bool over = false;

    while (!over && a->domain < MAX_DOMAINS) {
        struct p2m *p = p2m_get_by_owner(a->domain);

        if (p == NULL || check_entries(a, p, w, &over)) {
            a->domain++;
            a->gfn = GFN(0);
            a->seen = 0;
            over |= work_spend(w, COST_DOMAIN);
        }
        if (p != NULL) {
            p2m_put(p);
        }
    }
    if (a->domain == MAX_DOMAINS) {
        a->stage = SUMS;
    }
    return over;
}

/* S6, and S4 as a whole. */
static void check_sums(struct share_audit *a)
{
    uint64_t frames, pages, sharers;

    spin_lock(&shared_frames_lock);
    frames = share_read(&share_totals.frames);
    pages = share_read(&owner_get(DOMID_COW)->pages);
    sharers = share_read(&share_totals.added) -
              share_read(&share_totals.removed);
    a->changed = count_changes() != a->changes ||
                 share_read(&nr_scans) != a->scans;
    spin_unlock(&shared_frames_lock);
    if (a->changed) {
        log_debug("share: audited while it changed, no sums");
        return;
    }
    if (a->nr_surplus != 0) {
        violation(a, "S3 %lu frames have references too many, mfn %lx is "
                  "one", a->nr_surplus, a->surplus.n);
    }
    if (a->held != share_held()) {
        violation(a, "B2 %lu holds are nobody's pair, %lu are kept", a->held,
                  share_held());
    }
    if (frames != pages) {
        violation(a, "S6 %lu frames counted, %lu owned", frames, pages);
    }
    if (a->frames != frames || a->sharers != sharers) {
        violation(a, "S6 %lu frames and %lu pairs, counted %lu and %lu",
                  a->frames, a->sharers, frames, sharers);
    }
    if (a->fingerprint != 0) {
        violation(a, "S4 the rmaps' pairs are not the p2ms' entries");
    }
}

void share_audit_abort(struct share_audit *a)
{
    if (a->stage == FRAMES) {           /* the cursor is in the list */
        spin_lock(&shared_frames_lock);
        list_remove(&a->cursor.link);
        spin_unlock(&shared_frames_lock);
        if (a->current != NULL) {
            shared_frame_put(a->current);
            a->current = NULL;
        }
    }
    a->stage = START;
}

int share_audit(struct share_audit *a, struct work *w)
{
    if (a->stage == START) {
        start(a);
    }
    if (a->stage == FRAMES && check_frames(a, w)) {
        return -ERESTART;
    }
    if (a->stage == P2MS && check_p2ms(a, w)) {
        return -ERESTART;
    }
    check_sums(a);
    a->stage = START;
    return 0;
}
