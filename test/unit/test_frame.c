/*
 * test_frame.c - the frame table at boot; references, types and owners of
 * single frames; and that mem_audit() can fail, in each of its invariants.
 */
#include "test.h"

#include "host.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/frame_table.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <string.h>

#define RAM 4096

static uint64_t used(enum frame_use use)
{
    struct mem_totals t;

    mem_totals_get(&t);
    return t.frames[use];
}

TEST(boot_leaves_image_modules_table_and_frame_0_out)
{
    /* A hole, ranges that touch, reserved ranges that overlap each other. */
    const struct ram_range ram[] = { { MFN(0), 100 }, { MFN(100), 60 },
                                     { MFN(256), 700 }, { MFN(2000), 48 } };
    const struct ram_range reserved[] = { { MFN(300), 20 }, { MFN(16), 8 },
                                          { MFN(310), 20 }, { MFN(950), 6 },
                                          { MFN(2047), 1 }, { MFN(500), 0 } };
    struct mem_totals t;
    uint64_t table = 2048 * 32 / 4096, boot = 1 + 30 + 8 + 6 + 1 + table;

    host_ram_init(2048, 1);
    frame_table_init(ram, ARRAY_SIZE(ram), reserved, ARRAY_SIZE(reserved));
    mem_totals_get(&t);
    CHECK_EQ(frame_table_end, 2048);
    CHECK_EQ(t.total, 908);
    CHECK_EQ(t.frames[FRAME_BOOT], boot);
    CHECK_EQ(t.frames[FRAME_FREE], 908 - boot);
    CHECK_EQ(t.frames[FRAME_ABSENT], 2048 - 908);
    CHECK_EQ(page_nr_free(), 908 - boot);
    CHECK(!mfn_is_ram(MFN(160)) && !mfn_is_ram(MFN(255)));
    CHECK(!mfn_is_ram(MFN(2048)) && !mfn_is_ram(MFN_INVALID));
    CHECK(mfn_is_ram(MFN(159)) && mfn_is_ram(MFN(256)));
    CHECK_EQ(mfn_to_frame(MFN(0))->use, FRAME_BOOT);
    CHECK_EQ(mfn_to_frame(MFN(329))->use, FRAME_BOOT);
    CHECK_EQ(mfn_to_frame(MFN(330))->use, FRAME_FREE);
    CHECK_EQ(mem_audit(), 0);

    /* Every free frame can be had, none of the others. */
    for (uint64_t n = 908 - boot; n != 0; n--) {
        struct frame *f = page_alloc(0, FRAME_PERCPU);

        CHECK(f != NULL);
        memset(arch_map_frame(frame_to_mfn(f)), 0xff, PAGE_SIZE);
    }
    CHECK(page_alloc(0, FRAME_PERCPU) == NULL);
    CHECK_EQ(mem_audit(), 0);
}

static void no_room(void *arg)
{
    const struct ram_range ram[] = { { MFN(0), 4 }, { MFN(8188), 4 } };

    (void)arg;
    frame_table_init(ram, 2, NULL, 0);
}

TEST(no_room_for_the_table_stops_the_machine)
{
    host_ram_init(8192, 1);
    CHECK(host_expect_panic(no_room, NULL, "no room for a frame table"));
}

static struct frame *owned(domid_t id)
{
    struct frame *f;

    host_machine_init(RAM, 1);
    CHECK_EQ(owner_claim(id, NULL, 10), id);
    f = page_alloc_owned(id, 0);
    CHECK(f != NULL);
    return f;
}

TEST(last_put_frees_and_uncharges)
{
    struct frame *f = owned(5);
    uint64_t free = page_nr_free();

    CHECK_EQ(frame_refs(f), 1);
    CHECK_EQ(owner_get(5)->pages, 1);
    CHECK_EQ(used(FRAME_GUEST), 1);
    CHECK_EQ(frame_get(f, 5), 0);
    CHECK_EQ(frame_get(f, 6), -ESRCH);
    CHECK_EQ(frame_refs(f), 2);
    frame_put_allocated(f);
    /* Found no more, but there until the last who had it lets go. */
    CHECK_EQ(frame_get(f, 5), -ESRCH);
    CHECK_EQ(owner_get(5)->pages, 1);
    CHECK_EQ(page_nr_free(), free);
    CHECK_EQ(mem_audit(), 0);
    frame_put(f);
    CHECK_EQ(owner_get(5)->pages, 0);
    CHECK_EQ(page_nr_free(), free + 1);
    CHECK_EQ(used(FRAME_GUEST), 0);
    CHECK_EQ(frame_get(f, 5), -ESRCH);
    CHECK_EQ(mem_audit(), 0);
}

static void put(void *arg)
{
    frame_put(arg);
}

static void put_allocated_twice(void *arg)
{
    /* Enough others left that the count alone would not tell. */
    if (frame_get(arg, 5) == 0 && frame_get(arg, 5) == 0) {
        frame_put_allocated(arg);
        frame_put_allocated(arg);
    }
}

static void put_with_type(void *arg)
{
    if (frame_get_type(arg, FRAME_TYPE_WRITABLE) == 0) {
        frame_put_allocated(arg);
    }
}

static void put_type(void *arg)
{
    frame_put_type(arg);
}

static void free_freed(void *arg)
{
    frame_put_allocated(arg);
    frame_put(arg);
}

TEST(misuse_of_references_stops_the_machine)
{
    struct frame *f = owned(5);

    CHECK(host_expect_panic(put, f, "BUG"));
    CHECK(host_expect_panic(put_allocated_twice, f, "BUG"));
    CHECK(host_expect_panic(put_with_type, f, "BUG"));
    CHECK(host_expect_panic(put_type, f, "BUG"));
    CHECK(host_expect_panic(free_freed, f, "BUG"));
    frame_put_allocated(f);
}

