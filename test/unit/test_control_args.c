/* test_control_args.c - taking command lines apart. */
#include "test.h"

#include <quire/errno.h>
#include <string.h>

#include "../../common/control/args.h"

static struct args a;
static const char *why;

static int parse(const char *text)
{
    static char line[512];

    snprintf(line, sizeof(line), "%s", text);
    return args_parse(line, &a, &why);
}

TEST(words_and_pairs)
{
    CHECK_EQ(parse("  create one name=a mem=16M two\t#rest"), 0);
    CHECK(strcmp(a.command, "create") == 0);
    CHECK_EQ(a.nr_words, 2);
    CHECK(strcmp(a.word[0], "one") == 0 && strcmp(a.word[1], "two") == 0);
    CHECK_EQ(a.nr_pairs, 2);
    CHECK(strcmp(args_value(&a, "mem"), "16M") == 0);
    CHECK(args_value(&a, "me") == NULL);
}

TEST(quotes_keep_blanks_and_signs)
{
    CHECK_EQ(parse("x cmdline=\"a=1 b=\\\"2\\\" \\\\ #3\" \"k=v\" e=\"\""), 0);
    CHECK(strcmp(args_value(&a, "cmdline"), "a=1 b=\"2\" \\ #3") == 0);
    CHECK_EQ(a.nr_words, 1);
    CHECK(strcmp(a.word[0], "k=v") == 0);
    CHECK(strcmp(args_value(&a, "e"), "") == 0);
}

TEST(what_is_no_key_is_a_word)
{
    CHECK_EQ(parse("x A=1 =2 0:4K"), 0);
    CHECK_EQ(a.nr_pairs, 0);
    CHECK_EQ(a.nr_words, 3);
    CHECK_EQ(parse("x a=b=c"), 0);
    CHECK(strcmp(args_value(&a, "a"), "b=c") == 0);
}

TEST(refused_lines)
{
    CHECK_EQ(parse("x \"open"), -EINVAL);
    CHECK_EQ(parse("x k=1 k=2"), -EINVAL);
    CHECK_EQ(parse("x \x01"), -EINVAL);
    CHECK_EQ(parse("x 1 2 3 4 5 6 7 8 9 a b c d"), -E2BIG);
    CHECK_EQ(parse("x 1 2 3 4 5 6 7 8 9 a b c"), 0);
    CHECK_EQ(parse("   # nothing"), 0);
    CHECK(a.command == NULL);
}

TEST(too_many_pairs)
{
    char line[512] = "x";

    for (unsigned i = 0; i <= ARGS_PAIRS; i++) {
        CHECK_EQ(args_parse((char[]){ "x" }, &a, &why), 0);
        snprintf(line + strlen(line), 16, " k%u=1", i);
        CHECK_EQ(parse(line), i < ARGS_PAIRS ? 0 : -E2BIG);
    }
}

static int number(const char *text, uint64_t *n)
{
    uint64_t figures[32] = { [3] = 77, [31] = 5 };

    return args_number(text, figures, n);
}

TEST(numbers)
{
    static const struct { const char *text; uint64_t n; } good[] = {
        { "0", 0 }, { "12", 12 }, { "0x1F", 31 }, { "0Xff", 255 },
        { "4k", 4096 }, { "3M", 3 << 20 }, { "2G", UINT64_C(2) << 30 },
        { "0x10K", 16384 }, { "@3", 77 }, { "@31", 5 },
        { "18446744073709551615", UINT64_MAX },
        { "0xffffffffffffffff", UINT64_MAX },
    };
    static const char *const bad[] = {
        "", "-1", "+1", "1x", "0x", "x", "4KB", "4T", " 1", "@", "@32", "@3K",
        "1.5", "0xg",
    };
    uint64_t n;

    for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
        CHECK_EQ(number(good[i].text, &n), 0);
        CHECK_EQ(n, good[i].n);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        CHECK_EQ(number(bad[i], &n), -EINVAL);
    }
    CHECK_EQ(number("18446744073709551616", &n), -ERANGE);
    CHECK_EQ(number("0x10000000000000000", &n), -ERANGE);
    CHECK_EQ(number("18014398509481984K", &n), -ERANGE);
    CHECK_EQ(args_number("@1", NULL, &n), -EINVAL);
}

TEST(hex_bytes)
{
    uint8_t out[4];

    CHECK_EQ(args_hex("00fFa5", out, sizeof(out)), 3);
    CHECK(out[0] == 0 && out[1] == 0xff && out[2] == 0xa5);
    CHECK_EQ(args_hex("", out, sizeof(out)), 0);
    CHECK_EQ(args_hex("123", out, sizeof(out)), -EINVAL);
    CHECK_EQ(args_hex("1g", out, sizeof(out)), -EINVAL);
    CHECK_EQ(args_hex("0011223344", out, sizeof(out)), -EINVAL);
}

TEST(words_of_a_list)
{
    CHECK(args_has_word("gfn count stride", "gfn"));
    CHECK(args_has_word("gfn count stride", "stride"));
    CHECK(!args_has_word("gfn count stride", "str"));
    CHECK(!args_has_word("gfn count", "counts"));
    CHECK(!args_has_word("", "gfn"));
}
