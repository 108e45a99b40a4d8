/*
 * control.c - switches of CR0.WP, CR3, CR4 and EFER.NXE, and what each leaves
 * of the cached translations. Outside long mode they are only noted: gate.S
 * loads them for each access, and nothing is cached between two.
 *
 * CR3 drops all but the global ones; CR4.PGE, turned off and on, drops all. WP
 * and SMAP are looked at anew in each access (SMAP has to be, since RFLAGS.AC
 * changes it). Around NXE and SMEP all is dropped, as the manuals ask.
 */
#include "torture.h"

extern uint64_t boot_pml4[512];

static void load_root(struct world *w, unsigned root)
{
    bool is_other = root != w->root;

    w->root = root;
    if (!tables_is_cached(w)) {
        return;
    }
    write_cr3(w->tables + root * PAGE_SIZE);
    if (!w->has_global) {
        tables_fresh(w);
    } else {
        w->is_switched |= is_other;
    }
}

static void drop_all(struct world *w)
{
    if (!tables_is_cached(w)) {
        return;
    }
    if ((w->cr4 & CR4_PGE) != 0) {
        write_cr4(w->cr4 & ~CR4_PGE);
        write_cr4(w->cr4);
    } else {
        write_cr3(w->tables + w->root * PAGE_SIZE);
    }
    tables_fresh(w);
}

static void flip_cr4(struct world *w, uint64_t bit)
{
    w->cr4 ^= bit;
    if (tables_is_cached(w)) {
        write_cr4(w->cr4);
    }
}

void control_random(struct world *w)
{
    switch (random_below(&w->random, 16)) {
    case 0:
    case 1:
        load_root(w, (unsigned)random_below(&w->random, NR_ROOTS));
        break;
    case 2:
        w->cr0 ^= CR0_WP;
        if (tables_is_cached(w)) {
            write_cr0(w->cr0);
        }
        break;
    case 3:
        if (setup.has_smep) {
            flip_cr4(w, CR4_SMEP);
            drop_all(w);
        }
        break;
    case 4:
        if (setup.has_smap) {
            flip_cr4(w, CR4_SMAP);
        }
        break;
    case 5:
        flip_cr4(w, CR4_PGE);           /* drops all by itself */
        tables_fresh(w);
        break;
    case 6:
        w->efer ^= EFER_NXE;
        if (tables_is_cached(w)) {
            wrmsr(MSR_EFER, w->efer);
        }
        drop_all(w);
        break;
    case 7:
        if (w->mode == &mode_two_level) {
            flip_cr4(w, CR4_PSE);
        }
        drop_all(w);
        break;
    default:
        break;
    }
}

void control_init(struct world *w)
{
    w->cr0 = read_cr0();
    w->cr4 = read_cr4();
    w->efer = rdmsr(MSR_EFER);
    if (w->mode == &mode_two_level) {
        w->cr4 &= ~CR4_PAE;
    }
    load_root(w, 0);
    drop_all(w);
}

void control_fini(struct world *w)
{
    if (!tables_is_cached(w)) {
        return;                 /* gate.S has set them back each time */
    }
    w->cr0 |= CR0_WP;
    w->cr4 &= ~(CR4_SMEP | CR4_SMAP | CR4_PGE);
    w->efer |= EFER_NXE;
    write_cr0(w->cr0);
    write_cr4(w->cr4);
    wrmsr(MSR_EFER, w->efer);
    write_cr3(GVA(boot_pml4));
}
