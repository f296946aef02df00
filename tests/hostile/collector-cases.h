/* Rows of the tables of cases, and what more than one table has. */
#pragma once

#include "tests/hostile/collector.h"

enum { REPLY_NONCE, REPLY_KEY, REPLY_VERSION, REPLY_NO_COUNTER, REPLY_COUNTER, REPLY_HUGE_COUNTER, REPLY_NO_LEASE, REPLY_NO_MESSAGE,
       REPLY_SHORT_MESSAGE, REPLY_HUGE_LIMITS, REPLY_NO_ROOM };

/* A hello-reply that is wrong, or odd. */
void run_reply(Server *s, const Case *self);

#define ENDS(name, stage, run, argument, exit, phase, counter, text) \
    { name, STAGE_##stage, run, argument, END_ITSELF, exit, phase, counter, text, 0, FALSE, FALSE }
#define HONEST(name, stage, run, argument) { name, STAGE_##stage, run, argument, END_HONEST, 0, "DONE", NULL, NULL, 0, FALSE, FALSE }
