/*
 * ops.c - every operation on the two domains' memory, the contents verified
 * to the byte. Each page of the client equals the source's of the same gfn.
 */
#include "random.h"
#include "sharing.h"

#define WORDS (PAGE_SIZE / 8)
#define SINGLES 16              /* pages shared one pair at a time */
#define EXTRA_GFN UINT64_C(0x40000)     /* holes of the client */
#define EXTRAS 300

static uint64_t word_of(uint64_t gfn, unsigned j)
{
    return mix64(gfn << 16 | j);
}

static void fill(domid_t d)
{
    for (uint64_t gfn = 0; gfn < pages; gfn += FOREIGN_MAX) {
        unsigned nr = (unsigned)MIN(pages - gfn, FOREIGN_MAX);
        uint64_t *w = foreign_map(d, gfn, nr);

        for (uint64_t i = 0; i < nr * WORDS; i++) {
            w[i] = word_of(gfn + i / WORDS, i % WORDS);
        }
        foreign_unmap(nr);
    }
}

/* To look is to unshare. */
static void verify(domid_t d, uint64_t from, uint64_t to)
{
    for (uint64_t gfn = from; gfn < to; gfn += FOREIGN_MAX) {
        unsigned nr = (unsigned)MIN(to - gfn, FOREIGN_MAX);
        const uint64_t *w = foreign_map(d, gfn, nr);
        uint64_t bad = 0;

        for (uint64_t i = 0; i < nr * WORDS; i++) {
            bad += w[i] != word_of(gfn + i / WORDS, i % WORDS);
        }
        CHECK(bad == 0, "d%u gfns from %lx: %lu words are wrong", d, gfn,
              bad);
        foreign_unmap(nr);
    }
}

static void share_singles(void)
{
    for (uint64_t gfn = 0; gfn < SINGLES; gfn++) {
        uint64_t sh, ch, again;

        EXPECT(op_nominate(source, gfn, &sh), 0);
        EXPECT(op_nominate(source, gfn, &again), 0);
        CHECK(again == sh && sh != 0, "handles %lx, %lx", sh, again);
        EXPECT(op_nominate(client, gfn, &ch), 0);
        EXPECT(op_debug(client, gfn), 1);
        EXPECT(op_share(source, gfn, sh, client, gfn, ch), 0);
        EXPECT(op_debug(source, gfn), 2);
        EXPECT(op_debug(client, gfn), 2);
    }
}

static void share_ranges(void)
{
    EXPECT(op_range(source, client, SINGLES, pages - 1), 0);
    EXPECT(op_range(source, client, 0, pages - 1), 0);
    EXPECT(op_range(client, source, 0, pages - 1), 0);
    for (uint64_t gfn = 0; gfn < pages; gfn++) {
        EXPECT(op_debug(source, gfn), 2);
        EXPECT(op_debug(client, gfn), 2);
    }
}

static void add_and_remove(void)
{
    uint64_t h;

    EXPECT(op_nominate(source, 3, &h), 0);
    for (uint64_t i = 0; i < EXTRAS; i++) {
        EXPECT(op_add(source, 3, h, client, EXTRA_GFN + i * 7), 0);
    }
    EXPECT(op_debug(source, 3), 2 + EXTRAS);
    EXPECT(op_debug(client, EXTRA_GFN + 7), 2 + EXTRAS);
    EXPECT(op_audit(), 0);
    for (uint64_t i = 0; i < EXTRAS; i++) {
        EXPECT(op_remove(client, EXTRA_GFN + i * 7), 0);
    }
    EXPECT(op_debug(source, 3), 2);
}

/* A page that is mapped here is nobody's to share. */
static void hold_foreign(void)
{
    uint64_t *w = foreign_map(source, 5, 1), h;

    EXPECT(op_debug(source, 5), -EINVAL);
    EXPECT(op_debug(client, 5), 1);
    EXPECT(op_nominate(source, 5, &h), -E2BIG);
    w[7] ^= 1;                  /* the client must not see this */
    EXPECT(op_nominate(source, 5, &h), -E2BIG);
    w[7] ^= 1;
    w[8] = ~w[8];
    verify(client, 5, 6);
    /* verify() has put the client's page into the window. */
    w = foreign_map(source, 5, 1);
    CHECK(w[8] == ~word_of(5, 8), "the foreign write is lost");
    w[8] = ~w[8];
    foreign_unmap(1);
    EXPECT(op_nominate(source, 5, &h), 0);
    EXPECT(op_unshare(source, 5), 0);
}

void check_ops(void)
{
    int64_t freed = hc_memory_op(XENMEM_get_sharing_freed_pages, NULL);
    int64_t shared = hc_memory_op(XENMEM_get_sharing_shared_pages, NULL);

    fill(source);
    fill(client);
    share_singles();
    share_ranges();
    EXPECT(hc_memory_op(XENMEM_get_sharing_freed_pages, NULL),
           freed + (int64_t)pages);
    EXPECT(hc_memory_op(XENMEM_get_sharing_shared_pages, NULL),
           shared + (int64_t)pages);
    EXPECT(op_audit(), 0);
    add_and_remove();
    hold_foreign();
    for (uint64_t gfn = 0; gfn < pages; gfn += 3) {
        EXPECT(op_unshare(gfn % 2 != 0 ? source : client, gfn), 0);
    }
    EXPECT(op_audit(), 0);
    verify(client, 0, pages);
    verify(source, 0, pages);
    EXPECT(op_audit(), 0);
}

void check_forks(void)
{
    domid_t child = DOMID_INVALID;
    uint64_t *w;

    fill(source);
    EXPECT(op_fork(NO_DOMAIN, 0, &child), -ESRCH);
    EXPECT(op_fork(guest_domid(), 0, &child), -EPERM);
    EXPECT(op_fork(source, XENMEM_FORK_WITH_IOMMU_ALLOWED, &child),
           -EOPNOTSUPP);
    EXPECT(op_fork(source, 0x8000, &child), -EINVAL);
    EXPECT(op_fork_reset(source, XENMEM_FORK_RESET_MEMORY), -ENOSYS);
    EXPECT(op_fork(source, 0, &child), 0);
    CHECK(child < NO_DOMAIN, "the child is d%u", child);
    EXPECT(op_debug(child, 7), 2);
    EXPECT(op_fork_reset(child, 0), -EINVAL);
    EXPECT(op_fork_reset(child, 0x8000), -EINVAL);
    w = foreign_map(child, 7, 1);
    w[0] = 0;
    foreign_unmap(1);
    EXPECT(op_debug(child, 7), -EINVAL);
    EXPECT(op_fork_reset(child, XENMEM_FORK_RESET_MEMORY |
                                XENMEM_FORK_RESET_STATE), 0);
    verify(child, 0, pages);
    verify(source, 0, pages);
}
