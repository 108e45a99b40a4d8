/*
 * pages.c - shadow pages from the first to the last: found by (gfn, role),
 * made, linked into their parents, dropped, emptied, freed; and the pool that
 * they come from, with its limit.
 */
#include "pages.h"

#include <quire/heap.h>
#include <quire/page_alloc.h>

#define RECLAIM_BATCH 8         /* pages for one flush */
#define CREATE_COST 1900

mfn_t page_table_mfn(const struct shadow *s, gfn_t gfn)
{
    struct p2m_entry e = p2m_lookup(s->p2m, gfn);

    if ((p2m_rights(e.type, e.tracking) & P2M_R) == 0 ||
        !mfn_is_ram(e.mfn)) {
        return MFN_INVALID;
    }
    return e.mfn;
}

struct shadow_page *page_find(const struct shadow *s, gfn_t gfn,
                              union shadow_role role)
{
    struct shadow_page *sp = s->hash[hash_of(s, gfn)];

    while (sp != NULL && (sp->gfn.n != gfn.n ||
                          sp->role.word != role.word)) {
        sp = sp->hash_next;
    }
    return sp;
}

static void hash_insert(struct shadow *s, struct shadow_page *sp)
{
    struct shadow_page **bucket = &s->hash[hash_of(s, sp->gfn)];

    sp->hash_next = *bucket;
    sp->hash_link = bucket;
    if (*bucket != NULL) {
        (*bucket)->hash_link = &sp->hash_next;
    }
    *bucket = sp;
}

static void hash_remove(struct shadow_page *sp)
{
    *sp->hash_link = sp->hash_next;
    if (sp->hash_next != NULL) {
        sp->hash_next->hash_link = sp->hash_link;
    }
}

/* ---- links ------------------------------------------------------------- */

/* The processor reads it at any time, and then what it points at. */
static void spte_write(spte_ref_t ref, uint64_t spte)
{
    __atomic_store_n(spte_at(ref), spte, __ATOMIC_RELEASE);
}

int page_link(struct shadow *s, spte_ref_t ref, struct shadow_page *child,
              uint64_t bits)
{
    int err = spte_rmap_add(spte_head_ref(&child->parents), ref);

    if (err == 0) {
        spte_write(ref, mfn_to_maddr(page_mfn(child)) | bits);
        page_of(ref)->nr_present++;
        s->changes++;
    }
    return err;
}

void page_clear(struct shadow *s, struct shadow_page *sp, spte_ref_t ref)
{
    /* It may live on in some processor, where no chain leads any more. */
    if (sp->role.level == 1 && (*spte_at(ref) & SPTE_W) != 0) {
        s->tlbs_dirty = true;
    }
    spte_write(ref, 0);
    spte_rmap_remove(ref);
    sp->nr_present--;
    atomic_store_explicit(&s->stats.zaps, s->stats.zaps + 1,
                          memory_order_relaxed);
    s->changes++;
}

int page_clear_parents(struct shadow *s, struct shadow_page *sp,
                       struct work *w)
{
    head_ref_t head = spte_head_ref(&sp->parents);
    struct spte_iter it;
    spte_ref_t ref;

    while ((ref = spte_rmap_first(&it, head)) != 0) {
        page_clear(s, page_of(ref), ref);
        if (work_spend(w, 60) && sp->parents != 0) {
            return -ERESTART;
        }
    }
    return 0;
}

/* ---- the way out ------------------------------------------------------- */

unsigned page_drop(struct shadow *s, struct shadow_page *sp)
{
    struct work count = { .left = INT64_MAX };
    int err = page_clear_parents(s, sp, &count);

    ASSERT(!sp->dead && err == 0);
    hash_remove(sp);
    s->nr_live[sp->role.level - 1]--;
    s->nr_unsync -= sp->unsync;
    list_remove(&sp->unsync_link);
    sp->unsync = false;
    sp->next = 0;
    /* Before the flush that follows: see shadow_is_stale(). */
    sp->dead = true;
    if (sp->pins == 0) {
        list_remove(&sp->link);
        list_append(&s->doomed, &sp->link);
    }
    s->changes++;
    return (unsigned)count.checks;
}

void page_pin(struct shadow *s, struct shadow_page *sp)
{
    sp->writes = 0;
    if (sp->pins++ == 0) {
        list_remove(&sp->link);
        list_append(&s->pinned, &sp->link);
    }
}

void page_unpin(struct shadow *s, struct shadow_page *sp)
{
    if (--sp->pins == 0) {
        list_remove(&sp->link);
        list_append(sp->dead ? &s->doomed : &s->lru, &sp->link);
    }
}

void shadow_flush(struct shadow *s)
{
    p2m_flush(s->p2m);
    s->stats.flushes++;
    s->tlbs_dirty = false;
    list_append_all(&s->dying, &s->doomed);
}

