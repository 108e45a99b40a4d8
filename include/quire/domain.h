/*
 * domain.h - domains: create, pause, crash, kill.
 *
 * Life: BUILDING -> RUNNING <-> (paused) -> SHUTDOWN -> DYING -> DEAD. A
 * domain is counted: domain_get()/put(); the creation holds one reference,
 * dropped when the kill has finished. The last put frees it after a grace
 * period, and only then its id becomes reusable.
 * Locks: DOMLIST for the list, domain->lock (DOMAIN) for its own state.
 */
#pragma once

#include <public/xen/hvm.h>
#include <quire/clone.h>
#include <quire/event.h>
#include <quire/histogram.h>
#include <quire/oom.h>
#include <quire/sched.h>
#include <quire/shadow.h>
#include <quire/share.h>
#include <quire/task.h>

#define DOMAIN_NAME_MAX 32
#define DOMAIN_CMDLINE_MAX 1024
#define MAX_VCPUS 32
#define MAX_RANGES 8
#define DOMAIN_WHY_MAX 96
/* A domain's RAM leaves this gap below 4G to devices. */
#define MMIO_HOLE_START UINT64_C(0xf0000000)
#define MMIO_HOLE_END (UINT64_C(1) << 32)

enum domain_state { DOMAIN_BUILDING, DOMAIN_RUNNING, DOMAIN_SHUTDOWN,
                    DOMAIN_DYING, DOMAIN_DEAD };
/* Xen's SHUTDOWN_* codes. */
enum shutdown_code { SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SUSPEND,
                     SHUTDOWN_CRASH, SHUTDOWN_WATCHDOG };

enum domain_leaves { LEAVES_XEN, LEAVES_NONE };

struct domain_range { gfn_t start; uint64_t nr; };  /* RAM, 4K frames */

struct domain_config {
    char name[DOMAIN_NAME_MAX];
    bool name_by_id;                /* its id comes behind the name */
    domid_t id;                     /* DOMID_INVALID: any */
    unsigned nr_vcpus;              /* 1 .. MAX_VCPUS */
    struct domain_range ranges[MAX_RANGES];     /* ascending, disjoint */
    unsigned nr_ranges;
    uint64_t max_pages;             /* 0: what the ranges need, plus a little */
    bool superpages;                /* back with 2M/1G entries where aligned */
    const char *image;              /* boot module's name; NULL: no image */
    const char *modules[4];
    unsigned nr_modules;
    char cmdline[DOMAIN_CMDLINE_MAX];
    enum domain_leaves leaves;
    enum oom_policy oom;
    bool privileged;
    bool scan;                      /* its pages may be merged: scan.h */
    bool shadow;                    /* on shadow paging, not on nested */
    unsigned shadow_pages;          /* of its pool; 0: by its memory */
    uint16_t trust_group;           /* nothing is shared with another's */
};

/* Kill, stage by stage; figures in ticks and gfns. */
struct kill_stats {
    ticks_t total;              /* accepted .. last frame allocatable */
    ticks_t longest;            /* longest stretch without a check */
    uint64_t gfns, preemptions;
    ticks_t busy;               /* inside the slices alone */
};

/* The kill's stages, in order. */
enum kill_stage { KILL_NONE, KILL_DESCHEDULE, KILL_SHADOW, KILL_CALLS,
                  KILL_EVENTS, KILL_RAM, KILL_FORK, KILL_VCPUS, KILL_TABLES,
                  KILL_DONE };

/* Gives up what vCPUs that have stopped were in the middle of. */
struct sharing_stop {
    struct task task;
    _Atomic bool asked, queued; /* (a) a vCPU has stopped; there is a task */
    _Atomic bool busy;          /* (a) it is in a slice */
    bool is_held;               /* task: the vCPU @next has one pause more */
    unsigned next;              /* task: which vCPU */
};

struct domain_build;                    /* build.h: state of a creation */
struct domain_fork;                     /* fork.h: what a fork began with */

