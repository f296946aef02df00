/* A collector that the exporter must not believe: real TLS and real keys, honest up to the point where a case misbehaves in one way. The mirror of
 * hostile.h; the exporter is the real one, asked by the real samictl.
 *
 * A Message goes through three steps, and a case may change it between any two of them: server_prepare() makes what an honest collector would
 * send, without its signature Set; server_seal() signs it; server_transmit() writes it. */
#pragma once

#include <sys/types.h>

#include "common/config.h"
#include "common/control-json.h"
#include "templates/stream.h"
#include "tests/hostile/watch.h"
#include "transport/tls-context.h"

/* What all cases share. */
typedef struct {
    const SamiConfig *config;   /* of the firewall that we pretend to be */
    SamiKey *signing_key;
    SamiKey *stranger;          /* what nobody knows */
    SamiKey *exporter_key;
    SamiTls *tls;
    int listener;
    gchar *samictl;
    const gchar *exporter_dir;  /* its configuration */
    const gchar *vm;
    gchar *output;              /* file for what `samictl migrate` prints */
    Watch watch;                /* of the exporter and its firewall */
    gboolean is_empty;          /* the VM has no flow there */
    gboolean is_blind;          /* the events of the table are too many to be looked at */
} Lab;

/* How far a migration has come. */
typedef enum {
    STAGE_ASKED,    /* samictl migrate runs, nobody has accepted its connection */
    STAGE_HELLO,    /* the hello has come */
    STAGE_BOUND,    /* answered; begin has come */
    STAGE_SNAPSHOT, /* its marker has come */
    STAGE_FOLLOW,   /* answered, and the exporter knows */
    STAGE_FREEZE,   /* samictl freeze runs, its marker has come */
    STAGE_READY,    /* answered, and samictl freeze ended with 0 */
    STAGE_SETTLE,   /* its marker has come */
    STAGE_DONE,     /* answered */
} Stage;

typedef struct Case Case;

typedef struct {
    Lab *lab;
    const Case *what;
    Stage stage;
    SSL *ssl;
    int fd;
    SamiTlsVerdict verdict;
    SamiStream *stream;
    gboolean is_bound;
    GByteArray *in, *body;
    SamiSignature fields;      /* what server_seal() writes */
    SamiKey *key;              /* with this */
    GByteArray *heard;         /* the exporter's last Message, as it came */
    SamiHello hello;
    gchar id[33];
    guint64 counter;           /* of the Message that came last */
    guint64 n_records;
    guint64 markers[6], marked[6]; /* by kind: counter of the Message that had the last one, records before it */
    guint64 n_markers, n_begun, n_epochs, n_aborts;
    gboolean has_gap;          /* Messages were lost for good: counts of records do not agree any more */
    GHashTable *flows;         /* set of SamiFlowKey: created by what came */
    pid_t migrate, freeze;
} Server;

typedef enum {
    END_ITSELF, /* the exporter ends it */
    END_ABORT,  /* it means nothing: the freeze, if one was asked for, ends as late; then `samictl abort`, answered honestly */
    END_HONEST, /* it means nothing: honest to the end from here */
    END_HELD,   /* as END_ABORT, but the abort is not answered either */
} End;

struct Case {
    const gchar *name;
    Stage stage;
    void (*run)(Server *s, const Case *self); /* NULL: it does nothing */
    gint argument;
    End end;
    gint exit;            /* of samictl migrate */
    const gchar *phase;   /* that the exporter ends in */
    const gchar *counter; /* of the exporter, that grows by `n`; NULL: none */
    const gchar *text;    /* in what samictl migrate says; NULL: anything */
    guint n;              /* 0: 1 */
    gboolean is_purging;  /* samictl migrate --purge */
    gboolean is_purged;   /* and the entries are gone; otherwise the source's table stays as it is */
    const gchar *verb;    /* of samictl, in place of migrate */
};

extern const Case quick_cases[], session_cases[], slow_cases[]; /* the last one has no name; the slow ones run by name only */

Server *server_new(Lab *lab, const Case *what);
void server_free(Server *s);
/* Honest up to there. */
void server_reach(Server *s, Stage stage);
/* Reads until *what is more than it was. */
void server_wait(Server *s, const guint64 *what, guint64 was);
/* The exporter comes again; its hello has been read. */
void server_accept(Server *s);
/* As server_reach(STAGE_BOUND) does, with another `next` counter; of a session that is resumed. */
void server_resume(Server *s, guint64 next);
/* End of the connection: close_notify, the end of the TCP stream, or a reset. */
typedef enum { CLOSE_ORDERLY, CLOSE_TCP, CLOSE_RESET } Close;
void server_close(Server *s, Close how);

void server_add(Server *s, const SamiRecord *record);
void server_prepare(Server *s, gboolean is_last);
void server_seal(Server *s);
void server_transmit(Server *s);
void server_transmit_octets(Server *s, const guint8 *octets, gsize length);
/* All three steps. */
void server_send(Server *s, gboolean is_last);
/* And a record in a Message of its own. */
void server_say(Server *s, const SamiRecord *record);
SamiRecord server_hello_reply(Server *s);
SamiRecord server_receipt(Server *s, guint8 phase);

/* A line for who runs the program. */
void lab_say(const gchar *text);
/* samictl VERB ID; its process. */
pid_t lab_run(Lab *lab, const gchar *output, const gchar *const *arguments);
/* Its exit status. */
gint lab_finish(const gchar *what, pid_t pid);
/* Of the migration, at the exporter: (transfer full) */
gchar *lab_phase(Lab *lab, const gchar *id);
/* Waits for it. */
void lab_wait_phase(Lab *lab, const gchar *id, const gchar *phase);
