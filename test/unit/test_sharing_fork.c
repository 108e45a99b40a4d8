/* test_sharing_fork.c - fork and fork_reset of XENMEM_sharing_op: errors, and
 * what is given up half-way. */
#include "test_sharing.h"

#define RESET_ALL (XENMEM_FORK_RESET_STATE | XENMEM_FORK_RESET_MEMORY)

TEST(fork_refuses)
{
    struct xen_mem_sharing_op op;

    begin();
    op = fork_op(a, XENMEM_FORK_WITH_IOMMU_ALLOWED);
    CHECK_EQ(op_all(&op), -EOPNOTSUPP);
    op = fork_op(a, 0x8000);
    CHECK_EQ(op_all(&op), -EINVAL);
    op = fork_op(a, 0);
    op.u.fork.pad = 1;
    CHECK_EQ(op_all(&op), -EINVAL);
    op = fork_op(caller, 0);
    CHECK_EQ(op_all(&op), -EPERM);
    op = fork_op(a, 0);
    op.domain = b->id;
    CHECK_EQ(op_all(&op), -EEXIST);
    op.u.fork.parent_domain = 4000;
    CHECK_EQ(op_all(&op), -ESRCH);
    op = reset_op(a, RESET_ALL);
    CHECK_EQ(op_all(&op), -ENOSYS);
    op = reset_op(a, 0);
    CHECK_EQ(op_all(&op), -EINVAL);
    op = reset_op(a, 4);
    CHECK_EQ(op_all(&op), -EINVAL);
    end();
}

TEST(fork_and_reset)
{
    struct xen_mem_sharing_op op;
    struct domain *child;

    begin();
    op = fork_op(a, 0);
    op.domain = 77;
    CHECK_EQ(op_all(&op), 0);
    CHECK_EQ(op.domain, 77);
    child = domain_find(77);
    CHECK(child != NULL && child->pause_count == 0);
    CHECK_EQ(atomic_load(&caller->nr_pausing), 0);
    CHECK_EQ(op_foreign(child, 9, 200), 0);
    write_word(caller, 200, 1);
    CHECK_EQ(op_remove(DOMID_SELF, 200), 0);
    CHECK_EQ(read_word(a, 9), 1009);
    op = reset_op(child, RESET_ALL);
    CHECK_EQ(op_all(&op), 0);
    CHECK_EQ(read_word(child, 9), 1009);
    audit_all();
    test_kill(child);
    end();
}

/* Given up after any number of slices, no child is left and the parent runs. */
TEST(a_fork_given_up)
{
    bool over = false;

    for (unsigned slices = 1; !over; slices++) {
        struct xen_mem_sharing_op op;
        struct work w = { .left = 1 };
        int64_t r = -ERESTART;

        begin();
        op = fork_op(a, 0);
        for (unsigned i = 0; i < slices && r == -ERESTART; i++) {
            r = sharing_op_run(caller_vcpu, &op, &w);
        }
        over = r == 0;
        CHECK(over || r == -ERESTART);
        if (over) {
            test_kill(domain_find(op.domain));
        } else if (slices % 2 != 0) {
            end_domain(&caller);
            make_caller(true, false);
        } else {
            while (sharing_op_abort(caller_vcpu, &w) != 0) {
                w.left = 1;
            }
        }
        CHECK_EQ(a->nr_forking, 0);
        CHECK_EQ(domain_count(), 3);
        CHECK_EQ(atomic_load(&caller->nr_pausing), 0);
        end();
    }
}

/* Its structure can be read no more: an error, and nobody stands still. */
TEST(a_fork_whose_structure_is_gone)
{
    struct work w = { .left = 1 };
    struct xen_mem_sharing_op op;
    int64_t r;

    begin();
    op = fork_op(a, 0);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
    }
    CHECK_EQ(a->nr_forking, 1);
    do {
        r = call2(__HYPERVISOR_memory_op, XENMEM_sharing_op,
                  UINT64_C(1) << 40);
    } while (r == RESTARTED);
    CHECK_EQ(r, -EFAULT);
    CHECK(caller_vcpu->sharing == NULL);
    CHECK_EQ(a->nr_forking, 0);
    CHECK_EQ(domain_count(), 3);
    CHECK_EQ(atomic_load(&caller->nr_pausing), 0);
    end();
}

/* A reset given up half-way has gone on to its end. */
TEST(a_reset_given_up)
{
    struct work w = { .left = 1 };
    struct xen_mem_sharing_op op;
    struct domain *child;

    begin();
    op = fork_op(a, 0);
    CHECK_EQ(op_all(&op), 0);
    child = domain_find(op.domain);
    for (unsigned g = 0; g < TARGET_PAGES; g++) {
        write_word(child, g, 1);
    }
    /* Before it has begun, that is nothing. */
    op = reset_op(child, RESET_ALL);
    CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
    CHECK_EQ(sharing_op_abort(caller_vcpu, NULL), 0);
    CHECK_EQ(read_word(child, 0), 1);
    CHECK_EQ(caller->nr_pausing, 0);
    for (unsigned slice = 0; slice < 2; slice++) {
        w = (struct work){ .left = 1 };
        CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
    }
    end_domain(&caller);
    for (unsigned g = 0; g < TARGET_PAGES; g++) {
        CHECK_EQ(read_word(child, g), 1000 + g);
    }
    make_caller(true, false);
    test_kill(child);
    end();
}

/* Whoever is about to stop others is not stopped himself. */
TEST(nobody_stops_who_stops_others)
{
    struct work w = { .left = 1 };
    struct xen_mem_sharing_op op;
    struct domain *first = NULL;

    begin();
    op = fork_op(a, 0);
    CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
    first = caller;
    make_caller(true, false);
    op = fork_op(first, 0);
    CHECK_EQ(op_all(&op), -EBUSY);
    CHECK_EQ(sharing_op_abort(first->vcpus[0], NULL), 0);
    CHECK_EQ(op_all(&op), 0);
    test_kill(domain_find(op.domain));
    end_domain(&first);
    end();
}

/* Its foreign pages are not its own to hand on. */
TEST(a_domain_with_foreign_pages_forked)
{
    struct domain *first, *child;
    struct xen_mem_sharing_op op;

    begin();
    CHECK_EQ(op_foreign(a, 4, 200), 0);
    first = caller;
    make_caller(true, false);
    op = fork_op(first, 0);
    CHECK_EQ(op_all(&op), 0);
    child = domain_find(op.domain);
    CHECK_EQ(p2m_lookup(child->p2m, GFN(200)).type, p2m_invalid);
    audit_all();
    test_kill(child);
    end_domain(&first);
    end();
}
