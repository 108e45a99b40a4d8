/*
 * multiboot.h - what the boot loader left: memory map, modules, command line
 * (Multiboot 1, section 3.3). Read through the direct map; nothing of it is
 * believed to be in order.
 */
#pragma once

#include <quire/frame_table.h>

#define MULTIBOOT_MAGIC 0x2badb002
#define MAX_RAM_RANGES 64
#define MAX_MODULES 60

struct boot_info {
    struct ram_range ram[MAX_RAM_RANGES];       /* ascending, disjoint */
    unsigned nr_ram;
    struct ram_range reserved[MAX_MODULES + 4]; /* ascending, disjoint */
    unsigned nr_reserved;
    maddr_t ram_end;
};

/** multiboot_read() - fill @info and set the command line. @mbi: maddr. */
void multiboot_read(maddr_t mbi, struct boot_info *info);
/** multiboot_modules() - register the boot modules with the domain builder.
 *  The information may be overwritten afterwards. */
void multiboot_modules(maddr_t mbi);
