/*
 * start.c - from the entry code to guest_main(), the other vCPUs, walking in
 * step with the toolstack, and the verdict at the end.
 */
#include "guest.h"

#include <public/xen/cpuid.h>
#include <public/xen/sched.h>
#include <public/xen/vcpu.h>

#define STACK_SIZE 16384
#define FAILURES_SHOWN 20
#define PHASE_END 99

/* Aligned to their size, so that masking RSP finds the bottom, where each
 * keeps its vCPU's number. */
uint8_t cpu_stacks[GUEST_MAX_VCPUS][STACK_SIZE]
    __attribute__((aligned(STACK_SIZE)));

extern uint64_t boot_pml4[512];
extern uint8_t ap_entry[];
void guest_start(const struct hvm_start_info *si);
void guest_start_ap(unsigned id);

static void (*ap_fn[GUEST_MAX_VCPUS])(unsigned id);
static _Atomic unsigned failures;

unsigned guest_vcpu(void)
{
    uint64_t rsp;

    asm("mov %%rsp, %0" : "=r"(rsp));
    rsp &= -(uint64_t)STACK_SIZE;
    if (rsp < GVA(cpu_stacks) || rsp >= GVA(cpu_stacks) + sizeof(cpu_stacks)) {
        return 0;
    }
    return *(unsigned *)(uintptr_t)rsp;
}

void guest_start(const struct hvm_start_info *si)
{
    trap_cpu_init(0);
    hypercall_init();
    if (si->magic != XEN_HVM_START_MAGIC_VALUE
        || si->version < XEN_HVM_START_VERSION) {
        guest_fail("start_info: magic %x version %u", si->magic, si->version);
        guest_finish("start");
    }
    options_init((const char *)(uintptr_t)si->cmdline_paddr);
    memory_init(si);
    memory_drop_null();
    guest_main();
    guest_finish("main");
}

void guest_start_ap(unsigned id)
{
    *(unsigned *)cpu_stacks[id] = id;
    trap_cpu_init(id);
    ap_fn[id](id);
    irq_disable();
    (void)hc_vcpu_op(VCPUOP_down, id, NULL);
}

int guest_start_vcpu(unsigned id, void (*fn)(unsigned id))
{
    static struct vcpu_hvm_context ctx;
    struct vcpu_hvm_x86_64 *r = &ctx.cpu_regs.x86_64;

    ap_fn[id] = fn;
    memset(&ctx, 0, sizeof(ctx));
    ctx.mode = VCPU_HVM_MODE_64B;
    r->rip = GVA(ap_entry);
    r->rsp = GVA(cpu_stacks[id]) + STACK_SIZE;
    r->rdi = id;
    r->rflags = 2;
    r->cr0 = read_cr0();
    r->cr3 = GVA(boot_pml4);
    r->cr4 = read_cr4();
    r->efer = EFER_LME | EFER_LMA | EFER_NXE;
    int64_t rc = hc_vcpu_op(VCPUOP_initialise, id, &ctx);
    if (rc == 0) {
        rc = hc_vcpu_op(VCPUOP_up, id, NULL);
    }
    return (int)rc;
}

domid_t guest_domid(void)
{
    uint32_t r[4];

    if (hypercall_leaf() == 0) {
        return DOMID_INVALID;
    }
    cpuid(hypercall_leaf() + 4, 0, r);
    return (r[0] & XEN_HVM_CPUID_DOMID_PRESENT) != 0 ? (domid_t)r[2]
                                                     : DOMID_INVALID;
}

void guest_phase_report(uint64_t phase)
{
    (void)hc_quire_op(QUIRE_OP_report_phase, phase, 0, 0);
}

void guest_phase_wait(uint64_t phase)
{
    (void)hc_quire_op(QUIRE_OP_wait_phase, phase, 0, 0);
}

void guest_figure(unsigned index, uint64_t value)
{
    (void)hc_quire_op(QUIRE_OP_report_figure, index, value, 0);
}

uint64_t guest_ticks(void)
{
    int64_t t = hc_quire_op(QUIRE_OP_now, 0, 0, 0);

    return t < 0 ? 0 : (uint64_t)t;
}

void guest_fail(const char *fmt, ...)
{
    va_list ap;
    unsigned n = ++failures;

    if (n <= FAILURES_SHOWN) {
        char text[200];

        va_start(ap, fmt);
        guest_vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        guest_printf("FAIL %s\n", text);
    }
}

unsigned guest_failures(void)
{
    return failures;
}

void guest_verdict(int verdict, const char *fmt, ...)
{
    char text[QUIRE_VERDICT_MAX];
    va_list ap;

    va_start(ap, fmt);
    size_t n = guest_vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    n = MIN(n, sizeof(text) - 1);
    if (!hypercall_is_present()) {      /* else the hypervisor prints it */
        guest_printf("verdict %s: %s\n",
                     verdict == QUIRE_VERDICT_PASS ? "PASS" : "FAIL", text);
    }
    (void)hc_quire_op(QUIRE_OP_verdict, (uint64_t)verdict, GVA(text), n);
}

void guest_verdict_count(const char *what)
{
    if (failures == 0) {
        guest_verdict(QUIRE_VERDICT_PASS, "%s", what);
    } else {
        guest_verdict(QUIRE_VERDICT_FAIL, "%s: %u checks failed", what,
                      failures);
    }
}

void guest_shutdown(unsigned reason)
{
    struct sched_shutdown s = { .reason = reason };

    (void)hc_sched_op(SCHEDOP_shutdown, &s);
    for (;;) {                  /* no hypervisor: nothing else to do */
        asm volatile("cli; hlt");
    }
}

void guest_finish(const char *what)
{
    guest_verdict_count(what);
    guest_end();
}

void guest_end(void)
{
    if (!option_is("then", "shutdown")) {
        guest_phase_wait(PHASE_END);
    }
    guest_shutdown(SHUTDOWN_poweroff);
}
