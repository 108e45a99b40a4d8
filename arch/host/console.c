/*
 * console.c - the host machine's two serial lines, kept in memory: the
 * console (its last bytes) and the control channel (both directions).
 */
#include "host.h"

#include <quire/arch.h>
#include <quire/panic.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CONTROL_MAX (4u << 20)

static char console[HOST_LOG_MAX];
static size_t console_len;
static pthread_mutex_t console_mutex = PTHREAD_MUTEX_INITIALIZER;

static char *feed;
static size_t feed_len, feed_at;
static char *reply;
static size_t reply_len;

void arch_putc(char c)
{
    pthread_mutex_lock(&console_mutex);
    if (console_len + 1 == sizeof(console)) {
        /* Full: the older half goes. */
        console_len -= sizeof(console) / 2;
        memmove(console, console + sizeof(console) / 2, console_len);
    }
    console[console_len++] = c;
    console[console_len] = '\0';
    pthread_mutex_unlock(&console_mutex);
}

const char *host_console_text(void)
{
    return console;
}

void host_console_clear(void)
{
    console_len = 0;
    console[0] = '\0';
}

void host_control_feed(const char *text)
{
    size_t len = strlen(text), rest = feed_len - feed_at;
    char *joined = malloc(rest + len + 1);

    BUG_ON(joined == NULL);
    if (rest != 0) {
        memcpy(joined, feed + feed_at, rest);
    }
    memcpy(joined + rest, text, len + 1);
    free(feed);
    feed = joined;
    feed_at = 0;
    feed_len = rest + len;
}

int arch_control_getc(void)
{
    return feed_at == feed_len ? -1 : (unsigned char)feed[feed_at++];
}

void arch_control_putc(char c)
{
    if (reply == NULL) {
        reply = malloc(CONTROL_MAX);
        BUG_ON(reply == NULL);
    }
    BUG_ON(reply_len + 1 == CONTROL_MAX);
    reply[reply_len++] = c;
    reply[reply_len] = '\0';
}

const char *host_control_text(void)
{
    return reply != NULL ? reply : "";
}

void host_control_clear(void)
{
    reply_len = 0;
    if (reply != NULL) {
        reply[0] = '\0';
    }
}
