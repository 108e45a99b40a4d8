/*
 * vmcb.h - the virtual machine control block, as the processor reads it
 * (APM vol. 2, appendix B), and the numbers that go into it.
 */
#pragma once

#include <quire/types.h>

struct vmcb_segment { uint16_t sel, attr; uint32_t limit; uint64_t base; };

struct vmcb {
    /* Control area. */
    uint16_t intercept_cr_read, intercept_cr_write;
    uint16_t intercept_dr_read, intercept_dr_write;
    uint32_t intercept_exceptions;
    uint32_t intercept_1, intercept_2, intercept_3;
    uint8_t pad_018[0x3c - 0x18];
    uint16_t pause_threshold, pause_count;
    uint64_t iopm, msrpm, tsc_offset;
    uint32_t asid;
    uint8_t tlb_control, pad_05d[3];
    uint64_t v_intr;
    uint64_t shadow;
    uint64_t exit_code, exit_info_1, exit_info_2, exit_int_info;
    uint64_t np_enable;
    uint8_t pad_098[0xa8 - 0x98];
    uint64_t event_inj;
    uint64_t n_cr3;
    uint64_t lbr_control;
    uint32_t clean, pad_0c4;
    uint64_t next_rip;
    uint8_t pad_0d0[0x400 - 0xd0];

