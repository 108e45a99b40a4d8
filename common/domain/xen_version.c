/*
 * xen_version.c - what a guest asks before it uses anything else.
 */
#include <public/xen/features.h>
#include <public/xen/version.h>
#include <quire/print.h>

#include "hypercall.h"

#define XEN_VERSION (4u << 16 | 17u)

#define FEATURES \
    (1u << XENFEAT_writable_page_tables | \
     1u << XENFEAT_auto_translated_physmap | \
     1u << XENFEAT_hvm_callback_vector | 1u << XENFEAT_hvm_safe_pvclock | \
     1u << XENFEAT_not_direct_mapped)

static int64_t get_features(struct hypercall *h)
{
    struct xen_feature_info f;

    if (hypercall_get(h, h->arg[1], &f, sizeof(f)) != 0) {
        return -EFAULT;
    }
    if (f.submap_idx >= XENFEAT_NR_SUBMAPS) {
        return -EINVAL;
    }
    f.submap = FEATURES;
    return hypercall_put(h, h->arg[1], &f, sizeof(f));
}

static int64_t put_text(struct hypercall *h, const char *text, size_t size)
{
    char buf[64] = { 0 };

    print_to(buf, size, "%s", text);
    return hypercall_put(h, h->arg[1], buf, size);
}

static int64_t compile_info(struct hypercall *h)
{
    struct xen_compile_info info = { .compiler = "gcc",
                                     .compile_by = "quire",
                                     .compile_domain = "quire" };

    return hypercall_put(h, h->arg[1], &info, sizeof(info));
}

static int64_t capabilities(struct hypercall *h)
{
    static const struct xen_capabilities_info caps = {
        "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "
    };

    return hypercall_put(h, h->arg[1], &caps, sizeof(caps));
}

/* A translated guest sees none of Xen's addresses: 0. */
static int64_t platform_parameters(struct hypercall *h)
{
    uint64_t virt_start = 0;

    return hypercall_put(h, h->arg[1], &virt_start,
                         h->is_compat ? sizeof(uint32_t) : sizeof(uint64_t));
}

int64_t hypercall_xen_version(struct hypercall *h)
{
    struct xen_domain_handle none = { { 0 } };

    switch (h->arg[0]) {
    case XENVER_version:
        return XEN_VERSION;
    case XENVER_extraversion:
        return put_text(h, ".0-quire", sizeof(struct xen_extraversion));
    case XENVER_compile_info:
        return compile_info(h);
    case XENVER_capabilities:
        return capabilities(h);
    case XENVER_changeset:
        return put_text(h, "unavailable", sizeof(struct xen_changeset_info));
    case XENVER_platform_parameters:
        return platform_parameters(h);
    case XENVER_get_features:
        return get_features(h);
    case XENVER_pagesize:
        return h->arg[1] == 0 ? (int64_t)PAGE_SIZE : -EINVAL;
    case XENVER_guest_handle:
        return hypercall_put(h, h->arg[1], &none, sizeof(none));
    case XENVER_commandline:
        return -EPERM;
    case XENVER_build_id:
        return -ENODATA;
    default:
        return -ENOSYS;
    }
}
