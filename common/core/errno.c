/* errno.c - names of error numbers. */
#include <quire/errno.h>
#include <quire/types.h>

const char *errno_name(int err)
{
#define NAME(e) case e: return #e;
    switch (err < 0 ? -(unsigned)err : (unsigned)err) {
    NAME(EPERM) NAME(ENOENT) NAME(ESRCH) NAME(EINTR) NAME(EIO)
    NAME(ENXIO) NAME(E2BIG) NAME(ENOEXEC) NAME(EBADF) NAME(EAGAIN)
    NAME(ENOMEM) NAME(EACCES) NAME(EFAULT) NAME(EBUSY) NAME(EEXIST)
    NAME(EXDEV) NAME(ENODEV) NAME(EINVAL) NAME(ENFILE) NAME(ENOSPC)
    NAME(ERANGE) NAME(EDEADLK) NAME(ENOSYS) NAME(EOVERFLOW) NAME(EILSEQ)
    NAME(ERESTART) NAME(EOPNOTSUPP) NAME(EADDRINUSE) NAME(ENOTCONN)
    NAME(ETIMEDOUT)
    }
#undef NAME
    return "E?";
}
