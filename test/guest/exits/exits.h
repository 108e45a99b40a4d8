/* exits.h - the parts of the conformance guest, and what they share. */
#pragma once

#include "event.h"
#include "guest.h"

/* A hypercall must answer exactly this. */
#define EXPECT(call, want) \
    do { \
        int64_t rc_ = (call); \
        CHECK(rc_ == (want), "%s: %ld, not %ld", #call, rc_, \
              (int64_t)(want)); \
    } while (0)
/* A hypercall must refuse, by any error. */
#define EXPECT_ERROR(call) \
    do { \
        int64_t rc_ = (call); \
        CHECK(rc_ < 0 && rc_ > -200, "%s: %ld, not an error", #call, rc_); \
    } while (0)

#define BAD_GVA ((void *)(uintptr_t)UINT64_C(0xffff800012345000))
#define NON_CANONICAL ((void *)(uintptr_t)UINT64_C(0x1234000000000000))

void check_cpu(void);           /* cpu.c: CPUID, MSRs, control registers */
void check_io(void);            /* io.c: ports and memory that is not there */
void check_calls(void);         /* calls.c: version, memory, HVM, quire_op */
void check_events(void);        /* events.c: channels, sleeping, the timer */
