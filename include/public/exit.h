/*
 * exit.h - how the machine ends: what Quire writes to QEMU's isa-debug-exit
 * device at port 0xf4. QEMU's own exit status is twice the value plus one.
 */
#pragma once

#define EXIT_PORT 0xf4
#define EXIT_CODE_SUCCESS 0x10  /* status 33: asked to shut down */
#define EXIT_CODE_FAILURE 0x11  /* status 35: cannot run, or a check failed */
#define EXIT_CODE_PANIC 0x12    /* status 37: trap, BUG or panic */
