/*
 * fuzz.c - XENMEM_sharing_op with anything in it, from every vCPU at once.
 *
 * Half of each field is plausible, so that calls get far: gfns and handles
 * that exist, the two domains. Contents are nothing here, since any page may
 * be merged into any other. What matters is an answer, and the audit.
 */
#include "random.h"
#include "sharing.h"

#define HANDLES 32
#define GFNS 24                 /* few, so that they meet */

static uint64_t handles[HANDLES];
static _Atomic uint64_t nr_calls, nr_good;
static _Atomic unsigned nr_done;
static uint64_t nr_rounds, first_seed;

static uint64_t any_gfn(struct random *r)
{
    switch (random_below(r, 8)) {
    case 0:
        return random_next(r);
    case 1:
        return UINT64_C(1) << random_below(r, 64);
    default:
        return random_below(r, GFNS);
    }
}

static uint64_t any_handle(struct random *r)
{
    return random_below(r, 8) == 0 ? random_next(r)
                                   : handles[random_below(r, HANDLES)];
}

static domid_t any_domain(struct random *r)
{
    switch (random_below(r, 10)) {
    case 0:
        return (domid_t)random_next(r);
    case 1:
        return DOMID_SELF;
    case 2:
        return guest_domid();
    default:
        return random_below(r, 2) == 0 ? source : client;
    }
}

static void any_op(struct random *r, struct xen_mem_sharing_op *op)
{
    uint64_t *words = (uint64_t *)(void *)op;

    for (unsigned i = 0; i < sizeof(*op) / 8; i++) {
        words[i] = random_next(r);
    }
    op->op = (uint8_t)(random_below(r, 16) == 0 ? random_next(r)
                                                : random_below(r, 12));
    if (op->op == 11) {
        op->op = XENMEM_sharing_op_quire_unshare;
    }
    op->domain = any_domain(r);
    op->u.share.source_gfn = any_gfn(r);    /* and all the others' gfn */
    if (op->op == XENMEM_sharing_op_range_share) {
        op->u.range.last_gfn = any_gfn(r);
        op->u.range.opaque = random_below(r, 2) * any_gfn(r);
        op->u.range.client_domain = any_domain(r);
        memset(op->u.range.pad, (int)(random_below(r, 8) == 0),
               sizeof(op->u.range.pad));
    } else if (op->op == XENMEM_sharing_op_fork) {
        op->u.fork.pad |= 1;    /* no children: nobody would destroy them */
    } else {
        op->u.share.source_handle = any_handle(r);
        op->u.share.client_gfn = any_gfn(r);
        op->u.share.client_handle = any_handle(r);
        op->u.share.client_domain = any_domain(r);
    }
}

/* Take away what add_physmap has put beyond the domains' RAM, or all RAM would
 * be in few frames at last; and map and unmap a page now and then. */
static void other_calls(struct random *r)
{
    struct xen_add_to_physmap_batch b = {
        .domid = any_domain(r), .space = (uint16_t)random_below(r, 6),
        .size = (uint16_t)random_below(r, 3), .foreign_domid = any_domain(r),
        .idxs = random_next(r), .gpfns = random_next(r),
        .errs = random_next(r) };

    (void)op_remove(random_below(r, 2) == 0 ? source : client,
                    UINT64_C(1) << (9 + random_below(r, 27)));
    (void)hc_memory_op(XENMEM_add_to_physmap_batch |
                       random_below(r, 4) << XENMEM_CMD_BITS, &b);
}

static void fuzz_here(unsigned id)
{
    struct random r = { mix64(first_seed + id) };

    for (uint64_t i = 0; i < nr_rounds; i++) {
        struct xen_mem_sharing_op op;
        int64_t rc;

        any_op(&r, &op);
        if (op.op == XENMEM_sharing_op_audit && random_below(&r, 50) != 0) {
            continue;           /* long, and it waits for nobody */
        }
        rc = op_call(&op);
        CHECK(rc > -200, "op %u: %ld", op.op, rc);
        nr_calls++;
        nr_good += rc >= 0;
        if (op.op == XENMEM_sharing_op_nominate_gfn && rc == 0) {
            handles[random_below(&r, HANDLES)] = op.u.nominate.handle;
        }
        if (random_below(&r, 16) == 0) {
            other_calls(&r);
        }
    }
    nr_done++;
}

void fuzz(uint64_t rounds, uint64_t seed)
{
    unsigned nr = 1;

    nr_rounds = rounds;
    first_seed = seed;
    while (nr < GUEST_MAX_VCPUS && guest_start_vcpu(nr, fuzz_here) == 0) {
        nr++;
    }
    fuzz_here(0);
    while (nr_done < nr) {
        cpu_relax();
    }
    guest_printf("fuzz: %lu calls on %u vCPUs, %lu went well\n", nr_calls, nr,
                 nr_good);
    guest_figure(0, nr_calls);
    guest_figure(1, nr_good);
    CHECK(nr_good * 10 > nr_calls, "only %lu of %lu calls went well",
          nr_good, nr_calls);
}
