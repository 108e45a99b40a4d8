/*
 * sched.h - sched_op(sub, arg) of Xen's public ABI.
 */
#pragma once

#include <public/xen/xen.h>

#define SCHEDOP_yield 0
#define SCHEDOP_block 1             /* until an event is pending; enables it */
#define SCHEDOP_shutdown 2
#define SCHEDOP_poll 3
#define SCHEDOP_remote_shutdown 4
#define SCHEDOP_shutdown_code 5     /* records a code, does not stop */
#define SCHEDOP_watchdog 6
#define SCHEDOP_pin_override 7

struct sched_shutdown {
    uint32_t reason;                /* SHUTDOWN_* */
};

#define SHUTDOWN_poweroff 0
#define SHUTDOWN_reboot 1
#define SHUTDOWN_suspend 2
#define SHUTDOWN_crash 3
#define SHUTDOWN_watchdog 4
#define SHUTDOWN_soft_reset 5
#define SHUTDOWN_MAX 5

/* Sleep until a port of the list is pending or the time has come. */
struct sched_poll {
    xen_gva_t ports;                /* array of evtchn_port_t */
    uint32_t nr_ports;              /* at most 128 */
    uint32_t pad;
    uint64_t timeout;               /* absolute system time, ns; 0: none */
};
_Static_assert(sizeof(struct sched_poll) == 24, "sched_poll");

struct sched_remote_shutdown {
    domid_t domain_id;
    uint16_t pad;
    uint32_t reason;
};

struct sched_watchdog {
    uint32_t id;                    /* 0: a new one */
    uint32_t timeout;               /* seconds; 0: stop it */
};
