/*
 * domain_life.h - what the files of a domain's life share: domain.c (table
 * and references), build.c (creation), relinquish.c (kill).
 */
#pragma once

#include <quire/domain.h>

/** domain_alloc() - claim an id, empty address space, events; two references:
 *  the creation's and the creator's own. */
int must_check domain_alloc(const struct domain_config *c, uint64_t max_pages,
                            struct domain **d, char *why);
/** domain_unlist() - it is DEAD: nobody finds it any more. */
void domain_unlist(struct domain *d);
/** domain_pause_vcpus() - one more pause of each; does not wait. */
void domain_pause_vcpus(struct domain *d);
void domain_unpause_vcpus(struct domain *d);
/** domain_has_running() - whether some vCPU of @d is on a CPU. */
bool domain_has_running(const struct domain *d);
/** domain_drop_frame() - the frame of an entry that is out of the p2m. */
void domain_drop_frame(struct domain *d, gfn_t gfn,
                       const struct p2m_entry *e);
/** domain_map_shared_info() - the shared page at @gfn, and nowhere else. What
 *  was there is dropped. Errors of domain_remove_gfn(). */
int must_check domain_map_shared_info(struct domain *d, gfn_t gfn);
