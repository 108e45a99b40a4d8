/* test_spte_rmap.c - the reverse map of shadow paging, in its three forms. */
#include "../../common/shadow/spte_link.h"
#include "../../arch/host/host.h"
#include "test.h"

#include <quire/frame_table.h>
#include <quire/heap.h>
#include <quire/rng.h>

#include <string.h>

#define PAGES 8
#define SPTES (PAGES * SPTES_PER_PAGE)

static spte_ref_t pages[PAGES];
static head_ref_t heads;
static struct mem_totals before;

static spte_ref_t ref_at(unsigned i)
{
    return pages[i / SPTES_PER_PAGE] + i % SPTES_PER_PAGE;
}

static void setup(enum spte_rmap_form form)
{
    host_machine_init(1 << 12, 1);
    mem_totals_get(&before);
    spte_rmap_use(form);
    for (unsigned i = 0; i < PAGES; i++) {
        pages[i] = spte_page_create();
        CHECK(pages[i] != 0);
    }
    heads = spte_heads_create();
    CHECK(heads != 0);
}

static void teardown(void)
{
    struct mem_totals after;

    for (unsigned i = 0; i < PAGES; i++) {
        spte_page_destroy(pages[i]);
    }
    spte_heads_destroy(heads);
    CHECK_EQ(spte_rmap_bytes(), 0);
    heap_cache_drain();
    mem_totals_get(&after);
    CHECK_EQ(after.frames[FRAME_TABLE], before.frames[FRAME_TABLE]);
    CHECK_EQ(after.frames[FRAME_HEAP], before.frames[FRAME_HEAP]);
    CHECK_EQ(mem_audit(), 0);
    CHECK_EQ(heap_audit(), 0);
}

/* What every chain should hold: on[i] is 1 + the chain of spte i, or 0. */
static unsigned char on[SPTES];

static void compare(unsigned chain)
{
    uint64_t count, wanted = 0, seen = 0;
    struct spte_iter it;

    for (unsigned i = 0; i < SPTES; i++) {
        wanted += on[i] == chain + 1;
    }
    CHECK_EQ(spte_rmap_audit(heads + chain, SPTES, &count), 0);
    CHECK_EQ(count, wanted);
    for (spte_ref_t s = spte_rmap_first(&it, heads + chain); s != 0;
         s = spte_rmap_next(&it)) {
        unsigned page = 0;

        while (pages[page] / SPTES_PER_PAGE != s / SPTES_PER_PAGE) {
            CHECK(++page < PAGES);
        }
        CHECK_EQ(on[page * SPTES_PER_PAGE + s % SPTES_PER_PAGE], chain + 1);
        CHECK_EQ(spte_rmap_head(s), heads + chain);
        seen++;
    }
    CHECK_EQ(seen, wanted);
}

#define CHAINS 5        /* of very different lengths */

static void random_steps(enum spte_rmap_form form, unsigned rounds,
                         unsigned failing)
{
    struct rng r;

    setup(form);
    memset(on, 0, sizeof(on));
    rng_seed(&r, test_seed);
    for (unsigned n = 0; n < rounds; n++) {
        unsigned i = (unsigned)rng_below(&r, SPTES);
        unsigned chain = (unsigned)rng_below(&r, CHAINS);

        chain = rng_below(&r, 4) != 0 ? 0 : chain;
        if (on[i] != 0) {
            chain = on[i] - 1u;
            spte_rmap_remove(ref_at(i));
            on[i] = 0;
        } else {
            int err;

            if (failing != 0 && rng_below(&r, failing) == 0) {
                host_fail_alloc_at(1);
            }
            err = spte_rmap_add(heads + chain, ref_at(i));
            host_fail_alloc_at(0);
            CHECK(err == 0 || (err == -ENOMEM && form == SPTE_RMAP_DESC));
            if (err == 0) {
                on[i] = (unsigned char)(chain + 1);
            } else {
                CHECK_EQ(spte_rmap_head(ref_at(i)), 0);
            }
        }
        if (n % 64 == 0) {
            compare(chain);
        }
    }
    for (unsigned chain = 0; chain < CHAINS; chain++) {
        struct spte_iter it;
        spte_ref_t s;

        compare(chain);
        while ((s = spte_rmap_first(&it, heads + chain)) != 0) {
            spte_rmap_remove(s);
        }
    }
    teardown();
}