TEST(references_stop_short_of_overflow)
{
    struct frame *f = owned(5);

    f->refs += FRAME_REFS_MASK - MAX_CPUS - 2;
    CHECK_EQ(frame_get(f, 5), 0);
    CHECK_EQ(frame_get(f, 5), -EOVERFLOW);
    f->refs -= FRAME_REFS_MASK - MAX_CPUS - 1;
    frame_put_allocated(f);
}

TEST(one_type_at_a_time)
{
    struct frame *f = owned(5);

    CHECK_EQ(frame_type(f), FRAME_TYPE_NONE);
    CHECK_EQ(frame_get_type(f, FRAME_TYPE_WRITABLE), 0);
    CHECK_EQ(frame_get_type(f, FRAME_TYPE_WRITABLE), 0);
    CHECK_EQ(frame_get_type(f, FRAME_TYPE_SHARED), -EBUSY);
    CHECK_EQ(frame_type(f), FRAME_TYPE_WRITABLE);
    CHECK_EQ(frame_type_count(f), 2);
    frame_put_type(f);
    CHECK_EQ(frame_get_type(f, FRAME_TYPE_SHARED), -EBUSY);
    frame_put_type(f);
    CHECK_EQ(frame_type(f), FRAME_TYPE_NONE);
    CHECK_EQ(frame_get_type(f, FRAME_TYPE_SHARED), 0);
    CHECK_EQ(frame_type(f), FRAME_TYPE_SHARED);
    frame_put_type(f);
    frame_put_allocated(f);
}

TEST(change_of_owner_moves_the_counts)
{
    struct frame *f = owned(5);

    CHECK_EQ(frame_set_owner(f, DOMID_COW), 0);
    CHECK_EQ(owner_get(5)->pages, 0);
    CHECK_EQ(owner_get(DOMID_COW)->pages, 1);
    CHECK_EQ(used(FRAME_SHARED), 1);
    CHECK_EQ(used(FRAME_GUEST), 0);
    CHECK_EQ(mem_audit(), 0);

    CHECK_EQ(owner_claim(6, NULL, 0), 6);
    CHECK_EQ(frame_set_owner(f, 6), -ENOMEM);
    CHECK_EQ(frame_owner(f), DOMID_COW);
    CHECK_EQ(used(FRAME_SHARED), 1);
    CHECK_EQ(frame_set_owner(f, 7), -ENOMEM);   /* nobody */
    CHECK_EQ(frame_set_owner(f, 5), 0);
    CHECK_EQ(owner_get(DOMID_COW)->pages, 0);
    CHECK_EQ(used(FRAME_GUEST), 1);
    CHECK_EQ(mem_audit(), 0);
    frame_put_allocated(f);
}

/* Two CPUs take and drop references while the owner lets go. */
static struct frame *_Atomic contended;

static void get_and_put(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < 3000 * test_rounds; i++) {
        if (arch_cpu() == 0) {
            struct frame *f = contended;

            contended = page_alloc_owned(5, 0);
            frame_put_allocated(f);
        } else {
            struct frame *f = contended;

            if (frame_get(f, 5) == 0) {
                frame_put(f);
            }
        }
    }
}

TEST(references_hold_on_several_cpus)
{
    host_machine_init(RAM, 3);
    CHECK_EQ(owner_claim(5, NULL, 200), 5);
    contended = page_alloc_owned(5, 0);
    host_run_on_cpus(3, get_and_put, NULL);
    frame_put_allocated(contended);
    CHECK_EQ(owner_get(5)->pages, 0);
    CHECK_EQ(mem_audit(), 0);
}

/* Break one thing, see one name, mend it, see none. */
#define AUDIT_FINDS(name, damage, repair) \
    do { \
        damage; \
        host_console_clear(); \
        CHECK(mem_audit() != 0); \
        CHECK(strstr(host_console_text(), "(E) " name ": ") != NULL); \
        repair; \
        CHECK_EQ(mem_audit(), 0); \
    } while (0)

TEST(audit_finds_each_kind_of_damage)
{
    struct frame *f = owned(5), *k = page_alloc(0, FRAME_TABLE);
    struct frame *cached = page_alloc(0, FRAME_TABLE), *head;

    page_free(cached, 0);
    /* A block of order 3 that stays split off: its buddy is in use. */
    head = page_alloc(4, FRAME_PERCPU);
    CHECK(head != NULL && page_alloc(3, FRAME_PERCPU) != NULL);
    page_free(head, 4);

    AUDIT_FINDS("M1", k->use = FRAME_HEAP, k->use = FRAME_TABLE);
    AUDIT_FINDS("M1", k->use = 99, k->use = FRAME_TABLE);
    AUDIT_FINDS("M2", k->use = FRAME_FREE, k->use = FRAME_TABLE);
    AUDIT_FINDS("M2", cached->use = FRAME_TABLE, cached->use = FRAME_FREE);
    AUDIT_FINDS("M2", head->order++, head->order--);
    AUDIT_FINDS("M3", f->owner = 6, f->owner = 5);
    AUDIT_FINDS("M3", f->owner = DOMID_COW, f->owner = 5);
    AUDIT_FINDS("M3", f->owner = DOMID_XEN, f->owner = 5);
    AUDIT_FINDS("M3", owner_get(5)->pages++, owner_get(5)->pages--);
    AUDIT_FINDS("M4", cached->refs = 1, cached->refs = 0);
    AUDIT_FINDS("M4", f->refs--, f->refs++);
    AUDIT_FINDS("M4", f->type = 2, f->type = 0);
    AUDIT_FINDS("M4", k->refs |= FRAME_ALLOCATED,
                k->refs &= ~FRAME_ALLOCATED);
}
