/*
 * cmd_create.c - create: one domain, or as many alike as one asks for.
 *
 * All or none (copies.h). In name= and cmdline= `{i}` stands for the number of
 * the copy.
 */
#include <quire/errno.h>
#include <quire/print.h>
#include <quire/shadow.h>

#include "copies.h"

struct create_state {
    struct copies copies;
    bool configured;            /* config is that of the current copy */
    struct domain *building;    /* domain_create()'s cursor */
    struct domain_config config;
    char why[DOMAIN_WHY_MAX];
};

static int parse_module(struct job *job, const char *name, const char **out)
{
    const struct boot_module *m = boot_module_find(name);

    if (m == NULL) {
        return job_fail(job, -ENOENT, "no boot module is named %.40s: the "
                        "command modules lists them", name);
    }
    /* The line will be another's; the module's own name stays. */
    *out = m->name;
    return 0;
}

/* "a,b,c", taken apart in place. */
static int parse_modules(struct job *job, char *list,
                         struct domain_config *c)
{
    while (*list != '\0') {
        char *end = list;
        int err;

        while (*end != '\0' && *end != ',') {
            end++;
        }
        if (c->nr_modules == ARRAY_SIZE(c->modules)) {
            return job_fail(job, -E2BIG, "a domain has at most %zu modules",
                            ARRAY_SIZE(c->modules));
        }
        if (*end == ',') {
            *end++ = '\0';
        }
        err = parse_module(job, list, &c->modules[c->nr_modules++]);
        if (err != 0) {
            return err;
        }
        list = end;
    }
    return 0;
}

/* One "start:size" of ranges=, in bytes. */
static int parse_range(struct job *job, char *text, struct domain_config *c)
{
    struct domain_range *r = &c->ranges[c->nr_ranges];
    uint64_t start, size;
    char *colon = text;

    while (*colon != '\0' && *colon != ':') {
        colon++;
    }
    if (c->nr_ranges == MAX_RANGES) {
        return job_fail(job, -E2BIG, "a domain has at most %u ranges",
                        MAX_RANGES);
    }
    if (*colon == '\0') {
        return job_fail(job, -EINVAL, "ranges: %.40s is not START:SIZE", text);
    }
    *colon = '\0';
    if (args_number(text, NULL, &start) != 0 ||
        args_number(colon + 1, NULL, &size) != 0 || size == 0 ||
        ((start | size) & PAGE_MASK) != 0) {
        return job_fail(job, -EINVAL, "ranges: %.20s:%.20s are not whole "
                        "pages", text, colon + 1);
    }
    r->start = gpa_to_gfn(start);
    r->nr = size >> PAGE_SHIFT;
    c->nr_ranges++;
    return 0;
}

static int parse_ranges(struct job *job, char *list, struct domain_config *c)
{
    while (*list != '\0') {
        char *end = list;
        int err;

        while (*end != '\0' && *end != ',') {
            end++;
        }
        if (*end == ',') {
            *end++ = '\0';
        }
        err = parse_range(job, list, c);
        if (err != 0) {
            return err;
        }
        list = end;
    }
    return 0;
}

static int parse_memory(struct job *job, struct domain_config *c)
{
    char *ranges = (char *)args_value(&job->args, "ranges");
    uint64_t bytes, max;
    int err;

    if (ranges != NULL && args_value(&job->args, "mem") != NULL) {
        return job_fail(job, -EINVAL, "give mem= or ranges=, not both");
    }
    err = job_number(job, "max", 0, 0, UINT64_MAX, &max);
    if (err != 0) {
        return err;
    }
    if ((max & PAGE_MASK) != 0 ||
        (max == 0 && args_value(&job->args, "max") != NULL)) {
        return job_fail(job, -EINVAL, "max=%lu is not whole pages of 4 KiB, "
                        "at least one", max);
    }
    c->max_pages = max >> PAGE_SHIFT;
    if (ranges != NULL) {
        return parse_ranges(job, ranges, c);
    }
    err = job_number(job, "mem", UINT64_C(16) << 20, 0, UINT64_MAX, &bytes);
    if (err == 0 && domain_config_memory(c, bytes) != 0) {
        err = (bytes & PAGE_MASK) != 0 || bytes == 0 ?
            job_fail(job, -EINVAL, "mem=%lu is not whole pages of 4 KiB, at "
                     "least one", bytes) :
            job_fail(job, -EINVAL, "mem=%lu is more than %u bits of gfn "
                     "reach", bytes, P2M_GFN_BITS);
    }
    return err;
}

static int parse_leaves(struct job *job, struct domain_config *c)
{
    const char *leaves = args_value(&job->args, "leaves");

    if (leaves == NULL || strcmp(leaves, "xen") == 0) {
        c->leaves = LEAVES_XEN;
    } else if (strcmp(leaves, "none") == 0) {
        c->leaves = LEAVES_NONE;
    } else {
        return job_fail(job, -EINVAL, "leaves=%.20s: xen or none", leaves);
    }
    return 0;
}

static int parse_paging(struct job *job, struct domain_config *c)
{
    const char *paging = args_value(&job->args, "paging");
    uint64_t pages;
    int err = job_number(job, "shadow_pages", 0, SHADOW_PAGES_MIN,
                         SHADOW_PAGES_MAX, &pages);

    if (err != 0) {
        return err;
    }
    if (paging != NULL && strcmp(paging, "shadow") == 0) {
        c->shadow = true;
        c->shadow_pages = (unsigned)pages;
    } else if (paging != NULL && strcmp(paging, "nested") != 0) {
        return job_fail(job, -EINVAL, "paging=%.20s: nested or shadow",
                        paging);
    } else if (pages != 0) {
        return job_fail(job, -EINVAL, "shadow_pages= goes with "
                        "paging=shadow");
    }
    return 0;
}

