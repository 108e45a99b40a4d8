/*
 * test_sharing_op.c - XENMEM_sharing_op and foreign mappings as a privileged
 * domain calls them: every operation, every error, calls that are continued
 * and calls that are given up half-way.
 */
#include "test_caller.h"

#include "../../common/domain/sharing_op.h"

#define S_INVALID XENMEM_SHARING_OP_S_HANDLE_INVALID
#define C_INVALID XENMEM_SHARING_OP_C_HANDLE_INVALID

static struct domain *a, *b;
static uint64_t nr_free;

static void begin_mode(bool compat)
{
    test_machine(8192, 2);
    test_settle();
    nr_free = page_nr_free();
    a = make_target("a");
    b = make_target("b");
    make_caller(true, compat);
    for (unsigned g = 0; g < TARGET_PAGES; g++) {
        write_word(a, g, 1000 + g);
        write_word(b, g, 2000 + g);
    }
}

static void begin(void)
{
    begin_mode(false);
}

static void end_domain(struct domain **d)
{
    if (*d != NULL) {
        test_kill(*d);
        *d = NULL;
    }
}

static void end(void)
{
    struct share_stats s;

    audit_all();
    end_domain(&a);
    end_domain(&b);
    end_domain(&caller);
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(page_nr_free(), nr_free);
    share_stats_get(&s);
    CHECK_EQ(s.shared_frames, 0);
}

static uint64_t nominated(const struct domain *d, uint64_t gfn)
{
    uint64_t h = 0;

    CHECK_EQ(op_nominate(d, gfn, &h), 0);
    CHECK(h != 0);
    return h;
}

/* One frame with @nr + 1 sharers: b's @gfn, and a's from @first on. */
static uint64_t many_sharers_at(uint64_t gfn, uint64_t first, uint64_t nr)
{
    uint64_t h = nominated(b, gfn), done = 0;

    CHECK_EQ(share_add_physmap_range(b->p2m, GFN(gfn), h, a->p2m, GFN(first),
                                     nr, 1, &done, NULL), 0);
    return h;
}

static uint64_t many_sharers(uint64_t nr)
{
    return many_sharers_at(0, 1000, nr);
}

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

/* A merge of 101 that has stopped on its way. */
static struct xen_mem_sharing_op half_a_merge(uint64_t *sh, uint64_t *ch)
{
    struct work w = { .left = 1 };
    struct xen_mem_sharing_op op;

    *ch = many_sharers(100);
    *sh = nominated(a, 3);
    op = pair_op(XENMEM_sharing_op_share, a, 3, *sh, b, 0, *ch);
    CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
    CHECK(caller_vcpu->sharing != NULL);
    return op;
}

/* What has been moved has a new handle, the rest the old one. No role of the
 * first merge may be in the way. */
static void merge_the_rest(void)
{
    for (uint64_t g = 1000; g < 1100; g++) {
        CHECK_EQ(op_share(a, 3, nominated(a, 3), a, g, nominated(a, g)), 0);
    }
    CHECK_EQ(op_share(a, 3, nominated(a, 3), b, 0, nominated(b, 0)), 0);
    CHECK_EQ(op_debug_gfn(a, 3), 102);
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

TEST(foreign_pages)
{
    uint64_t h;

    begin();
    h = nominated(a, 4);
    CHECK_EQ(op_share(a, 4, h, b, 4, nominated(b, 4)), 0);
    CHECK_EQ(op_foreign(a, 4, 200), 0); /* into a hole; unshares */
    CHECK_EQ(op_foreign(b, 4, 50), 0);  /* over RAM */
    write_word(caller, 200, 42);
    CHECK_EQ(read_word(a, 4), 42);
    CHECK_EQ(read_word(caller, 50), 1004);
    CHECK_EQ(read_word(b, 4), 1004);
    CHECK_EQ(op_nominate(a, 4, &h), -E2BIG);
    CHECK_EQ(op_foreign(a, 5, 200), 0); /* instead of the first */
    CHECK_EQ(read_word(caller, 200), 1005);
    CHECK_EQ(op_nominate(a, 4, &h), 0);
    /* What is foreign there is not for the first's toolstack to share. */
    CHECK_EQ(share_nominate(caller->p2m, GFN(200), &h), -EXDEV);
    CHECK_EQ(op_foreign(a, TARGET_PAGES, 201), -EINVAL);
    CHECK_EQ(op_foreign(a, UINT64_MAX, 201), -EINVAL);
    CHECK_EQ(op_foreign(a, 6, UINT64_C(1) << 36), -ERANGE);
    CHECK_EQ(op_foreign(caller, 6, 201), -EPERM);
    audit_all();
    CHECK_EQ(op_remove(DOMID_SELF, 200), 0);
    CHECK_EQ(op_nominate(a, 5, &h), 0);
    CHECK_EQ(op_remove(DOMID_SELF, 50), 0);
    CHECK_EQ(atomic_load(&owner_get(a->id)->foreign), 0);
    end();
}

/* Xen lost count of such a page: mapped writable by another domain, the last
 * sharer of its frame, its domain dying. */
TEST(a_foreign_page_outlives_its_domain)
{
    uint64_t free_before, h;

    begin();
    test_settle();
    h = nominated(a, 4);
    CHECK_EQ(op_add(a, 4, h, b, 500), 0);
    CHECK_EQ(op_remove(b->id, 500), 0); /* one sharer left, still shared */
    CHECK_EQ(op_foreign(a, 4, 200), 0);
    write_word(caller, 200, 42);
    end_domain(&a);
    test_settle();
    audit_all();
    write_word(caller, 200, 43);
    CHECK_EQ(read_word(caller, 200), 43);
    free_before = page_nr_free();
    CHECK_EQ(op_remove(DOMID_SELF, 200), 0);
    test_settle();
    CHECK(page_nr_free() > free_before);
    end();
}

TEST(a_domain_dies_with_foreign_pages)
{
    uint64_t h;

    begin();
    CHECK_EQ(op_foreign(a, 4, 200), 0);
    CHECK_EQ(op_foreign(a, 4, 201), 0); /* twice */
    CHECK_EQ(domain_remove_gfn(a, GFN(4)), 0);  /* the target lets go */
    audit_all();
    end_domain(&caller);
    CHECK_EQ(atomic_load(&owner_get(a->id)->foreign), 0);
    make_caller(true, false);
    CHECK_EQ(op_foreign(a, 5, 200), 0);
    end_domain(&caller);
    make_caller(true, false);
    CHECK_EQ(op_nominate(a, 5, &h), 0);
    end();
}

TEST(foreign_batches)
{
    for (unsigned compat = 0; compat < 2; compat++) {
        int32_t errs[40];

        begin_mode(compat != 0);
        CHECK_EQ(domain_remove_gfn(a, GFN(17)), 0);
        CHECK_EQ(foreign_from(a, 4, 200, 40, 0, errs), 0);
        for (unsigned i = 0; i < 40; i++) {
            CHECK_EQ(errs[i], i == 13 ? -EINVAL : 0);
            CHECK(i == 13 || read_word(caller, 200 + i) == 1004 + i);
        }
        CHECK_EQ(foreign_from(a, 4, 300, 4, 4, errs), 0);
        CHECK_EQ(foreign_from(a, 4, 300, 4, 5, errs), -EILSEQ);
        CHECK_EQ(p2m_lookup(caller->p2m, GFN(300)).type, p2m_invalid);
        CHECK_EQ(op_remove(DOMID_SELF, 200), 0);
        end();
    }
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

/* ---- forks -------------------------------------------------------------- */
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
