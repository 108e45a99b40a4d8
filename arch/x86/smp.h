/* smp.h - bringing up the other processors. */
#pragma once

/** smp_init() - count the CPUs, at most @max; prepare each one's tables. */
void smp_init(unsigned max);
/** smp_start() - start them; each ends up in its run loop. */
void smp_start(void);
