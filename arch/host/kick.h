/* kick.h - between the files of arch/host: pending interrupts. */
#pragma once

#include <stdbool.h>

/** host_is_interrupt_pending() - this CPU's guest must exit. */
bool host_is_interrupt_pending(void);
