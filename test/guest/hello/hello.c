/*
 * hello - the smallest domain that proves something: PVH entry, long mode, the
 * command line, the memory map, the console, the verdict and the shutdown all
 * work. If this one fails, look at nothing else.
 */
#include "guest.h"

void guest_main(void)
{
    uint64_t ram = 0;

    guest_printf("hello from domain %u, command line \"%s\"\n",
                 guest_domid(), option_line());
    for (unsigned i = 0; i < memory_nr_ranges(); i++) {
        const struct hvm_memmap_table_entry *e = memory_range(i);

        guest_printf("  %010lx + %010lx type %u\n", e->addr, e->size,
                     e->type);
        ram += e->type == XEN_HVM_MEMMAP_TYPE_RAM ? e->size : 0;
    }
    CHECK(ram > 0, "no RAM in the memory map");
    CHECK(memory_run(GUEST_FREE_GFN) > 0, "no RAM at the free pages");
    guest_figure(0, GUEST_FREE_GFN);
    guest_figure(1, memory_run(GUEST_FREE_GFN));
    guest_phase_report(1);
    guest_finish("hello");
}
