/* vcpu.h - between the files of arch/host: a virtual CPU's arch part. */
#pragma once

#include "script.h"

struct host_vcpu {
    struct vcpu_state state;    /* all but regs, which live in struct vcpu */
    struct script script;
    uint64_t base;              /* RIP of step 0 */
    struct host_injection pending;
    bool is_pending;            /* delivered at the next entry */
    bool wants_window;
    struct host_injection log[HOST_INJECTIONS_MAX];
    unsigned nr_log;
};

/** script_run_step() - play the step at RIP. True: it ended in an exit, of
 *  which @exit has all but the time. */
bool script_run_step(struct vcpu *v, struct vcpu_exit *exit);
