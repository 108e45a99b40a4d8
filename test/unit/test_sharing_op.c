/*
 * test_sharing_op.c - XENMEM_sharing_op as a privileged domain calls it: every
 * operation, every error, calls that are continued and calls that are given up
 * half-way. Forks are in test_sharing_fork.c.
 */
#include "test_sharing.h"

#define S_INVALID XENMEM_SHARING_OP_S_HANDLE_INVALID
#define C_INVALID XENMEM_SHARING_OP_C_HANDLE_INVALID

TEST(only_the_privileged_may)
{
    struct xen_mem_sharing_op op;
    uint64_t h;

    begin();
    end_domain(&caller);
    make_caller(false, false);
    for (unsigned nr = 0; nr < 256; nr++) {
        op = op_on(nr, a);
        CHECK_EQ(op_slice(&op), -EPERM);
    }
    CHECK_EQ(op_nominate(a, 0, &h), -EPERM);
    CHECK_EQ(op_foreign(a, 0, 200), -EPERM);
    CHECK_EQ(op_remove(a->id, 0), -EPERM);
    CHECK_EQ(p2m_lookup(a->p2m, GFN(0)).type, p2m_ram_rw);
    end();
}

TEST(targets)
{
    struct xen_mem_sharing_op op;
    struct work w = { .left = 1 };
    uint64_t h;

    begin();
    CHECK_EQ(op_nominate(caller, 0, &h), -EPERM);
    op = op_on(XENMEM_sharing_op_nominate_gfn, a);
    op.domain = DOMID_SELF;
    CHECK_EQ(op_all(&op), -ESRCH);
    op.domain = 4000;
    CHECK_EQ(op_all(&op), -ESRCH);
    op = pair_op(XENMEM_sharing_op_share, a, 0, 1, caller, 0, 1);
    CHECK_EQ(op_all(&op), -EPERM);
    op.u.share.client_domain = 4000;
    CHECK_EQ(op_all(&op), -ESRCH);
    CHECK_EQ(domain_kill(b, &w), -ERESTART);
    CHECK_EQ(op_nominate(b, 0, &h), -EINVAL);
    CHECK_EQ(op_foreign(b, 0, 200), -EINVAL);
    CHECK_EQ(op_share(a, 0, nominated(a, 0), b, 0, 1), -EINVAL);
    end();
}

TEST(numbers_and_pointers)
{
    struct xen_mem_sharing_op op;

    begin();
    for (unsigned nr = 11; nr < 256; nr++) {
        op = op_on(nr, a);
        CHECK(nr == XENMEM_sharing_op_quire_unshare ||
              op_all(&op) == -ENOSYS);
    }
    CHECK_EQ(call2(__HYPERVISOR_memory_op, XENMEM_sharing_op, UNMAPPED),
             -EFAULT);
    CHECK_EQ(call2(__HYPERVISOR_memory_op, XENMEM_sharing_op, 0x3ffffff0),
             -EFAULT);
    CHECK_EQ(call2(__HYPERVISOR_memory_op, XENMEM_sharing_op | 1 << 6, ARG),
             -ENOSYS);
    op = op_on(XENMEM_sharing_op_nominate_gref, a);
    CHECK_EQ(op_all(&op), -EOPNOTSUPP);
    op = op_on(XENMEM_sharing_op_debug_gref, a);
    CHECK_EQ(op_all(&op), -EOPNOTSUPP);
    end();
}

TEST(nominate)
{
    struct frame *f;
    uint64_t h, again;

    begin();
    h = nominated(a, 0);
    CHECK_EQ(op_nominate(a, 0, &again), 0);
    CHECK_EQ(again, h);
    CHECK_EQ(op_debug_gfn(a, 0), 1);
    CHECK_EQ(op_nominate(a, TARGET_PAGES, &h), -ENOENT);
    CHECK_EQ(op_nominate(a, UINT64_C(1) << 36, &h), -ENOENT);
    CHECK_EQ(op_nominate(a, UINT64_MAX, &h), -ENOENT);
    f = mfn_to_frame(p2m_lookup(a->p2m, GFN(3)).mfn);
    CHECK_EQ(frame_get(f, a->id), 0);
    CHECK_EQ(op_nominate(a, 3, &h), -E2BIG);
    frame_put(f);
    CHECK_EQ(op_nominate(a, 3, &h), 0);
    CHECK_EQ(op_unshare(a, 3), 0);
    CHECK_EQ(op_unshare(a, 3), 0);
    CHECK_EQ(op_unshare(a, TARGET_PAGES), -ENOENT);
    CHECK_EQ(op_debug_gfn(a, 3), -EINVAL);
    end();
}

