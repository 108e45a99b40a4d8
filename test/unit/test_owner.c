/* test_owner.c - claiming and releasing ids; limits. */
#include "test.h"

#include "host.h"

#include <quire/errno.h>
#include <quire/frame_table.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>

TEST(claims_and_errors)
{
    int dummy;

    host_machine_init(2048, 1);
    CHECK_EQ(owner_claim(DOMID_INVALID, NULL, 1), 0);
    CHECK_EQ(owner_claim(2, &dummy, 1), 2);
    CHECK_EQ(owner_claim(DOMID_INVALID, NULL, 1), 1);
    CHECK_EQ(owner_claim(DOMID_INVALID, NULL, 1), 3);
    CHECK_EQ(owner_claim(2, NULL, 1), -EEXIST);
    CHECK_EQ(owner_claim(4096, NULL, 1), -EINVAL);
    CHECK_EQ(owner_claim(DOMID_COW, NULL, 1), -EINVAL);
    CHECK(owner_domain(2) == &dummy);
    owner_detach(2);
    CHECK(owner_domain(2) == NULL && owner_get(2) != NULL);
    CHECK(owner_get(100) == NULL && owner_domain(100) == NULL);
    CHECK(owner_get(DOMID_SELF) == NULL && owner_get(0xffff) == NULL);
    CHECK(owner_get(DOMID_COW) != NULL && owner_get(DOMID_IO) != NULL);
    CHECK_EQ(owner_release(1), 0);
    CHECK_EQ(owner_release(1), -EINVAL);
    CHECK_EQ(owner_release(DOMID_XEN), -EINVAL);
    CHECK_EQ(owner_release(4096), -EINVAL);
    CHECK_EQ(owner_claim(DOMID_INVALID, NULL, 1), 1);
}

TEST(all_ids_can_be_claimed_and_come_back)
{
    host_machine_init(2048, 1);
    for (unsigned i = 0; i < MAX_DOMAINS; i++) {
        CHECK_EQ(owner_claim(DOMID_INVALID, NULL, 1), i);
    }
    CHECK_EQ(owner_claim(DOMID_INVALID, NULL, 1), -ENFILE);
    CHECK_EQ(owner_release(4095), 0);
    CHECK_EQ(owner_claim(DOMID_INVALID, NULL, 1), 4095);
}

TEST(limits_and_release_while_owning)
{
    struct frame *f;

    host_machine_init(2048, 1);
    CHECK_EQ(owner_claim(9, NULL, 5), 9);
    CHECK(page_alloc_owned(9, 3) == NULL);      /* 8 > 5 */
    CHECK_EQ(owner_get(9)->pages, 0);
    f = page_alloc_owned(9, 2);
    CHECK(f != NULL);
    CHECK_EQ(owner_get(9)->pages, 4);
    CHECK(page_alloc_owned(9, 1) == NULL);
    CHECK_EQ(owner_release(9), -EBUSY);
    owner_get(9)->max_pages = 3;                /* below what it has */
    CHECK(page_alloc_owned(9, 0) == NULL);
    owner_get(9)->max_pages = UINT64_MAX;
    CHECK(page_alloc_owned(9, 63) == NULL);
    CHECK_EQ(owner_get(9)->pages, 4);
    for (unsigned i = 0; i < 4; i++) {
        frame_put_allocated(f + i);
    }
    CHECK_EQ(owner_release(9), 0);
    CHECK(page_alloc_owned(9, 0) == NULL);
    CHECK(page_alloc_owned(DOMID_XEN, 0) == NULL);
    CHECK_EQ(mem_audit(), 0);
}
