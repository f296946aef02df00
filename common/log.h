/* Log lines of the daemons: g_log_structured to journald when standard error is its stream, else to standard error with
 * time, level and program. Library code never logs above debug. */
#pragma once

#include <glib.h>

/* program is a literal; debug lets debug lines through. Also silences libfixbuf's chatter in the default domain. */
void sami_log_init(const gchar *program, gboolean is_debug);

/* Lines that whoever likes can cause as often as he likes: so many of them a minute. The others are counted, and one line says "N more in a minute:
 * WHAT" once it is over. Begins as zeros. */
typedef struct {
    const gchar *what;
    guint most, n;    /* in this minute */
    gint64 minute_us; /* its begin, monotonic */
} SamiLogLimit;

/* FALSE: one too many for this minute. `what` is a literal; it and `most` are the same in all calls with this limit. */
gboolean sami_log_limit_take(SamiLogLimit *limit, guint most, const gchar *what);

/* Also for a timer and the end: says how many were too many if the minute is over, or `is_end`. */
void sami_log_limit_sum_up(SamiLogLimit *limit, gboolean is_end);
