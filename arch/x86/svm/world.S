/*
 * world.S - the world switch.
 *
 * ticks_t svm_world_switch(maddr_t vmcb (rdi), struct vcpu_regs *regs (rsi),
 *                          maddr_t host_vmcb (rdx))
 *
 * VMRUN and #VMEXIT exchange RAX, RSP, RIP, RFLAGS, CRs and the flat part of
 * the segments; VMLOAD and VMSAVE the rest (FS, GS, TR, LDTR, SYSCALL and
 * SYSENTER MSRs), which the host wants back at once: its per-CPU data is
 * behind GS, and its NMI stack behind TR. All other registers are exchanged
 * here.
 *
 * The global interrupt flag stays 0 from CLGI to STGI, so nothing can come
 * between. RFLAGS.IF is 1 within: with V_INTR_MASKING the host's IF at VMRUN
 * decides whether a physical interrupt ends the guest's turn (APM vol. 2,
 * 15.21.1). CLI comes before STGI, so none is taken here either.
 */
        .text
        .globl  svm_world_switch
        .type   svm_world_switch, @function

        .set    R_RCX, 8
        .set    R_RDX, 16
        .set    R_RBX, 24
        .set    R_RBP, 40
        .set    R_RSI, 48
        .set    R_RDI, 56
        .set    R_R8, 64

svm_world_switch:
        push    %rbp
        mov     %rsp, %rbp
        push    %rbx
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        push    %rdx
        push    %rsi
        push    %rdi

        clgi
        sti
        mov     %rdi, %rax
        vmload  %rax

        mov     R_RCX(%rsi), %rcx
        mov     R_RDX(%rsi), %rdx
        mov     R_RBX(%rsi), %rbx
        mov     R_RBP(%rsi), %rbp
        mov     R_RDI(%rsi), %rdi
        mov     R_R8(%rsi), %r8
        mov     R_R8+8(%rsi), %r9
        mov     R_R8+16(%rsi), %r10
        mov     R_R8+24(%rsi), %r11
        mov     R_R8+32(%rsi), %r12
        mov     R_R8+40(%rsi), %r13
        mov     R_R8+48(%rsi), %r14
        mov     R_R8+56(%rsi), %r15
        mov     R_RSI(%rsi), %rsi

        vmrun   %rax

        push    %rdx                    /* the guest's: RDTSC takes it */
        rdtsc
        shl     $32, %rdx
        or      %rdx, %rax
        push    %rax
        /* 0 ticks, 8 guest rdx, 16 vmcb, 24 regs, 32 host vmcb */
        mov     16(%rsp), %rax
        vmsave  %rax
        mov     32(%rsp), %rax
        vmload  %rax

        mov     24(%rsp), %rax
        mov     %rcx, R_RCX(%rax)
        mov     %rbx, R_RBX(%rax)
        mov     %rbp, R_RBP(%rax)
        mov     %rsi, R_RSI(%rax)
        mov     %rdi, R_RDI(%rax)
        mov     %r8, R_R8(%rax)
        mov     %r9, R_R8+8(%rax)
        mov     %r10, R_R8+16(%rax)
        mov     %r11, R_R8+24(%rax)
        mov     %r12, R_R8+32(%rax)
        mov     %r13, R_R8+40(%rax)
        mov     %r14, R_R8+48(%rax)
        mov     %r15, R_R8+56(%rax)
        mov     8(%rsp), %rcx
        mov     %rcx, R_RDX(%rax)
        cli
        stgi

        pop     %rax                    /* ticks */
        add     $32, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbx
        pop     %rbp
        ret
        .size   svm_world_switch, . - svm_world_switch
        .section .note.GNU-stack, "", @progbits
