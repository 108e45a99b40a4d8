/*
 * test_insn_native.c - the emulator against the processor this test runs on.
 *
 * Random instructions of every kind the emulator knows, with random operand
 * sizes, registers and flags, run twice from the same state: by emul_insn()
 * on one copy of a small memory, and natively on another. Registers, memory
 * and the flags that the manual defines must come out alike.
 */
#include <quire/emul.h>
#include <quire/rng.h>
#include <string.h>
#include <sys/mman.h>

#include "test.h"

#define STATUS UINT64_C(0x8d5)
#define AF UINT64_C(0x10)
#define CF UINT64_C(0x01)
#define DF UINT64_C(0x400)

/* Named in the assembly below, which gcc does not read. */
static __attribute__((used)) struct vcpu_regs *native_regs;
static __attribute__((used)) uint8_t *code;     /* writable, executable */
static uint8_t memory[4096], start[4096], expected[4096];

/* Enter with the guest's registers, run what is in `code`, take them back.
 * Out of line, so that gcc thinks of an ordinary call. */
void native_run(void);
asm(".text\n"
    "native_run:\n"
    "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "  mov native_regs(%rip), %rax\n"
    "  push 136(%rax); popf\n"
    "  mov 8(%rax), %rcx; mov 16(%rax), %rdx; mov 24(%rax), %rbx\n"
    "  mov 40(%rax), %rbp; mov 48(%rax), %rsi; mov 56(%rax), %rdi\n"
    "  mov 64(%rax), %r8; mov 72(%rax), %r9; mov 80(%rax), %r10\n"
    "  mov 88(%rax), %r11; mov 96(%rax), %r12; mov 104(%rax), %r13\n"
    "  mov 112(%rax), %r14; mov 120(%rax), %r15\n"
    "  mov (%rax), %rax\n"
    "  call *code(%rip)\n"
    "  push %rax\n"
    "  mov native_regs(%rip), %rax\n"
    "  mov %rcx, 8(%rax); mov %rdx, 16(%rax); mov %rbx, 24(%rax)\n"
    "  mov %rbp, 40(%rax); mov %rsi, 48(%rax); mov %rdi, 56(%rax)\n"
    "  mov %r8, 64(%rax); mov %r9, 72(%rax); mov %r10, 80(%rax)\n"
    "  mov %r11, 88(%rax); mov %r12, 96(%rax); mov %r13, 104(%rax)\n"
    "  mov %r14, 112(%rax); mov %r15, 120(%rax)\n"
    "  pop (%rax)\n"
    "  pushf; pop 136(%rax)\n"
    "  cld\n"
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "  ret\n");

static int mem_fetch(void *ctx, gva_t a, void *buf, unsigned n,
                     struct emul_fault *f)
{
    (void)ctx;
    (void)f;
    memcpy(buf, (const void *)a, n);
    return 0;
}

static int mem_write(void *ctx, gva_t a, const void *buf, unsigned n,
                     struct emul_fault *f)
{
    (void)ctx;
    (void)f;
    CHECK(a >= (gva_t)memory && a + n <= (gva_t)(memory + sizeof(memory)));
    memcpy((void *)a, buf, n);
    return 0;
}

static const struct emul_ops ops = {
    mem_fetch, mem_fetch, mem_write, NULL, NULL,
};

/* An opcode, how it is drawn, and the flags it leaves undefined. */
struct shape {
    uint8_t bytes[2];
    uint8_t nr;             /* opcode bytes */
    uint8_t vary;           /* random low bits of the last */
    uint8_t imm;            /* 0, 1, or 4: by operand size */
    uint16_t groups;        /* bitmap of ModRM.reg; 0: any */
    bool lockable, is_string;
    uint64_t undefined;
};

