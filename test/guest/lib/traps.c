/*
 * traps.c - descriptor tables of each vCPU, and what becomes of a fault: a
 * guard catches it, an interrupt's function takes it, or the verdict is FAIL
 * with the registers printed.
 */
#include "guest.h"

#include <public/xen/sched.h>

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, iomap;
} __attribute__((packed));
static_assert(sizeof(struct tss) == 104, "a 64-bit TSS");

struct gate { uint16_t lo, sel; uint8_t ist, attr; uint16_t mid;
              uint32_t hi, zero; };
static_assert(sizeof(struct gate) == 16, "a 64-bit gate");

struct table_ptr { uint16_t limit; uint64_t base; } __attribute__((packed));

/* Each vCPU: GDT, TSS, a stack for #DF, and the guard in force. */
struct trap_cpu {
    uint64_t gdt[5];
    struct tss tss;
    struct guard *guard;
    uint8_t df_stack[4096] __attribute__((aligned(16)));
};

extern uint8_t trap_stubs[];
extern uint8_t guard_resume[];
int guard_enter(void (*fn)(void *), void *arg, uint64_t *saved_rsp);
void trap_handler(struct trap_frame *f);

static struct gate idt[256] __attribute__((aligned(16)));
static struct trap_cpu cpus[GUEST_MAX_VCPUS];
static void (*irq_fn[256])(void);
static _Atomic uint64_t stray_irqs;
static atomic_bool is_ending;

static void idt_init(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t a = GVA(trap_stubs) + v * 16;

        idt[v] = (struct gate){ .lo = (uint16_t)a, .sel = 8,
            .ist = v == TRAP_DF ? 1 : 0, .attr = 0x8e,
            .mid = (uint16_t)(a >> 16), .hi = (uint32_t)(a >> 32) };
    }
}

void trap_cpu_init(unsigned id)
{
    struct trap_cpu *c = &cpus[id];
    uint64_t t = GVA(&c->tss);
    struct table_ptr gdtr = { sizeof(c->gdt) - 1, GVA(c->gdt) };
    struct table_ptr idtr = { sizeof(idt) - 1, GVA(idt) };

    if (id == 0) {
        idt_init();
    }
    c->gdt[1] = UINT64_C(0x00af9b000000ffff);
    c->gdt[2] = UINT64_C(0x00cf93000000ffff);
    c->gdt[3] = (sizeof(c->tss) - 1) | (t & 0xffffff) << 16
              | UINT64_C(0x89) << 40 | (t >> 24 & 0xff) << 56;
    c->gdt[4] = t >> 32;
    c->tss.ist[0] = GVA(c->df_stack + sizeof(c->df_stack));
    c->tss.iomap = sizeof(c->tss);
    asm volatile("lgdt %0; lidt %1; ltr %w2"
                 : : "m"(gdtr), "m"(idtr), "r"(24) : "memory");
}

void trap_expect_end(void)
{
    is_ending = true;
}

void trap_drop_ist(void)
{
    idt[TRAP_DF].ist = 0;
}

void trap_set_irq(uint8_t vector, void (*fn)(void))
{
    irq_fn[vector] = fn;
}

bool guard_run(struct guard *g, void (*fn)(void *), void *arg)
{
    struct trap_cpu *c = &cpus[guest_vcpu()];

    *g = (struct guard){ 0 };
    c->guard = g;
    g->fired = guard_enter(fn, arg, &g->rsp) != 0;
    c->guard = NULL;
    return g->fired;
}

static _Noreturn void trap_report(const struct trap_frame *f)
{
    if (is_ending) {
        guest_shutdown(SHUTDOWN_crash);
    }
    console_break_lock();
    guest_printf("fault %lu error %lx at %lx cr2 %lx cr3 %lx vcpu %u\n",
                 f->vector, f->error, f->rip, read_cr2(), read_cr3(),
                 guest_vcpu());
    guest_printf(" rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->rax,
                 f->rbx, f->rcx, f->rdx);
    guest_printf(" rsi %016lx rdi %016lx rbp %016lx rsp %016lx\n", f->rsi,
                 f->rdi, f->rbp, f->rsp);
    guest_printf(" r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n", f->r8,
                 f->r9, f->r10, f->r11);
    guest_printf(" r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n", f->r12,
                 f->r13, f->r14, f->r15);
    guest_printf(" cs %lx ss %lx rflags %lx cr0 %lx cr4 %lx\n", f->cs, f->ss,
                 f->rflags, read_cr0(), read_cr4());
    guest_verdict(QUIRE_VERDICT_FAIL, "unexpected fault %lu at %lx",
                  f->vector, f->rip);
    guest_shutdown(SHUTDOWN_crash);
}

void trap_handler(struct trap_frame *f)
{
    if (f->vector >= 32) {
        if (irq_fn[f->vector] != NULL) {
            irq_fn[f->vector]();
        } else if (++stray_irqs < 10) {
            guest_printf("stray interrupt %lu\n", f->vector);
        }
        return;
    }

    /* A double fault is on its own stack: which vCPU it is says the TSS. */
    struct trap_cpu *c = NULL;
    for (unsigned i = 0; i < GUEST_MAX_VCPUS; i++) {
        uint64_t df = GVA(cpus[i].df_stack);

        if (GVA(f) >= df && GVA(f) < df + sizeof(cpus[i].df_stack)) {
            c = &cpus[i];
        }
    }
    if (c == NULL) {
        c = &cpus[guest_vcpu()];
    }
    struct guard *g = c->guard;
    if (g == NULL) {
        trap_report(f);
    }
    c->guard = NULL;
    g->vector = (uint8_t)f->vector;
    g->error = f->error;
    g->rip = f->rip;
    g->cr2 = f->vector == TRAP_PF ? read_cr2() : 0;
    f->rip = GVA(guard_resume);
    f->rsp = g->rsp;
    f->cs = 8;
    f->ss = 16;
    f->rflags &= UINT64_C(0xcd5) | EFLAGS_IF;   /* no TF, NT, AC, DF kept */
    f->rflags &= ~UINT64_C(0x500);
    f->rflags |= 2;
}
