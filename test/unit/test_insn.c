/*
 * test_insn.c - the decoder: known encodings, their lengths and operands, and
 * what it says of short, over-long and undefined ones.
 */
#include <quire/emul.h>
#include <string.h>

#include "test.h"

struct known { uint8_t mode, len, bytes[INSN_MAX]; };

/* One line for each shape: every prefix, every addressing form, every kind of
 * immediate, in each mode where it differs. */
static const struct known table[] = {
    { 64, 1, { 0x90 } }, { 64, 1, { 0xc3 } }, { 64, 1, { 0xf4 } },
    { 64, 2, { 0x0f, 0xa2 } }, { 64, 3, { 0x0f, 0x01, 0xd9 } },
    { 64, 2, { 0xf3, 0x90 } }, { 64, 2, { 0x0f, 0x32 } },
    { 64, 3, { 0x0f, 0x22, 0xc0 } }, { 64, 4, { 0x44, 0x0f, 0x22, 0xc0 } },
    { 64, 3, { 0x0f, 0x22, 0x05 } },        /* mod is ignored: no disp32 */
    { 64, 2, { 0x8b, 0x00 } }, { 64, 3, { 0x8b, 0x40, 0x10 } },
    { 64, 6, { 0x8b, 0x80, 1, 2, 3, 4 } },
    { 64, 6, { 0x8b, 0x05, 1, 2, 3, 4 } },  /* RIP-relative */
    { 64, 3, { 0x8b, 0x04, 0x24 } },
    { 64, 7, { 0x8b, 0x04, 0x25, 1, 2, 3, 4 } },
    { 64, 4, { 0x8b, 0x44, 0x24, 8 } },
    { 64, 7, { 0x8b, 0x84, 0x24, 1, 2, 3, 4 } },
    { 64, 10, { 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8 } },
    { 64, 5, { 0xb8, 1, 2, 3, 4 } }, { 64, 4, { 0x66, 0xb8, 1, 2 } },
    { 64, 9, { 0xa1, 1, 2, 3, 4, 5, 6, 7, 8 } },
    { 64, 6, { 0x67, 0xa1, 1, 2, 3, 4 } },
    { 64, 7, { 0x48, 0xc7, 0x00, 1, 2, 3, 4 } },
    { 64, 5, { 0x66, 0xc7, 0x00, 1, 2 } },
    { 64, 3, { 0xf6, 0x00, 1 } }, { 64, 3, { 0xf6, 0x08, 1 } }, { 64, 2, { 0xf6, 0x18 } },
    { 64, 6, { 0xf7, 0x00, 1, 2, 3, 4 } }, { 64, 2, { 0xf7, 0x10 } },
    { 64, 5, { 0xe8, 1, 2, 3, 4 } }, { 64, 6, { 0x0f, 0x84, 1, 2, 3, 4 } },
    { 64, 4, { 0xc8, 1, 2, 3 } }, { 64, 3, { 0xc2, 1, 2 } },
    { 64, 5, { 0xf0, 0x48, 0x0f, 0xb1, 0x0f } },
    { 64, 4, { 0x0f, 0xba, 0x28, 3 } }, { 64, 4, { 0x0f, 0xa4, 0xd0, 3 } },
    { 64, 4, { 0x0f, 0x38, 0xf0, 0x00 } },
    { 64, 6, { 0x66, 0x0f, 0x3a, 0x0f, 0xc1, 4 } },
    { 64, 2, { 0x48, 0xa5 } }, { 64, 3, { 0xf3, 0x48, 0xab } },
    { 64, 3, { 0x48, 0xf3, 0xab } },        /* a REX too early is none */
    { 64, 4, { 0xc5, 0xf8, 0x28, 0xc1 } }, { 64, 3, { 0xc5, 0xf8, 0x77 } },
    { 64, 5, { 0xc5, 0xf9, 0x70, 0xc1, 0x1b } },
    { 64, 5, { 0xc4, 0xe2, 0x79, 0x18, 0x00 } },
    { 64, 6, { 0xc4, 0xe3, 0x7d, 0x06, 0xc1, 1 } },
    { 64, 6, { 0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1 } },
    { 64, 7, { 0x62, 0xf1, 0x7c, 0x48, 0x28, 0x40, 1 } },
    { 64, 2, { 0x8f, 0x00 } }, { 64, 5, { 0x8f, 0xe9, 0x78, 0x81, 0xc1 } },
    { 64, 9, { 0x8f, 0xea, 0x78, 0x10, 0xc1, 1, 2, 3, 4 } },
    { 64, 6, { 0x66, 0x0f, 0x78, 0xc1, 1, 2 } },
    { 64, 15, { 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e,
                0x2e, 0x2e, 0x2e, 0x2e, 0x90 } },
    { 32, 1, { 0x40 } }, { 32, 1, { 0x60 } }, { 32, 2, { 0xd4, 0x0a } },
    { 32, 5, { 0xa1, 1, 2, 3, 4 } }, { 32, 4, { 0x67, 0xa1, 1, 2 } },
    { 32, 6, { 0x8b, 0x05, 1, 2, 3, 4 } },
    { 32, 5, { 0x67, 0x8b, 0x06, 1, 2 } },
    { 32, 7, { 0xea, 1, 2, 3, 4, 5, 6 } },
    { 32, 6, { 0x66, 0xea, 1, 2, 3, 4 } },
    { 32, 2, { 0xc5, 0x00 } }, { 32, 4, { 0xc5, 0xf8, 0x28, 0xc1 } },
    { 32, 2, { 0x62, 0x00 } }, { 32, 6, { 0x0f, 0x84, 1, 2, 3, 4 } },
    { 16, 3, { 0xb8, 1, 2 } }, { 16, 6, { 0x66, 0xb8, 1, 2, 3, 4 } },
    { 16, 4, { 0x8b, 0x06, 1, 2 } }, { 16, 3, { 0x8b, 0x46, 1 } },
    { 16, 4, { 0x8b, 0x87, 1, 2 } }, { 16, 2, { 0x8b, 0x07 } },
    { 16, 7, { 0x67, 0x8b, 0x05, 1, 2, 3, 4 } },
    { 16, 5, { 0xea, 1, 2, 3, 4 } }, { 16, 3, { 0xe9, 1, 2 } },
};