struct domain {
    domid_t id;                         /* (c) */
    struct spinlock lock;               /* DOMAIN, key id */
    _Atomic uint32_t refs;
    struct list link;                   /* [domlist] */
    _Atomic bool is_listed;             /* (a) may be found */
    _Atomic int state;                  /* (a) enum domain_state */
    enum shutdown_code shutdown;        /* [domain] why, once SHUTDOWN */
    char crash_reason[96];              /* [domain] */
    struct domain_config config;        /* (c) */
    struct p2m *p2m;                    /* (c) counted */
    struct vcpu *vcpus[MAX_VCPUS];      /* (c) */
    struct shadow *_Atomic shadow;      /* (a) NULL: nested, or dying */
    _Atomic unsigned shadow_users;      /* (a) domain_shadow_get() */
    unsigned nr_vcpus;
    unsigned pause_count;               /* [domain] by the toolstack */
    unsigned nr_forking;                /* [domain] forks of it being made */
    struct domain_fork *fork;           /* (c) NULL: it is none */

    /* What the guest reports (quire_op): read by the control channel. */
    _Atomic uint64_t phase;             /* (a) the phase it has reached */
    _Atomic uint64_t phase_allowed;     /* (a) it may go on up to this */
    uint64_t figure[32];                /* (a) numbered figures it reported */
    _Atomic int verdict;                /* (a) 0 none, 1 pass, 2 fail */
    struct histogram unshare_ticks;     /* (a) #VMEXIT to the next VMRUN */

    /* What its hypercalls set up. */
    struct evtchn_domain *events;       /* (c) */
    _Atomic unsigned nr_pausing;        /* (a) calls of its that stop others */
    struct sharing_stop sharing_stop;
    gfn_t shared_gfn;                   /* [domain] of shared_info, or INVALID */
    uint64_t params[HVM_NR_PARAMS];     /* [domain] */
    char line[256 + 3];                 /* [domain] console line so far; an
                                         * escape takes 4 bytes */
    unsigned line_len;

    struct oom_domain oom;

    /* relinquish.c */
    _Atomic int kill_stage;             /* (a) enum kill_stage */
    _Atomic bool kill_busy;             /* (a) somebody does a slice */
    _Atomic bool kill_wanted;           /* (a) while BUILDING: give up */
    _Atomic unsigned nr_visitors;       /* (a) see domain_visit() */
    _Atomic bool kill_queued;           /* (a) kill_task is in a queue */
    gfn_t kill_cursor;                  /* kill_busy */
    ticks_t kill_accepted;              /* kill_busy */
    struct kill_stats kill;             /* kill_busy */
    uint64_t kill_trace;                /* kill_busy; its record's number */
    struct shadow *dying_shadow;        /* kill_busy */
    struct task kill_task;
    struct domain_build *build;         /* while BUILDING; the creator's */
    struct grace_head grace;
};

/** domain_init() - scheduler, events, exits; once at boot, after mem/. */
void domain_init(void);

/** domain_config_memory() - ranges for @bytes of RAM from 0, around the gap
 *  below 4G. -EINVAL: 0, not whole pages, or beyond P2M_GFN_BITS. */
int must_check domain_config_memory(struct domain_config *c, uint64_t bytes);

/**
 * domain_create() - build a domain: claims the id and memory, loads the
 * image, sets up PVH entry; left with one toolstack pause.
 * Preemptible: *@d is NULL at first; on -ERESTART call again with the same
 * arguments. On an error everything is undone and @why (may be NULL, 96
 * bytes) says what was wrong.
 */
int must_check domain_create(const struct domain_config *c, struct domain **d,
                             char *why, struct work *w);
/** domain_find() - a reference to domain @id, or NULL: there is none, or it is
 *  still being created. */
struct domain *domain_find(domid_t id);
/** domain_find_building() - the same, and one in creation too: to kill it. */
struct domain *domain_find_building(domid_t id);
void domain_get(struct domain *d);
void domain_put(struct domain *d);
/** domain_next() - iterate: a reference to the first domain with id >= @id. */
struct domain *domain_next(domid_t id);
unsigned domain_count(void);
/** domain_nr_unfreed() - domains whose memory is not all back yet: those that
 *  live, and dead ones that somebody refers to or a grace period keeps. */
unsigned domain_nr_unfreed(void);

/** domain_pause() - returns with no vCPU of @d on a CPU. -EBUSY when asked by
 *  one of its own vCPUs; -ESRCH dying. Counted. */
int must_check domain_pause(struct domain *d);
int must_check domain_unpause(struct domain *d);    /* -EINVAL: not paused */
/** domain_shutdown() - by its own request; vCPUs stop. */
void domain_shutdown(struct domain *d, enum shutdown_code code);
/** domain_resume() - after SHUTDOWN_SUSPEND: vCPUs go on. -EINVAL otherwise */
int must_check domain_resume(struct domain *d);
/** domain_crash() - from any exit or hypercall: that domain alone stops. */
void domain_crash(struct domain *d, const char *fmt, ...) printf_like(2, 3);
/**
 * domain_kill() - destroy: deschedules, relinquishes in stages, frees.
 * Preemptible: cursor in @d. Any number of callers may race: one does each
 * slice, others get -ERESTART until it is DEAD. 0: dead, all frames free but
 * those that others hold references to.
 */
