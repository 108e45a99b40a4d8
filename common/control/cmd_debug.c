/* cmd_debug.c - a look behind one machine frame. */
#include <quire/errno.h>

#include "job.h"

static const char *const use_names[NR_FRAME_USES] = {
    [FRAME_ABSENT] = "absent", [FRAME_FREE] = "free", [FRAME_BOOT] = "boot",
    [FRAME_PERCPU] = "percpu", [FRAME_HEAP] = "heap", [FRAME_TABLE] = "table",
    [FRAME_GUEST] = "guest", [FRAME_SHARED] = "shared",
};
static const char *const type_names[] = {
    [FRAME_TYPE_NONE] = "none", [FRAME_TYPE_WRITABLE] = "writable",
    [FRAME_TYPE_SHARED] = "shared",
};

static int run_debug_mfn(struct job *job, struct work *w)
{
    struct share_info info;
    const struct frame *f;
    uint64_t mfn;
    int err = job_number(job, "mfn", UINT64_MAX, 0, frame_table_end - 1,
                         &mfn);

    (void)w;
    if (err != 0) {
        return err;
    }
    if (mfn == UINT64_MAX) {
        return job_fail(job, -EINVAL, "mfn= is missing: 0 .. %lu",
                        frame_table_end - 1);
    }
    f = mfn_to_frame(MFN(mfn));
    reply_number(&job->reply, "mfn", mfn);
    reply_string(&job->reply, "use", frame_use_of(f) < NR_FRAME_USES ?
                 use_names[frame_use_of(f)] : "?");
    if (f->use != FRAME_ABSENT && frame_use_of(f) != FRAME_FREE) {
        enum frame_type type = frame_type(f);

        reply_number(&job->reply, "owner", frame_owner(f));
        reply_number(&job->reply, "references", frame_refs(f));
        reply_string(&job->reply, "type", type < ARRAY_SIZE(type_names) ?
                     type_names[type] : "?");
        reply_number(&job->reply, "type_references", frame_type_count(f));
    }
    if (share_debug_mfn(MFN(mfn), &info) == 0) {
        reply_number(&job->reply, "handle", info.handle);
        reply_number(&job->reply, "sharers", info.sharers);
    }
    return 0;
}

const struct command commands_debug[] = {
    { .name = "debug-mfn", .synopsis = "mfn=N", .keys = "mfn",
      .help = "what one machine frame is used for", .run = run_debug_mfn },
    { .name = NULL },
};
