/*
 * version.h - xen_version(sub, arg) of Xen's public ABI. Sub-operations 0 and
 * 7 answer in the result, the others write to @arg.
 */
#pragma once

#include <public/xen/xen.h>

#define XENVER_version 0            /* result: major << 16 | minor */
#define XENVER_extraversion 1
#define XENVER_compile_info 2
#define XENVER_capabilities 3
#define XENVER_changeset 4
#define XENVER_platform_parameters 5
#define XENVER_get_features 6
#define XENVER_pagesize 7           /* result: bytes a page */
#define XENVER_guest_handle 8
#define XENVER_commandline 9
#define XENVER_build_id 10

struct xen_extraversion { char text[16]; };
struct xen_compile_info {
    char compiler[64];
    char compile_by[16];
    char compile_domain[32];
    char compile_date[32];
};
struct xen_capabilities_info { char text[1024]; };
struct xen_changeset_info { char text[64]; };
struct xen_platform_parameters { uint64_t virt_start; };
struct xen_feature_info {
    uint32_t submap_idx;            /* IN: which 32 bits */
    uint32_t submap;                /* OUT */
};
struct xen_domain_handle { uint8_t uuid[16]; };
struct xen_commandline { char text[1024]; };
struct xen_build_id {
    uint32_t len;                   /* IN: room in buf; OUT: bytes used */
    unsigned char buf[];
};
_Static_assert(sizeof(struct xen_compile_info) == 144, "compile_info");
_Static_assert(sizeof(struct xen_feature_info) == 8, "feature_info");
