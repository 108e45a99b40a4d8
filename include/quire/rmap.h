/*
 * rmap.h - the reverse map of one shared frame: the set of (domid, gfn) that
 * map it.
 *
 * A set: insert of a pair that is there (audited), or remove of one that is
 * not (checked), is a BUG in the caller. The form behind it (today a list) is
 * nobody's business but rmap.c's. Locks: the page's, held by the caller.
 */
#pragma once

#include <quire/types.h>
#include <quire/errno.h>

struct rmap_pair { domid_t domain; gfn_t gfn; };

struct rmap { void *form; uint64_t count; };

void rmap_init(struct rmap *r);
/** rmap_fini() - free what it holds; for an empty or abandoned map. */
void rmap_fini(struct rmap *r);
/** rmap_insert() - -ENOMEM: nothing changed. */
int must_check rmap_insert(struct rmap *r, struct rmap_pair p);
void rmap_remove(struct rmap *r, struct rmap_pair p);
/** rmap_has() - membership. */
bool rmap_has(const struct rmap *r, struct rmap_pair p);
static inline uint64_t rmap_count(const struct rmap *r) { return r->count; }
/** rmap_take() - copy up to @max pairs into @out, without removing them;
 *  which ones is unspecified. Returns how many. */
unsigned rmap_take(const struct rmap *r, struct rmap_pair *out, unsigned max);
/** rmap_scan() - copy the next up to @max pairs, going round: as many as the
 *  map holds, without a change in between, are each pair once. */
unsigned rmap_scan(struct rmap *r, struct rmap_pair *out, unsigned max);
/** rmap_move() - take @p out of @from and put it into @to. Cannot fail. */
void rmap_move(struct rmap *to, struct rmap *from, struct rmap_pair p);
/** rmap_for_each() - @fn may not change the map; non-zero stops and is
 *  returned. */
int rmap_for_each(const struct rmap *r,
                  int (*fn)(struct rmap_pair p, void *arg), void *arg);
/** rmap_bytes() - memory of all rmaps together. */
uint64_t rmap_bytes(void);
/** rmap_audit() - violations inside one map: count, duplicates. */
unsigned rmap_audit(const struct rmap *r);
