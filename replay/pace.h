/* When the next recorded Message is due. Pure: clocks are parameters. */
#pragma once

#include "transport/input.h"

typedef enum {
    REPLAY_PACE_FULL,     /* at once */
    REPLAY_PACE_RECORDED, /* as far apart as they were, divided by `factor` */
    REPLAY_PACE_RATE,     /* `factor` a second */
} ReplayPaceKind;

typedef struct {
    ReplayPaceKind kind;
    gdouble factor;
    gboolean has_begun;
    gint64 first_us;  /* our clock at the first Message */
    gint64 origin_us; /* of the recording, the same */
    gint64 last_us;   /* the recording's clock never goes back */
    guint64 n;        /* Messages so far */
} ReplayPace;

/* "full", "recorded", "100" (Messages a second), "2x", "0.5x" (times as fast as recorded). NULL: full. SAMI_ERROR_USAGE. */
gboolean replay_pace_parse(const gchar *text, ReplayPace *ret, GError **error);
/* When this Message, which is the next one, is due by our monotonic clock, which says now_us. Recorded time is that of the capture, otherwise the
 * Export Time (RFC 7011 §3.1), which has whole seconds. */
gint64 replay_pace_due(ReplayPace *pace, const SamiInputMessage *message, gint64 now_us);
