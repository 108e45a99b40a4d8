/*
 * test_hypercall.h - a domain whose vCPU makes hypercalls as test code dictates
 * them: as a 64-bit guest with its own tables, or as a 32-bit one.
 */
#pragma once

#include "../../common/domain/build.h"
#include "domains.h"
#include "test.h"

#include <public/quire.h>
#include <public/xen/cpuid.h>
#include <public/xen/memory.h>
#include <public/xen/sched.h>
#include <public/xen/vcpu.h>
#include <public/xen/version.h>
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/page_alloc.h>
#include <string.h>

#define ARG 0x10000         /* where arguments are put: gpa = gva */
#define UNMAPPED (UINT64_C(1) << 40)

static struct domain *d;
static struct vcpu *v;
static bool is_compat;
static uint64_t nr_free;

/* Identity tables of one 1G page for 64-bit guests; 32-bit ones are unpaged. */
static inline void set_mode(struct vcpu *t, bool compat)
{
    static const uint64_t pml4 = 0x3007, pdpt = 0x87;
    struct vcpu_state s;
    size_t done;

    pvh_entry_state(&s, 0, 0);
    if (!compat) {
        CHECK_EQ(guest_write_gpa(d->p2m, 0x2000, &pml4, 8, &done), 0);
        CHECK_EQ(guest_write_gpa(d->p2m, 0x3000, &pdpt, 8, &done), 0);
        s.cr0 = 0x80000011;
        s.cr3 = 0x2000;
        s.cr4 = 0x20;
        s.efer = 0x500;
    }
    CHECK_EQ(arch_vcpu_set_state(t, &s), 0);
    is_compat = compat;
}

static inline void begin_mode(bool compat)
{
    struct domain_config c = test_config("caller", 128);

    test_machine(4096, 1);
    test_settle();
    nr_free = page_nr_free();
    c.nr_vcpus = 3;
    d = test_create(&c);
    v = d->vcpus[0];
    set_mode(v, compat);
    v->initialised = true;
    vcpu_set_online(v, true);
}

static inline void begin(void)
{
    begin_mode(false);
}

static inline void end(void)
{
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(page_nr_free(), nr_free);
}

#define RESTARTED INT64_C(-1000)

static inline int64_t call3(uint64_t nr, uint64_t a, uint64_t b, uint64_t c)
{
    struct vcpu_exit e = { .reason = EXIT_HYPERCALL, .insn_len = 3 };
    uint64_t rip = v->regs.rip;

    v->regs.rax = nr;
    if (is_compat) {
        v->regs.rbx = a;
        v->regs.rcx = b;
        v->regs.rdx = c;
    } else {
        v->regs.rdi = a;
        v->regs.rsi = b;
        v->regs.rdx = c;
    }
    vcpu_handle_exit(v, &e);
    if (v->regs.rip == rip) {
        return RESTARTED;
    }
    CHECK_EQ(v->regs.rip, rip + 3);
    return is_compat ? (int32_t)v->regs.rax : (int64_t)v->regs.rax;
}

static inline void poke(gpa_t at, const void *buf, size_t len)
{
    size_t done;

    CHECK_EQ(guest_write_gpa(d->p2m, at, buf, len, &done), 0);
}

static inline void peek(gpa_t at, void *buf, size_t len)
{
    CHECK_EQ(guest_read_gpa(d->p2m, at, buf, len), 0);
}

/* A call whose second argument points at @arg, read back afterwards. */
static inline int64_t with(uint64_t nr, uint64_t sub, void *arg, size_t len)
{
    poke(ARG, arg, len);
    int64_t r = call3(nr, sub, ARG, 0);
    peek(ARG, arg, len);
    return r;
}

static inline int64_t take_away(uint64_t gfn)
{
    struct xen_remove_from_physmap r = { .domid = DOMID_SELF, .gpfn = gfn };

    return with(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, &r,
                sizeof(r));
}
