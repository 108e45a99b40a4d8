/* layout.h - fixed addresses, for C and assembly. */
#pragma once

/* All RAM, and the APICs, appear here: machine address + DIRECTMAP. */
#define DIRECTMAP 0xffff800000000000
#define DIRECTMAP_GIB 512       /* at most */

#define TRAMPOLINE 0x8000       /* application processors start here */
#define STACK_SIZE 32768        /* a CPU's, above a guard page */

/* Selectors of every CPU's GDT. */
#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS 0x18
