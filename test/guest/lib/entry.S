/*
 * entry.S - how a stress domain starts: by PVH, in 32-bit protected mode
 * without paging, EBX = hvm_start_info; and how its other vCPUs start: by
 * VCPUOP_initialise, in long mode already.
 *
 * The first page tables are data: 4 GiB mapped one to one by 2M pages, but
 * for the first 2M, where 4K entries let page 0 be taken away later.
 */
#include <public/xen/elfnote.h>

#define STACK_SIZE 16384
#define PTE_TABLE 0x003         /* present, writable */
#define PTE_PAGE 0x063          /* and accessed, dirty */
#define PTE_LARGE 0x0e3

    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

    .section .text.entry, "ax", @progbits
    .code32
    .globl pvh_entry
pvh_entry:
    cli
    cld
    movl $cpu_stacks + STACK_SIZE, %esp
    movl %ebx, %edi
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0x20, %eax            /* CR4.PAE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx      /* EFER: LME, NXE */
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010033, %eax      /* PG, WP, NE, ET, MP, PE */
    movl %eax, %cr0
    lgdt boot_gdt_ptr
    ljmp $8, $1f
    .code64
1:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl %edi, %edi             /* the upper half is undefined */
    movl $cpu_stacks + STACK_SIZE, %esp
    xorl %ebp, %ebp
    call guest_start
2:  cli
    hlt
    jmp 2b

    /* RDI = the vCPU's number, RSP = its stack; segments are flat but their
     * selectors are not ours yet. */
    .globl ap_entry
ap_entry:
    lgdt boot_gdt_ptr
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    pushq $8
    pushq $1f
    lretq
1:  xorl %ebp, %ebp
    call guest_start_ap
2:  cli
    hlt
    jmp 2b

    .section .rodata
    .align 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* 8: 64-bit code */
    .quad 0x00cf93000000ffff    /* 16: data */
boot_gdt_ptr:
    .word 23
    .quad boot_gdt

    .section .data.page, "aw", @progbits
    .globl boot_pml4
    .align 4096
boot_pml4:
    .quad boot_pdpt + PTE_TABLE
    .fill 511, 8, 0
boot_pdpt:
    .set i, 0
    .rept 4
    .quad boot_pd + i * 4096 + PTE_TABLE
    .set i, i + 1
    .endr
    .fill 508, 8, 0
boot_pd:
    .quad boot_pt + PTE_TABLE
    .set i, 1
    .rept 2047
    .quad (i << 21) + PTE_LARGE
    .set i, i + 1
    .endr
    .globl boot_pt
boot_pt:
    .set i, 0
    .rept 512
    .quad (i << 12) + PTE_PAGE
    .set i, i + 1
    .endr

    .section .note.GNU-stack, "", @progbits