TEST(known_lengths)
{
    for (unsigned k = 0; k < ARRAY_SIZE(table); k++) {
        const struct known *t = &table[k];
        struct insn i;
        int want = t->len;
        int got = insn_decode(&i, t->bytes, t->len, t->mode);
        if (got != want) {
            test_fail(__FILE__, __LINE__, "line %u: %d, not %d", k, got,
                      want);
        }
        CHECK_EQ(i.len, want);
        for (unsigned n = 0; n < t->len; n++) {
            CHECK_EQ(insn_decode(&i, t->bytes, n, t->mode), -EAGAIN);
        }
    }
}

TEST(undefined)
{
    static const struct known bad[] = {
        { 64, 1, { 0x06 } }, { 64, 1, { 0x60 } }, { 64, 2, { 0x82, 0 } },
        { 64, 2, { 0x0f, 0x04 } }, { 64, 2, { 0x0f, 0x24 } },
        { 64, 5, { 0x66, 0xc5, 0xf8, 0x28, 0xc1 } },    /* 66 before VEX */
        { 64, 5, { 0x48, 0xc5, 0xf8, 0x28, 0xc1 } },    /* REX before VEX */
        { 64, 5, { 0xc4, 0xe0, 0x79, 0x18, 0x00 } },    /* VEX map 0 */
        { 64, 6, { 0x62, 0xf4, 0x7c, 0x48, 0x28, 0xc1 } },
    };
    struct insn i;
    for (unsigned k = 0; k < ARRAY_SIZE(bad); k++) {
        CHECK_EQ(insn_decode(&i, bad[k].bytes, bad[k].len, bad[k].mode),
                 -EINVAL);
    }
    uint8_t prefixes[16];
    memset(prefixes, 0x66, sizeof(prefixes));
    CHECK_EQ(insn_decode(&i, prefixes, 14, 64), -EAGAIN);
    CHECK_EQ(insn_decode(&i, prefixes, 15, 64), -EINVAL);
    CHECK_EQ(insn_decode(&i, prefixes, 16, 64), -EINVAL);
    prefixes[15] = 0x90;        /* sixteen bytes are one too many */
    CHECK_EQ(insn_decode(&i, prefixes, 16, 64), -EINVAL);
}

static struct insn decode(unsigned mode, const char *bytes, unsigned n)
{
    struct insn i;
    CHECK_EQ(insn_decode(&i, (const uint8_t *)bytes, n, mode), n);
    return i;
}
#define DECODE(mode, s) decode(mode, s, sizeof(s) - 1)

