/*
 * build.h - the parts of a creation: state that lasts from slice to slice,
 * and the steps that build.c calls in turn.
 *
 * A step returns 0 (done), -ERESTART (call again) or an error, with the
 * reason in b->why. Only the creator touches any of this.
 */
#pragma once

#include <public/xen/start_info.h>
#include <quire/domain.h>

enum build_stage { BUILD_VCPUS, BUILD_MEMORY, BUILD_ZERO, BUILD_IMAGE,
                   BUILD_MODULES, BUILD_START_INFO, BUILD_FINISH,
                   BUILD_UNDO };

#define ELF_MAX_SEGMENTS 32

/* What of an ELF image concerns the loader. */
struct elf_segment { uint64_t offset, paddr, file_size, mem_size; };
struct elf_image {
    const uint8_t *data;
    uint64_t size;
    unsigned nr_segments;
    struct elf_segment segment[ELF_MAX_SEGMENTS];
    uint64_t start, end;        /* paddrs, of all segments together */
    uint64_t entry;             /* from the PVH note */
};

/**
 * elf_parse() - check the image and find its segments and PVH entry.
 * -ENOEXEC with a reason in @why (DOMAIN_WHY_MAX bytes).
 */
int must_check elf_parse(struct elf_image *elf, const void *data,
                         uint64_t size, char *why);

struct domain_build {
    enum build_stage stage;
    int err;                    /* what ended it */
    char why[DOMAIN_WHY_MAX];
    unsigned range;             /* MEMORY, ZERO: which */
    uint64_t done;              /* gfns, or bytes, of the current thing */
    struct frame *block;        /* MEMORY: a superpage, its records not all */
    uint64_t block_nr, block_done;  /* ... set up yet */
    struct elf_image elf;
    unsigned item;              /* IMAGE: segment; MODULES: module */
    gpa_t next;                 /* first free byte after what is loaded */
    const struct boot_module *module[4];
    gpa_t module_gpa[4];
    gpa_t start_info;
};

int must_check build_memory(struct domain *d, struct domain_build *b,
                            struct work *w);
/** build_block() - what is left of a superpage's records; -ERESTART. */
int must_check build_block(struct domain *d, struct domain_build *b,
                           struct work *w);
int must_check build_zero(struct domain *d, struct domain_build *b,
                          struct work *w);
int must_check build_image(struct domain *d, struct domain_build *b,
                           struct work *w);
int must_check build_modules(struct domain *d, struct domain_build *b,
                             struct work *w);
int must_check build_start_info(struct domain *d, struct domain_build *b);
/** pvh_entry_state() - a vCPU as PVH enters it. */
void pvh_entry_state(struct vcpu_state *s, uint64_t entry, gpa_t start_info);

/** domain_vcpu_create() - the next vCPU of @d, offline. -ENOMEM. */
int must_check domain_vcpu_create(struct domain *d);
