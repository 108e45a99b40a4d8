/* test_control_reply.c - the JSON that goes out: form, long replies streamed
 * or stored, errors in the middle, no memory. */
#include "test.h"

#include <quire/errno.h>
#include <quire/heap.h>
#include <string.h>

#include "../../common/control/reply.h"
#include "host.h"

static struct reply r;

static void begin(bool to_port)
{
    host_machine_init(2048, 1);
    host_control_clear();
    reply_init(&r, to_port);
}

static const char *emitted(void)
{
    struct work w = WORK_INIT;

    while (reply_emit(&r, &w) != 0) {
        w.left = WORK_SLICE;
    }
    reply_fini(&r);
    return host_control_text();
}

static void check_text(const char *want)
{
    const char *is = emitted();

    if (strcmp(is, want) != 0) {
        test_fail(__FILE__, __LINE__, "is %.300s, not %.300s", is, want);
    }
}

TEST(nothing_but_ok)
{
    begin(true);
    reply_finish(&r, 0, "", NULL);
    check_text("{\"ok\":true}\n");
}

TEST(values_and_nesting)
{
    begin(true);
    reply_number(&r, "n", UINT64_MAX);
    reply_open(&r, "list", '[');
    reply_number(&r, NULL, 1);
    reply_open(&r, NULL, '{');
    reply_bool(&r, "b", false);
    reply_close(&r);
    reply_close(&r);
    reply_open(&r, "empty", '{');
    reply_close(&r);
    reply_hex64(&r, "h", 255);
    reply_bytes_begin(&r, "data");
    reply_bytes(&r, (const uint8_t *)"\x00\xab", 2);
    reply_bytes_end(&r);
    reply_finish(&r, 0, "", NULL);
    check_text("{\"ok\":true,\"n\":18446744073709551615,\"list\":[1,{\"b\":"
               "false}],\"empty\":{},\"h\":\"0x00000000000000ff\","
               "\"data\":\"00ab\"}\n");
}

TEST(strings_are_escaped)
{
    begin(true);
    reply_string(&r, "s", "a\"b\\c\n\x7f\xc3");
    reply_finish(&r, 0, "", NULL);
    check_text("{\"ok\":true,\"s\":\"a\\\"b\\\\c\\u000a\\u007f\\u00c3\"}\n");
}

TEST(an_error_drops_what_was_said)
{
    uint64_t done = 3;

    begin(true);
    reply_open(&r, "list", '[');
    reply_number(&r, NULL, 1);
    reply_finish(&r, -ENOENT, "gone", &done);
    check_text("{\"ok\":false,\"error\":{\"code\":\"ENOENT\",\"message\":"
               "\"gone\",\"done\":3}}\n");
}

static void put_many(unsigned n)
{
    reply_open(&r, "many", '[');
    for (unsigned i = 0; i < n; i++) {
        reply_number(&r, NULL, 1000 + i % 10);
    }
}

/* Streamed: what there is goes out, "ok" is last and right. */
TEST(long_replies_stream)
{
    const char *text;

    begin(true);
    put_many(1000);
    CHECK(strlen(host_control_text()) > 2000);
    reply_finish(&r, 0, "", NULL);
    text = emitted();
    CHECK(strncmp(text, "{\"many\":[1000,1001,", 19) == 0);
    CHECK(strstr(text, "1008,1009],\"ok\":true}\n") != NULL);
    CHECK_EQ(strlen(text), 9 + 5 * 1000 - 1 + strlen("],\"ok\":true}\n"));
    CHECK(strstr(text, "\"ok\"") > text + 4000);
}

TEST(a_streamed_reply_can_still_fail)
{
    const char *text;

    begin(true);
    put_many(1000);
    reply_open(&r, NULL, '{');
    reply_finish(&r, -EIO, "late", NULL);
    text = emitted();
    CHECK(strstr(text, ",{}],\"ok\":false,\"error\":{\"code\":\"EIO\","
                 "\"message\":\"late\"}}\n") != NULL);
    CHECK(strstr(text, "true") == NULL);
}

TEST(stored_replies_come_out_whole)
{
    struct heap_stats before, after;
    const char *text;

    begin(false);
    heap_stats_get(&before);
    put_many(2000);
    reply_close(&r);
    reply_finish(&r, 0, "", NULL);
    CHECK_EQ(strlen(host_control_text()), 0);
    text = emitted();
    CHECK(strncmp(text, "{\"ok\":true,\"many\":[1000,", 24) == 0);
    CHECK_EQ(strlen(text), 19 + 5 * 2000 - 1 + strlen("]}\n"));
    CHECK(strcmp(text + strlen(text) - 3, "]}\n") == 0);
    heap_stats_get(&after);
    CHECK_EQ(after.objects, before.objects);
}

TEST(an_error_gives_its_memory_back)
{
    struct heap_stats before, after;

    begin(false);
    heap_stats_get(&before);
    put_many(2000);
    reply_finish(&r, -EIO, "late", NULL);
    heap_stats_get(&after);
    CHECK_EQ(after.objects, before.objects);
    check_text("{\"ok\":false,\"error\":{\"code\":\"EIO\",\"message\":"
               "\"late\"}}\n");
}

/* Whichever allocation fails, the line is whole and says so. */
TEST(no_memory_for_a_stored_reply)
{
    for (uint64_t n = 1; n <= 6; n++) {
        const char *text;
        bool failed;

        begin(false);
        host_fail_alloc_at(n);
        put_many(2000);
        reply_finish(&r, 0, "", NULL);
        failed = host_alloc_failed();
        host_fail_alloc_at(0);
        text = emitted();
        CHECK_EQ(text[strlen(text) - 1], '\n');
        CHECK_EQ(strstr(text, "\"code\":\"ENOMEM\"") != NULL, failed);
        CHECK_EQ(strncmp(text, "{\"ok\":false", 11) == 0, failed);
    }
}

TEST(a_stored_reply_has_a_limit)
{
    begin(false);
    put_many(REPLY_STORE_MAX / 5 + 10000);
    reply_finish(&r, 0, "", NULL);
    CHECK(strstr(emitted(), "\"code\":\"ENOMEM\"") != NULL);
}

/* Emission is preempted often and loses nothing. */
TEST(emission_is_preemptible)
{
    unsigned slices = 0;
    struct work w;

    begin(false);
    put_many(300);
    reply_finish(&r, 0, "", NULL);
    do {
        w = (struct work){ .left = 1 };
        slices++;
    } while (reply_emit(&r, &w) != 0);
    CHECK(slices > 10);
    CHECK_EQ(strlen(host_control_text()), 19 + 5 * 300 - 1 + 3);
}
