/*
 * errno.h - error numbers, as in Xen's public ABI (which are Linux's).
 *
 * Functions return 0 or one of these, negated. -ERESTART comes only from
 * functions documented as Preemptible: nothing is lost, call again.
 */
#pragma once

#define EPERM 1
#define ENOENT 2
#define ESRCH 3
#define EINTR 4
#define EIO 5
#define ENXIO 6
#define E2BIG 7
#define ENOEXEC 8
#define EBADF 9
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define EXDEV 18
#define ENODEV 19
#define EINVAL 22
#define ENFILE 23
#define ENOSPC 28
#define ERANGE 34
#define EDEADLK 35
#define ENOSYS 38
#define ETIME 62
#define ENODATA 61
#define ETIME 62
#define EOVERFLOW 75
#define EILSEQ 84
#define ERESTART 85
#define EOPNOTSUPP 95
#define EADDRINUSE 98
#define ENOTCONN 107
#define ETIMEDOUT 110

/** errno_name() - "ENOMEM" for 12 or -12; "E?" for a number not listed. */
const char *errno_name(int err);
