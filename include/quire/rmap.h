/*
 * rmap.h - the reverse map of one shared frame: the set of (domid, gfn) that
 * map it.
 *
 * A set: insert of a pair that is there (checked where that is cheap, audited
 * everywhere), or remove of one that is not (checked), is a BUG in the
 * caller. What is behind it is chosen once, at boot; docs/design/rmap.md has
 * the forms. Locks: the page's, held by the caller.
 *
 * The operations on a group act on the gfns 64 * @group + each bit of @map,
 * and cost the adaptive form little more than one gfn does.
 */
#pragma once

#include <quire/types.h>
#include <quire/errno.h>

#define RMAP_GROUP_SHIFT 6          /* 64 gfns, a bit of a map each */
#define RMAP_DOMAIN_SHIFT 36        /* gfns are narrower */

struct rmap_pair { domid_t domain; gfn_t gfn; };

enum rmap_form {
    RMAP_ADAPTIVE,      /* inline, an array, a table of groups */
    RMAP_LIST,          /* one linked list */
    RMAP_HASH256,       /* the 2012 scheme: a list, then 256 chains */
    RMAP_RBTREE,        /* a red-black tree */
    RMAP_NR_FORMS
};

struct rmap {
    uintptr_t root;     /* private to the form */
    uint32_t count;     /* fewer than the references that a frame can have;
                         * see rmap_count() */
    uint8_t form;       /* enum rmap_form, (c) after init */
    uint8_t shape;      /* these three: private to the form */
    uint16_t place;
};
static_assert(sizeof(struct rmap) == 16, "a fourth of a shared frame's");

#define RMAP_TWO 2          /* the shape whose count is part of a pair */

/** rmap_setup() - the form of every map from now on, and the seed of its
 *  hashes, which no guest may know. */
void rmap_setup(uint64_t seed, enum rmap_form form);
/** rmap_form_find() - by name; -EINVAL: none of rmap_form_name(0..). */
int must_check rmap_form_find(const char *name);
const char *rmap_form_name(enum rmap_form form);

void rmap_init(struct rmap *r);
/** rmap_init_form() - a map of another form than the machine's. */
void rmap_init_form(struct rmap *r, enum rmap_form form);
/** rmap_init_two() - a map of one gfn in two domains. -ENOMEM: empty. */
int must_check rmap_init_two(struct rmap *r, gfn_t gfn, domid_t one,
                             domid_t other);
/** rmap_fini() - free what it holds; for an empty or abandoned map. */
void rmap_fini(struct rmap *r);
/** rmap_is_bare() - it is empty, and rmap_fini() would find nothing to do. */
static inline bool rmap_is_bare(const struct rmap *r)
{
    return r->root == 0 && r->count == 0;
}
/** rmap_insert() - -ENOMEM: nothing changed. */
int must_check rmap_insert(struct rmap *r, struct rmap_pair p);
/** rmap_insert_kin() - @p, where there is a pair of the same gfn already, that
 *  of @relative. */
int must_check rmap_insert_kin(struct rmap *r, struct rmap_pair p,
                               domid_t relative);
void rmap_remove(struct rmap *r, struct rmap_pair p);
/** rmap_has() - membership. */
bool rmap_has(const struct rmap *r, struct rmap_pair p);
static inline uint64_t rmap_count(const struct rmap *r)
{
    return r->shape == RMAP_TWO ? 2 : r->count;
}

/** rmap_insert_group() - none of them is there yet; @map is not 0. -ENOMEM:
 *  nothing changed. */
int must_check rmap_insert_group(struct rmap *r, domid_t domain,
                                 uint64_t group, uint64_t map);
/** rmap_remove_group() - all of them are there. Cannot fail. */
void rmap_remove_group(struct rmap *r, domid_t domain, uint64_t group,
                       uint64_t map);
/** rmap_find_group() - the members of a group, as a map. */
uint64_t rmap_find_group(const struct rmap *r, domid_t domain,
                         uint64_t group);

/** rmap_take() - copy up to @max pairs into @out, without removing them;
 *  which ones is unspecified. Returns how many. */
unsigned rmap_take(const struct rmap *r, struct rmap_pair *out, unsigned max);
/**
 * rmap_scan() - copy the next up to @max pairs, going round: as many as the
 * map holds, without a change in between, are each pair once. The map may
 * change between two scans: a pair that stays is not skipped, though it may
 * come again before its next turn.
 */
unsigned rmap_scan(struct rmap *r, struct rmap_pair *out, unsigned max);
/** rmap_move() - take @p out of @from and put it into @to. -ENOMEM: nothing
 *  changed. */
int must_check rmap_move(struct rmap *to, struct rmap *from,
                         struct rmap_pair p);
/** rmap_for_each() - @fn may not change the map; non-zero stops and is
 *  returned. */
int rmap_for_each(const struct rmap *r,
                  int (*fn)(struct rmap_pair p, void *arg), void *arg);
/** rmap_bytes() - memory of all rmaps together. */
uint64_t rmap_bytes(void);
/** rmap_audit() - violations inside one map, each printed: R1 count, R2
 *  duplicates, and what the form promises itself. */
unsigned rmap_audit(const struct rmap *r);
/**
 * rmap_audit_next() - the same in bounded parts: @*at is 0 at first, and 0
 * again when all has been seen; the violations of this part are returned. A
 * part is a leaf of a table, or a whole small map. The map may change between
 * two parts, so R1 is left out of a table's; and of a list, a 2012 hash or a
 * tree too large for one part nothing is looked at.
 */
unsigned rmap_audit_next(const struct rmap *r, uint64_t *at);
