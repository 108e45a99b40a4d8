/* probes.c - instructions that a guest may not have, one function each. */
#include "hostile.h"

#define PROBE(name, text) \
    static void name(void *arg) \
    { \
        (void)arg; \
        asm volatile(text : : : "rax", "rbx", "rcx", "rdx", "memory", "cc"); \
    }

/* Operands are such that real hardware would go ahead if it were allowed. */
PROBE(do_vmrun, "mov $0x180000, %%eax; vmrun")
PROBE(do_vmload, "mov $0x180000, %%eax; vmload")
PROBE(do_vmsave, "mov $0x180000, %%eax; vmsave")
PROBE(do_stgi, "stgi")
PROBE(do_clgi, "clgi")
PROBE(do_skinit, "mov $0x10000, %%eax; skinit")
PROBE(do_invlpga, "xor %%eax, %%eax; xor %%ecx, %%ecx; invlpga")
PROBE(do_vmcall, "vmcall")
PROBE(do_vmxon, ".byte 0xf3, 0x0f, 0xc7, 0x34, 0x24")
PROBE(do_monitor, "lea (%%rsp), %%rax; xor %%ecx, %%ecx; xor %%edx, %%edx;"
      "monitor")
PROBE(do_mwait, "xor %%eax, %%eax; xor %%ecx, %%ecx; mwait")
PROBE(do_xsetbv, "xor %%ecx, %%ecx; xor %%edx, %%edx; mov $1, %%eax; xsetbv")
PROBE(do_xgetbv, "xor %%ecx, %%ecx; xgetbv")
PROBE(do_rdpmc, "xor %%ecx, %%ecx; rdpmc")
PROBE(do_rsm, "rsm")
PROBE(do_getsec, "xor %%eax, %%eax; .byte 0x0f, 0x37")
PROBE(do_ud2, "ud2")
PROBE(do_int3, "int3")
PROBE(do_int1, ".byte 0xf1")
PROBE(do_wbinvd, "wbinvd")
PROBE(do_invd, "invd")
PROBE(do_rdtscp, "rdtscp")
PROBE(do_rdrand, "rdrand %%rax")
PROBE(do_rdseed, "rdseed %%rax")
PROBE(do_syscall, "syscall")
PROBE(do_sysenter, "sysenter")
PROBE(do_sysret, "mov $0x1000, %%ecx; sysretq")
PROBE(do_lldt, "mov $0x48, %%eax; lldt %%ax")
PROBE(do_ltr, "mov $0xfff8, %%eax; ltr %%ax")
PROBE(do_load_ss, "mov $0x48, %%eax; mov %%eax, %%ss")
PROBE(do_load_ds, "mov $0xfff8, %%eax; mov %%eax, %%ds")
PROBE(do_far_jump, "pushq $0x48; pushq $0; lretq")
PROBE(do_div, "xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx")
PROBE(do_lock_nop, ".byte 0xf0, 0x90")
PROBE(do_too_long, ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66;"
      ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90")
PROBE(do_sse, "movaps %%xmm0, %%xmm1")
PROBE(do_vex, ".byte 0xc5, 0xf8, 0x28, 0xc8")
PROBE(do_single_step, "pushfq; orl $0x100, (%%rsp); popfq; nop; nop")
PROBE(do_int_absent, "int $0x1f")

#define UD FAULT(TRAP_UD)
#define GP FAULT(TRAP_GP)

static const struct {
    const char *name;
    void (*fn)(void *);
    uint32_t allowed;
} probes[] = {
    { "vmrun", do_vmrun, UD }, { "vmload", do_vmload, UD },
    { "vmsave", do_vmsave, UD }, { "stgi", do_stgi, UD },
    { "clgi", do_clgi, UD }, { "skinit", do_skinit, UD },
    { "invlpga", do_invlpga, UD }, { "vmcall", do_vmcall, UD },
    { "vmxon", do_vmxon, UD }, { "monitor", do_monitor, UD },
    { "mwait", do_mwait, UD }, { "xsetbv", do_xsetbv, UD },
    { "xgetbv", do_xgetbv, UD }, { "rdpmc", do_rdpmc, UD | GP },
    { "rsm", do_rsm, UD }, { "getsec", do_getsec, UD },
    { "ud2", do_ud2, UD }, { "int3", do_int3, FAULT(TRAP_BP) },
    /* QEMU stops the whole machine at INT1, so it must be intercepted. */
    { "int1", do_int1, FAULT(TRAP_DB) | UD },
    { "wbinvd", do_wbinvd, NONE }, { "invd", do_invd, NONE },
    { "rdtscp", do_rdtscp, NONE | UD },
    { "rdrand", do_rdrand, NONE | UD }, { "rdseed", do_rdseed, NONE | UD },
    { "syscall", do_syscall, UD },
    /* AMD has no SYSENTER and SYSEXIT in long mode; QEMU lets it be. */
    { "sysenter", do_sysenter, UD | GP },
    { "sysret", do_sysret, UD }, { "lldt", do_lldt, GP },
    { "ltr", do_ltr, GP }, { "mov ss", do_load_ss, GP },
    { "mov ds", do_load_ds, GP }, { "far return", do_far_jump, GP },
    { "div by 0", do_div, FAULT(TRAP_DE) }, { "lock nop", do_lock_nop, UD },
    { "16 bytes", do_too_long, GP | UD },
    { "sse", do_sse, UD }, { "vex", do_vex, UD },
    { "single step", do_single_step, FAULT(TRAP_DB) },
    { "int 31", do_int_absent, NONE | FAULT(31) | GP },
};

void probe_instructions(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(probes); i++) {
        expect(probes[i].name, probes[i].allowed, probes[i].fn, NULL);
    }
}
