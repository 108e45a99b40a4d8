/*
 * tops.c - shadow pages below 4 GiB, set aside for vCPUs.
 *
 * Outside long mode the processor's CR3 has 32 bits, so a vCPU's top has to
 * lie there; on a machine with more memory guests may have taken all of that
 * long before. A few are kept from boot on, and come back when a vCPU goes.
 */
#include "pages.h"

#define NR_KEPT 1024            /* 8 MiB */

static _Atomic spte_ref_t kept[NR_KEPT];

void shadow_init(void)
{
    static spte_ref_t high[NR_KEPT];
    unsigned nr_high = 0, nr = 0;

    if (frame_table_end <= TOP_MFN_END) {
        return;
    }
    for (unsigned i = 0; i < NR_KEPT; i++) {
        spte_ref_t ref = spte_page_create();

        if (ref == 0) {
            break;
        }
        if (is_top_place(ref)) {
            kept[nr++] = ref;
        } else {
            high[nr_high++] = ref;
        }
    }
    while (nr_high != 0) {
        spte_page_destroy(high[--nr_high]);
    }
}

spte_ref_t tops_take(void)
{
    for (unsigned i = 0; i < NR_KEPT; i++) {
        spte_ref_t ref = atomic_load(&kept[i]);

        if (ref != 0 && atomic_compare_exchange_strong(&kept[i], &ref, 0)) {
            return ref;
        }
    }
    return 0;
}

bool tops_give(spte_ref_t ref)
{
    if (frame_table_end <= TOP_MFN_END || !is_top_place(ref)) {
        return false;
    }
    for (unsigned i = 0; i < NR_KEPT; i++) {
        spte_ref_t none = 0;

        if (atomic_compare_exchange_strong(&kept[i], &none, ref)) {
            return true;
        }
    }
    return false;
}