int must_check domain_kill(struct domain *d, struct work *w);
/** domain_kill_async() - the same as a task on the least loaded CPU. */
void domain_kill_async(struct domain *d);
/** domain_phase_allow() - let the guest pass phases up to @phase. */
void domain_phase_allow(struct domain *d, uint64_t phase);

/* Boot modules, registered by arch at boot: [start, start+size) stays mapped. */
struct boot_module { const char *name; const char *args;
                     const void *data; uint64_t size; };
void boot_module_register(const struct boot_module *m);
const struct boot_module *boot_module_find(const char *name);
const struct boot_module *boot_module_at(unsigned i);

/*
 * Guest memory by gpa, for the hypercalls and the control channel. Writes
 * unshare first. -ENOENT: hole; -EACCES: ram_ro; -ENOMEM: unshare failed,
 * nothing written. Nothing, or whole pages before it, is: *@done says how
 * many bytes (after -ENOMEM only if the pages were shared again meanwhile).
 * -EAGAIN: others share the page again as fast as we unshare it. -ESRCH:
 * the domain is being relinquished.
 */
int must_check guest_read_gpa(struct p2m *p, gpa_t gpa, void *buf, size_t len);
int must_check guest_write_gpa(struct p2m *p, gpa_t gpa, const void *buf,
                               size_t len, size_t *done);
/** guest_prepare_gpa() - have every page of [@gpa, @gpa + @len) writable, so
 *  that a write that follows at once needs no memory. Errors as there. */
int must_check guest_prepare_gpa(struct p2m *p, gpa_t gpa, size_t len);
/* By linear address, through the guest's own tables. -EFAULT: not mapped, or
 * any other error of the above; but writes: -ENOMEM, and v->oom.gfn. */
int must_check guest_prepare_gva(struct vcpu *v, gva_t a, size_t len);
int must_check guest_read_gva(struct vcpu *v, gva_t a, void *buf, size_t len);
int must_check guest_write_gva(struct vcpu *v, gva_t a, const void *buf,
                               size_t len);

/** domain_shadow_get() - its shadow, which stays until domain_shadow_put(), or
 *  NULL: it runs on nested paging, or is dying. */
struct shadow *domain_shadow_get(struct domain *d);
void domain_shadow_put(struct domain *d);

/** vcpu_handle_exit() - dispatch through the table; domain/exit.c. */
void vcpu_handle_exit(struct vcpu *v, struct vcpu_exit *e);

/**
 * domain_populate() - fresh zeroed frames for the holes of [@gfn, @gfn + @nr);
 * what is populated already stays. *@done of @nr gfns so far, 0 at first.
 * -ENOMEM; -ERANGE; -ESRCH: being destroyed. Preemptible.
 */
int must_check domain_populate(struct domain *d, gfn_t gfn, uint64_t nr,
                               uint64_t *done, struct work *w);
/** domain_remove_gfn() - make @gfn a hole and drop its frame, or its share of
 *  one. -ENOENT: it is one; -EINVAL: not RAM; -ENOMEM: cannot split. */
int must_check domain_remove_gfn(struct domain *d, gfn_t gfn);

struct domain_audit {
    unsigned bad;                   /* violations, of shadows too */
    unsigned shadow_bad;            /* of shadows alone */
    /* private to audit.c */
    unsigned found;
    domid_t next;
    struct domain *current;         /* counted */
    struct p2m_audit p2m;
    struct share_base_audit base;
    struct shadow *guest_tables;    /* domain_shadow_get(); or NULL */
    struct shadow_audit shadow;
};
/** domain_audit_run() - D1 list and ids; D2 owner pages = p2m private entries
 *  + frames held elsewhere; p2m_audit, share_base_audit and
 *  shadow_audit (H1 to H9) of each.
 *  Preemptible; zero *@a first. Returns 0 when done, violations in @a->bad;
 *  not to be given up in between: it has a reference. */
int must_check domain_audit_run(struct domain_audit *a, struct work *w);
/** domain_audit() - the same in one go; returns the violations. */
unsigned domain_audit(void);
