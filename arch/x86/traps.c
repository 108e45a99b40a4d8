/* traps.c - the IDT, fatal exceptions, and the few interrupts there are. */
#include "traps.h"

#include <quire/arch.h>
#include <quire/log.h>
#include <quire/print.h>

#include "apic.h"
#include "boot.h"
#include "cpu_ops.h"
#include "percpu.h"
#include "serial.h"

#define TRAP_STUB_SIZE 16
#define NR_FRAMES 24            /* of a backtrace */
#define VECTOR_NMI 2
#define VECTOR_DOUBLE_FAULT 8
#define VECTOR_PAGE_FAULT 14
#define VECTOR_MACHINE_CHECK 18

struct gate { uint64_t low, high; };
static alignas(16) struct gate idt[256];

extern const uint8_t trap_stubs[];
extern const uint8_t image_start[], text_end[];

static const char *const trap_names[] = {
    "#DE divide", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow",
    "#BR bounds", "#UD invalid opcode", "#NM no FPU", "#DF double fault",
    "coprocessor", "#TS invalid TSS", "#NP not present", "#SS stack",
    "#GP protection", "#PF page fault", "reserved", "#MF x87",
    "#AC alignment", "#MC machine check", "#XF SIMD",
};

void traps_init(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t a = (uint64_t)(trap_stubs + v * TRAP_STUB_SIZE);
        uint64_t ist = v == VECTOR_DOUBLE_FAULT ? IST_DOUBLE_FAULT
                       : v == VECTOR_NMI ? IST_NMI
                       : v == VECTOR_MACHINE_CHECK ? IST_MACHINE_CHECK : 0;

        idt[v].low = (a & 0xffff) | (uint64_t)SEL_CODE << 16 | ist << 32 |
                     UINT64_C(0x8e) << 40 | (a >> 16 & 0xffff) << 48;
        idt[v].high = a >> 32;
    }
}

void traps_load(void)
{
    struct { uint16_t limit; uint64_t base; } __attribute__((packed))
        idtr = { sizeof(idt) - 1, (uint64_t)idt };

    __asm__ volatile("lidt %0" : : "m"(idtr));
}

static void print(const char *fmt, ...) printf_like(1, 2);
static void print(const char *fmt, ...)
{
    char line[160];
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    n = vprint_to(line, sizeof(line), fmt, ap);
    va_end(ap);
    log_raw(line, MIN(n, sizeof(line) - 1));
}

/* Whether @p can hold a stack frame: aligned, and in this CPU's stacks. */
static bool is_on_stack(uint64_t p)
{
    uint64_t top = (uint64_t)percpu[arch_cpu()].stack_top;

    return p % 8 == 0 && p <= top - 16 && p >= top - STACK_SIZE;
}

static bool is_text(uint64_t p)
{
    return p >= (uint64_t)image_start && p < (uint64_t)text_end;
}

static void backtrace(uint64_t rip, uint64_t rbp)
{
    print("  backtrace: 0x%lx", rip);
    for (unsigned i = 0; i < NR_FRAMES && is_on_stack(rbp); i++) {
        const uint64_t *frame = (const uint64_t *)rbp;  /* rbp, return rip */

        if (!is_text(frame[1])) {
            break;
        }
        print(" 0x%lx", frame[1]);
        if (frame[0] <= rbp) {
            break;      /* callers lie higher */
        }
        rbp = frame[0];
    }
    print("\n");
}

void arch_backtrace(void)
{
    backtrace((uint64_t)__builtin_return_address(0),
              (uint64_t)__builtin_frame_address(0));
}

static _Noreturn void die_of_trap(const struct trap_frame *f)
{
    const char *name = f->vector < ARRAY_SIZE(trap_names)
                           ? trap_names[f->vector] : "unexpected";

    percpu_recover(f);
    if (percpu[arch_cpu()].in_trap++ != 0) {
        arch_die(DIE_PANIC);
    }
    print("\nTRAP %lu (%s) on CPU %u, error 0x%lx, cr2 0x%lx\n", f->vector,
          name, arch_cpu(), f->error, read_cr2());
    if ((f->vector == VECTOR_DOUBLE_FAULT || f->vector == VECTOR_PAGE_FAULT) &&
        percpu_guard_owner(read_cr2()) >= 0) {
        print("  the stack of CPU %d has overflowed\n",
              percpu_guard_owner(read_cr2()));
    }
    print("  rip %016lx rsp %016lx rflags %08lx cs %lx\n", f->rip, f->rsp,
          f->rflags, f->cs);
    print("  rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->rax, f->rbx,
          f->rcx, f->rdx);
    print("  rsi %016lx rdi %016lx rbp %016lx r8  %016lx\n", f->rsi, f->rdi,
          f->rbp, f->r8);
    print("  r9  %016lx r10 %016lx r11 %016lx r12 %016lx\n", f->r9, f->r10,
          f->r11, f->r12);
    print("  r13 %016lx r14 %016lx r15 %016lx\n", f->r13, f->r14, f->r15);
    backtrace(f->rip, f->rbp);
    arch_die(DIE_PANIC);
}

void trap_handle(struct trap_frame *f)
{
    switch (f->vector) {
    case VECTOR_TIMER:
        /* Under icount a CPU that never pauses starves the others. */
        arch_relax();
        break;
    case VECTOR_KICK:
        break;
    case VECTOR_CONTROL:
        serial_control_interrupt();
        break;
    case VECTOR_SPURIOUS:
        return;     /* takes no EOI */
    case VECTOR_NMI:
        boot_halt_if_dying();
        die_of_trap(f);
    default:
        die_of_trap(f);
    }
    percpu[arch_cpu()].kicked = 1;
    apic_eoi();
}