static const struct shape shapes[] = {
    { { 0x00 }, 1, 3, 0, 0, 0, 0, 0 }, { { 0x08 }, 1, 3, 0, 0, 0, 0, AF },
    { { 0x10 }, 1, 3, 0, 0, 0, 0, 0 }, { { 0x18 }, 1, 3, 0, 0, 0, 0, 0 },
    { { 0x20 }, 1, 3, 0, 0, 0, 0, AF }, { { 0x28 }, 1, 3, 0, 0, 0, 0, 0 },
    { { 0x30 }, 1, 3, 0, 0, 0, 0, AF }, { { 0x38 }, 1, 3, 0, 0, 0, 0, 0 },
    { { 0x80 }, 1, 0, 1, 0x7f, 1, 0, AF }, { { 0x81 }, 1, 0, 4, 0, 0, 0, AF },
    { { 0x83 }, 1, 0, 1, 0, 0, 0, AF }, { { 0x84 }, 1, 1, 0, 0, 0, 0, AF },
    { { 0x86 }, 1, 1, 0, 0, 1, 0, 0 }, { { 0x88 }, 1, 3, 0, 0, 0, 0, 0 },
    { { 0xc6 }, 1, 0, 1, 1, 0, 0, 0 }, { { 0xc7 }, 1, 0, 4, 1, 0, 0, 0 },
    { { 0xf6 }, 1, 0, 1, 1, 0, 0, AF }, { { 0xf7 }, 1, 0, 4, 1, 0, 0, AF },
    { { 0xf6 }, 1, 1, 0, 0x0c, 1, 0, 0 },
    { { 0xfe }, 1, 1, 0, 0x03, 1, 0, 0 }, { { 0x63 }, 1, 0, 0, 0, 0, 0, 0 },
    { { 0x0f, 0xb6 }, 2, 1, 0, 0, 0, 0, 0 },
    { { 0x0f, 0xbe }, 2, 1, 0, 0, 0, 0, 0 },
    { { 0x0f, 0xb0 }, 2, 1, 0, 0, 1, 0, 0 },
    { { 0x0f, 0xc0 }, 2, 1, 0, 0, 1, 0, 0 },
    { { 0x0f, 0x40 }, 2, 15, 0, 0, 0, 0, 0 },
    { { 0x0f, 0x90 }, 2, 15, 0, 0, 0, 0, 0 },
    { { 0x0f, 0xba }, 2, 0, 1, 0xf0, 0, 0, STATUS & ~CF },
    { { 0xa4 }, 1, 1, 0, 0, 0, 1, 0 }, { { 0xa6 }, 1, 1, 0, 0, 0, 1, 0 },
    { { 0xaa }, 1, 1, 0, 0, 0, 1, 0 }, { { 0xac }, 1, 1, 0, 0, 0, 1, 0 },
    { { 0xae }, 1, 1, 0, 0, 0, 1, 0 },
};

static unsigned build(struct rng *r, const struct shape *s, uint8_t *at)
{
    uint64_t x = rng_next(r);
    uint8_t *p = at;
    bool has_66 = (x & 1) != 0;
    if (has_66) {
        *p++ = 0x66;
    }
    if (s->is_string && (x & 6) != 0) {
        *p++ = (x & 2) != 0 ? 0xf3 : 0xf2;
    }
    if (s->lockable && (x & 8) != 0) {
        *p++ = 0xf0;
    }
    bool has_rex_w = (x & 0x30) == 0x30;
    if ((x & 0x10) != 0) {
        *p++ = 0x40 | (uint8_t)(x >> 2 & 8) | (uint8_t)(x >> 6 & 4);
    }
    memcpy(p, s->bytes, s->nr);
    p += s->nr;
    p[-1] |= (uint8_t)(x >> 16) & s->vary;
    if (!s->is_string) {
        unsigned reg = x >> 24 & 7;
        while (s->groups != 0 && (s->groups >> reg & 1) == 0) {
            reg = (reg + 1) & 7;
        }
        if (s->groups == 0 && reg == 4 && (at[0] & 0xf0) != 0x40) {
            reg = 5;        /* never RSP: the native run needs it */
        }
        reg = s->groups == 0 && reg == 4 ? 6 : reg;
        *p++ = (uint8_t)(0x43 | reg << 3);      /* [rbx + disp8] */
        *p++ = (uint8_t)(x >> 32);
    }
    unsigned imm = s->imm != 4 ? s->imm : has_66 && !has_rex_w ? 2 : 4;
    for (unsigned k = 0; k < imm; k++) {
        *p++ = (uint8_t)rng_next(r);
    }
    *p++ = 0xc3;
    return (unsigned)(p - at) - 1;
}

