/* sharing.h - the parts of the privileged guest, and its calls. */
#pragma once

#include "guest.h"

#include <public/xen/memory.h>
#include <public/xen/sharing.h>

#define S_INVALID XENMEM_SHARING_OP_S_HANDLE_INVALID
#define C_INVALID XENMEM_SHARING_OP_C_HANDLE_INVALID
#define NO_DOMAIN ((domid_t)4000)

/* A call must answer exactly this. */
#define EXPECT(call, want) \
    do { \
        int64_t rc_ = (call); \
        CHECK(rc_ == (int64_t)(want), "%s: %ld, not %ld", #call, rc_, \
              (int64_t)(want)); \
    } while (0)

extern domid_t source, client;  /* the domains to work on */
extern uint64_t pages;          /* each has so many from gfn 0 on */

/* calls.c: one operation each, as Xen's toolstack makes them. */
int64_t op_call(struct xen_mem_sharing_op *op);
int64_t op_nominate(domid_t d, uint64_t gfn, uint64_t *handle);
int64_t op_share(domid_t sd, uint64_t sgfn, uint64_t sh, domid_t cd,
                 uint64_t cgfn, uint64_t ch);
int64_t op_add(domid_t sd, uint64_t sgfn, uint64_t sh, domid_t cd,
               uint64_t cgfn);
int64_t op_range(domid_t sd, domid_t cd, uint64_t first, uint64_t last);
int64_t op_debug(domid_t d, uint64_t gfn);
int64_t op_unshare(domid_t d, uint64_t gfn);
int64_t op_audit(void);
/** op_fork() - the child's id in @child. */
int64_t op_fork(domid_t parent, unsigned flags, domid_t *child);
int64_t op_fork_reset(domid_t child, unsigned flags);
int64_t op_remove(domid_t d, uint64_t gfn);
/** foreign_map() - @d's @nr (at most 64) gfns from @gfn on, in the window;
 *  each must go well. Returns where they are. */
void *foreign_map(domid_t d, uint64_t gfn, unsigned nr);
void foreign_unmap(unsigned nr);
/** foreign_error() - one page's own error. */
int64_t foreign_error(domid_t d, uint64_t gfn);
#define FOREIGN_MAX 64

void check_errors(void);        /* errors.c: every refusal */
void check_ops(void);           /* ops.c: every operation, and the contents */
void check_forks(void);         /* ops.c */
void fuzz(uint64_t rounds, uint64_t seed);      /* fuzz.c: on every vCPU */
