/*
 * script.h - guests of the host machine: lists of steps instead of code.
 *
 * A step is an instruction of one byte; RIP counts them from where it stood
 * when the script was attached. Accesses go through the model TLB and, when
 * it has no translation, exit as nested page faults and are tried again.
 * A script that ends shuts down (triple fault); a vCPU without one halts.
 */
#pragma once

#include <quire/vcpu.h>

enum script_op {
    SCRIPT_READ,        /* RAX = the 64 bits at gpa (8-byte aligned) */
    SCRIPT_EXPECT,      /* read gpa, panic unless it is value */
    SCRIPT_WRITE,       /* value to gpa */
    SCRIPT_ADD,         /* read-modify-write: add value at gpa */
    SCRIPT_EXEC,        /* fetch from gpa */
    SCRIPT_WALK,        /* the guest's own table walk: a write, in_walk */
    SCRIPT_SET,         /* register number reg = value */
    SCRIPT_JUMP,        /* go on at step value */
    SCRIPT_CALL,        /* fn(v, arg), at once, inside the guest */
    SCRIPT_HYPERCALL, SCRIPT_CPUID, SCRIPT_HLT, SCRIPT_PAUSE,
    SCRIPT_RDMSR, SCRIPT_WRMSR,     /* number value; RDX:RAX */
    SCRIPT_IN, SCRIPT_OUT,          /* one byte, port value */
    SCRIPT_STI, SCRIPT_CLI,
    SCRIPT_UNDEFINED, SCRIPT_SHUTDOWN, SCRIPT_INVALID,
};

struct script_step {
    enum script_op op;
    gpa_t gpa;
    uint64_t value;
    unsigned reg;           /* 0 .. 15, as the processor numbers them */
    void (*fn)(struct vcpu *v, void *arg);
    void *arg;
};

/* STEP(WRITE, .gpa = 0x1000, .value = 7) */
#define STEP(o, ...) { .op = SCRIPT_##o, __VA_ARGS__ }

struct script {
    const struct script_step *steps;
    uint64_t nr;
    /* If not NULL, makes step @i instead; the same one each time. */
    void (*step)(void *arg, uint64_t i, struct script_step *out);
    void *arg;
    /* What the guest's handlers do; NULL: an exception steps over the
     * instruction, an interrupt returns. */
    void (*on_exception)(struct vcpu *v, uint8_t vector, uint32_t error);
    void (*on_interrupt)(struct vcpu *v, uint8_t vector);
};

/** host_vcpu_set_script() - what @v does from now on; copied. */
void host_vcpu_set_script(struct vcpu *v, const struct script *s);

/* What was injected into a vCPU, oldest first. */
struct host_injection { uint8_t vector; bool is_external; uint32_t error; };
#define HOST_INJECTIONS_MAX 64
/** host_vcpu_injections() - copies up to @max to @out; returns how many there
 *  have been, which may be more. */
unsigned host_vcpu_injections(const struct vcpu *v,
                              struct host_injection *out, unsigned max);

/** host_set_nr_asids() - for CPUs that have not run a guest yet (16). */
void host_set_nr_asids(unsigned nr);