TEST(sibling_is_a_set_of_chains) { random_steps(SPTE_RMAP_SIBLING, 20000, 0); }
TEST(single_is_a_set_of_chains) { random_steps(SPTE_RMAP_SINGLE, 20000, 0); }
TEST(desc_is_a_set_of_chains) { random_steps(SPTE_RMAP_DESC, 20000, 0); }
TEST(desc_without_memory) { random_steps(SPTE_RMAP_DESC, 20000, 3); }

TEST(siblings_allocate_nothing)
{
    setup(SPTE_RMAP_SIBLING);
    host_fail_alloc_at(1);
    for (unsigned i = 0; i < SPTES; i++) {
        CHECK_EQ(spte_rmap_add(heads + 7, ref_at(i)), 0);
    }
    for (unsigned i = 0; i < SPTES; i++) {
        spte_rmap_remove(ref_at(i));
    }
    CHECK(!host_alloc_failed());
    host_fail_alloc_at(0);
    teardown();
}

TEST(no_memory_for_pages)
{
    setup(SPTE_RMAP_SIBLING);
    host_fail_alloc_at(1);
    CHECK_EQ(spte_page_create(), 0);
    host_fail_alloc_at(1);
    CHECK_EQ(spte_heads_create(), 0);
    host_fail_alloc_at(0);
    teardown();
}

TEST(a_name_leads_to_its_entry)
{
    setup(SPTE_RMAP_SIBLING);
    for (unsigned i = 0; i < SPTES; i++) {
        CHECK_EQ(*spte_at(ref_at(i)), 0);
        *spte_at(ref_at(i)) = i + 1;
    }
    for (unsigned i = 0; i < SPTES; i++) {
        CHECK_EQ(*spte_at(ref_at(i)), i + 1);
        CHECK_EQ(spte_rmap_head(ref_at(i)), 0);
    }
    teardown();
}

/* Each invariant, broken on purpose. */
TEST(audit_sees_what_is_wrong)
{
    struct spte_link *l[3], kept;
    uint64_t count;

    setup(SPTE_RMAP_SIBLING);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(spte_rmap_add(heads, ref_at(i)), 0);
        l[i] = spte_link(ref_at(i));
    }
    CHECK_EQ(spte_rmap_audit(heads, 10, &count), 0);
    kept = *l[2];                       /* the first: added last */
    l[2]->back = IS_HEAD | (heads + 1);
    CHECK_EQ(spte_rmap_audit(heads, 10, &count), 1);       /* H1 */
    *l[2] = kept;
    kept = *l[1];
    l[1]->back = ref_at(0);
    CHECK_EQ(spte_rmap_audit(heads, 10, &count), 1);       /* H2 */
    *l[1] = kept;
    kept = *l[0];
    l[0]->next = ref_at(2);
    CHECK(spte_rmap_audit(heads, 10, &count) >= 1);        /* H3 */
    CHECK_EQ(count, 11);
    l[0]->next = pages[PAGES - 1];
    spte_page_destroy(pages[PAGES - 1]);
    CHECK_EQ(spte_rmap_audit(heads, 10, &count), 1);       /* H4 */
    *l[0] = kept;
    pages[PAGES - 1] = spte_page_create();
    CHECK(pages[PAGES - 1] != 0);
    for (unsigned i = 0; i < 3; i++) {
        spte_rmap_remove(ref_at(i));
    }
    teardown();
}