static void set_registers(struct rng *r, const struct shape *s,
                          struct vcpu_regs *regs)
{
    for (unsigned k = 0; k < 16; k++) {
        (&regs->rax)[k] = rng_next(r) >> rng_below(r, 64);
    }
    gva_t middle = (gva_t)memory + sizeof(memory) / 2;
    regs->rbx = middle + rng_below(r, 64);
    if (s->is_string) {
        regs->rcx = rng_below(r, 50);
        regs->rsi = middle + rng_below(r, 600);
        regs->rdi = middle + rng_below(r, 600);
    }
    if (s->bytes[1] == 0xb0 && rng_below(r, 2) == 0) {
        memset(&regs->rax, 0, sizeof(regs->rax));   /* may be equal */
    }
    regs->rflags = 2 | (rng_next(r) & (STATUS | DF));
    regs->rip = (gva_t)code;
}

static void compare(const struct vcpu_regs *got, const struct vcpu_regs *want,
                    const struct shape *s, unsigned len)
{
    bool same = memcmp(got, want, 16 * 8) == 0 &&
                ((got->rflags ^ want->rflags) & STATUS & ~s->undefined) == 0 &&
                memcmp(memory, expected, sizeof(memory)) == 0 &&
                got->rip == (gva_t)code + len;
    if (same) {
        return;
    }
    for (unsigned k = 0; k < len; k++) {
        printf("%02x ", code[k]);
    }
    for (unsigned k = 0; k < 16; k++) {
        if ((&got->rax)[k] != (&want->rax)[k]) {
            printf("r%u %llx not %llx ", k,
                   (unsigned long long)(&got->rax)[k],
                   (unsigned long long)(&want->rax)[k]);
        }
    }
    printf("flags %llx, not %llx\n", (unsigned long long)got->rflags,
           (unsigned long long)want->rflags);
    test_fail(__FILE__, __LINE__, "differs from the processor");
}

TEST(same_as_the_processor)
{
    struct rng r;
    rng_seed(&r, test_seed);
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    for (uint64_t k = 0; k < 60000 * test_rounds; k++) {
        const struct shape *s = &shapes[k % ARRAY_SIZE(shapes)];
        struct vcpu_regs regs, native;
        struct emul e = { .regs = &regs, .efer = 0x500, .ops = &ops };
        e.seg[SEG_CS].attr = 0x29b;
        set_registers(&r, s, &regs);
        for (unsigned m = 0; m < sizeof(start); m++) {
            /* Runs of equal bytes keep REP CMPS and SCAS going. */
            start[m] = rng_below(&r, 64) == 0 ? (uint8_t)rng_next(&r)
                     : m == 0 ? 0 : start[m - 1];
        }
        unsigned len = build(&r, s, code);

        native = regs;
        native_regs = &native;
        memcpy(memory, start, sizeof(memory));
        native_run();
        native.rsp = regs.rsp;
        memcpy(expected, memory, sizeof(memory));

        memcpy(memory, start, sizeof(memory));
        int got = emul_insn(&e);
        /* A long REP stops on the way, and goes on when it is run again. */
        for (unsigned m = 0; got == EMUL_DONE && regs.rip == native.rip &&
                             m < 50 / EMUL_REP_MAX + 1; m++) {
            got = emul_insn(&e);
        }
        if (got != EMUL_DONE) {
            for (unsigned m = 0; m < len; m++) {
                printf("%02x ", code[m]);
            }
            printf("\n");
        }
        CHECK_EQ(got, EMUL_DONE);
        compare(&regs, &native, s, len);
    }
    munmap(code, 4096);
}
