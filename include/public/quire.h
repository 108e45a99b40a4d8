/*
 * quire.h - Quire's own hypercall, in the range that Xen leaves to the
 * architecture: quire_op(sub, arg1, arg2, arg3), number 48.
 *
 * By it a stress domain and the toolstack walk in step: the guest reports the
 * phase it has reached and waits until it may enter the next one. Any domain
 * may use it; it concerns that domain alone.
 */
#pragma once

#include <public/xen/xen.h>

#define __HYPERVISOR_quire_op __HYPERVISOR_arch_0

/* (phase): tell that @phase is reached. Never falls: a smaller number than
 * before is -EINVAL. */
#define QUIRE_OP_report_phase 0
/* (phase): return 0 once the toolstack allows phases >= @phase; blocks. */
#define QUIRE_OP_wait_phase 1
/* (index, value): a numbered figure; -EINVAL if index >= QUIRE_NR_FIGURES. */
#define QUIRE_OP_report_figure 2
/* (QUIRE_VERDICT_*, message gva, length): the first one stays, but a FAIL
 * replaces a PASS. The message is logged, cut at QUIRE_VERDICT_MAX bytes. */
#define QUIRE_OP_verdict 3
/* (): the result is the hypervisor's clock in ticks, never negative. */
#define QUIRE_OP_now 4

#define QUIRE_NR_FIGURES 32
#define QUIRE_VERDICT_PASS 1
#define QUIRE_VERDICT_FAIL 2
#define QUIRE_VERDICT_MAX 256       /* bytes */
