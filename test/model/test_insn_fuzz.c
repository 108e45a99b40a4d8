/*
 * test_insn_fuzz.c - random bytes through the decoder and the emulator.
 *
 * The decoder gets exactly as many bytes as it was promised, in a heap block
 * of that size, so that ASan sees the first one too many. The emulator gets a
 * memory that refuses at random: whatever happens, a fault or a refusal must
 * leave the general registers and memory alone (a REP may have done part).
 */
#include <quire/emul.h>
#include <quire/rng.h>
#include <string.h>

#include "test.h"

static const uint8_t modes[3] = { 16, 32, 64 };

/* Bytes that make long instructions likely: prefixes, escapes, SIBs. */
static uint8_t spicy(struct rng *r)
{
    static const uint8_t often[] = {
        0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x48, 0x4f, 0x0f, 0x38,
        0x3a, 0xc4, 0xc5, 0x62, 0x8f, 0x84, 0x04, 0x05, 0xf6, 0xf7, 0xa1,
    };
    uint64_t x = rng_next(r);
    return (x & 0x300) == 0 ? often[(x >> 16) % sizeof(often)] : (uint8_t)x;
}

TEST(decode_never_reads_past)
{
    struct rng r;
    rng_seed(&r, test_seed);
    for (uint64_t k = 0; k < 300000 * test_rounds; k++) {
        unsigned n = (unsigned)rng_below(&r, 18), mode = modes[k % 3];
        uint8_t *b = malloc(n == 0 ? 1 : n), all[INSN_MAX];
        struct insn i, j;
        for (unsigned m = 0; m < n; m++) {
            b[m] = spicy(&r);
        }
        int len = insn_decode(&i, b + (n == 0), n, mode);
        CHECK(len == -EAGAIN || len == -EINVAL ||
              (len >= 1 && len <= INSN_MAX && len <= (int)n));
        CHECK(len != -EAGAIN || n < INSN_MAX);
        if (len > 0) {
            /* No shorter, and the bytes after it do not matter. */
            CHECK_EQ(i.len, len);
            CHECK_EQ(insn_decode(&j, b, (unsigned)len, mode), len);
            CHECK_EQ(insn_decode(&j, b, (unsigned)len - 1, mode), -EAGAIN);
            memset(all, (int)rng_next(&r), sizeof(all));
            memcpy(all, b, (size_t)len);
            CHECK_EQ(insn_decode(&j, all, sizeof(all), mode), len);
        }
        free(b);
    }
}

struct world {
    struct rng *r;
    uint8_t code[INSN_MAX];
    unsigned fetched;           /* bytes of it */
    unsigned refuse;            /* one access in this many */
    unsigned writes;
};

static int refuse(struct world *w, struct emul_fault *f, gva_t a)
{
    if (rng_below(w->r, w->refuse) != 0) {
        return 0;
    }
    if (rng_below(w->r, 2) == 0) {
        return -EIO;
    }
    *f = (struct emul_fault){ 14, 2, a };
    return -EFAULT;
}

static int world_fetch(void *ctx, gva_t a, void *buf, unsigned n,
                       struct emul_fault *f)
{
    struct world *w = ctx;
    CHECK(n >= 1 && n <= INSN_MAX);
    CHECK(w->fetched + n <= INSN_MAX);
    memcpy(buf, w->code + w->fetched, n);
    w->fetched += n;
    return refuse(w, f, a);
}

static int world_read(void *ctx, gva_t a, void *buf, unsigned n,
                      struct emul_fault *f)
{
    CHECK(n == 1 || n == 2 || n == 4 || n == 8);
    memset(buf, 0xff, n);
    return refuse(ctx, f, a);
}

static int world_write(void *ctx, gva_t a, const void *buf, unsigned n,
                       struct emul_fault *f)
{
    struct world *w = ctx;
    uint64_t sink = 0;
    CHECK(n == 1 || n == 2 || n == 4 || n == 8);
    memcpy(&sink, buf, n);
    int err = refuse(w, f, a);
    w->writes += err == 0;
    return err;
}

static int world_in(void *ctx, uint16_t port, uint32_t *value, unsigned n)
{
    (void)port;
    CHECK(n == 1 || n == 2 || n == 4);
    *value = UINT32_MAX;
    return rng_below(((struct world *)ctx)->r, 8) == 0 ? -EIO : 0;
}

static int world_out(void *ctx, uint16_t port, uint32_t value, unsigned n)
{
    return world_in(ctx, port, &value, n);
}

static const struct emul_ops world_ops = {
    world_fetch, world_read, world_write, world_in, world_out,
};

TEST(emulate_random_bytes)
{
    struct rng r;
    uint64_t results[3] = { 0 };
    rng_seed(&r, test_seed);
    for (uint64_t k = 0; k < 300000 * test_rounds; k++) {
        struct world w = { .r = &r, .refuse = 6 };
        struct vcpu_regs regs, before;
        struct emul e = { .regs = &regs, .ops = &world_ops, .ctx = &w };
        for (unsigned m = 0; m < INSN_MAX; m++) {
            w.code[m] = spicy(&r);
        }
        for (unsigned m = 0; m < sizeof(regs) / 8; m++) {
            (&regs.rax)[m] = rng_next(&r) >> rng_below(&r, 64);
        }
        regs.rflags &= ~UINT64_C(0x100) | (k % 16 == 0 ? 0x100 : 0);
        if (k % 2 == 0) {
            regs.rip &= ~UINT64_C(0xfff);
        }
        for (unsigned s = 0; s < NR_SEGS; s++) {
            e.seg[s] = (struct vcpu_segment){ .attr = (uint16_t)rng_next(&r),
                .limit = (uint32_t)rng_next(&r), .base = rng_next(&r) };
        }
        e.efer = k % 3 == 0 ? 0x500 : 0;
        before = regs;
        enum emul_result got = emul_insn(&e);
        results[got]++;
        if (got == EMUL_UNHANDLED ||
            (got == EMUL_FAULT && e.fault.vector != 1 && e.insn.rep == 0)) {
            CHECK(memcmp(&regs, &before, sizeof(regs)) == 0);
            CHECK_EQ(w.writes, 0);
        }
    }
    CHECK(results[EMUL_DONE] > 1000 && results[EMUL_FAULT] > 1000 &&
          results[EMUL_UNHANDLED] > 1000);
}
