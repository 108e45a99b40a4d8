/*
 * legacy.c - accesses in protected mode: under PAE, 2-level and no paging.
 *
 * The guest thinks in long mode, on the library's tables; gate.S leaves it
 * for one access. What is fixed in every table here: the first 2M one to one
 * for ring 0, and ring 3's page of stubs at 2M.
 */
#include "torture.h"

#define USER_VA UINT64_C(0x200000)
#define STUB_SIZE 16
#define RETURN_VECTOR 0x80
#define CODE_32 56
#define DATA 16
#define GATE_KERNEL 0x8e
#define GATE_USER 0xee
#define CR0_PG (UINT64_C(1) << 31)

/* gate.S knows the offsets. */
struct gate_access {
    uint64_t rsp, address, value, stub, rflags, tss, is_user;
    uint64_t cr0, cr3, cr4, efer;
    uint64_t old_cr0, old_cr3, old_cr4, old_efer;
    uint64_t vector, error, cr2;
    uint8_t old_idt[16];
};
static_assert(offsetof(struct gate_access, old_idt) == 144, "gate.S");

struct table_ptr { uint16_t limit; uint32_t base; } __attribute__((packed));

extern uint8_t legacy_vectors[], legacy_done[], legacy_stubs[],
    legacy_stubs_end[];
extern struct table_ptr legacy_idtr;
void gate_run(struct gate_access *a);

static uint64_t idt[RETURN_VECTOR + 1];
struct table_ptr legacy_idtr;
static uint32_t tss[GUEST_MAX_VCPUS][26];
static uint64_t pae_entry, two_level_entry;

static uint64_t gate(const uint8_t *to, uint64_t type)
{
    uint64_t a = GVA(to);

    return (a & 0xffff) | CODE_32 << 16 | type << 40 | (a >> 16) << 48;
}

void legacy_init(void)
{
    uint64_t stubs = harness_frame(), user = harness_frame();
    uint64_t pd = harness_frame(), pt = harness_frame();

    for (unsigned v = 0; v < 32; v++) {
        idt[v] = gate(legacy_vectors + STUB_SIZE * v, GATE_KERNEL);
    }
    idt[RETURN_VECTOR] = gate(legacy_done, GATE_USER);
    legacy_idtr = (struct table_ptr){ sizeof(idt) - 1, (uint32_t)GVA(idt) };
    memcpy((void *)(uintptr_t)stubs, legacy_stubs,
           (size_t)(legacy_stubs_end - legacy_stubs));

    uint64_t *e = (uint64_t *)(uintptr_t)pd;
    e[0] = PTE_P | PTE_W | PTE_PS | PTE_A | PTE_D;
    e[1] = user | PTE_P | PTE_U | PTE_A;
    *(uint64_t *)(uintptr_t)user = stubs | PTE_P | PTE_U | PTE_A;
    pae_entry = pd | PTE_P;

    uint32_t *low = (uint32_t *)(uintptr_t)pt;
    for (uint32_t i = 0; i < USER_VA >> PAGE_SHIFT; i++) {
        low[i] = i << PAGE_SHIFT | PTE_P | PTE_W | PTE_A | PTE_D;
    }
    low[USER_VA >> PAGE_SHIFT] = (uint32_t)(stubs | PTE_P | PTE_U | PTE_A);
    two_level_entry = pt | PTE_P | PTE_W | PTE_U | PTE_A;
}

uint64_t legacy_entry(const struct mode *m)
{
    return m == &mode_pae ? pae_entry : two_level_entry;
}

/* Selectors 56 code, 64 ring 3's code, 72 the TSS. */
void legacy_cpu_init(unsigned id, uint64_t *gdt)
{
    uint64_t t = GVA(tss[id]);

    gdt[7] = UINT64_C(0x00cf9b000000ffff);
    gdt[8] = UINT64_C(0x00cffb000000ffff);
    gdt[9] = (sizeof(tss[id]) - 1) | (t & 0xffffff) << 16
           | UINT64_C(0x89) << 40 | (t >> 24 & 0xff) << 56;
    tss[id][25] = sizeof(tss[id]) << 16;        /* no I/O bitmap */
}

void legacy_run(const struct world *w, const struct touch *t,
                struct outcome *out)
{
    uint64_t stubs = t->is_user ? USER_VA : GVA(legacy_stubs);
    bool is_paged = w->mode->levels != 0;
    struct gate_access a = {
        .address = t->va, .value = t->value, .tss = GVA(tss[w->id]),
        .stub = (is_paged || !t->is_user ? stubs : GVA(legacy_stubs))
              + STUB_SIZE * (unsigned)t->kind,
        .rflags = 2 | (t->has_ac ? RFLAGS_AC : 0), .is_user = t->is_user,
        .cr0 = is_paged ? w->cr0 : w->cr0 & ~CR0_PG,
        .cr3 = w->tables + w->root * PAGE_SIZE,
        .cr4 = w->cr4, .efer = w->efer & EFER_NXE,
        .old_cr0 = read_cr0(), .old_cr3 = read_cr3(), .old_cr4 = read_cr4(),
        .old_efer = rdmsr(MSR_EFER) & ~EFER_LMA,
    };

    harness_cpu_init(w->id);            /* no TSS is busy */
    gate_run(&a);
    *out = (struct outcome){ .vector = (unsigned)a.vector, .error = a.error,
                             .cr2 = a.cr2, .value = a.value };
}
