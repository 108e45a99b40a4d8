/*
 * frame_table.c - the frame table at boot, and the machine's totals.
 *
 * The table covers mfn 0 up to the end of RAM, holes included, and lies in
 * the first free run of RAM that is long enough: low, where the image has
 * broken the first gigabyte anyway. Each record is written once.
 */
#include "internal.h"

#include <quire/panic.h>
#include <quire/string.h>

#define MAX_RESERVED 64

struct frame *frame_table;
uint64_t frame_table_end;
struct use_counts use_counts[MAX_CPUS];

static uint64_t nr_ram;         /* (c) frames of RAM */

struct layout {
    const struct ram_range *ram;
    unsigned nr_ram;
    struct ram_range reserved[MAX_RESERVED + 2];    /* + table, + frame 0 */
    unsigned nr_reserved;
};

static uint64_t range_end(const struct ram_range *r)
{
    return r->start.n + r->nr;
}

/*
 * The first run of frames in [@from, @end) that no reserved range touches.
 * False: none. [*@start, *@stop) is the run.
 */
static bool next_run(const struct layout *l, uint64_t from, uint64_t end,
                     uint64_t *start, uint64_t *stop)
{
    bool has_moved;

    do {
        has_moved = false;
        *stop = end;
        for (unsigned i = 0; i < l->nr_reserved; i++) {
            const struct ram_range *r = &l->reserved[i];

            if (r->nr != 0 && r->start.n <= from && from < range_end(r)) {
                from = range_end(r);
                has_moved = true;
            } else if (r->nr != 0 && r->start.n > from) {
                *stop = MIN(*stop, r->start.n);
            }
        }
    } while (has_moved && from < end);
    *start = from;
    return from < end;
}

static void reserve(struct layout *l, uint64_t start, uint64_t nr)
{
    BUG_ON(l->nr_reserved == ARRAY_SIZE(l->reserved));
    l->reserved[l->nr_reserved++] = (struct ram_range){ MFN(start), nr };
}

/* Where the table goes: @nr frames, now reserved. */
static mfn_t place_table(struct layout *l, uint64_t nr)
{
    uint64_t start, stop;

    for (unsigned i = 0; i < l->nr_ram; i++) {
        uint64_t from = l->ram[i].start.n, end = range_end(&l->ram[i]);

        for (; next_run(l, from, end, &start, &stop); from = stop) {
            if (stop - start >= nr) {
                reserve(l, start, nr);
                return MFN(start);
            }
        }
    }
    panic("no room for a frame table of %lu frames", nr);
}

static void write_records(uint64_t start, uint64_t end, enum frame_use use,
                          domid_t owner)
{
    struct frame f = { .use = (uint8_t)use };

    f.owner = owner;
    for (uint64_t n = start; n < end; n++) {
        __builtin_memcpy(&frame_table[n], &f, sizeof(f));
    }
}

/* Frames inside RAM become FRAME_BOOT; ranges may overlap one another. */
static void mark_reserved(const struct layout *l)
{
    int64_t nr_boot = 0;

    for (unsigned i = 0; i < l->nr_reserved; i++) {
        uint64_t end = MIN(range_end(&l->reserved[i]), frame_table_end);

        for (uint64_t n = l->reserved[i].start.n; n < end; n++) {
            if (frame_table[n].use == FRAME_FREE) {
                frame_table[n].use = FRAME_BOOT;
                frame_table[n].owner = DOMID_XEN;
                frame_table[n].refs = 1;
                nr_boot++;
            }
        }
    }
    count_use(FRAME_BOOT, nr_boot);
}

void frame_table_init(const struct ram_range *ram, unsigned nr,
                      const struct ram_range *reserved, unsigned nr_reserved)
{
    struct layout l = { .ram = ram, .nr_ram = nr };
    uint64_t at = 0, start, stop, table_frames;

    BUG_ON(nr == 0 || nr_reserved > MAX_RESERVED);
    memset(use_counts, 0, sizeof(use_counts));
    buddy_init();
    page_alloc_init();
    owner_init();
    heap_init();

    reserve(&l, 0, 1);      /* mfn 0 is never given out: 0 means nothing */
    for (unsigned i = 0; i < nr_reserved; i++) {
        reserve(&l, reserved[i].start.n, reserved[i].nr);
    }
    frame_table_end = range_end(&ram[nr - 1]);
    BUG_ON(frame_table_end >= UINT32_MAX);
    table_frames = (frame_table_end * sizeof(struct frame) + PAGE_MASK) >>
                   PAGE_SHIFT;
    frame_table = arch_map_frame(place_table(&l, table_frames));

    nr_ram = 0;
    for (unsigned i = 0; i < nr; i++) {
        BUG_ON(ram[i].start.n < at);
        write_records(at, ram[i].start.n, FRAME_ABSENT, DOMID_INVALID);
        at = range_end(&ram[i]);
        write_records(ram[i].start.n, at, FRAME_FREE, DOMID_INVALID);
        nr_ram += ram[i].nr;
    }
    mark_reserved(&l);
    for (unsigned i = 0; i < nr; i++) {
        at = ram[i].start.n;
        for (; next_run(&l, at, range_end(&ram[i]), &start, &stop);
             at = stop) {
            buddy_add_range(MFN(start), stop - start);
        }
    }
}

void mem_totals_get(struct mem_totals *t)
{
    for (unsigned use = 0; use < NR_FRAME_USES; use++) {
        int64_t n = 0;

        for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
            n += atomic_load_explicit(&use_counts[cpu].n[use],
                                      memory_order_relaxed);
        }
        t->frames[use] = (uint64_t)MAX(n, 0);
    }
    t->frames[FRAME_FREE] = page_nr_free();
    t->frames[FRAME_ABSENT] = frame_table_end - nr_ram;
    t->total = nr_ram;
}
