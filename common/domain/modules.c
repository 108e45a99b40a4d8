/*
 * modules.c - the boot modules, by name and by number: images, what guests
 * get as their modules, and the command list. Registered by arch before any
 * CPU but the first runs; constant afterwards.
 */
#include <quire/domain.h>
#include <quire/log.h>
#include <quire/string.h>

#define MAX_MODULES 64

static struct boot_module modules[MAX_MODULES];
static unsigned nr_modules;

void boot_module_register(const struct boot_module *m)
{
    if (nr_modules == MAX_MODULES) {
        log_warn("boot module %s ignored: more than %u", m->name,
                 MAX_MODULES);
        return;
    }
    modules[nr_modules++] = *m;
}

const struct boot_module *boot_module_find(const char *name)
{
    for (unsigned i = 0; i < nr_modules; i++) {
        if (strcmp(modules[i].name, name) == 0) {
            return &modules[i];
        }
    }
    return NULL;
}

const struct boot_module *boot_module_at(unsigned i)
{
    return i < nr_modules ? &modules[i] : NULL;
}
