/* selftest.h - `selftest=NAME`: fail on purpose, to see that it is reported. */
#pragma once

/** selftest_run() - returns if the command line asks for none. */
void selftest_run(void);
