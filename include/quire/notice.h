/*
 * notice.h - what tools want to be told without asking each domain: a ring of
 * the last events of domains' lives, numbered from 1 without a gap.
 *
 * A reader names the number it has not seen yet and gets what is there from
 * then on; what has been overwritten meanwhile it can count. Nothing is sent
 * unasked: the channel stays request and reply (`events`, control.md).
 * Lock: NOTICE, innermost but for memory; never blocks, nothing allocated.
 */
#pragma once

#include <quire/types.h>

#define NOTICE_RING 256

enum notice_kind {
    NOTICE_OOM_WAIT,        /* a vCPU waits for memory */
    NOTICE_OOM_RESUME,      /* its write is done; value: ticks it took */
    NOTICE_OOM_LAPSE,       /* it had memory and did not write after all */
    NOTICE_OOM_KILL,        /* killed instead, by its policy */
    NOTICE_SHUTDOWN,        /* value: enum shutdown_code */
    NOTICE_CRASH,
    NR_NOTICE_KINDS
};

#define NOTICE_NO_VCPU UINT16_MAX

struct notice {
    uint64_t number;
    ticks_t when;
    enum notice_kind kind;
    domid_t domain;
    uint16_t vcpu;          /* or NOTICE_NO_VCPU */
    bool is_limit;          /* oom: the domain's limit, not the machine */
    gfn_t gfn;              /* or GFN_INVALID */
    uint64_t value;
};

void notice_init(void);
/** notice_add() - number and time are filled in. */
void notice_add(const struct notice *n);
/** notice_get() - the first with a number of at least @from. False: none. */
bool notice_get(uint64_t from, struct notice *n);
/** notice_last() - the number of the newest; 0: none yet. */
uint64_t notice_last(void);
const char *notice_name(enum notice_kind kind);