static void page_free_empty(struct shadow *s, struct shadow_page *sp)
{
    BUG_ON(sp->nr_present != 0 || sp->parents != 0 || sp->pins != 0);
    list_remove(&sp->link);
    mfn_to_frame(page_mfn(sp))->user = NULL;
    if (!sp->is_top || !tops_give(sp->sptes)) {
        spte_page_destroy(sp->sptes);
    }
    heap_free(sp);
    s->nr_pages--;
    s->changes++;
}

int page_empty_dying(struct shadow *s, struct work *w)
{
    bool was_dirty = s->tlbs_dirty;
    int err = 0;

    while (err == 0 && !list_is_empty(&s->dying)) {
        struct shadow_page *sp = container_of(s->dying.next,
                                              struct shadow_page, link);

        while (sp->nr_present != 0 && err == 0) {
            if (*spte_at(sp->sptes + sp->next) == 0) {
                sp->next++;
                continue;
            }
            page_clear(s, sp, sp->sptes + sp->next++);
            err = work_spend(w, 60) ? -ERESTART : 0;
        }
        if (sp->nr_present == 0) {
            page_free_empty(s, sp);
            if (work_spend(w, 2500)) {
                err = -ERESTART;
            }
        }
    }
    /* No processor has come by these sptes since the flush. */
    s->tlbs_dirty = was_dirty;
    return err == 0 || list_is_empty(&s->dying) ? 0 : err;
}

/* ---- the pool ---------------------------------------------------------- */

/* Take the oldest back. -ENOMEM: there is none; -ERESTART: not done yet. */
static int make_room(struct shadow *s, struct work *w)
{
    if (list_is_empty(&s->dying)) {
        /* What was dropped for another reason goes first. */
        bool has_doomed = !list_is_empty(&s->doomed);

        for (unsigned i = 0; i < RECLAIM_BATCH && !has_doomed; i++) {
            struct shadow_page *sp;

            if (list_is_empty(&s->lru)) {
                break;
            }
            sp = container_of(s->lru.next, struct shadow_page, link);
            if (page_clear_parents(s, sp, w) != 0) {
                return -ERESTART;
            }
            (void)page_drop(s, sp);
            s->stats.reclaims++;
            if (work_spend(w, 150)) {
                break;
            }
        }
        if (list_is_empty(&s->doomed)) {
            return -ENOMEM;
        }
        shadow_flush(s);
    }
    return page_empty_dying(s, w);
}

/* A record and its sptes, @sptes or new ones; not live, not counted. */
static struct shadow_page *page_alloc_record(spte_ref_t sptes)
{
    struct shadow_page *sp = heap_zalloc(sizeof(*sp));

    if (sp == NULL) {
        return NULL;
    }
    sp->sptes = sptes != 0 ? sptes : spte_page_create();
    if (sp->sptes == 0) {
        heap_free(sp);
        return NULL;
    }
    mfn_to_frame(page_mfn(sp))->user = sp;
    list_init(&sp->link);
    list_init(&sp->unsync_link);
    return sp;
}

int page_create(struct shadow *s, gfn_t gfn, union shadow_role role,
                struct work *w, struct shadow_page **page)
{
    struct shadow_page *sp = NULL;
    int err;

    if (work_spend(w, CREATE_COST) && w->checks > 1) {
        return -ERESTART;       /* not the first thing done */
    }
    if (s->nr_pages - s->nr_tops >= s->limit) {
        err = make_room(s, w);
        if (err != 0) {
            return err;
        }
    }
    sp = page_alloc_record(0);
    if (sp == NULL) {
        /* With fewer than this an instruction might never complete. */
        if (s->nr_pages - s->nr_tops < SHADOW_PAGES_MIN) {
            return -ENOMEM;
        }
        err = make_room(s, w);
        return err == 0 ? -ERESTART : err;
    }
    sp->gfn = gfn;
    sp->role = role;
    sp->mfn = role.direct ? MFN_INVALID : page_table_mfn(s, gfn);
    hash_insert(s, sp);
    s->nr_live[role.level - 1]++;
    list_append(&s->lru, &sp->link);
    s->nr_pages++;
    s->changes++;
    *page = sp;
    return 0;
}

struct shadow_page *page_create_top(struct shadow *s)
{
    spte_ref_t sptes = tops_take();
    struct shadow_page *sp = page_alloc_record(sptes);

    if (sp == NULL) {
        if (sptes != 0 && !tops_give(sptes)) {
            spte_page_destroy(sptes);
        }
        return NULL;
    }
    sp->is_top = true;
    sp->role.level = 3;
    sp->gfn = GFN_INVALID;
    sp->mfn = MFN_INVALID;
    page_pin(s, sp);
    s->nr_pages++;              /* page_free_empty() takes it back */
    s->nr_tops++;
    if (!is_top_place(sp->sptes)) {
        page_destroy_top(s, sp);
        return NULL;
    }
    return sp;
}

void page_destroy_top(struct shadow *s, struct shadow_page *sp)
{
    sp->pins = 0;
    s->nr_tops--;
    page_free_empty(s, sp);
}
