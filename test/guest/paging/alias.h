/* alias.h - one frame behind many entries. */
#pragma once

/** alias_run() - as `alias=` and `gfn=` say; from phase 3 on. */
void alias_run(void);
