/* How many records a second one signer may bring, over all its sessions: a bucket that holds one second's worth. What is taken beyond is a debt, and its
 * time has to pass before anything more is read. Nothing is refused for it: a record that is refused is a connection that breaks, and one
 * that waits is not. Main loop only; time is a parameter. */
#pragma once

#include <glib.h>

typedef struct SamiRate SamiRate;

/* No limit. */
SamiRate *sami_rate_new(void);
SamiRate *sami_rate_ref(SamiRate *rate);
void sami_rate_unref(SamiRate *rate); /* NULL is fine */
/* Records a second; 0: no limit. */
void sami_rate_set(SamiRate *rate, guint64 per_second);
/* n records were taken. */
void sami_rate_take(SamiRate *rate, guint n, gint64 now_us);
/* How long nothing more may be taken; 0: go on. */
gint64 sami_rate_wait_us(const SamiRate *rate, gint64 now_us);
/* How often, and how long together, sessions waited for it. */
void sami_rate_count_wait(SamiRate *rate, gint64 waited_us);
guint64 sami_rate_n_waits(const SamiRate *rate);
guint64 sami_rate_waited_ms(const SamiRate *rate);
