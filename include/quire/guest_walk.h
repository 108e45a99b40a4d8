/*
 * guest_walk.h - a walk of the guest's own page tables, in software.
 *
 * What the processor would do with a linear address under the guest's CR0,
 * CR3, CR4 and EFER: no paging, 2-level (with 4M pages), PAE and 4-level
 * tables; U/S, R/W, NX, SMEP, SMAP and reserved bits. Nothing is written: the
 * accessed and dirty bits stay as they are. Entries are read through the
 * caller's function, one entry a call, so that the walk runs on the host too.
 * No locks, no allocation; at most four reads.
 */
#pragma once

#include <quire/errno.h>
#include <quire/vcpu.h>

/* The #PF error code (APM vol. 2, 8.4.2). */
#define PF_P UINT32_C(0x01)     /* a right was missing, not the page */
#define PF_W UINT32_C(0x02)
#define PF_U UINT32_C(0x04)
#define PF_RSV UINT32_C(0x08)
#define PF_ID UINT32_C(0x10)    /* a fetch; only under NXE or SMEP */

/* Access: P2M_R, P2M_W or P2M_X, and by whom if not by pg->cpl. */
#define GUEST_WALK_SYSTEM 0x100u    /* an implicit supervisor access: GDT,
                                     * TSS ..., at any CPL; AC is ignored */

/** Read one entry (@len 4 or 8 bytes) at @gpa. Non-zero ends the walk. */
typedef int guest_walk_read_fn(void *ctx, gpa_t gpa, void *buf, unsigned len);

struct guest_walk {
    gpa_t gpa;              /* of the byte asked for */
    unsigned order;         /* of the page it is in: 0, 9, 10 (4M) or 18 */
    unsigned rights;        /* P2M_R/W/X this access's privilege has there */
    uint32_t error;         /* for -EFAULT: the #PF error code */
    unsigned nr;            /* entries read: */
    gpa_t entry_gpa[4];
    uint64_t entry[4];
};

/**
 * guest_walk() - translate @gva for one access.
 * @w is filled as far as the walk got, on errors too.
 * 0; -EFAULT: the guest gets #PF with @w->error and CR2 = @gva; -ERANGE: not
 * canonical (the guest gets #GP, or #SS for a stack access); or what @read
 * returned.
 */
int must_check guest_walk(const struct guest_paging *pg, gva_t gva,
                          unsigned access, guest_walk_read_fn *read,
                          void *ctx, struct guest_walk *w);

/**
 * guest_walk_entry() - what entry @e of a table of @level (1 is the lowest)
 * names: the page it maps, large if so, or the next table. False: it is not
 * present, or a reserved bit is set. Rights are the caller's.
 */
bool must_check guest_walk_entry(const struct guest_paging *pg,
                                 unsigned level, uint64_t e, gpa_t *gpa,
                                 bool *is_large);
