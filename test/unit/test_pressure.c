/* test_pressure.c - the reserve, frames held for those who wait, and what is
 * told of frames that come free. */
#include "host.h"
#include "test.h"

#include <quire/errno.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/pressure.h>

#define OWNER 5
#define RESERVE 32

static void boot(uint64_t frames, uint64_t max_pages)
{
    host_machine_init(frames, 2);
    CHECK_EQ(owner_claim(OWNER, NULL, max_pages), OWNER);
}

/* Single frames of @OWNER's until there are none. */
static struct frame *exhaust(uint64_t *nr)
{
    struct frame *first = NULL, *f;

    for (*nr = 0; (f = page_alloc_owned(OWNER, 0)) != NULL; ++*nr) {
        f->user = first;
        first = f;
    }
    return first;
}

static struct frame *drop_one(struct frame *first)
{
    struct frame *next = first->user;

    frame_put_allocated(first);
    return next;
}

static void drop_all(struct frame *first)
{
    while (first != NULL) {
        first = drop_one(first);
    }
    page_cache_drain();
}

TEST(the_reserve_is_for_the_urgent)
{
    struct frame *mine, *f;
    uint64_t nr;

    boot(512, UINT64_MAX);
    uint64_t free = page_nr_free();
    page_reserve_set(RESERVE);
    CHECK_EQ(page_nr_available(), free - RESERVE);
    mine = exhaust(&nr);
    CHECK_EQ(nr, free - RESERVE);
    CHECK(page_alloc(0, FRAME_HEAP) == NULL);
    CHECK(page_alloc(3, FRAME_HEAP) == NULL);
    CHECK_EQ(page_need_set(PAGE_URGENT), PAGE_NORMAL);
    f = page_alloc(0, FRAME_HEAP);
    CHECK(f != NULL);
    /* It took that one, not a batch that others would find in the cache. */
    CHECK_EQ(page_need_set(PAGE_NORMAL), PAGE_URGENT);
    CHECK(page_alloc_owned(OWNER, 0) == NULL);
    page_free(f, 0);
    drop_all(mine);
    CHECK_EQ(page_nr_free(), free);
    CHECK_EQ(mem_audit(), 0);
}

TEST(what_is_held_is_for_the_promised)
{
    struct frame *mine, *f;
    uint64_t nr;

    boot(512, UINT64_MAX);
    mine = exhaust(&nr);
    page_pressure_set(true);
    page_pressure_hold(1);
    mine = drop_one(mine);
    CHECK(page_alloc_owned(OWNER, 0) == NULL);
    page_need_set(PAGE_PROMISED);
    f = page_alloc_owned(OWNER, 0);
    CHECK(f != NULL);
    page_need_set(PAGE_NORMAL);
    frame_put_allocated(f);
    page_pressure_hold(PAGE_HOLD_ALL);
    CHECK(page_alloc_owned(OWNER, 0) == NULL);
    /* Quire's own are not kept waiting. */
    f = page_alloc(0, FRAME_HEAP);
    CHECK(f != NULL);
    page_free(f, 0);
    page_pressure_hold(0);
    page_pressure_set(false);
    drop_all(mine);
    CHECK_EQ(mem_audit(), 0);
}

TEST(each_way_back_is_told)
{
    struct frame *mine, *f, *block;
    uint64_t nr;

    boot(512, UINT64_MAX);
    f = page_alloc(0, FRAME_HEAP);
    block = page_alloc(2, FRAME_HEAP);
    mine = exhaust(&nr);
    mine = drop_one(mine);
    CHECK(!page_pressure_take_event());     /* nobody waits */
    page_pressure_set(true);
    page_cache_drain();
    mine = drop_one(mine);
    CHECK(page_pressure_take_event());
    CHECK(!page_pressure_take_event());
    CHECK_EQ(page_nr_available(), 2);       /* none is in a cache */
    page_free(f, 0);
    CHECK(page_pressure_take_event());
    page_free(block, 2);
    CHECK(page_pressure_take_event());
    CHECK_EQ(frame_free_run(OWNER, mine, 1), 1);
    CHECK(page_pressure_take_event());
    page_pressure_set(false);
    CHECK_EQ(mem_audit(), 0);
}

TEST(room_is_told_to_who_is_wanted)
{
    struct frame *mine;
    uint64_t nr;

    boot(512, 4);
    mine = exhaust(&nr);
    CHECK_EQ(nr, 4);
    page_pressure_set(true);
    mine = drop_one(mine);
    CHECK_EQ(page_pressure_take_rooms(0), 0);
    owner_set_wanted(OWNER, true);
    mine = drop_one(mine);
    CHECK_EQ(page_pressure_take_rooms(0), 1 << OWNER);
    CHECK_EQ(page_pressure_take_rooms(0), 0);
    CHECK_EQ(frame_set_owner(mine, DOMID_COW), 0);
    CHECK_EQ(page_pressure_take_rooms(0), 1 << OWNER);
    CHECK_EQ(frame_set_owner(mine, OWNER), 0);
    CHECK_EQ(owner_set_max(OWNER, 8), 0);
    CHECK_EQ(page_pressure_take_rooms(0), 1 << OWNER);
    CHECK_EQ(owner_set_max(OWNER + 1, 8), -ESRCH);
    CHECK_EQ(owner_set_max(MAX_DOMAINS, 8), -ESRCH);
    owner_set_wanted(OWNER, false);
    drop_all(mine);
    page_pressure_set(false);
    CHECK_EQ(owner_release(OWNER), 0);
    CHECK_EQ(mem_audit(), 0);
}
