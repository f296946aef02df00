/* Both network processes, fallen into the wrong hands: between the real state process of an exporter and the real one of a collector, it reads all
 * that they say to each other and answers for either. What it has not got is a key. */
#pragma once

#include "templates/signature.h"
#include "transport/session-pair.h"
#include "transport/session.h"

enum { EXPORTER, COLLECTOR };

typedef struct Between Between;
typedef struct Session Session;
typedef struct BetweenCase BetweenCase;

struct BetweenCase {
    const gchar *name;
    const gchar *reason; /* for which the collector refuses, or the exporter ends; NULL: none is told, and it is interrupted in the end */
    /* A Message of one side on its way to the other, which the case may change: FALSE if it is not to be passed on. NULL: all are. */
    gboolean (*on_message)(Session *s, guint from, guint8 *message, gsize *length);
    /* What is said to the two of the session, at its beginning. NULL: the truth. */
    void (*on_open)(Session *s, SamiFrameOpen opens[2]);
    /* Instead of a migration: what is sent to a state process by itself. */
    void (*alone)(Between *between);
    gboolean is_untouched; /* not even for a moment an entry at the collector's firewall */
};

/* What of an honest migration is known. */
typedef struct {
    SamiFrameOpen open;
    GPtrArray *messages[2]; /* of GBytes, by who sent them */
} Recording;

struct Session {
    Between *between;
    const BetweenCase *what;
    guint index;                /* in the order in which they were asked for */
    SamiSessionSocket *ends[2]; /* whose other end the exporter has, and the collector; NULL: over */
    guint n[2];                 /* Messages so far, by who sent them */
    GPtrArray *held;            /* of GBytes, from the exporter */
    gint64 held_until_us;
    guint n_replayed;
};

struct Between {
    int channels[2];
    pid_t processes[2];
    GPtrArray *sessions;
    Recording recording;
    SamiKey *key; /* our own, which nobody knows */
};

extern const BetweenCase between_cases[]; /* the last has no name */

/* Waits while there is no room; FALSE: the process has closed its end. */
gboolean between_send(SamiSessionSocket *to, SamiFrameType type, const guint8 *payload, gsize length);
/* What was held, in its order. */
void between_deliver(Session *s);
/* A session that nobody asked for, at the collector (request 0) or, by the number of a request, at the exporter. */
SamiSessionSocket *between_pair(Between *between, guint side, guint32 request);
