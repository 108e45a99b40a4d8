/*
 * vectors.S - 256 entry points that build one struct trap_frame, and
 * guard_enter: a call that survives a fault.
 */
    .text
    .align 16
    .globl trap_stubs
trap_stubs:                     /* 16 bytes each */
    .set v, 0
    .rept 256
    .align 16
    .if (v == 8) || (v >= 10 && v <= 14) || (v == 17) || (v == 21) \
        || (v == 29) || (v == 30)
    .else
    pushq $0                    /* where others have an error code */
    .endif
    pushq $v
    jmp trap_common
    .set v, v + 1
    .endr

trap_common:
    pushq %r15
    pushq %r14
    pushq %r13
    pushq %r12
    pushq %r11
    pushq %r10
    pushq %r9
    pushq %r8
    pushq %rdi
    pushq %rsi
    pushq %rbp
    pushq %rbx
    pushq %rdx
    pushq %rcx
    pushq %rax
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    call trap_handler
    movq %rbx, %rsp
    popq %rax
    popq %rcx
    popq %rdx
    popq %rbx
    popq %rbp
    popq %rsi
    popq %rdi
    popq %r8
    popq %r9
    popq %r10
    popq %r11
    popq %r12
    popq %r13
    popq %r14
    popq %r15
    addq $16, %rsp
    iretq

    /* int guard_enter(void (*fn)(void *), void *arg, uint64_t *saved_rsp):
     * 0 when fn returns; 1 when the trap handler came to guard_resume. */
    .globl guard_enter, guard_resume
guard_enter:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdx)
    subq $8, %rsp
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    addq $8, %rsp
    xorl %eax, %eax
    jmp 1f
guard_resume:
    movl $1, %eax
1:  popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

    .section .note.GNU-stack, "", @progbits
