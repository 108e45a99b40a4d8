/*
 * place.c - where a guest's code is: the walk to the page of RIP, remembered.
 *
 * Most exits read the instruction that exited, over and over the same few. A
 * place holds the entries of the guest's tables that lead to the page, where
 * they are and what they were: as long as they are still that, and the p2m
 * has flushed nothing, so that each frame is still the guest's, the page is
 * where it was. Rights are not looked at again: the processor has just
 * fetched from there.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/guest_walk.h>
#include <quire/string.h>

#include "svm.h"

#define NO_PAGE 1               /* not the address of a page */

static struct svm_place *place_of(struct svm_vcpu *a, gva_t page)
{
    return &a->places[(page ^ a->cr3) >> PAGE_SHIFT & (SVM_NR_PLACES - 1)];
}

static uint64_t load_entry(const void *at, unsigned size)
{
    return size == 4
         ? __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED)
         : __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
}

static bool is_good(const struct svm_place *pl, const struct vcpu *v,
                    gva_t page)
{
    const struct svm_vcpu *a = svm_of(v);

    if (pl->page != page || pl->cr3 != a->cr3 || pl->cr0 != a->cr0 ||
        pl->cr4 != a->cr4 || pl->efer != a->efer ||
        pl->generation != atomic_load(&v->p2m->generation)) {
        return false;
    }
    for (unsigned k = 0; k < pl->nr; k++) {
        if (load_entry(pl->at[k], pl->size) != pl->entry[k]) {
            return false;
        }
    }
    return true;
}

struct search { struct svm_place *place; const struct p2m *p2m; };

/* The guest's byte at @gpa, or NULL: it has none to be read there. */
static const uint8_t *byte_at(const struct p2m *p, gpa_t gpa)
{
    struct p2m_entry e = p2m_lookup(p, gpa_to_gfn(gpa));

    if ((p2m_rights(e.type, e.tracking) & P2M_R) == 0 ||
        !mfn_is_ram(e.mfn)) {
        return NULL;
    }
    return (const uint8_t *)arch_map_frame(e.mfn) + (gpa & PAGE_MASK);
}

static int read_entry(void *ctx, gpa_t gpa, void *buf, unsigned len)
{
    struct search *s = ctx;
    struct svm_place *pl = s->place;
    const void *at = byte_at(s->p2m, gpa);

    if (at == NULL) {
        return -ENOENT;
    }
    pl->size = len;
    pl->at[pl->nr] = at;
    pl->entry[pl->nr] = load_entry(at, len);
    memcpy(buf, &pl->entry[pl->nr++], len);
    return 0;
}

static bool look_for(struct svm_place *pl, struct vcpu *v, gva_t page)
{
    const struct svm_vcpu *a = svm_of(v);
    struct search s = { pl, v->p2m };
    struct guest_paging pg;
    struct guest_walk w;

    /* Before anything that it is to vouch for. */
    pl->generation = atomic_load(&v->p2m->generation);
    pl->page = NO_PAGE;
    pl->nr = 0;
    arch_vcpu_paging(v, &pg);
    if (guest_walk(&pg, page, P2M_X, read_entry, &s, &w) != 0) {
        return false;
    }
    pl->bytes = byte_at(v->p2m, w.gpa);
    if (pl->bytes == NULL) {
        return false;
    }
    pl->page = page;
    pl->cr0 = a->cr0;
    pl->cr3 = a->cr3;
    pl->cr4 = a->cr4;
    pl->efer = a->efer;
    return true;
}

bool svm_place_read(struct vcpu *v, gva_t at, uint8_t bytes[16])
{
    gva_t page = at & ~PAGE_MASK;
    struct svm_place *pl = place_of(svm_of(v), page);

    if ((at & PAGE_MASK) > PAGE_SIZE - 16 ||
        (!is_good(pl, v, page) && !look_for(pl, v, page))) {
        return false;
    }
    __builtin_memcpy(bytes, pl->bytes + (at & PAGE_MASK), 16);  /* inline */
    /* A frame is another's only after a flush, which this then sees. */
    atomic_thread_fence(memory_order_acquire);
    return pl->generation == atomic_load(&v->p2m->generation);
}