TEST(share_moves_the_client)
{
    struct xen_mem_sharing_op op;
    uint64_t ha, hb;
    mfn_t mfn;

    begin();
    ha = nominated(a, 5);
    hb = nominated(b, 7);
    CHECK_EQ(op_share(a, 5, ha + 100, b, 7, hb), S_INVALID);
    CHECK_EQ(op_share(a, 6, ha, b, 7, hb), S_INVALID);
    CHECK_EQ(op_share(a, UINT64_MAX >> 2, ha, b, 7, hb), S_INVALID);
    CHECK_EQ(op_share(a, 5, ha, b, 7, hb + 100), C_INVALID);
    CHECK_EQ(op_share(a, 5, ha, b, TARGET_PAGES, hb), C_INVALID);
    CHECK_EQ(op_share(a, 5, ha, b, 7, hb), 0);
    CHECK_EQ(read_word(b, 7), 1005);
    CHECK_EQ(op_debug_gfn(b, 7), 2);
    mfn = p2m_lookup(a->p2m, GFN(5)).mfn;
    op = op_on(XENMEM_sharing_op_debug_mfn, a);
    op.u.debug.u.mfn = mfn.n;
    CHECK_EQ(op_all(&op), 2);
    op.u.debug.u.mfn = p2m_lookup(a->p2m, GFN(6)).mfn.n;
    CHECK_EQ(op_all(&op), -EINVAL);
    op.u.debug.u.mfn = UINT64_MAX;
    CHECK_EQ(op_all(&op), -EINVAL);
    /* The same page: as wished already. */
    ha = nominated(a, 5);
    CHECK_EQ(op_share(a, 5, ha, b, 7, ha), 0);
    write_word(b, 7, 1);
    CHECK_EQ(read_word(a, 5), 1005);
    CHECK_EQ(op_debug_gfn(a, 5), 1);
    end();
}

TEST(share_within_one_domain_and_grefs)
{
    uint64_t flag = XENMEM_SHARING_OP_FIELD_IS_GREF_FLAG, h;

    begin();
    h = nominated(a, 1);
    CHECK_EQ(op_share(a, 1, h, a, 2, nominated(a, 2)), 0);
    CHECK_EQ(read_word(a, 2), 1001);
    h = nominated(a, 1);
    CHECK_EQ(op_share(a, 1 | flag, h, b, 1, nominated(b, 1)), -EOPNOTSUPP);
    CHECK_EQ(op_share(a, 1, h, b, 1 | flag, nominated(b, 1)), -EOPNOTSUPP);
    CHECK_EQ(op_add(a, 1 | flag, h, b, 500), -EINVAL);
    end();
}

TEST(add_physmap)
{
    uint64_t h;

    begin();
    h = nominated(a, 1);
    CHECK_EQ(op_add(a, 1, h, b, 500), 0);
    CHECK_EQ(op_add(a, 1, h, b, 500), C_INVALID);
    CHECK_EQ(op_add(a, 1, h, b, 0), C_INVALID);
    CHECK_EQ(op_add(a, 1, h + 1, b, 501), S_INVALID);
    CHECK_EQ(op_add(a, 2, h, b, 501), S_INVALID);
    CHECK_EQ(op_add(a, 1, h, b, UINT64_C(1) << 36), -ERANGE);
    CHECK_EQ(read_word(b, 500), 1001);
    CHECK_EQ(op_remove(b->id, 500), 0);
    CHECK_EQ(op_remove(b->id, 500), -ENOENT);
    CHECK_EQ(op_debug_gfn(a, 1), 1);
    end();
}

TEST(range_share_refuses)
{
    struct xen_mem_sharing_op op;

    begin();
    op = range_op(a, b, 0, 9);
    CHECK_EQ(domain_unpause(b), 0);
    CHECK_EQ(op_all(&op), -EINVAL);
    CHECK_EQ(domain_pause(b), 0);
    op.u.range.pad[1] = 1;
    CHECK_EQ(op_all(&op), -EINVAL);
    op = range_op(a, b, 9, 8);
    CHECK_EQ(op_all(&op), -EINVAL);
    op = range_op(a, b, 0, TARGET_PAGES);
    CHECK_EQ(op_all(&op), -EINVAL);
    op = range_op(a, b, 5, 9);
    op.u.range.opaque = 4;
    CHECK_EQ(op_all(&op), -EINVAL);
    op.u.range.opaque = 10;
    CHECK_EQ(op_all(&op), -EINVAL);
    op = range_op(a, caller, 5, 9);
    CHECK_EQ(op_all(&op), -EPERM);
    CHECK_EQ(a->p2m->count[p2m_ram_shared], 0);
    end();
}

