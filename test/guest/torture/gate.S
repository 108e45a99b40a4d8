/*
 * gate.S - out of long mode, one access under PAE, 2-level or no paging, and
 * back. All code and data lie below 2M, mapped one to one in every mode.
 *
 * EBX is struct gate_access (legacy.c) all the time, whatever the ring. Paging
 * is off between the two modes, so no translation outlives the access.
 */
#define G_RSP 0
#define G_ADDRESS 8
#define G_VALUE 16
#define G_STUB 24
#define G_RFLAGS 32
#define G_TSS 40
#define G_IS_USER 48
#define G_CR0 56
#define G_CR3 64
#define G_CR4 72
#define G_EFER 80
#define G_OLD_CR0 88
#define G_OLD_CR3 96
#define G_OLD_CR4 104
#define G_OLD_EFER 112
#define G_VECTOR 120
#define G_ERROR 128
#define G_CR2 136
#define G_OLD_IDT 144

#define CODE_64 8
#define DATA 16
#define TSS_64 24
#define USER_DATA (40 + 3)
#define CODE_32 56
#define USER_CODE_32 (64 + 3)
#define TSS_32 72
#define MSR_EFER 0xc0000080
#define PAGING 0x80000000

    .text
    .globl gate_run
gate_run:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rdi, %rbx
    movq %rsp, G_RSP(%rbx)
    sidt G_OLD_IDT(%rbx)
    pushq $CODE_32
    pushq $1f
    lretq

    .code32
1:  movl $DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr0, %eax
    andl $~PAGING, %eax
    movl %eax, %cr0             /* and EFER.LMA goes */
    movl $MSR_EFER, %ecx
    movl G_EFER(%ebx), %eax
    xorl %edx, %edx
    wrmsr
    movl G_CR4(%ebx), %eax
    movl %eax, %cr4
    movl G_CR3(%ebx), %eax
    movl %eax, %cr3
    lidt legacy_idtr
    movl $TSS_32, %eax
    ltr %ax
    movl G_TSS(%ebx), %eax
    movl %esp, 4(%eax)
    movl $DATA, 8(%eax)
    movl G_CR0(%ebx), %eax
    movl %eax, %cr0
    jmp 2f
2:  movl G_ADDRESS(%ebx), %edi
    movl G_VALUE(%ebx), %esi
    cmpl $0, G_IS_USER(%ebx)
    jne 3f
    pushl G_RFLAGS(%ebx)
    popfl
    jmp *G_STUB(%ebx)
3:  movl $USER_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    pushl $USER_DATA
    pushl $0                    /* nothing there uses a stack */
    pushl G_RFLAGS(%ebx)
    pushl $USER_CODE_32
    pushl G_STUB(%ebx)
    iretl

    .globl legacy_vectors, legacy_done
    .align 16
legacy_vectors:                 /* 16 bytes each */
    .set v, 0
    .rept 32
    .align 16
    .if (v == 8) || (v >= 10 && v <= 14) || (v == 17)
    .else
    pushl $0
    .endif
    pushl $v
    jmp legacy_fault
    .set v, v + 1
    .endr

legacy_fault:
    popl G_VECTOR(%ebx)
    popl G_ERROR(%ebx)
    movl %cr2, %eax
    movl %eax, G_CR2(%ebx)
    jmp 4f
legacy_done:                    /* the gate of INT 0x80 */
    movl %eax, G_VALUE(%ebx)
4:  movl G_RSP(%ebx), %esp
    pushl $2
    popfl
    movl %cr0, %eax
    andl $~PAGING, %eax
    movl %eax, %cr0
    movl G_OLD_CR4(%ebx), %eax
    movl %eax, %cr4
    movl G_OLD_CR3(%ebx), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    movl G_OLD_EFER(%ebx), %eax
    xorl %edx, %edx
    wrmsr
    movl G_OLD_CR0(%ebx), %eax
    movl %eax, %cr0             /* and EFER.LMA is back */
    ljmp $CODE_64, $5f

    .code64
5:  movl $DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %ebx, %ebx             /* the upper half is undefined */
    lidt G_OLD_IDT(%rbx)
    movl $TSS_64, %eax
    ltr %ax
    movq G_RSP(%rbx), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

    /* In the order of enum kind, 16 bytes each; ring 3 has a copy. */
    .code32
    .globl legacy_stubs, legacy_stubs_end
    .align 16
legacy_stubs:
    movl (%edi), %eax
    int $0x80
    .align 16
    movl %esi, (%edi)
    int $0x80
    .align 16
    lock orl $0, (%edi)
    int $0x80
    .align 16
    jmp *%edi
    .align 16
legacy_stubs_end:

    .section .note.GNU-stack, "", @progbits
