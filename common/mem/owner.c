/*
 * owner.c - the table of who can own frames, and the counts of what they do.
 *
 * Frames of DOMID_XEN are in the machine's totals and not counted here: the
 * hypervisor has no limit, and its allocations are the ones in a hurry.
 */
#include "internal.h"

#include <quire/bitmap.h>
#include <quire/errno.h>
#include <quire/lock.h>
#include <quire/panic.h>

static_assert(DOMID_XEN == DOMID_IO + 1 && DOMID_COW == DOMID_IO + 2,
              "the special owners are neighbours");

struct owner owners[NR_OWNERS];
static uint64_t claimed_ids[BITMAP_WORDS(MAX_DOMAINS)];     /* [owner] */
static struct spinlock lock = SPINLOCK_INIT(OWNER, 0);

domid_t owner_id(unsigned index)
{
    return (domid_t)(index < MAX_DOMAINS ? index :
                     DOMID_IO + index - MAX_DOMAINS);
}

uint64_t owner_pages(unsigned index)
{
    return owners[index].pages;
}

void owner_init(void)
{
    for (unsigned i = 0; i < NR_OWNERS; i++) {
        owners[i].pages = 0;
        owners[i].max_pages = UINT64_MAX;
        owners[i].is_wanted = false;
        owners[i].domain = NULL;
        owners[i].claimed = i >= MAX_DOMAINS;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(claimed_ids); i++) {
        claimed_ids[i] = 0;
    }
}

int owner_claim(domid_t want, void *domain, uint64_t max_pages)
{
    unsigned id = want;

    if (want != DOMID_INVALID && want >= MAX_DOMAINS) {
        return -EINVAL;
    }
    spin_lock(&lock);
    if (want == DOMID_INVALID) {
        id = bitmap_next_clear(claimed_ids, MAX_DOMAINS, 0);
    }
    if (id == MAX_DOMAINS || bitmap_test(claimed_ids, id)) {
        spin_unlock(&lock);
        return id == MAX_DOMAINS ? -ENFILE : -EEXIST;
    }
    bitmap_set(claimed_ids, id);
    owners[id].max_pages = max_pages;
    owners[id].domain = domain;
    owners[id].claimed = true;
    spin_unlock(&lock);
    return (int)id;
}

int owner_release(domid_t id)
{
    int err = 0;

    if (id >= MAX_DOMAINS) {
        return -EINVAL;
    }
    spin_lock(&lock);
    if (!bitmap_test(claimed_ids, id)) {
        err = -EINVAL;
    } else if (owners[id].pages != 0) {
        err = -EBUSY;
    } else {
        owners[id].claimed = false;
        owners[id].domain = NULL;
        bitmap_clear(claimed_ids, id);
    }
    spin_unlock(&lock);
    return err;
}

struct owner *owner_get(domid_t id)
{
    unsigned i = owner_index(id);

    return i != NR_OWNERS && owners[i].claimed ? &owners[i] : NULL;
}

void *owner_domain(domid_t id)
{
    unsigned i = owner_index(id);

    return i != NR_OWNERS ? owners[i].domain : NULL;
}

void owner_detach(domid_t id)
{
    unsigned i = owner_index(id);

    if (i != NR_OWNERS) {
        owners[i].domain = NULL;
    }
}
