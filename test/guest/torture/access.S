/*
 * access.S - one access, made by ring 0 or ring 3. The instruction is one of
 * the stubs, which ends in INT 0x80; a fault ends it by the library's guard.
 *
 * RBX is struct access (harness.c) all the time, whatever the ring.
 */
#define A_RSP 0
#define A_ADDRESS 8
#define A_VALUE 16
#define A_STUB 24
#define A_RFLAGS 32
#define A_TSS 40
#define A_IS_USER 48
#define TSS_RSP0 4
#define USER_DS (40 + 3)
#define USER_CS (48 + 3)

    .text
    .globl access_run, access_done
access_run:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rdi, %rbx
    movq %rsp, A_RSP(%rbx)
    movq A_ADDRESS(%rbx), %rdi
    movq A_VALUE(%rbx), %rsi
    cmpq $0, A_IS_USER(%rbx)
    jne 1f
    pushq A_RFLAGS(%rbx)
    popfq
    jmp *A_STUB(%rbx)
1:  movq A_TSS(%rbx), %rax
    movq %rsp, %rcx
    andq $-16, %rcx
    movq %rcx, TSS_RSP0(%rax)   /* traps come in below what is in use */
    pushq $USER_DS
    pushq $0                    /* nothing there uses a stack */
    pushq A_RFLAGS(%rbx)
    pushq $USER_CS
    pushq A_STUB(%rbx)
    iretq

access_done:                    /* the gate of INT 0x80 */
    movq A_RSP(%rbx), %rsp
    movq %rax, A_VALUE(%rbx)
    pushq $2
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

    /* In the order of enum kind, 16 bytes each; ring 3 has a copy. */
    .globl access_stubs, access_stubs_end
    .align 16
access_stubs:
    movq (%rdi), %rax
    int $0x80
    .align 16
    movq %rsi, (%rdi)
    int $0x80
    .align 16
    lock orq $0, (%rdi)
    int $0x80
    .align 16
    jmp *%rdi
    .align 16
access_stubs_end:

    .section .note.GNU-stack, "", @progbits
