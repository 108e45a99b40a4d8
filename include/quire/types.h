/*
 * types.h - the words everything else is written in.
 *
 * Frame numbers are struct-wrapped, so that a guest's number cannot be passed
 * where the machine's is meant; it costs no instruction. A *frame* is a
 * number, a *page* its contents. Addresses are plain integers with a name
 * that says which space they are in.
 */
#pragma once

#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_MASK (PAGE_SIZE - 1)

#define MAX_CPUS 16

typedef struct { uint64_t n; } gfn_t;   /* guest frame number */
typedef struct { uint64_t n; } mfn_t;   /* machine frame number */
typedef uint64_t gpa_t;                 /* guest-physical address, bytes */
typedef uint64_t gva_t;                 /* guest-virtual address, bytes */
typedef uint64_t maddr_t;               /* machine address, bytes */
typedef uint64_t ticks_t;               /* TSC ticks */
typedef uint16_t domid_t;

#define GFN(x) ((gfn_t){ (x) })
#define MFN(x) ((mfn_t){ (x) })
#define GFN_INVALID GFN(UINT64_MAX)
#define MFN_INVALID MFN(UINT64_MAX)

static inline gfn_t gfn_add(gfn_t g, uint64_t k) { return GFN(g.n + k); }
static inline mfn_t mfn_add(mfn_t m, uint64_t k) { return MFN(m.n + k); }
static inline bool gfn_eq(gfn_t a, gfn_t b) { return a.n == b.n; }
static inline bool mfn_eq(mfn_t a, mfn_t b) { return a.n == b.n; }
static inline gfn_t gpa_to_gfn(gpa_t a) { return GFN(a >> PAGE_SHIFT); }
static inline gpa_t gfn_to_gpa(gfn_t g) { return g.n << PAGE_SHIFT; }
static inline mfn_t maddr_to_mfn(maddr_t a) { return MFN(a >> PAGE_SHIFT); }
static inline maddr_t mfn_to_maddr(mfn_t m) { return m.n << PAGE_SHIFT; }

/* Numbers as in Xen's public ABI. */
#define DOMID_SELF UINT16_C(0x7ff0)
#define DOMID_IO UINT16_C(0x7ff1)
#define DOMID_XEN UINT16_C(0x7ff2)      /* the hypervisor itself */
#define DOMID_COW UINT16_C(0x7ff3)      /* owner of every shared frame */
#define DOMID_INVALID UINT16_C(0x7ff4)
#define MAX_DOMAINS 4096                /* ids 0 .. 4095 */

/* gcc's freestanding headers have no <assert.h>. */
#undef static_assert
#define static_assert _Static_assert

#define must_check __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define cache_aligned alignas(64)
#define fast_path static inline __attribute__((always_inline))
#define slow_path __attribute__((noinline, cold))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