TEST(range_share)
{
    struct xen_mem_sharing_op op;
    struct frame *f;
    unsigned slices = 0;
    int64_t r;

    begin();
    CHECK_EQ(domain_remove_gfn(a, GFN(20)), 0);
    CHECK_EQ(domain_remove_gfn(b, GFN(21)), 0);
    f = mfn_to_frame(p2m_lookup(b->p2m, GFN(22)).mfn);
    CHECK_EQ(frame_get(f, b->id), 0);
    op = range_op(a, b, 2, 40);
    op.u.range.opaque = 3;
    do {
        r = op_slice(&op);
        slices++;
    } while (r == RESTARTED);
    frame_put(f);
    CHECK_EQ(r, 0);
    CHECK(slices > 2);
    CHECK_EQ(op.u.range.opaque, 0);
    for (unsigned g = 0; g < TARGET_PAGES; g++) {
        bool is_in = g >= 3 && g <= 40 && g != 20 && g != 21 && g != 22;

        CHECK_EQ(op_debug_gfn(b, g), is_in ? 2 : g == 21 ? -ENOENT :
                 g == 20 ? op_debug_gfn(b, 20) : -EINVAL);
        CHECK(!is_in || read_word(b, g) == 1000 + g);
    }
    /* Again: what has sharers in a third place already, too. */
    CHECK_EQ(op_add(a, 5, nominated(a, 5), caller, 3000), -EPERM);
    op = range_op(b, a, 0, TARGET_PAGES - 1);
    CHECK_EQ(op_all(&op), 0);
    CHECK_EQ(op_debug_gfn(a, 5), 2);
    CHECK_EQ(read_word(a, 0), 2000);
    end();
}

TEST(range_share_tells_where_it_stopped)
{
    struct xen_mem_sharing_op op;

    begin();
    op = range_op(a, b, 8, 40);
    host_fail_alloc_at(30);             /* the first is the call's own */
    CHECK_EQ(op_all(&op), -ENOMEM);
    CHECK(host_alloc_failed());
    CHECK(op.u.range.opaque > 8 && op.u.range.opaque <= 40);
    CHECK_EQ(op_debug_gfn(a, 8), 2);
    CHECK_EQ(op_all(&op), 0);           /* from there on */
    CHECK_EQ(op.u.range.opaque, 0);
    CHECK_EQ(op_debug_gfn(a, 40), 2);
    end();
}

/* Forced to stop at each check in turn, the result is the same. */
TEST(every_check_may_stop_it)
{
    for (uint64_t at = 1, over = 0; over == 0; at++) {
        struct xen_mem_sharing_op op;
        struct work w = { .left = INT32_MAX, .force_at = at };
        uint64_t h;
        int64_t r;

        begin();
        h = many_sharers(100);
        CHECK(at < 300);
        op = pair_op(XENMEM_sharing_op_share, a, 3, nominated(a, 3), b, 0, h);
        r = sharing_op_run(caller_vcpu, &op, &w);
        over = r != -ERESTART;
        while (r == -ERESTART) {
            CHECK(caller_vcpu->sharing != NULL);
            r = sharing_op_run(caller_vcpu, &op, &w);
        }
        CHECK_EQ(r, 0);
        CHECK(caller_vcpu->sharing == NULL);
        CHECK_EQ(op_debug_gfn(a, 3), 102);
        CHECK_EQ(op_debug_gfn(a, 1050), 102);
        end();
        at += at > 20 ? 9 : 0;
    }
}

TEST(another_operation_gives_the_first_up)
{
    struct xen_mem_sharing_op op;
    uint64_t sh, ch;

    begin();
    op = half_a_merge(&sh, &ch);
    CHECK_EQ(op_debug_gfn(a, 9), -EINVAL);
    CHECK(caller_vcpu->sharing == NULL);
    audit_all();
    /* Its client may have been moved already; then its handle is stale. */
    CHECK(op_all(&op) == 0 || op_debug_gfn(b, 0) != 102);
    merge_the_rest();
    end();
}

TEST(the_same_number_is_not_the_same_operation)
{
    struct work w = { .left = 1 };
    struct xen_mem_sharing_op op, other;

    begin();
    (void)many_sharers_at(9, 2000, 100);

    other = pair_op(XENMEM_sharing_op_share, a, 21, nominated(a, 21), b, 21,
                    nominated(b, 21));
    op = pair_op(XENMEM_sharing_op_share, a, 30, nominated(a, 30), b, 9,
                 nominated(b, 9));
    CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
    CHECK_EQ(op_all(&other), 0);
    CHECK_EQ(op_debug_gfn(a, 21), 2);
    end();
}

