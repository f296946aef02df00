#include "replay/pace.h"

#include <string.h>

#include "common/cursor.h"

#define FACTOR_MIN 0.001
#define FACTOR_MAX 1e6
#define WAIT_MAX_US 1e18 /* a capture may say any time */

gboolean
replay_pace_parse(const gchar *text, ReplayPace *ret, GError **error)
{
    ReplayPace pace = { .kind = REPLAY_PACE_FULL, .factor = 1 };
    gchar *rest = NULL;
    if (!text || !strcmp(text, "full")) {
        *ret = pace;
        return TRUE;
    }
    pace.kind = REPLAY_PACE_RECORDED;
    if (!strcmp(text, "recorded")) {
        *ret = pace;
        return TRUE;
    }
    pace.factor = g_ascii_strtod(text, &rest);
    gboolean is_times = !strcmp(rest, "x");
    if (!g_ascii_isdigit(*text) || (*rest && !is_times) || !(pace.factor >= FACTOR_MIN && pace.factor <= FACTOR_MAX)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "'%s' is no speed: full, recorded, a number of Messages a second (0.001 to 1000000), or that with an x, times as fast as recorded", text);
        return FALSE;
    }
    pace.kind = is_times ? REPLAY_PACE_RECORDED : REPLAY_PACE_RATE;
    *ret = pace;
    return TRUE;
}

static gint64
recorded_us(const SamiInputMessage *message)
{
    SamiReader r;
    if (message->time_ns)
        return message->time_ns / 1000;
    sami_reader_init(&r, message->octets + 4, 4);
    return (gint64) sami_reader_uint(&r, 4) * G_USEC_PER_SEC;
}

gint64
replay_pace_due(ReplayPace *pace, const SamiInputMessage *message, gint64 now_us)
{
    gint64 at_us = pace->kind == REPLAY_PACE_RECORDED ? recorded_us(message) : 0;
    if (!pace->has_begun) {
        pace->has_begun = TRUE;
        pace->first_us = now_us;
        pace->origin_us = pace->last_us = at_us;
    }
    guint64 n = pace->n++;
    pace->last_us = MAX(pace->last_us, at_us);
    switch (pace->kind) {
    case REPLAY_PACE_RECORDED: return pace->first_us + (gint64) MIN((gdouble) (pace->last_us - pace->origin_us) / pace->factor, WAIT_MAX_US);
    case REPLAY_PACE_RATE: return pace->first_us + (gint64) MIN((gdouble) n * G_USEC_PER_SEC / pace->factor, WAIT_MAX_US);
    default: return now_us;
    }
}