static int parse_numbers(struct job *job, struct domain_config *c)
{
    uint64_t vcpus, group;
    int err = job_number(job, "vcpus", 1, 1, MAX_VCPUS, &vcpus);

    if (err == 0) {
        err = job_flag(job, "superpages", &c->superpages);
    }
    if (err == 0) {
        err = job_flag(job, "privileged", &c->privileged);
    }
    if (err == 0) {
        err = job_flag(job, "scan", &c->scan);
    }
    if (err == 0) {
        err = job_number(job, "group", 0, 0, UINT16_MAX, &group);
    }
    c->nr_vcpus = (unsigned)vcpus;
    c->trust_group = (uint16_t)group;
    return err;
}

static int parse(struct job *job, struct create_state *s)
{
    struct domain_config *c = &s->config;
    const char *image = args_value(&job->args, "image");
    char *modules = (char *)args_value(&job->args, "modules");
    int err = parse_numbers(job, c);

    if (err == 0) {
        err = parse_memory(job, c);
    }
    if (err == 0) {
        err = parse_leaves(job, c);
    }
    if (err == 0) {
        err = parse_paging(job, c);
    }
    if (err == 0) {
        err = oom_parse_policy(job, "oom", &c->oom);
    }
    if (err == 0 && image != NULL) {
        err = parse_module(job, image, &c->image);
    }
    if (err == 0 && modules != NULL) {
        err = parse_modules(job, modules, c);
    }
    return err != 0 ? err : copies_parse(job, &s->copies, &c->id);
}

/* Without name=: the image's, with its id behind it if that is taken. */
static int default_name(struct job *job, struct create_state *s,
                        struct work *w)
{
    struct domain_config *c = &s->config;
    int err;

    print_to(c->name, sizeof(c->name), "%s",
             c->image != NULL ? c->image : "domain");
    err = job_name_is_free(job, c->name, w);
    if (err != -ERESTART) {
        c->name_by_id = err != 0;
        job->message[0] = '\0';
        err = 0;
    }
    return err;
}

/* What differs from copy to copy. */
static int configure(struct job *job, struct create_state *s, struct work *w)
{
    const char *name = args_value(&job->args, "name");
    const char *cmdline = args_value(&job->args, "cmdline");
    uint64_t i = copies_number(&s->copies);
    int err = name == NULL ? default_name(job, s, w) :
        job_name_make(job, s->config.name, name, i, w);

    if (err == 0 &&
        job_expand(s->config.cmdline, sizeof(s->config.cmdline),
                   cmdline != NULL ? cmdline : "", i) != 0) {
        err = job_fail(job, -E2BIG, "cmdline= has at most %u bytes",
                       DOMAIN_CMDLINE_MAX - 1);
    }
    s->configured = err == 0;
    return err;
}

/* The reason, after the copy's name unless it begins with that. */
static int build_error(struct job *job, const struct create_state *s, int err)
{
    const char *name = s->config.name;
    const char *why = s->why[0] != '\0' ? s->why : errno_name(err);

    return strncmp(why, name, strlen(name)) == 0 ?
        job_fail(job, err, "%s", why) :
        job_fail(job, err, "%s: %s", name, why);
}

/* Preemptible: one copy. */
static int make_domain(struct job *job, struct domain **d, struct work *w)
{
    struct create_state *s = JOB_STATE(job, struct create_state);
    int err = 0;

    if (!s->configured) {
        err = configure(job, s, w);
        return err == 0 ? -ERESTART : err;  /* a slice of its own */
    }
    err = domain_create(&s->config, &s->building, s->why, w);
    if (err != 0) {
        return err == -ERESTART ? err : build_error(job, s, err);
    }
    *d = s->building;
    s->building = NULL;
    s->configured = false;
    return 0;
}

static int run_create(struct job *job, struct work *w)
{
    struct create_state *s = JOB_STATE(job, struct create_state);
    int err;

    if (s->copies.made == NULL) {
        err = parse(job, s);
        return err == 0 ? -ERESTART : err;  /* a slice of its own */
    }
    return copies_run(job, &s->copies, make_domain, w);
}

static void end_create(struct job *job)
{
    copies_end(&JOB_STATE(job, struct create_state)->copies);
}

const struct command commands_create[] = {
    { .name = "create",
      .synopsis = "[name=TEXT] [image=MODULE] [mem=SIZE | "
                  "ranges=START:SIZE,...] [vcpus=N] [cmdline=TEXT] "
                  "[modules=MODULE,...] [leaves=xen|none] "
                  "[paging=nested|shadow] [shadow_pages=N] [superpages=1] "
                  "[id=N] [max=SIZE] [oom=wait|kill] [privileged=1] "
                  "[scan=1] [group=N] [paused=1] [count=N] [first=N]",
      .keys = "name image mem ranges vcpus cmdline modules leaves paging "
              "shadow_pages superpages id max oom privileged scan group "
              "paused count first",
      .help = "build domains and let them run; {i} in name and cmdline is "
              "the number of the copy",
      .run = run_create, .end = end_create },
    { .name = NULL },
};
