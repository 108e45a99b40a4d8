/*
 * foreign.c - another domain's page in one's own physical map.
 *
 *     target's gfn --ram_rw-------> frame <--map_foreign-- caller's gfn
 *                                     |
 *                                     +-- a reference and a type reference of
 *                                         the foreign entry's
 *
 * The page is unshared first, and the type keeps it from being nominated
 * again (-E2BIG), so the foreign writer never reaches a shared frame. The
 * reference keeps it allocated, and charged to its owner, whatever becomes of
 * the target or of its gfn.
 */
#include <quire/errno.h>
#include <quire/owner.h>
#include <quire/panic.h>

#include "domain_life.h"

#define MAX_TRIES 4

int domain_pin_gfn(struct domain *d, gfn_t gfn, struct frame **f)
{
    for (unsigned i = 0; i < MAX_TRIES; i++) {
        int err = share_unshare(d->p2m, gfn);

        if (err != 0) {
            return err == -ENOMEM ? err : -EINVAL;
        }
        spin_lock(&d->p2m->lock);
        struct p2m_entry e = p2m_lookup_locked(d->p2m, gfn);

        err = e.type == p2m_ram_shared ? -EAGAIN : -EINVAL;
        if (e.type == p2m_ram_rw) {
            *f = mfn_to_frame(e.mfn);
            err = frame_get(*f, d->id);
        }
        if (err == 0) {
            err = frame_get_type(*f, FRAME_TYPE_WRITABLE);
            if (err != 0) {
                frame_put(*f);
            }
        }
        spin_unlock(&d->p2m->lock);
        if (err != -EAGAIN) {
            return err;
        }
    }
    return -EAGAIN;
}

void domain_unpin_frame(struct frame *f)
{
    frame_put_type(f);
    frame_put(f);
}

/* Who looks at a domain's pages must know that some may be elsewhere. */
static void count_foreign(const struct frame *f, uint64_t delta)
{
    struct owner *o = owner_get(frame_owner(f));

    BUG_ON(o == NULL);
    atomic_fetch_add_explicit(&o->foreign, delta, memory_order_relaxed);
}

void domain_drop_foreign(struct frame *f)
{
    count_foreign(f, -UINT64_C(1));
    domain_unpin_frame(f);
}

int domain_map_foreign(struct domain *d, gfn_t gfn, struct domain *target,
                       gfn_t tgfn)
{
    struct frame *f;
    int err = domain_pin_gfn(target, tgfn, &f);

    if (err != 0) {
        return err;
    }
    count_foreign(f, 1);
    err = domain_replace_gfn(d, gfn, f, p2m_map_foreign);
    if (err != 0) {
        domain_drop_foreign(f);
    }
    return err;
}
