/* Log lines of the daemons: g_log_structured to journald when standard error is its stream, else to standard error with
 * time, level and program. Library code never logs above debug. */
#pragma once

#include <glib.h>

/* program is a literal; debug lets debug lines through. Also silences libfixbuf's chatter in the default domain. */
void sami_log_init(const gchar *program, gboolean is_debug);
