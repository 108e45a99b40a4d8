/*
 * stress - a domain whose pages are shared behind its back, and that proves
 * that it cannot tell: every byte it reads is the byte it wrote.
 *
 *   phase 1   all free pages are filled; `common=` per cent of them are equal
 *             in every domain of the same `cseed=`. The toolstack now shares
 *             gfn i of one domain with gfn i of another wherever they agree,
 *             and allows phase 2.
 *   phase 2   everything is verified; then `write=` per cent of the pages are
 *             written, as `mode=` says; then everything is verified again:
 *             the bytes written, the rest of those pages, and all the others.
 *             `rounds=N` does so N times: round k waits for phase 1+k and
 *             reports it when done, so the toolstack can share anew between.
 *   end       the verdict; then as `then=`: wait (for phase 99), shutdown, or
 *             loop, writing and verifying until someone kills the domain.
 *
 * What it catches: a store that reaches the other sharers, one that is lost,
 * a copy of the wrong page or of half a page, a stale translation, a fault in
 * the middle of a string instruction that is restarted wrongly.
 *
 * Options: seed= (default: the domain's id), cseed=1, common=60, write=25,
 * mode=order|random|hotcold|rmw|cross|string|mix, rounds=1 (at most 32),
 * pages=0 (all), then=.
 * Figures: 0 first gfn, 1 pages, 2 common pages, 3 stores done, 4 pages found
 * wrong, 5 ticks writing, 6 ticks verifying, 7 rounds done, 8 ticks filling.
 */
#include "stress.h"

static struct stress st;
static uint64_t write_ticks, verify_ticks;

static enum mode mode_option(void)
{
    static const char *const names[NR_MODES] = {
        "order", "random", "hotcold", "rmw", "cross", "string", "mix",
    };
    char buf[16];

    option_str("mode", "mix", buf, sizeof(buf));
    for (unsigned i = 0; i < NR_MODES; i++) {
        if (strcmp(buf, names[i]) == 0) {
            return (enum mode)i;
        }
    }
    guest_fail("no mode %s", buf);
    guest_finish("the command line");
}

/* The history takes the last pages of the run; the rest is the pattern. */
static void setup(void)
{
    uint64_t run = memory_run(GUEST_FREE_GFN), want = option_u64("pages", 0);

    st.seed = option_u64("seed", guest_domid());
    st.cseed = option_u64("cseed", 1);
    st.common = (unsigned)option_u64("common", 60);
    st.write = (unsigned)option_u64("write", 25);
    st.mode = mode_option();
    st.first = GUEST_FREE_GFN;
    st.pages = run - MIN(run, 1 + run / (PAGE_SIZE / 4));
    if (want != 0 && want < st.pages) {
        st.pages = want;
    }
    if (st.pages < 4) {
        guest_fail("only %lu free pages", run);
        guest_finish("setup");
    }
    st.history = gfn_ptr(st.first + st.pages);
    pattern_init(&st);
}

static void verify(const char *when)
{
    uint64_t t = guest_ticks();

    pattern_verify(&st, when);
    verify_ticks += guest_ticks() - t;
}

static void round_once(unsigned r)
{
    verify("before writing");

    uint64_t t = guest_ticks();
    write_round(&st, r);
    write_ticks += guest_ticks() - t;

    verify("after writing");
}

static void report(unsigned rounds)
{
    guest_figure(2, st.nr_common);
    guest_figure(3, st.written);
    guest_figure(4, st.errors);
    guest_figure(5, write_ticks);
    guest_figure(6, verify_ticks);
    guest_figure(7, rounds);
}

static _Noreturn void loop_forever(void)
{
    for (;;) {
        pattern_fill(&st);
        for (unsigned r = 0; r < MAX_ROUNDS; r++) {
            unsigned before = guest_failures();

            round_once(r);
            if (guest_failures() != before) {
                guest_verdict_count("stress, in the loop");
                guest_end();
            }
        }
    }
}

void guest_main(void)
{
    setup();

    unsigned rounds = (unsigned)MIN(option_u64("rounds", 1), MAX_ROUNDS);
    uint64_t t = guest_ticks();

    pattern_fill(&st);
    guest_figure(0, st.first);
    guest_figure(1, st.pages);
    guest_figure(8, guest_ticks() - t);
    report(0);
    guest_printf("stress: %lu pages from gfn %lx, %lu common, seed %lu\n",
                 st.pages, st.first, st.nr_common, st.seed);
    guest_phase_report(1);
    for (unsigned r = 0; r < rounds; r++) {
        guest_phase_wait(2 + r);
        round_once(r);
        report(r + 1);
        guest_phase_report(2 + r);
    }
    guest_verdict_count("stress");
    if (option_is("then", "loop")) {
        loop_forever();
    }
    guest_end();
}
