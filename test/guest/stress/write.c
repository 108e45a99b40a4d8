/*
 * write.c - the stores of a round, by the very instructions that a hypervisor
 * gets wrong: over a page's end, in the middle of a REP, read-modify-write.
 */
#include "stress.h"

static enum op_kind kind_of(enum mode m, uint64_t h)
{
    static const enum op_kind strings[] = {
        OP_STOSQ, OP_STOSB, OP_MOVSQ, OP_MOVSB, OP_CROSS_STOSB,
        OP_CROSS_MOVSB,
    };
    static const enum op_kind crossings[] = {
        OP_CROSS, OP_CROSS_XOR, OP_CROSS_STOSB, OP_CROSS_MOVSB,
    };

    switch (m) {
    case MODE_RMW:
        return h % 4 == 0 ? OP_CROSS_XOR : OP_RMW;
    case MODE_CROSS:
        return crossings[h % ARRAY_SIZE(crossings)];
    case MODE_STRING:
        return strings[h % ARRAY_SIZE(strings)];
    case MODE_MIX:
        return (enum op_kind)(h % NR_OP_KINDS);
    default:
        return OP_STORE;
    }
}

/* Crossing stores touch at most EDGE bytes on each side of a page's end; the
 * others keep away from both ends, so that no two of a round overlap. */
struct op op_of(const struct stress *s, uint64_t i, unsigned r)
{
    uint64_t h = mix64(mix64(s->seed + r) + i), g = mix64(h);
    struct op op = { .kind = kind_of(s->mode, g), .value = h };
    unsigned words = 1 + (g >> 8) % 48, room = PAGE_WORDS - 2 * EDGE;

    if (op_is_crossing(&op) && i + 1 == s->pages) {
        op.kind = OP_STORE;     /* nothing beyond the last page is ours */
    }
    op.off = EDGE * 8 + (g >> 16) % (room - words) * 8;
    op.len = words * 8;
    switch (op.kind) {
    case OP_STOSB:
    case OP_MOVSB:
        op.off += h & 7;
        op.len -= (h >> 3) & 7;
        break;
    case OP_CROSS:
    case OP_CROSS_XOR:
        op.off = (unsigned)PAGE_SIZE - 1 - (g >> 16) % 7;
        op.len = 8;
        break;
    case OP_CROSS_STOSB:
    case OP_CROSS_MOVSB:
        op.off = (unsigned)PAGE_SIZE - EDGE;
        op.len = 2 * EDGE;
        break;
    default:
        break;
    }
    return op;
}

static void do_words(uint64_t *p, const struct op *op)
{
    for (unsigned k = 0; k < op->len / 8; k++, p++) {
        if (op->kind == OP_STORE) {
            asm volatile("movq %1, %0" : "=m"(*p) : "r"(op->value + k));
        } else if (k % 3 == 0) {
            asm volatile("lock addq %1, %0" : "+m"(*p) : "r"(op->value));
        } else if (k % 3 == 1) {
            asm volatile("xorq %1, %0" : "+m"(*p) : "r"(op->value));
        } else {
            asm volatile("incq %0" : "+m"(*p));
        }
    }
}

static void do_op(uint8_t *p, const struct op *op)
{
    const uint8_t *from = pattern_source() + op->value % (SOURCE_SIZE / 2);
    uint64_t n = op->len;

    p += op->off;
    switch (op->kind) {
    case OP_STOSQ:
        n /= 8;
        asm volatile("rep stosq" : "+D"(p), "+c"(n) : "a"(op->value)
                     : "memory");
        break;
    case OP_STOSB:
    case OP_CROSS_STOSB:
        asm volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(op->value)
                     : "memory");
        break;
    case OP_MOVSQ:
        n /= 8;
        asm volatile("rep movsq" : "+D"(p), "+S"(from), "+c"(n)
                     : : "memory");
        break;
    case OP_MOVSB:
    case OP_CROSS_MOVSB:
        asm volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(n)
                     : : "memory");
        break;
    case OP_CROSS:
        asm volatile("movq %1, (%0)" : : "r"(p), "r"(op->value) : "memory");
        break;
    case OP_CROSS_XOR:
        asm volatile("xorq %1, (%0)" : : "r"(p), "r"(op->value) : "memory");
        break;
    default:
        do_words((uint64_t *)(void *)p, op);
        break;
    }
}

static void write_page(struct stress *s, uint64_t i, unsigned r)
{
    struct op op = op_of(s, i, r);

    do_op((uint8_t *)page_ptr(s, i), &op);
    s->history[i] |= UINT32_C(1) << r;
    s->written++;
}

static bool is_chosen(const struct stress *s, uint64_t i, unsigned r)
{
    return mix64(mix64(s->seed ^ 0x77726974 ^ (uint64_t)r << 40) + i) % 100
        < s->write;
}

/* Every page once, in an order without a pattern: steps of a stride that has
 * no factor in common with their number. */
static uint64_t stride_of(uint64_t n, uint64_t h)
{
    for (uint64_t k = n / 3 + h % (n / 3 + 1) + 1;; k++) {
        uint64_t a = k, b = n;

        while (b != 0) {
            uint64_t t = a % b;

            a = b;
            b = t;
        }
        if (a == 1) {
            return k;
        }
    }
}

/* Nine stores of ten go to one page of ten: most find it private already.
 * Plain stores only, since doing one twice must be as doing it once. */
static void write_hotcold(struct stress *s, unsigned r)
{
    struct random rnd = { mix64(s->seed + r) };
    uint64_t hot = MAX(s->pages / 10, 1);

    for (uint64_t n = s->pages * s->write / 100; n > 0; n--) {
        bool is_hot = random_below(&rnd, 10) != 0;

        write_page(s, random_below(&rnd, is_hot ? hot : s->pages), r);
    }
}

void write_round(struct stress *s, unsigned r)
{
    bool in_order = s->mode == MODE_ORDER;
    uint64_t step = in_order ? 1 : stride_of(s->pages, mix64(s->seed + r));

    if (s->mode == MODE_HOTCOLD) {
        write_hotcold(s, r);
        return;
    }
    for (uint64_t n = 0, i = 0; n < s->pages; n++) {
        if (is_chosen(s, i, r)) {
            write_page(s, i, r);
        }
        i = (i + step) % s->pages;
    }
}
