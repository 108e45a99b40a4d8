/*
 * stress.h - the stress domain's pages: what each holds, and what a round of
 * writes does to it.
 *
 * Page i (0-based, at gfn first + i) starts as a pattern of its class: common
 * pages are equal in all domains with the same cseed, the others differ by
 * seed. Round r does to page i one store op_of(i, r), known from the numbers
 * alone; history[i] has bit r once it was done. So the bytes that a page must
 * hold can be computed anew at any time, by plain code, without a copy.
 */
#pragma once

#include "guest.h"
#include "random.h"

#define MAX_ROUNDS 32           /* bits of a history word */
#define PAGE_WORDS (PAGE_SIZE / 8)
#define SOURCE_SIZE 1024        /* bytes, what the moves copy from */
#define EDGE 8                  /* most bytes of a crossing store a side */

enum op_kind {
    OP_STORE,                   /* 64-bit moves */
    OP_RMW,                     /* add, xor, inc in memory */
    OP_STOSQ, OP_STOSB,         /* rep stos */
    OP_MOVSQ, OP_MOVSB,         /* rep movs */
    OP_CROSS,                   /* one 8-byte move over the page's end */
    OP_CROSS_XOR,               /* read-modify-write over the end */
    OP_CROSS_STOSB, OP_CROSS_MOVSB,
    NR_OP_KINDS
};

struct op {
    enum op_kind kind;
    unsigned off, len;          /* bytes; a crossing one ends in page i+1 */
    uint64_t value;
};

enum mode { MODE_ORDER, MODE_RANDOM, MODE_HOTCOLD, MODE_RMW, MODE_CROSS,
            MODE_STRING, MODE_MIX, NR_MODES };

struct stress {
    uint64_t seed, cseed;
    unsigned common, write;     /* per cent of the pages */
    enum mode mode;
    uint64_t first, pages;      /* gfn; count */
    uint32_t *history;          /* [pages] */
    uint64_t errors, written, nr_common;
};

static inline uint64_t *page_ptr(const struct stress *s, uint64_t i)
{
    return gfn_ptr(s->first + i);
}

/* pattern.c */
void pattern_init(const struct stress *s);
const uint8_t *pattern_source(void);
bool pattern_is_common(const struct stress *s, uint64_t i);
void pattern_fill(struct stress *s);
/** pattern_verify() - all pages; counts in s->errors, says the first few. */
void pattern_verify(struct stress *s, const char *when);

/* write.c */
struct op op_of(const struct stress *s, uint64_t i, unsigned r);
static inline bool op_is_crossing(const struct op *op)
{
    return op->kind >= OP_CROSS;
}
/** write_round() - round @r as the mode says. */
void write_round(struct stress *s, unsigned r);
