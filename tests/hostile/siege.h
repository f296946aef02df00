/* What siege.c and siege-sctp.c share. */
#pragma once

#include "tests/hostile/hostile.h"

typedef struct {
    const Identity *identity;
    const gchar *flag; /* file: gone, it is over */
    guint n;
} Siege;

gboolean siege_is_over(const Siege *siege);

/* Each N times at once, but for datagrams: N a millisecond. */
void siege_sctp_silent(const Siege *siege);
void siege_sctp_slow(const Siege *siege);
void siege_sctp_early(const Siege *siege);
void siege_sctp_gaps(const Siege *siege);
void siege_sctp_datagrams(const Siege *siege);
