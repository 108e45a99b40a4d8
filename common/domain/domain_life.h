/*
 * domain_life.h - what the files of a domain's life share: domain.c (table
 * and references), build.c (creation), relinquish.c (kill).
 */
#pragma once

#include <quire/domain.h>

/** domain_alloc() - the record with its id; two references: the creation's and
 *  the creator's own. Nobody finds it yet. */
int must_check domain_alloc(const struct domain_config *c, uint64_t max_pages,
                            struct domain **d, char *why);
/** domain_alloc_maps() - then its empty address space and its events; from here
 *  on a killer finds it. -ENOMEM: @d is gone. */
int must_check domain_alloc_maps(struct domain *d, char *why);
/** domain_highest_gfn() - the last of its RAM ranges; 0: it has none. */
int64_t domain_highest_gfn(const struct domain *d);
/** domain_unlist() - it is DEAD: nobody finds it any more. */
void domain_unlist(struct domain *d);
/** domain_pause_vcpus() - one more pause of each; does not wait. */
void domain_pause_vcpus(struct domain *d);
void domain_unpause_vcpus(struct domain *d);
/** domain_has_running() - whether some vCPU of @d is on a CPU. */
bool domain_has_running(const struct domain *d);
/** console_flush() - print the line that @d has begun; before its end is. */
void console_flush(struct domain *d);
/** domain_drop_frame() - the frame of an entry that is out of the p2m. */
void domain_drop_frame(struct domain *d, gfn_t gfn,
                       const struct p2m_entry *e);
/**
 * domain_replace_gfn() - @new as @type at @gfn (NULL: a hole); what was there
 * is dropped. The entry takes over the caller's reference to @new. -EINVAL:
 * what is there is no RAM and not foreign; -ENOENT: a hole is one already;
 * -ENOMEM; -ERANGE; -ESRCH: the map takes nothing new. Nothing changed then.
 */
int must_check domain_replace_gfn(struct domain *d, gfn_t gfn,
                                  struct frame *new, enum p2m_type type);
/**
 * domain_pin_gfn() - unshare @gfn and take a reference and a type reference
 * on its frame, which is then neither freed nor shared until
 * domain_unpin_frame(). -EINVAL: no RAM of its own; -ENOMEM; -EAGAIN: it is
 * shared again and again.
 */
int must_check domain_pin_gfn(struct domain *d, gfn_t gfn, struct frame **f);
void domain_unpin_frame(struct frame *f);
/** domain_map_foreign() - @target's @tgfn, writable, at @gfn of @d. Errors of
 *  domain_pin_gfn() and domain_replace_gfn(). */
int must_check domain_map_foreign(struct domain *d, gfn_t gfn,
                                  struct domain *target, gfn_t tgfn);
/** domain_drop_foreign() - the frame of a map_foreign entry that is out of the
 *  p2m and flushed. */
void domain_drop_foreign(struct frame *f);
/**
 * domain_visit() - have @d's vCPUs' machine state, its channels and timers
 * stay until domain_leave(), which must come before the slice ends: a kill
 * waits for that. False: it is being destroyed.
 */
bool must_check domain_visit(struct domain *d);
void domain_leave(struct domain *d);

/** domain_map_shared_info() - the shared page at @gfn, and nowhere else. What
 *  was there is dropped. Errors of domain_remove_gfn(). */
int must_check domain_map_shared_info(struct domain *d, gfn_t gfn);