    /* State save area. */
    struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t pad_4a0[0x4cb - 0x4a0];
    uint8_t cpl;
    uint32_t pad_4cc;
    uint64_t efer;
    uint8_t pad_4d8[0x548 - 0x4d8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t pad_580[0x5d8 - 0x580];
    uint64_t rsp;
    uint8_t pad_5e0[0x5f8 - 0x5e0];
    uint64_t rax, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2;
    uint8_t pad_648[0x668 - 0x648];
    uint64_t g_pat, debugctl;
    uint8_t pad_678[0x1000 - 0x678];
};

#define VMCB_AT(field, offset) \
    static_assert(offsetof(struct vmcb, field) == (offset), #field)
VMCB_AT(intercept_cr_write, 0x002);
VMCB_AT(intercept_exceptions, 0x008);
VMCB_AT(intercept_1, 0x00c);
VMCB_AT(intercept_2, 0x010);
VMCB_AT(pause_threshold, 0x03c);
VMCB_AT(iopm, 0x040);
VMCB_AT(msrpm, 0x048);
VMCB_AT(tsc_offset, 0x050);
VMCB_AT(asid, 0x058);
VMCB_AT(tlb_control, 0x05c);
VMCB_AT(v_intr, 0x060);
VMCB_AT(shadow, 0x068);
VMCB_AT(exit_code, 0x070);
VMCB_AT(exit_info_1, 0x078);
VMCB_AT(exit_info_2, 0x080);
VMCB_AT(exit_int_info, 0x088);
VMCB_AT(np_enable, 0x090);
VMCB_AT(event_inj, 0x0a8);
VMCB_AT(n_cr3, 0x0b0);
VMCB_AT(clean, 0x0c0);
VMCB_AT(next_rip, 0x0c8);
VMCB_AT(es, 0x400);
VMCB_AT(cs, 0x410);
VMCB_AT(fs, 0x440);
VMCB_AT(gdtr, 0x460);
VMCB_AT(ldtr, 0x470);
VMCB_AT(idtr, 0x480);
VMCB_AT(tr, 0x490);
VMCB_AT(cpl, 0x4cb);
VMCB_AT(efer, 0x4d0);
VMCB_AT(cr4, 0x548);
VMCB_AT(cr0, 0x558);
VMCB_AT(dr6, 0x568);
VMCB_AT(rip, 0x578);
VMCB_AT(rsp, 0x5d8);
VMCB_AT(rax, 0x5f8);
VMCB_AT(kernel_gs_base, 0x620);
VMCB_AT(sysenter_cs, 0x628);
VMCB_AT(cr2, 0x640);
VMCB_AT(g_pat, 0x668);
static_assert(sizeof(struct vmcb) == PAGE_SIZE, "one page");

/* intercept_1 */
#define INT1_INTR (1u << 0)
#define INT1_NMI (1u << 1)
#define INT1_INIT (1u << 3)
#define INT1_VINTR (1u << 4)
#define INT1_RDPMC (1u << 15)
#define INT1_CPUID (1u << 18)
#define INT1_RSM (1u << 19)
#define INT1_INVD (1u << 22)
#define INT1_PAUSE (1u << 23)
#define INT1_HLT (1u << 24)
#define INT1_INVLPG (1u << 25)
#define INT1_INVLPGA (1u << 26)
#define INT1_IO (1u << 27)
#define INT1_MSR (1u << 28)
#define INT1_TASK_SWITCH (1u << 29)
#define INT1_SHUTDOWN (1u << 31)
/* intercept_2: one bit an instruction, in the order of their exit codes */
#define INT2_VMRUN (1u << 0)
#define INT2_VMMCALL (1u << 1)
#define INT2_VMLOAD (1u << 2)
#define INT2_VMSAVE (1u << 3)
#define INT2_STGI (1u << 4)
#define INT2_CLGI (1u << 5)
#define INT2_SKINIT (1u << 6)
#define INT2_RDTSCP (1u << 7)
#define INT2_ICEBP (1u << 8)
#define INT2_WBINVD (1u << 9)
#define INT2_MONITOR (1u << 10)
#define INT2_MWAIT (1u << 11)
#define INT2_MWAIT_ARMED (1u << 12)
#define INT2_XSETBV (1u << 13)
#define INT2_RDPRU (1u << 14)

#define VEC_DB 1
#define VEC_UD 6
#define VEC_DF 8
#define VEC_GP 13
#define VEC_PF 14
#define VEC_AC 17
#define VEC_MC 18

/* v_intr */
#define V_IRQ (UINT64_C(1) << 8)
#define V_IGN_TPR (UINT64_C(1) << 20)
#define V_INTR_MASKING (UINT64_C(1) << 24)
#define V_TPR_MASK UINT64_C(0xf)

#define TLB_FLUSH_NONE 0
#define TLB_FLUSH_ALL 1

/* event_inj and exit_int_info */
#define EVENT_VALID (UINT64_C(1) << 31)
#define EVENT_HAS_ERROR (UINT64_C(1) << 11)
#define EVENT_TYPE(e) ((unsigned)((e) >> 8 & 7))
#define EVENT_VECTOR(e) ((uint8_t)(e))
#define EVENT_INTR 0u
#define EVENT_NMI 2u
#define EVENT_EXCEPTION 3u
#define EVENT_SOFT 4u

/* exit_code */
#define VMEXIT_CR_READ 0x000
#define VMEXIT_CR_WRITE 0x010
#define VMEXIT_DR_READ 0x020
#define VMEXIT_DR_WRITE 0x030
#define VMEXIT_EXCEPTION 0x040
#define VMEXIT_INTR 0x060
#define VMEXIT_NMI 0x061
#define VMEXIT_SMI 0x062
#define VMEXIT_INIT 0x063
#define VMEXIT_VINTR 0x064
#define VMEXIT_RDPMC 0x06f
#define VMEXIT_CPUID 0x072
#define VMEXIT_RSM 0x073
#define VMEXIT_INVD 0x076
#define VMEXIT_PAUSE 0x077
#define VMEXIT_HLT 0x078
#define VMEXIT_INVLPG 0x079
#define VMEXIT_INVLPGA 0x07a
#define VMEXIT_IO 0x07b
#define VMEXIT_MSR 0x07c
#define VMEXIT_TASK_SWITCH 0x07d
#define VMEXIT_SHUTDOWN 0x07f
#define VMEXIT_VMRUN 0x080
#define VMEXIT_VMMCALL 0x081
#define VMEXIT_VMLOAD 0x082
#define VMEXIT_VMSAVE 0x083
#define VMEXIT_STGI 0x084
#define VMEXIT_CLGI 0x085
#define VMEXIT_SKINIT 0x086
#define VMEXIT_RDTSCP 0x087
#define VMEXIT_ICEBP 0x088
#define VMEXIT_WBINVD 0x089
#define VMEXIT_MONITOR 0x08a
#define VMEXIT_MWAIT 0x08b
#define VMEXIT_MWAIT_ARMED 0x08c
#define VMEXIT_XSETBV 0x08d
#define VMEXIT_RDPRU 0x08e
#define VMEXIT_NPF 0x400
#define VMEXIT_INVALID UINT32_MAX       /* of the low 32 bits */
