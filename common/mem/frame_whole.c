/*
 * frame_whole.c - blocks of 2M whose first frame's record speaks for all.
 *
 *     allocated   [ALLOCATED|WHOLE|1][0][0] ... [0]     free but for the owner
 *         |   first look at one of them: frame_part()
 *         v
 *                 [ALLOCATED|PARTING|1][ALLOCATED|1] ...     then not PARTING
 *         |   each goes by itself from now on
 *
 * A domain that dies with the superpages it was built with gives each back by
 * one step on one record. Others are found lazily: whoever wants one frame's
 * record finds no ALLOCATED in it, which was an error anyway, and parts the
 * block. The step from WHOLE is a compare and swap, for the death of the block
 * as for its parting, so one of the two wins. Parting takes some 2,500
 * instructions, and others that want a frame of the block wait for it.
 */
#include "internal.h"

#define BLOCK (1u << PAGE_ORDER_2M)

static struct frame *head_of(const struct frame *f)
{
    uint64_t n = (uint64_t)(f - frame_table);

    return frame_table + (n & ~(uint64_t)(BLOCK - 1));
}

bool frame_is_in_whole(const struct frame *f)
{
    return (atomic_load_explicit(&head_of(f)->refs, memory_order_acquire) &
            (FRAME_WHOLE | FRAME_PARTING)) != 0;
}

void frame_set_up_whole(struct frame *f, uint64_t nr, domid_t owner)
{
    for (uint64_t i = 0; i < nr; i++) {
        bool is_head = f + i == head_of(f + i);

        f[i].user = NULL;
        f[i].order = 0;
        atomic_store_explicit(&f[i].type, 0, memory_order_relaxed);
        atomic_store_explicit(&f[i].owner, owner, memory_order_relaxed);
        if (is_head) {
            frame_set_use(&f[i], FRAME_GUEST);
            atomic_store_explicit(&f[i].refs, FRAME_ALLOCATED | FRAME_WHOLE |
                                  1, memory_order_release);
        }
    }
}

bool frame_free_whole(struct frame *f)
{
    uint64_t sole = FRAME_ALLOCATED | FRAME_WHOLE | 1;

    if (f != head_of(f) ||
        !atomic_compare_exchange_strong_explicit(&f->refs, &sole, 0,
                                                 memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        return false;
    }
    ASSERT(f->type == 0);
    frame_set_use(f, FRAME_FREE);
    return true;
}

/* Another CPU is taking it apart. */
static slow_path void wait_for(const struct frame *head)
{
    while ((atomic_load_explicit(&head->refs, memory_order_acquire) &
            FRAME_PARTING) != 0) {
        arch_relax();
    }
}

bool frame_part(struct frame *f)
{
    struct frame *head = head_of(f);
    uint64_t refs = atomic_load_explicit(&head->refs, memory_order_acquire);

    do {
        if ((refs & FRAME_PARTING) != 0) {
            wait_for(head);
            return true;
        }
        if ((refs & FRAME_WHOLE) == 0) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(
                 &head->refs, &refs, refs ^ FRAME_WHOLE ^ FRAME_PARTING,
                 memory_order_acq_rel, memory_order_acquire));
    work_charge(BLOCK * 5);
    for (unsigned i = 1; i < BLOCK; i++) {
        frame_set_use(head + i, FRAME_GUEST);
        atomic_store_explicit(&head[i].refs, FRAME_ALLOCATED | 1,
                              memory_order_release);
    }
    atomic_fetch_and_explicit(&head->refs, ~FRAME_PARTING,
                              memory_order_release);
    return true;
}
