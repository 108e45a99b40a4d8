/* hostile.h - the parts of the hostile guest, and what they share. */
#pragma once

#include "guest.h"
#include "random.h"

#define FAULT(v) (UINT32_C(1) << (v))
#define NONE FAULT(31)          /* no fault at all */

/** expect() - run fn(arg); its outcome must be among @allowed. */
void expect(const char *what, uint32_t allowed, void (*fn)(void *),
            void *arg);

/* Pages that must survive everything, and pages to do anything with. */
#define CANARY_GFN GUEST_FREE_GFN
#define NR_CANARIES UINT64_C(48)
#define SCRATCH_GFN (CANARY_GFN + NR_CANARIES)
#define NR_SCRATCH UINT64_C(16)

void probe_instructions(void);  /* probes.c: each privileged instruction */
void probe_registers(void);     /* registers.c: CR, DR, EFER, MSRs */
void probe_places(void);        /* places.c: holes, edges, odd pages */
void probe_calls(void);         /* calls.c: hypercalls with bad arguments */
void wild_steps(uint64_t seed, uint64_t steps);     /* wild.c */
/** hostile_end() - die as `end=` says; returns if it does not say. */
void hostile_end(uint64_t seed);                    /* end.c */
