/*
 * control.h - the control channel: one command line in, one line of JSON out.
 *
 * docs/control.md lists the commands. Commands run as tasks, so that a long
 * one is preempted like anything else. Started on CPU 0 after boot; `batch`
 * is the text of the boot module named "commands", or NULL.
 */
#pragma once

#include <quire/types.h>

#define QUIRE_VERSION "0.1"

void control_init(const char *batch, size_t batch_len);
/** control_poll() - CPU 0's run loop: take some of the bytes that have come.
 *  True: there may be more. */
bool control_poll(void);
