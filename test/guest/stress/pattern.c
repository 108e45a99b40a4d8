/*
 * pattern.c - what every page must hold: the fill, the expected bytes after
 * any history of stores, and the comparison.
 */
#include "stress.h"

#define STEP UINT64_C(0x9e3779b97f4a7c15)   /* odd: words of a page differ */
#define ERRORS_SHOWN 8

static uint8_t source[SOURCE_SIZE] __attribute__((aligned(16)));

void pattern_init(const struct stress *s)
{
    struct random r = { s->cseed ^ 0x736f75726365 };

    for (unsigned i = 0; i < sizeof(source); i++) {
        source[i] = (uint8_t)random_next(&r);
    }
}

const uint8_t *pattern_source(void)
{
    return source;
}

bool pattern_is_common(const struct stress *s, uint64_t i)
{
    return mix64(mix64(s->cseed ^ 0x636f6d6d6f6e) + i) % 100 < s->common;
}

static uint64_t first_word(const struct stress *s, uint64_t i)
{
    uint64_t class = pattern_is_common(s, i) ? s->cseed : ~s->seed;

    return mix64(mix64(class) + i);
}

void pattern_fill(struct stress *s)
{
    s->nr_common = 0;
    for (uint64_t i = 0; i < s->pages; i++) {
        uint64_t *p = page_ptr(s, i), w = first_word(s, i);

        for (unsigned j = 0; j < PAGE_WORDS; j++, w += STEP) {
            p[j] = w;
        }
        s->nr_common += pattern_is_common(s, i);
        s->history[i] = 0;
    }
}

/* The bytes [lo, hi) of what @op stores, onto @page, whose first byte is at
 * offset @base counted from the start of the page the op belongs to. */
static void apply(const struct op *op, uint8_t *page, unsigned base)
{
    unsigned lo = MAX(op->off, base);
    unsigned hi = MIN(op->off + op->len, base + (unsigned)PAGE_SIZE);
    const uint8_t *value = (const uint8_t *)&op->value;

    for (unsigned a = lo; a < hi; a++) {
        unsigned k = a - op->off;
        uint8_t *b = &page[a - base];

        switch (op->kind) {
        case OP_STOSQ:
            *b = value[k % 8];
            break;
        case OP_STOSB:
        case OP_CROSS_STOSB:
            *b = value[0];
            break;
        case OP_MOVSQ:
        case OP_MOVSB:
        case OP_CROSS_MOVSB:
            *b = source[op->value % (SOURCE_SIZE / 2) + k];
            break;
        case OP_CROSS:
            *b = value[k];
            break;
        case OP_CROSS_XOR:
            *b ^= value[k];
            break;
        default:                /* whole words: see apply_words */
            return;
        }
    }
}

static void apply_words(const struct op *op, uint64_t *page)
{
    for (unsigned k = 0; k < op->len / 8; k++) {
        uint64_t *w = &page[op->off / 8 + k];

        if (op->kind == OP_STORE) {
            *w = op->value + k;
        } else if (op->kind == OP_RMW) {
            *w = k % 3 == 0 ? *w + op->value : k % 3 == 1 ? *w ^ op->value
               : *w + 1;
        }
    }
}

static void expected(const struct stress *s, uint64_t i, uint64_t *page)
{
    uint32_t own = s->history[i], before = i > 0 ? s->history[i - 1] : 0;
    uint64_t w = first_word(s, i);

    for (unsigned j = 0; j < PAGE_WORDS; j++, w += STEP) {
        page[j] = w;
    }
    for (unsigned r = 0; r < MAX_ROUNDS; r++) {
        if (before >> r & 1) {
            struct op op = op_of(s, i - 1, r);

            if (op_is_crossing(&op)) {
                apply(&op, (uint8_t *)page, PAGE_SIZE);
            }
        }
        if (own >> r & 1) {
            struct op op = op_of(s, i, r);

            apply(&op, (uint8_t *)page, 0);
            apply_words(&op, page);
        }
    }
}

static void differs(struct stress *s, uint64_t i, unsigned j, uint64_t want,
                    const char *when)
{
    s->errors++;
    if (s->errors <= ERRORS_SHOWN) {
        guest_fail("%s: gfn %lx word %u is %lx, not %lx (%s, history %x)",
                   when, s->first + i, j, page_ptr(s, i)[j], want,
                   pattern_is_common(s, i) ? "common" : "own",
                   s->history[i]);
    } else {
        guest_fail("more");
    }
}

void pattern_verify(struct stress *s, const char *when)
{
    static uint64_t page[PAGE_WORDS];

    for (uint64_t i = 0; i < s->pages; i++) {
        const uint64_t *p = page_ptr(s, i);
        uint64_t w = first_word(s, i);
        unsigned j;

        if (s->history[i] == 0 && (i == 0 || s->history[i - 1] == 0)) {
            for (j = 0; j < PAGE_WORDS && p[j] == w; j++) {
                w += STEP;
            }
            if (j < PAGE_WORDS) {
                differs(s, i, j, w, when);
            }
            continue;
        }
        expected(s, i, page);
        for (j = 0; j < PAGE_WORDS && p[j] == page[j]; j++) {
        }
        if (j < PAGE_WORDS) {
            differs(s, i, j, page[j], when);
        }
    }
}
