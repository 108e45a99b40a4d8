/*
 * fault.c - from a nested page fault to the handler of the entry's type, and
 * the way by which a handler changes that one entry (p2m_slot.h).
 *
 * The walk is done once, without the lock; a batch, with all that it can do
 * for many entries, is not needed for one that stays in its place.
 */
#include "batch.h"

#include <quire/p2m_slot.h>
#include <quire/panic.h>

static p2m_fault_fn *handlers[NR_P2M_TYPES];
static p2m_locked_fault_fn *locked_handlers[NR_P2M_TYPES];

void p2m_register_fault(enum p2m_type t, p2m_fault_fn *fn)
{
    BUG_ON(handlers[t] != NULL && handlers[t] != fn);
    handlers[t] = fn;
}

void p2m_register_locked_fault(enum p2m_type t, p2m_locked_fault_fn *fn)
{
    BUG_ON(locked_handlers[t] != NULL && locked_handlers[t] != fn);
    locked_handlers[t] = fn;
}

/* What is there now; a hole, or a superpage, has no slot. */
fast_path npte_t find(struct p2m_slot *s, const struct p2m *p, gfn_t gfn)
{
    mfn_t table = p->root;
    npte_t e;

    s->entry = NULL;
    if (unlikely(gfn.n >> P2M_GFN_BITS != 0)) {
        return 0;
    }
    /* Unrolled: each level is a constant. */
#pragma GCC unroll 4
    for (unsigned level = NPT_LEVELS; level > 1; level--) {
        e = npte_read(table, npt_index(gfn.n, level));
        if (unlikely(!npte_is_table(e, level))) {
            return e;
        }
        table = npte_table_mfn(e);
    }
    s->entry = npt_map(table) + npt_index(gfn.n, 1);    /* the direct map */
    return npte_load(s->entry);
}

void p2m_slot_find(struct p2m_slot *s, struct p2m *p, gfn_t gfn)
{
    s->p2m = p;
    s->gfn = gfn;
    (void)find(s, p, gfn);
}

mfn_t p2m_slot_mfn(const struct p2m_slot *s, enum p2m_type type)
{
    npte_t e;

    ASSERT(is_lock_held(&s->p2m->lock));
    if (unlikely(s->entry == NULL || s->p2m->no_users)) {
        return MFN_INVALID;
    }
    e = npte_load(s->entry);
    return likely(npte_type(e) == type) ? npte_mfn(e) : MFN_INVALID;
}

/* Tell the listeners, and flush if the frame is another. */
static __attribute__((noinline)) void settle(const struct p2m_slot *s,
                                             bool is_moved)
{
    list_for_each(n, &s->p2m->listeners) {
        struct p2m_listener *l = container_of(n, struct p2m_listener, link);

        l->changed(l, s->p2m, s->gfn, 1);
    }
    if (is_moved) {
        p2m_flush(s->p2m);
    }
}

void p2m_slot_set_private(const struct p2m_slot *s, mfn_t mfn)
{
    struct p2m *p = s->p2m;
    npte_t old = atomic_load_explicit(s->entry, memory_order_relaxed);
    npte_t new = npte_make(mfn, p2m_ram_rw, 0, 1);
    bool is_moved = ((old ^ new) & NPTE_MFN) != 0;

    ASSERT(is_lock_held(&p->lock) && npte_type(old) == p2m_ram_shared);
    npte_store(s->entry, new);
    counter_add(&p->count[p2m_ram_shared], -UINT64_C(1));
    counter_add(&p->count[p2m_ram_rw], 1);
    /* To the same frame rights only rise: a processor that still has the old
     * entry faults, and finds the new one. */
    if (is_moved || unlikely(!list_is_empty(&p->listeners))) {
        settle(s, is_moved);
    }
}

/* False: the fault is to happen again, until the listeners are prepared for
 * the change that the handler may make. */
static __attribute__((noinline)) bool is_prepared(struct p2m *p, gfn_t gfn)
{
    struct work w = WORK_INIT;

    return p2m_prepare_listeners(p, gfn, 1, &w) == 0;
}

enum p2m_fault_result p2m_fault(struct p2m *p, struct npf *f)
{
    struct p2m_slot s = { .p2m = p, .gfn = gpa_to_gfn(f->gpa) };
    npte_t e = find(&s, p, s.gfn);
    enum p2m_type type = npte_type(e);

    if ((f->access & ~npte_rights(type, npte_tracking(e))) == 0) {
        return P2M_FAULT_RETRY;     /* another CPU was faster */
    }
    if (locked_handlers[type] != NULL && s.entry != NULL) {
        enum p2m_fault_result result = P2M_FAULT_RETRY;

        spin_lock(&p->lock);
        if (likely(!p->no_users && npte_load(s.entry) == e) &&
            (likely(list_is_empty(&p->listeners)) ||
             is_prepared(p, s.gfn))) {
            result = locked_handlers[type](&s, f, npte_mfn(e));
        }
        spin_unlock(&p->lock);
        return result;
    }
    if (handlers[type] != NULL) {
        return handlers[type](&s, f);
    }
    return type == p2m_invalid || type == p2m_mmio_dm ? P2M_FAULT_MMIO
                                                      : P2M_FAULT_DENIED;
}
