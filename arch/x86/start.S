/*
 * start.S - from the boot loader to C.
 *
 * Multiboot 1 enters in 32-bit protected mode without paging: EAX = magic,
 * EBX = machine address of the multiboot information. Early page tables map
 * the first 4 GiB with 1G pages, at 0 and at the direct map; paging.c builds
 * the real ones. Application processors come in by the trampoline at the end
 * of this file, copied below 1 MiB, and join at start_ap64.
 */
#include "layout.h"

#define CR0_PE 0x1
#define CR0_ON 0x80010033       /* PG WP NE ET MP PE */
#define CR4_ON 0x6e0            /* OSXMMEXCPT OSFXSR PGE MCE PAE */
#define EFER 0xc0000080
#define EFER_ON 0x901           /* NXE LME SCE */
#define PTE_TABLE 0x3           /* P RW */
#define PTE_1G 0x83             /* P RW PS */

    .section .multiboot, "ax"
    .align 4
multiboot_header:
    .long 0x1badb002
    .long 0x00000003            /* modules page-aligned; memory map */
    .long -(0x1badb002 + 0x00000003)

    .code32
    .global start32
start32:
    cli
    cld
    movl $(cpu_stacks + 4096 + STACK_SIZE), %esp
    movl %eax, %edi             /* magic: first argument of boot_main() */
    movl %ebx, %esi             /* information: second */
    movl $0x80000001, %eax
    pushl %edi
    pushl %esi
    cpuid
    popl %esi
    popl %edi
    testl $(1 << 29), %edx      /* long mode */
    jz no_long_mode
    testl $(1 << 26), %edx      /* 1G pages */
    jz no_long_mode

    /* PML4[0] and PML4[256] -> one PDPT: 0..4G. */
    movl $early_pdpt, %eax
    orl $PTE_TABLE, %eax
    movl %eax, early_pml4
    movl %eax, early_pml4 + 256 * 8
    movl $early_pdpt, %eax
    movl $PTE_1G, %edx
    movl $4, %ecx
1:  movl %edx, (%eax)
    addl $0x40000000, %edx
    addl $8, %eax
    loop 1b

    movl $early_pml4, %eax
    movl %eax, %cr3
    movl $CR4_ON, %eax
    movl %eax, %cr4
    movl $EFER, %ecx
    rdmsr
    orl $EFER_ON, %eax
    wrmsr
    movl $CR0_ON, %eax
    movl %eax, %cr0
    lgdtl early_gdt_pointer
    ljmpl $0x08, $start64

no_long_mode:
    /* No console yet: say it on COM1. */
    movl $no_long_mode_text, %esi
2:  lodsb
    testb %al, %al
    jz 3f
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 2b
3:  movb $0x11, %al             /* the exit device: failure */
    outb %al, $0xf4
4:  hlt
    jmp 4b

    .code64
start64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl %edi, %edi             /* the upper halves are undefined */
    movl %esi, %esi
    movq $(cpu_stacks + 4096 + STACK_SIZE), %rsp
    xorl %ebp, %ebp             /* where a backtrace ends */
    call boot_main
5:  cli
    hlt
    jmp 5b

/*
 * The trampoline: 16-bit real mode at TRAMPOLINE (page-aligned), CS = page.
 * It runs from its copy, so that addresses are relative to that page.
 */
    .code16
    .global trampoline_start, trampoline_end
trampoline_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl (trampoline_gdt_pointer - trampoline_start)
    movl $CR0_PE, %eax
    movl %eax, %cr0
    ljmpl $0x10, $(TRAMPOLINE + trampoline32 - trampoline_start)
    .code32
trampoline32:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %ss
    movl $final_pml4, %eax
    movl %eax, %cr3
    movl $CR4_ON, %eax
    movl %eax, %cr4
    movl $EFER, %ecx
    rdmsr
    orl $EFER_ON, %eax
    wrmsr
    movl $CR0_ON, %eax
    movl %eax, %cr0
    ljmpl $0x08, $start_ap64
    .align 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9a000000ffff    /* 0x08: 64-bit code */
    .quad 0x00cf9a000000ffff    /* 0x10: 32-bit code */
    .quad 0x00cf92000000ffff    /* 0x18: data */
trampoline_gdt_pointer:
    .word . - trampoline_gdt - 1
    .long TRAMPOLINE + trampoline_gdt - trampoline_start
trampoline_end:

    .code64
start_ap64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    /* One processor comes up at a time. One that was given up and comes
     * late finds no stack, or takes the next one's place. */
    xchgq %rax, ap_stack_top
    testq %rax, %rax
    jz 6f
    movq %rax, %rsp
    xorl %ebp, %ebp
    call ap_main
6:  cli
    hlt
    jmp 6b

    .section .rodata
no_long_mode_text:
    .asciz "quire: this processor has no long mode with 1G pages\r\n"
    .align 8
early_gdt:
    .quad 0
    .quad 0x00af9a000000ffff
early_gdt_pointer:
    .word . - early_gdt - 1
    .long early_gdt

    .section .bss
    .align 4096
early_pml4:
    .skip 4096
early_pdpt:
    .skip 4096
