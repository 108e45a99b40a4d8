/*
 * log.h - the log on the console, one line at a time.
 *
 * A message at a level above the current one costs one comparison. Lines are
 * written whole, under the console lock, with the level's letter in front:
 * "(E) ", "(W) ", "(I) ", "(D) ". Guests' console lines come out as
 * "(d12) text". Errors are logged where they originate.
 */
#pragma once

#include <quire/types.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

extern _Atomic int log_level_now;

void log_print(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define LOG_AT(level, ...) \
    do { \
        if ((int)(level) <= \
            atomic_load_explicit(&log_level_now, memory_order_relaxed)) { \
            log_print((level), __VA_ARGS__); \
        } \
    } while (0)

#define log_error(...) LOG_AT(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) LOG_AT(LOG_WARN, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_debug(...) LOG_AT(LOG_DEBUG, __VA_ARGS__)

/** log_guest_line() - one line of a guest's console, unprintables escaped. */
void log_guest_line(domid_t d, const char *text, size_t len);
/** log_escape() - \xHH for what cannot be printed; LOG_ESCAPE bytes. */
#define LOG_ESCAPE 4u
unsigned log_escape(char *out, unsigned char c);
/** log_raw() - bytes straight to the console; takes no lock: panics, traps. */
void log_raw(const char *text, size_t len);
