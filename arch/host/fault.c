/*
 * fault.c - how the host machine dies, and how a test expects it to.
 *
 * The fatal part runs in a child process: whatever it has locked, freed or
 * corrupted by then ends with it. The child sends its console back through a
 * pipe and its arch_die() status as its exit status.
 */
#include "host.h"

#include <quire/arch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RETURNED_STATUS 70      /* the child's way of saying HOST_RETURNED */
#define DIE_STATUS 80           /* ... and arch_die(0 .. 9) */

static int report_fd = -1;

static void report(void)
{
    const char *text = host_console_text();
    size_t len = strlen(text);

    while (len != 0) {
        ssize_t n = write(report_fd, text, len);
        if (n <= 0) {
            break;
        }
        text += n;
        len -= (size_t)n;
    }
}

_Noreturn void arch_die(int status)
{
    if (report_fd >= 0) {
        report();
        _exit(DIE_STATUS + status);
    }
    if (status == 0) {
        exit(0);
    }
    fflush(stdout);
    fprintf(stderr, "%s\nthe machine died with status %d\n",
            host_console_text(), status);
    abort();
}

void arch_backtrace(void)
{
    /* abort() leaves that to the debugger. */
}

/* All that comes through @fd; the first @size - 1 bytes go to @log. */
static void read_log(int fd, char *log, size_t size)
{
    size_t len = 0;
    char c;

    while (read(fd, &c, 1) == 1) {
        if (size != 0 && len + 1 < size) {
            log[len++] = c;
        }
    }
    if (size != 0) {
        log[len] = '\0';
    }
}

int host_run_until_death(void (*fn)(void *arg), void *arg, char *log,
                         size_t size)
{
    int fds[2], status, code;
    pid_t child;

    fflush(stdout);
    if (pipe(fds) != 0 || (child = fork()) < 0) {
        perror("host_run_until_death");
        abort();
    }
    if (child == 0) {
        close(fds[0]);
        report_fd = fds[1];
        host_console_clear();
        fn(arg);
        report();
        _exit(RETURNED_STATUS);
    }
    close(fds[1]);
    read_log(fds[0], log, size);
    close(fds[0]);
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        return HOST_CRASHED;
    }
    code = WEXITSTATUS(status);
    if (code == RETURNED_STATUS) {
        return HOST_RETURNED;
    }
    return code >= DIE_STATUS ? code - DIE_STATUS : HOST_CRASHED;
}

bool host_expect_panic(void (*fn)(void *arg), void *arg, const char *text)
{
    static char log[HOST_LOG_MAX];
    int status = host_run_until_death(fn, arg, log, sizeof(log));

    if (status > 0 && strstr(log, text) != NULL) {
        return true;
    }
    printf("expected a panic about \"%s\"; status %d, console:\n%s\n", text,
           status, log);
    return false;
}

uint64_t arch_entropy(void)
{
    return 1;   /* host tests seed themselves */
}