TEST(operand_sizes)
{
    CHECK_EQ(DECODE(64, "\x8b\x00").op_size, 4);
    CHECK_EQ(DECODE(64, "\x66\x8b\x00").op_size, 2);
    CHECK_EQ(DECODE(64, "\x48\x8b\x00").op_size, 8);
    CHECK_EQ(DECODE(64, "\x66\x48\x8b\x00").op_size, 8);
    CHECK_EQ(DECODE(64, "\x48\x66\x8b\x00").op_size, 2);  /* REX too early */
    CHECK_EQ(DECODE(64, "\x8a\x00").op_size, 1);
    CHECK_EQ(DECODE(64, "\xff\x30").op_size, 4);    /* the group decides */
    CHECK_EQ(DECODE(64, "\x50").op_size, 8);
    CHECK_EQ(DECODE(64, "\x66\x50").op_size, 2);
    CHECK_EQ(DECODE(64, "\x0f\x22\xc0").op_size, 8);
    CHECK_EQ(DECODE(32, "\x0f\x22\xc0").op_size, 4);
    CHECK_EQ(DECODE(16, "\x8b\x00").op_size, 2);
    CHECK_EQ(DECODE(16, "\x66\x8b\x00").op_size, 4);
    CHECK_EQ(DECODE(64, "\x67\x8b\x00").addr_size, 4);
    CHECK_EQ(DECODE(32, "\x67\x8b\x00").addr_size, 2);
}

TEST(segments)
{
    CHECK_EQ(DECODE(64, "\x8b\x00").seg, SEG_DS);
    CHECK_EQ(DECODE(64, "\x8b\x45\x00").seg, SEG_SS);
    CHECK_EQ(DECODE(64, "\x41\x8b\x45\x00").seg, SEG_DS);   /* R13 */
    CHECK_EQ(DECODE(64, "\x8b\x04\x24").seg, SEG_SS);
    CHECK_EQ(DECODE(64, "\x41\x8b\x04\x24").seg, SEG_DS);   /* R12 */
    CHECK_EQ(DECODE(64, "\x65\x8b\x00").seg, SEG_GS);
    CHECK_EQ(DECODE(64, "\x2e\x8b\x00").seg, SEG_DS);       /* ignored */
    CHECK_EQ(DECODE(32, "\x2e\x8b\x00").seg, SEG_CS);
    CHECK_EQ(DECODE(64, "\x8b\x05\0\0\0\0").seg, SEG_DS);
    CHECK_EQ(DECODE(16, "\x8b\x46\x00").seg, SEG_SS);
    CHECK_EQ(DECODE(16, "\x8b\x06\0\0").seg, SEG_DS);
}

TEST(offsets)
{
    struct vcpu_regs r = { .rax = 0x1000, .rcx = 0x10, .rbx = 0x8000,
                           .rsp = 0x2000, .rbp = 0x3000, .rsi = 0xfff0,
                           .r12 = 0x5000, .r13 = 0x6000, .rip = 0x400000 };
    struct insn i = DECODE(64, "\x8b\x44\x88\xf0");
    CHECK_EQ(insn_offset(&i, &r), 0x1000 + 4 * 0x10 - 0x10);
    i = DECODE(64, "\x8b\x05\x10\0\0\0");
    CHECK_EQ(insn_offset(&i, &r), 0x400000 + 6 + 0x10);
    i = DECODE(64, "\xc7\x05\x10\0\0\0\1\0\0\0");   /* the immediate counts */
    CHECK_EQ(insn_offset(&i, &r), 0x400000 + 10 + 0x10);
    i = DECODE(64, "\x8b\x04\x25\xff\xff\xff\xff");
    CHECK(insn_offset(&i, &r) == UINT64_MAX);
    i = DECODE(64, "\x67\x8b\x04\x25\xff\xff\xff\xff");
    CHECK(insn_offset(&i, &r) == UINT32_MAX);
    i = DECODE(64, "\x41\x8b\x04\x24");
    CHECK_EQ(insn_offset(&i, &r), 0x5000);
    i = DECODE(64, "\x42\x8b\x04\x20");             /* index R12, base RAX */
    CHECK_EQ(insn_offset(&i, &r), 0x6000);
    i = DECODE(32, "\x8b\x05\x10\0\0\0");           /* absolute */
    CHECK_EQ(insn_offset(&i, &r), 0x10);
    i = DECODE(16, "\x8b\x40\x20");                 /* BX+SI wraps at 64K */
    CHECK_EQ(insn_offset(&i, &r), (0x8000 + 0xfff0 + 0x20) & 0xffff);
    i = DECODE(64, "\xa1\1\2\3\4\5\6\7\x08");
    CHECK(insn_offset(&i, &r) == 0x0807060504030201);
}

TEST(modes)
{
    CHECK_EQ(insn_mode(0x200, 0x500), 64);
    CHECK_EQ(insn_mode(0x400, 0x500), 32);      /* compatibility mode */
    CHECK_EQ(insn_mode(0x200, 0), 16);          /* no long mode, no L */
    CHECK_EQ(insn_mode(0x400, 0), 32);
    CHECK_EQ(insn_mode(0, 0), 16);
}
