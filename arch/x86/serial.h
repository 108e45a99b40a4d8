/*
 * serial.h - COM1, the log, and COM2, the control channel.
 *
 * COM1 is polled. COM2 receives by interrupt into a ring that only CPU 0
 * reads; a missing UART reads as all ones and is then left alone.
 */
#pragma once

#include <quire/types.h>

void serial_init(void);
/** serial_control_interrupt() - take what COM2 has received. CPU 0. */
void serial_control_interrupt(void);
