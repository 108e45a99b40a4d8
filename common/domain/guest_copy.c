/*
 * guest_copy.c - reading and writing a guest's memory.
 *
 * An access is made as the guest itself makes one: without a lock, but in view
 * of every flush (p2m_access_begin), so that its frame and rights last until
 * it is over, and sharing sees no reference too many. Several CPUs emulate
 * instructions of one guest at the same time; a lock here would be the
 * busiest of all. What the rights forbid is put to p2m_fault(), as the
 * guest's own access would be.
 *
 * A write over the end of a page first makes sure of both: without memory for
 * the second, nothing is written to the first.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/guest_walk.h>
#include <quire/string.h>

#include "shadow_glue.h"

#define MAX_TRIES 64

/* Copy within one page. -EACCES: its rights do not allow it. */
static int try_copy(struct p2m *p, gpa_t gpa, void *buf, size_t len,
                    bool is_write)
{
    struct p2m_entry e;
    unsigned rights;
    int err = -EACCES;

    if (!p2m_access_begin(p)) {
        return -ESRCH;
    }
    e = p2m_lookup(p, gpa_to_gfn(gpa));
    rights = p2m_rights(e.type, e.tracking);
    if ((rights & (is_write ? P2M_W : P2M_R)) != 0 && mfn_is_ram(e.mfn)) {
        uint8_t *page = arch_map_frame(e.mfn);

        if (is_write) {
            memcpy(page + (gpa & PAGE_MASK), buf, len);
        } else {
            memcpy(buf, page + (gpa & PAGE_MASK), len);
        }
        arch_unmap_frame(page);
        err = 0;
    }
    p2m_access_end();
    if (err == 0 && is_write && len != 0) {
        domain_shadow_written(p, gpa_to_gfn(gpa));
    }
    return err;
}

static int copy_page(struct p2m *p, gpa_t gpa, void *buf, size_t len,
                     bool is_write)
{
    struct npf f = { .gpa = gpa, .access = is_write ? P2M_W : P2M_R,
                     .present = true };

    for (unsigned i = 0; i < MAX_TRIES; i++) {
        int err = try_copy(p, gpa, buf, len, is_write);

        if (err != -EACCES) {
            return err;
        }
        switch (p2m_fault(p, &f)) {
        case P2M_FAULT_RETRY:
            break;
        case P2M_FAULT_MMIO:
            return -ENOENT;
        case P2M_FAULT_DENIED:
            return -EACCES;
        case P2M_FAULT_NOMEM:
            return -ENOMEM;
        }
    }
    return -EAGAIN;
}

static size_t in_page(uint64_t address, size_t left)
{
    return MIN(left, (size_t)(PAGE_SIZE - (address & PAGE_MASK)));
}

/* Guest-physical addresses wrap nowhere: beyond the last gfn is a hole. */
static bool is_in_space(gpa_t gpa, size_t len)
{
    uint64_t end = UINT64_C(1) << (P2M_GFN_BITS + PAGE_SHIFT);

    return gpa < end && len <= end - gpa;
}

int guest_prepare_gpa(struct p2m *p, gpa_t gpa, size_t len)
{
    char nothing;

    if (!is_in_space(gpa, len)) {
        return -ENOENT;
    }
    for (size_t done = 0; done < len; done += in_page(gpa + done, len - done)) {
        int err = copy_page(p, gpa + done, &nothing, 0, true);

        if (err != 0) {
            return err;
        }
    }
    return 0;
}

int guest_read_gpa(struct p2m *p, gpa_t gpa, void *buf, size_t len)
{
    char *to = buf;

    if (!is_in_space(gpa, len)) {
        return -ENOENT;
    }
    while (len > 0) {
        size_t n = in_page(gpa, len);
        int err = copy_page(p, gpa, to, n, false);

        if (err != 0) {
            return err;
        }
        gpa += n;
        to += n;
        len -= n;
    }
    return 0;
}

int guest_write_gpa(struct p2m *p, gpa_t gpa, const void *buf, size_t len,
                    size_t *done)
{
    *done = 0;
    if (!is_in_space(gpa, len)) {
        return -ENOENT;
    }
    if (in_page(gpa, len) < len &&
        guest_prepare_gpa(p, gpa, len) == -ENOMEM) {
        return -ENOMEM;
    }
    while (*done < len) {
        size_t n = in_page(gpa + *done, len - *done);
        int err = copy_page(p, gpa + *done, (char *)(uintptr_t)buf + *done, n,
                            true);

        if (err != 0) {
            return err;
        }
        *done += n;
    }
    return 0;
}

static int read_entry(void *ctx, gpa_t gpa, void *buf, unsigned len)
{
    return guest_read_gpa(ctx, gpa, buf, len) == 0 ? 0 : -EFAULT;
}

enum how { HOW_READ, HOW_PREPARE, HOW_WRITE };

static int access_gpa(struct p2m *p, gpa_t gpa, char *buf, size_t len,
                      enum how how)
{
    size_t done;

    switch (how) {
    case HOW_READ:
        return guest_read_gpa(p, gpa, buf, len);
    case HOW_PREPARE:
        return guest_prepare_gpa(p, gpa, len);
    default:
        return guest_write_gpa(p, gpa, buf, len, &done);
    }
}

static int access_gva(struct vcpu *v, gva_t a, char *buf, size_t len,
                      enum how how)
{
    unsigned access = how == HOW_READ ? P2M_R : P2M_W;
    struct guest_paging pg;

    arch_vcpu_paging(v, &pg);
    while (len > 0) {
        size_t n = in_page(a, len);
        struct guest_walk w;
        int err;

        if (guest_walk(&pg, a, access, read_entry, v->p2m, &w) != 0 ||
            !is_in_space(w.gpa, n)) {
            return -EFAULT;
        }
        err = access_gpa(v->p2m, w.gpa, buf, n, how);
        if (err == -ENOMEM) {
            v->oom.gfn = gpa_to_gfn(w.gpa);
        }
        if (err != 0) {
            return err == -ENOMEM ? err : -EFAULT;
        }
        a += n;
        buf = buf != NULL ? buf + n : NULL;
        len -= n;
    }
    return 0;
}

int guest_read_gva(struct vcpu *v, gva_t a, void *buf, size_t len)
{
    return access_gva(v, a, buf, len, HOW_READ);
}

int guest_prepare_gva(struct vcpu *v, gva_t a, size_t len)
{
    return access_gva(v, a, NULL, len, HOW_PREPARE);
}

int guest_write_gva(struct vcpu *v, gva_t a, const void *buf, size_t len)
{
    if (in_page(a, len) < len && guest_prepare_gva(v, a, len) == -ENOMEM) {
        return -ENOMEM;
    }
    return access_gva(v, a, (char *)(uintptr_t)buf, len, HOW_WRITE);
}
