/*
 * shadow_glue.h - between a domain's life and its shadow (quire/shadow.h):
 * who makes it, who tells it, who takes it apart.
 */
#pragma once

#include <quire/domain.h>

/** vcpu_shadow_init() - @v's part, and the domain's for its first vCPU; nothing
 *  if it runs on nested paging. -ENOMEM. domain_shadow_relinquish() undoes. */
int must_check vcpu_shadow_init(struct vcpu *v);
/** domain_shadow_written() - Quire has written to @gfn of @p's domain. Not
 *  within p2m_access_begin() .. end(): it takes the shadow's lock. */
void domain_shadow_written(struct p2m *p, gfn_t gfn);
/** domain_shadow_relinquish() - no vCPU runs any more. Preemptible: the cursor
 *  is in the domain and its shadow. */
int must_check domain_shadow_relinquish(struct domain *d, struct work *w);
