/* test_sharing_foreign.c - foreign mappings as a privileged domain makes them,
 * beside sharing: who counts what, and who dies first. */
#include "test_sharing.h"

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
