/*
 * paging.h - the hypervisor's own page tables: built once, then fixed, so
 * that there is nothing to shoot down.
 *
 *   0 .. 4K                    unmapped: a null pointer faults
 *   TRAMPOLINE                 R+X, for application processors
 *   image at 1 MiB             text R+X, rodata R, data R+W
 *   DIRECTMAP + 0 .. all RAM   R+W, 1G pages; devices below 4G uncached; the
 *                              image's text and rodata R
 */
#pragma once

#include <quire/types.h>

/** paging_init() - build the tables for RAM below @end, and load them. */
void paging_init(maddr_t end);
/** paging_unmap_image_page() - make a page of the image fault, in the direct
 *  map too. Boot only: no other CPU has touched it yet. */
void paging_unmap_image_page(const void *page);
