/* test_print.c - the formatter against libc's, and its own promises. Also the
 * log's lines, error names and the command line, which print. */
#include "test.h"

#include "host.h"

#include <quire/cmdline.h>
#include <quire/errno.h>
#include <quire/log.h>
#include <quire/print.h>
#include <quire/rng.h>
#include <string.h>

#define SAME_AS_LIBC(...) \
    do { \
        char ours[200], theirs[200]; \
        size_t n = print_to(ours, sizeof(ours), __VA_ARGS__); \
        CHECK_EQ(n, snprintf(theirs, sizeof(theirs), __VA_ARGS__)); \
        if (strcmp(ours, theirs) != 0) { \
            test_fail(__FILE__, __LINE__, "\"%s\" is not \"%s\"", ours, \
                      theirs); \
        } \
    } while (0)

TEST(same_text_as_libc)
{
    SAME_AS_LIBC("plain, %%, %c|%3c|%-3c|", 'a', 'b', 'c');
    SAME_AS_LIBC("%d %d %d %i", 0, -1, INT32_MIN, INT32_MAX);
    SAME_AS_LIBC("%5d|%-5d|%05d|%+d|%+d", 42, 42, -42, 42, -42);
    SAME_AS_LIBC("%u %x %X %08x %8x|%-8x|", UINT32_MAX, 0xbeefu, 0xbeefu,
                 0xbeefu, 0xbeefu, 0xbeefu);
    SAME_AS_LIBC("%lu %lx %ld %llu %zu", UINT64_MAX, UINT64_MAX, INT64_MIN,
                 1ull << 63, (size_t)77);
    SAME_AS_LIBC("%s|%10s|%-10s|%.2s|%10.3s|", "abc", "abc", "abc", "abc",
                 "abcdef");
    SAME_AS_LIBC("%*d|%-*d|%.*s", 6, 7, 6, 7, 2, "xyz");
    SAME_AS_LIBC("%p|%016lx", (void *)0x1234, (uint64_t)0x1234);
    SAME_AS_LIBC("%.3d|%8.3u|", 7, 7u);
    SAME_AS_LIBC("%hhu %hd", (unsigned char)200, (short)-5);
}

/* The length is what the text would need; the buffer is never overrun. */
TEST(cut_text_is_terminated_and_measured)
{
    char buf[8];

    for (size_t size = 0; size <= sizeof(buf); size++) {
        memset(buf, '#', sizeof(buf));
        CHECK_EQ(print_to(buf, size, "%s%d", "abc", 12345678), 11);
        for (size_t i = size; i < sizeof(buf); i++) {
            CHECK_EQ(buf[i], '#');
        }
        if (size != 0) {
            CHECK_EQ(strlen(buf), size - 1);
            CHECK_EQ(strncmp(buf, "abc12345678", size - 1), 0);
        }
    }
}

TEST(odd_formats_are_shown_as_they_stand)
{
    /* Not literals: gcc would object. */
    const char *unknown = "a%qb", *unfinished = "a%", *wide = "%9999d";
    const char *volatile *nothing = &(const char *volatile){ NULL };
    char buf[64];

    print_to(buf, sizeof(buf), unknown, 1);
    CHECK_EQ(strcmp(buf, "a%qb"), 0);
    print_to(buf, sizeof(buf), unfinished, 1);
    CHECK_EQ(strcmp(buf, "a%"), 0);
    CHECK_EQ(print_to(buf, sizeof(buf), wide, 1), 4096);
    print_to(buf, sizeof(buf), "%s", *nothing);
    CHECK_EQ(strcmp(buf, "(null)"), 0);
}

TEST(random_numbers_same_as_libc)
{
    struct rng r;

    rng_seed(&r, test_seed);
    for (uint64_t i = 0; i < 2000 * test_rounds; i++) {
        int width = (int)rng_below(&r, 24);
        uint64_t v = rng_next(&r) >> rng_below(&r, 64);

        SAME_AS_LIBC("%*lu|%-*lx|%0*ld", width, v, width, v, width,
                     (int64_t)v);
    }
}

TEST(log_lines_are_tagged_and_filtered)
{
    host_console_clear();
    log_level_now = LOG_INFO;
    log_error("bad %d", 7);
    log_debug("not shown");
    log_guest_line(12, "hi\tthere\x1b[2J\xff", 13);
    CHECK_EQ(strcmp(host_console_text(),
                    "(E) bad 7\n(d12) hi\tthere\\x1b[2J\\xff\n"), 0);
    log_level_now = LOG_DEBUG;
    host_console_clear();
    log_debug("shown");
    CHECK_EQ(strcmp(host_console_text(), "(D) shown\n"), 0);
    log_level_now = LOG_INFO;
}

TEST(long_lines_are_cut_or_folded)
{
    static char text[2000];
    unsigned lines = 0, xs = 0;

    memset(text, 'x', sizeof(text) - 1);
    host_console_clear();
    log_info("%s", text);
    CHECK_EQ(strlen(host_console_text()), 512);
    CHECK_EQ(host_console_text()[511], '\n');
    host_console_clear();
    log_guest_line(1, text, sizeof(text) - 1);
    for (const char *p = host_console_text(); *p != '\0'; p++) {
        lines += *p == '\n';
        xs += *p == 'x';
    }
    CHECK_EQ(xs, sizeof(text) - 1);
    CHECK_EQ(lines, 4);
}

TEST(error_names)
{
    CHECK_EQ(strcmp(errno_name(-ENOMEM), "ENOMEM"), 0);
    CHECK_EQ(strcmp(errno_name(ERESTART), "ERESTART"), 0);
    CHECK_EQ(strcmp(errno_name(0), "E?"), 0);
    CHECK_EQ(strcmp(errno_name(INT32_MIN), "E?"), 0);
}

TEST(command_line_options)
{
    host_console_clear();
    cmdline_set("  seed=0x10 cpus=4 batch\ttick_us=junk cpus=8 loglevel=3 ");
    CHECK_EQ(log_level_now, LOG_DEBUG);
    CHECK_EQ(cmdline_u64("seed", 1), 16);
    CHECK_EQ(cmdline_u64("cpus", 1), 8);
    CHECK_EQ(cmdline_u64("tick_us", 5), 5);
    CHECK(strstr(host_console_text(), "tick_us=junk") != NULL);
    CHECK_EQ(cmdline_u64("batch", 9), 9);
    CHECK(cmdline_has("batch") && !cmdline_has("bat"));
    CHECK(!cmdline_has("die-on-exit"));
    cmdline_set("loglevel=99 seed=99999999999999999999 colour=red");
    CHECK_EQ(log_level_now, LOG_DEBUG);
    CHECK_EQ(cmdline_u64("seed", 3), 3);
    CHECK(!cmdline_check());
    CHECK(strstr(host_console_text(), "unknown option \"colour\"; there are: "
                 "seed loglevel") != NULL);
    cmdline_set("loglevel=2");
    CHECK(cmdline_check());
    CHECK_EQ(log_level_now, LOG_INFO);
}
