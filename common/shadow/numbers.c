/* numbers.c - see numbers.h. A free place holds the next free number, as an
 * odd word, which no pointer to a page is. */
#include "numbers.h"

#include <quire/arch.h>
#include <quire/lock.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>

static struct spinlock lock = SPINLOCK_INIT(SHADOWNUM, 0);

static void *to_link(uint32_t next)
{
    return (void *)((uintptr_t)next << 1 | 1);
}

static uint32_t from_link(const void *word)
{
    BUG_ON(((uintptr_t)word & 1) == 0);
    return (uint32_t)((uintptr_t)word >> 1);
}

static void **place(struct numbers *t, uint32_t number)
{
    return &t->chunk[number / NUMBERS_CHUNK][number % NUMBERS_CHUNK];
}

/* One more chunk, all of it free; false: no memory, or no room. */
static bool add_chunk(struct numbers *t)
{
    uint32_t first = t->nr_chunks * NUMBERS_CHUNK;
    struct frame *f;
    void **chunk;

    if (t->nr_chunks == NUMBERS_CHUNKS) {
        return false;
    }
    f = page_alloc(0, FRAME_TABLE);
    if (f == NULL) {
        return false;
    }
    chunk = arch_map_frame(frame_to_mfn(f));
    t->chunk[t->nr_chunks++] = chunk;
    for (uint32_t i = NUMBERS_CHUNK; i-- > 0;) {
        if (first + i != 0) {
            chunk[i] = to_link(t->first_free);
            t->first_free = first + i;
        }
    }
    return true;
}

static void drop_chunks(struct numbers *t)
{
    while (t->nr_chunks != 0) {
        void **chunk = t->chunk[--t->nr_chunks];
        mfn_t mfn = arch_virt_to_mfn(chunk);

        t->chunk[t->nr_chunks] = NULL;
        arch_unmap_frame(chunk);
        page_free(mfn_to_frame(mfn), 0);
    }
    t->first_free = 0;
}

uint32_t numbers_take(struct numbers *t, void *page)
{
    uint32_t number = 0;

    spin_lock(&lock);
    if (t->first_free != 0 || add_chunk(t)) {
        number = t->first_free;
        t->first_free = from_link(*place(t, number));
        *place(t, number) = page;
        t->nr_used++;
    }
    spin_unlock(&lock);
    return number;
}

void numbers_give(struct numbers *t, uint32_t number)
{
    spin_lock(&lock);
    BUG_ON(t->nr_used == 0);
    *place(t, number) = to_link(t->first_free);
    t->first_free = number;
    if (--t->nr_used == 0) {
        drop_chunks(t);
    }
    spin_unlock(&lock);
}
