/*
 * test_page_alloc.c - the page allocator against a naive model: an array that
 * says of each frame which block holds it.
 *
 * Random allocations and frees of every order, with and without an owner,
 * under an owner's limit, with failures injected. After each step the model
 * and the machine must agree on who has what; the buddy may refuse a block
 * only if the model finds none free and aligned (caches drained). From time
 * to time everything goes back, and then must have come together again.
 */
#include "test.h"

#include "host.h"

#include <quire/arch.h>
#include <quire/frame_table.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/rng.h>

#define RAM 1024
#define MAX_BLOCKS 200
#define OWNER 3
#define OWNER_MAX 300

struct block { struct frame *f; unsigned order; bool is_owned;
               uint32_t left; /* frames of an owned one not yet put */ };

static struct block blocks[MAX_BLOCKS];
static unsigned nr_blocks;
static bool is_free[RAM];           /* the model */
static uint64_t nr_free, nr_owned;

static void start(void)
{
    host_machine_init(RAM, 1);
    CHECK_EQ(owner_claim(OWNER, NULL, OWNER_MAX), OWNER);
    nr_blocks = 0;
    nr_owned = 0;
    nr_free = 0;
    for (unsigned n = 0; n < RAM; n++) {
        is_free[n] = mfn_to_frame(MFN(n))->use == FRAME_FREE;
        nr_free += is_free[n];
    }
}

/* Whether the model has an aligned run of free frames. */
static bool has_block(unsigned order)
{
    for (unsigned n = 0; n < RAM; n += 1u << order) {
        unsigned i = 0;

        while (i < 1u << order && is_free[n + i]) {
            i++;
        }
        if (i == 1u << order) {
            return true;
        }
    }
    return false;
}

static void take(struct rng *r, unsigned order, bool is_owned)
{
    bool inject = rng_below(r, 20) == 0;
    bool over = is_owned && nr_owned + (1u << order) > OWNER_MAX;
    struct frame *f;
    uint64_t n;

    if (nr_blocks == MAX_BLOCKS) {
        return;
    }
    host_fail_alloc_at(inject);
    f = is_owned ? page_alloc_owned(OWNER, order) :
        page_alloc(order, FRAME_TABLE);
    host_fail_alloc_at(0);
    if (inject || over || !has_block(order)) {
        CHECK(f == NULL);
        return;
    }
    CHECK(f != NULL);
    n = frame_to_mfn(f).n;
    CHECK_EQ(n % (1u << order), 0);
    CHECK(n + (1u << order) <= RAM);
    for (unsigned i = 0; i < 1u << order; i++) {
        CHECK(is_free[n + i]);
        is_free[n + i] = false;
        *(uint64_t *)arch_map_frame(MFN(n + i)) = n;
    }
    nr_free -= 1u << order;
    nr_owned += is_owned ? 1u << order : 0;
    blocks[nr_blocks++] = (struct block){ f, order, is_owned, 1u << order };
}

/* The whole of a block of page_alloc(), the last frame left of an owned. */
static void give(unsigned k)
{
    struct block *b = &blocks[k];
    uint64_t n = frame_to_mfn(b->f).n;

    for (unsigned i = 0; i < 1u << b->order; i++) {
        CHECK(*(uint64_t *)arch_map_frame(MFN(n + i)) == n ||
              (b->is_owned && i >= b->left));
        if (!b->is_owned) {
            is_free[n + i] = true;
            nr_free++;
        }
        if (b->is_owned && i >= b->left - 1) {
            break;
        }
    }
    if (b->is_owned) {
        b->left--;
        frame_put_allocated(b->f + b->left);
        is_free[n + b->left] = true;
        nr_free++;
        nr_owned--;
        if (b->left != 0) {
            return;
        }
    } else {
        page_free(b->f, b->order);
    }
    blocks[k] = blocks[--nr_blocks];
}

static void agree(void)
{
    CHECK_EQ(page_nr_free(), nr_free);
    CHECK_EQ(owner_get(OWNER)->pages, nr_owned);
    for (unsigned n = 0; n < RAM; n++) {
        CHECK_EQ(mfn_to_frame(MFN(n))->use == FRAME_FREE, is_free[n]);
    }
    CHECK_EQ(mem_audit(), 0);
}

TEST(random_blocks_against_the_model)
{
    struct rng r;

    rng_seed(&r, test_seed);
    for (uint64_t round = 0; round < 3 * test_rounds; round++) {
        start();
        for (unsigned step = 0; step < 1500; step++) {
            /* Waves: mostly taking, then mostly giving. */
            bool wants = rng_below(&r, 10) < (step / 150 % 2 ? 3 : 7);

            if (rng_below(&r, 16) == 0) {
                page_cache_drain();
            }
            if (wants || nr_blocks == 0) {
                unsigned order = (unsigned)rng_below(&r, 3) +
                                 (unsigned)rng_below(&r, 6);

                if (order == 0) {
                    take(&r, 0, rng_below(&r, 2));
                } else {
                    page_cache_drain();
                    take(&r, order, rng_below(&r, 2));
                }
            } else {
                give((unsigned)rng_below(&r, nr_blocks));
            }
            if (step % 10 == 0) {
                agree();
            }
        }
        while (nr_blocks != 0) {
            give(nr_blocks - 1);
        }
        agree();
        CHECK(has_block(9));
        CHECK(page_alloc(9, FRAME_TABLE) != NULL);
    }
}