TEST(a_caller_killed_half_way_leaves_nothing)
{
    uint64_t sh, ch;

    begin();
    (void)half_a_merge(&sh, &ch);
    end_domain(&caller);
    audit_all();
    make_caller(true, false);
    merge_the_rest();
    end();
}

TEST(a_target_killed_half_way)
{
    struct xen_mem_sharing_op op;
    uint64_t sh, ch;

    begin();
    op = half_a_merge(&sh, &ch);
    end_domain(&a);                     /* the vCPU refers to it still */
    CHECK_EQ(op_all(&op), 0);
    CHECK(caller_vcpu->sharing == NULL);
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 2);
    end();
}

TEST(audits)
{
    struct xen_mem_sharing_op op;
    struct work w = { .left = 1 };

    begin();
    (void)many_sharers(200);
    (void)nominated(a, 9);
    op = op_on(XENMEM_sharing_op_audit, a);
    op.domain = DOMID_INVALID;
    CHECK_EQ(op_all(&op), 0);
    /* One that is given up at each of its places leaves no cursor. */
    for (unsigned slices = 1; slices < 20; slices++) {
        for (unsigned i = 0; i < slices; i++) {
            int64_t r = sharing_op_run(caller_vcpu, &op, &w);

            CHECK(r == -ERESTART || r == 0);
        }
        CHECK_EQ(sharing_op_abort(caller_vcpu, NULL), 0);
        CHECK_EQ(audit_share(), 0);
    }
    /* And it finds what is wrong. */
    struct frame *f = mfn_to_frame(p2m_lookup(a->p2m, GFN(9)).mfn);

    CHECK_EQ(frame_get(f, DOMID_COW), 0);
    CHECK_EQ(op_all(&op), 1);
    frame_put(f);
    end();
}

TEST(a_32_bit_caller)
{
    struct xen_mem_sharing_op op;
    uint64_t h;

    begin_mode(true);
    h = nominated(a, 4);
    CHECK_EQ(op_share(a, 4, h, b, 4, nominated(b, 4)), 0);
    CHECK_EQ(op_debug_gfn(b, 4), 2);
    CHECK_EQ(op_share(a, 4, h + 9, b, 4, h), S_INVALID);
    op = op_on(XENMEM_sharing_op_audit, a);
    CHECK_EQ(op_all(&op), 0);
    end();
}

TEST(questions_about_others)
{
    domid_t id;

    begin();
    id = a->id;
    poke(ARG, &id, sizeof(id));
    CHECK_EQ(call2(__HYPERVISOR_memory_op, XENMEM_maximum_gpfn, ARG),
             TARGET_PAGES - 1);
    CHECK_EQ(call2(__HYPERVISOR_memory_op, XENMEM_current_reservation, ARG),
             TARGET_PAGES + 1);
    id = 4000;
    poke(ARG, &id, sizeof(id));
    CHECK_EQ(call2(__HYPERVISOR_memory_op, XENMEM_maximum_gpfn, ARG),
             -ESRCH);
    CHECK_EQ(call2(__HYPERVISOR_memory_op, XENMEM_get_sharing_freed_pages,
                   0), 0);
    end();
}

/* Whatever allocation fails, nothing is lost, and it works the next time. */
TEST(any_allocation_may_fail)
{
    for (uint64_t n = 1, over = 0; over == 0; n++) {
        struct xen_mem_sharing_op op;
        int32_t errs[8];
        uint64_t h;

        begin();
        CHECK(n < 200);
        host_fail_alloc_at(n);
        CHECK(op_nominate(a, 1, &h) == 0 || host_alloc_failed());
        (void)op_add(a, 1, h, b, 5000);
        (void)op_share(a, 1, h, b, 1, h);
        op = range_op(a, b, 8, 12);
        if (op_all(&op) != 0) {
            CHECK(host_alloc_failed());
            CHECK(op.u.range.opaque == 0 || op.u.range.opaque >= 8);
        }
        (void)op_unshare(b, 8);
        (void)foreign_from(b, 8, 200, 8, 0, errs);
        op = op_on(XENMEM_sharing_op_audit, a);
        (void)op_all(&op);
        over = !host_alloc_failed();
        host_fail_alloc_at(0);
        audit_all();
        op = range_op(a, b, 8, 12);
        CHECK_EQ(op_all(&op), 0);
        end();
    }
}
