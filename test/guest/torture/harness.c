/*
 * harness.c - what an access needs and no edit ever touches: ring 3's code
 * and segments, the gate back, and the call that survives a fault.
 */
#include "torture.h"

#define USER_VA (UINT64_C(1) << 39)     /* entry 1 of a root */
#define STUB_SIZE 16
#define RETURN_VECTOR 0x80
#define TSS_BUSY (UINT64_C(2) << 40)
#define GATE_USER 0xee                  /* present, DPL 3, interrupt gate */

/* access.S knows the offsets. */
struct access { uint64_t rsp, address, value, stub, rflags, tss, is_user; };
static_assert(offsetof(struct access, is_user) == 48, "access.S");

struct table_ptr { uint16_t limit; uint64_t base; } __attribute__((packed));

extern uint8_t access_stubs[], access_stubs_end[], access_done[];
void access_run(void *a);

static uint64_t gdt[GUEST_MAX_VCPUS][10];
static uint64_t tss[GUEST_MAX_VCPUS];
static uint64_t next_frame = HARNESS_GFN, user_entry;

uint64_t harness_frame(void)
{
    uint64_t gpa = next_frame++ << PAGE_SHIFT;

    if (next_frame > DATA_GFN) {
        guest_fail("the harness has no frame left");
        guest_finish("torture");
    }
    memset((void *)(uintptr_t)gpa, 0, PAGE_SIZE);
    return gpa;
}

void harness_init(void)
{
    uint64_t page = harness_frame();
    struct table_ptr idtr;

    memcpy((void *)(uintptr_t)page, access_stubs,
           (size_t)(access_stubs_end - access_stubs));
    user_entry = page | PTE_P | PTE_U | PTE_A;
    for (unsigned level = 1; level < MAX_LEVELS; level++) {
        uint64_t table = harness_frame();

        *(uint64_t *)(uintptr_t)table = user_entry;
        user_entry = table | PTE_P | PTE_U | PTE_A;
    }

    /* The library's own gates, but for the one that ring 3 may use. */
    asm volatile("sidt %0" : "=m"(idtr));
    uint64_t *gate = (uint64_t *)(uintptr_t)idtr.base + 2 * RETURN_VECTOR;
    uint64_t a = GVA(access_done);
    gate[0] = (a & 0xffff) | 8 << 16 | (uint64_t)GATE_USER << 40
            | (a >> 16 & 0xffff) << 48;
    gate[1] = a >> 32;
}

uint64_t harness_entry(void)
{
    return user_entry;
}

void harness_cpu_init(unsigned id)
{
    struct table_ptr old, new = { sizeof(gdt[id]) - 1, GVA(gdt[id]) };

    asm volatile("sgdt %0" : "=m"(old));
    if (old.base != new.base) {
        memcpy(gdt[id], (const void *)(uintptr_t)old.base,
               5 * sizeof(uint64_t));
    }
    gdt[id][3] &= ~TSS_BUSY;
    tss[id] = (gdt[id][3] >> 16 & 0xffffff) | gdt[id][3] >> 56 << 24
            | gdt[id][4] << 32;
    gdt[id][5] = UINT64_C(0x00cff3000000ffff);  /* user data */
    gdt[id][6] = UINT64_C(0x00affb000000ffff);  /* user code, 64-bit */
    legacy_cpu_init(id, gdt[id]);
    asm volatile("lgdt %0" : : "m"(new) : "memory");
}

void harness_run(const struct world *w, const struct touch *t,
                 struct outcome *out)
{
    uint64_t stubs = t->is_user ? USER_VA : GVA(access_stubs);
    struct access a = {
        .address = t->va, .value = t->value, .tss = tss[w->id],
        .stub = stubs + STUB_SIZE * (unsigned)t->kind,
        .rflags = 2 | (t->has_ac ? RFLAGS_AC : 0), .is_user = t->is_user,
    };
    struct guard g;

    if (w->mode != &mode_long) {
        legacy_run(w, t, out);
        return;
    }
    if (guard_run(&g, access_run, &a)) {
        *out = (struct outcome){ .vector = g.vector, .error = g.error,
                                 .cr2 = g.cr2 };
    } else {
        *out = (struct outcome){ .value = a.value };
    }
}
