/*
 * shadow.c - the shadow of one p2m, from its creation to its end.
 */
#include "pages.h"

#include <quire/heap.h>

static unsigned log2_of(unsigned n)
{
    return 31 - (unsigned)__builtin_clz(n);
}

struct shadow *shadow_create(struct p2m *p, unsigned limit,
                             unsigned phys_bits)
{
    struct shadow *s = heap_zalloc(sizeof(*s));

    ASSERT(limit >= SHADOW_PAGES_MIN && limit <= SHADOW_PAGES_MAX);
    ASSERT(phys_bits > 32 && phys_bits <= P2M_GFN_BITS + PAGE_SHIFT);
    if (s == NULL) {
        return NULL;
    }
    s->hash_bits = MIN(log2_of(limit), 15u);
    s->hash = heap_zalloc(sizeof(*s->hash) << s->hash_bits);
    if (s->hash == NULL) {
        heap_free(s);
        return NULL;
    }
    spin_lock_init(&s->lock, LOCK_RANK_SHADOW, p->owner);
    s->p2m = p;
    s->phys_bits = phys_bits;
    s->address = (UINT64_C(1) << phys_bits) - PAGE_SIZE;
    s->reserved = (UINT64_C(1) << 52) - (UINT64_C(1) << phys_bits);
    s->limit = limit;
    list_init(&s->lru);
    list_init(&s->pinned);
    list_init(&s->doomed);
    list_init(&s->dying);
    list_init(&s->unsync_leaves);
    list_init(&s->unsync_upper);
    p2m_get(p);
    s->listener.changed = protect_changed;
    s->listener.prepare = protect_prepare;
    p2m_add_listener(p, &s->listener);
    return s;
}

/* Every page becomes dying. */
static int drop_all(struct shadow *s, struct work *w)
{
    for (; s->cursor < UINT64_C(1) << s->hash_bits; s->cursor++) {
        while (s->hash[s->cursor] != NULL) {
            if (page_clear_parents(s, s->hash[s->cursor], w) != 0) {
                return -ERESTART;
            }
            (void)page_drop(s, s->hash[s->cursor]);
            if (work_spend(w, 200)) {
                return -ERESTART;
            }
        }
        if (work_spend(w, 4)) {
            s->cursor++;        /* this one is empty: something was done */
            return -ERESTART;
        }
    }
    if (!list_is_empty(&s->doomed)) {
        shadow_flush(s);
    }
    return 0;
}

int shadow_destroy(struct shadow *s, struct work *w)
{
    int err;

    if (!s->has_left) {
        ASSERT(s->nr_tops == 0);
        p2m_remove_listener(s->p2m, &s->listener);
        s->has_left = true;
    }
    spin_lock(&s->lock);
    err = drop_all(s, w);
    if (err == 0) {
        err = page_empty_dying(s, w);
    }
    if (err == 0) {
        err = heads_destroy(s, w);
    }
    spin_unlock(&s->lock);
    if (err == 0) {
        BUG_ON(s->nr_pages != 0 || s->nr_heads != 0);
        p2m_put(s->p2m);
        heap_free(s->hash);
        heap_free(s);
    }
    return err;
}

int shadow_vcpu_init(struct shadow *s, struct shadow_vcpu *sv)
{
    spin_lock(&s->lock);
    sv->root = NULL;
    sv->top = page_create_top(s);
    spin_unlock(&s->lock);
    return sv->top == NULL ? -ENOMEM : 0;
}

void shadow_vcpu_fini(struct shadow *s, struct shadow_vcpu *sv)
{
    spin_lock(&s->lock);
    for (unsigned i = 0; i < 4; i++) {
        if (*spte_at(sv->top->sptes + i) != 0) {
            page_clear(s, sv->top, sv->top->sptes + i);
        }
    }
    if (sv->root != NULL) {
        page_unpin(s, sv->root);
    }
    page_destroy_top(s, sv->top);
    *sv = (struct shadow_vcpu){ .root = NULL };
    spin_unlock(&s->lock);
}

const struct shadow_stats *shadow_stats(const struct shadow *s)
{
    return &s->stats;
}

unsigned shadow_nr_pages(const struct shadow *s)
{
    return s->nr_pages - s->nr_tops;
}

uint64_t shadow_bytes(const struct shadow *s)
{
    return s->nr_pages * (2 * PAGE_SIZE + sizeof(struct shadow_page)) +
           s->nr_heads * PAGE_SIZE + sizeof(*s) +
           (sizeof(*s->hash) << s->hash_bits);
}

void shadow_info(struct shadow *s, struct shadow_info *info)
{
    spin_lock(&s->lock);
    *info = (struct shadow_info){
        .limit = s->limit, .pages = shadow_nr_pages(s),
        .unsync = s->nr_unsync, .bytes = shadow_bytes(s),
        .dying = shadow_nr_pages(s),
    };
    for (unsigned i = 0; i < ARRAY_SIZE(info->by_level); i++) {
        info->by_level[i] = s->nr_live[i];
        info->dying -= s->nr_live[i];
    }
    spin_unlock(&s->lock);
}
