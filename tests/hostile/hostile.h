/* A sender that the collector must refuse: real TLS and real keys, honest up to the point where a case misbehaves in one way.
 *
 * A Message goes through three steps, and a case may change it between any two of them: prepare() makes what an honest exporter would
 * send, without its signature Set; seal() signs it; transmit() writes it. Whatever goes wrong that is not the case's own doing ends
 * the program with status 1. */
#pragma once

#include "common/config.h"
#include "templates/stream.h"
#include "templates/template.h"
#include "tests/hostile/watch.h"
#include "transport/sctp.h"
#include "transport/tls-context.h"
#include "transport/tls-wire.h"

typedef struct {
    const SamiConfig *config;    /* of the firewall that we pretend to be */
    const SamiConfigPeer *peer;  /* the collector */
    const gchar *certificate;    /* NULL: presents none */
    const gchar *key;
    SamiKey *signing_key;        /* what the configuration has */
    SamiKey *stranger;           /* what nobody knows */
    SamiKey *peer_key;
} Identity;

typedef struct {
    const Identity *identity;
    SamiTls *tls;
    SamiTlsVerdict verdict;
    SSL *ssl;
    SamiWire *wire; /* over SCTP; NULL: TCP, and blocking */
    SamiStream *stream;
    SamiKey *key;           /* seal() signs with it */
    gboolean is_bound;
    guint32 sequence;       /* of the next Message */
    guint32 n_next;         /* records in the Message that is prepared, the signature's included */
    GByteArray *body;       /* the Message that is prepared, or sealed */
    SamiSignature fields;   /* what seal() writes */
    guint32 lease_s;        /* that begin asks for */
    GPtrArray *sent;        /* of GBytes: everything since the hello */
    GByteArray *in;
    GByteArray *heard;      /* the collector's last Message, as it came */
    GString *answers;       /* lines, see client_answer() */
    gchar *reason;          /* id of the reason in the first refusal */
    gboolean is_answered;
    gboolean is_cut;        /* nothing more can be written */
    gboolean may_accept;    /* among what it sends is something honest */
    guint64 may_expect;     /* of its expectations so many are honest */
} Client;

/* Connected, TLS finished on our side; a TLS 1.3 server speaks its verdict on our certificate only afterwards. NULL after an alert, whose
 * text is in *ret_alert. */
Client *client_new(const Identity *identity, const guint8 migration_id[16], gchar **ret_alert);
void client_free(Client *c);

void client_add(Client *c, const SamiRecord *record);
void client_prepare(Client *c);
/* Replaces the Sets of the prepared Message; n_records without the signature's. */
void client_set_body(Client *c, const guint8 *sets, gsize length, guint n_records);
void client_seal(Client *c);
void client_transmit(Client *c);
void client_transmit_octets(Client *c, const guint8 *octets, gsize length);
/* All three steps. */
void client_send(Client *c);
/* End of writing: close_notify, or only the end of the TCP stream. */
void client_close(Client *c, gboolean is_orderly);

/* What an honest exporter says first. */
void client_fill_hello(Client *c, SamiRecord *record);
void client_hello(Client *c);
void client_add_begin(Client *c, guint n_addresses);
void client_begin(Client *c);
SamiSession honest_session(void);
SamiExpectation honest_expectation(void);
/* Another one of its kind, from this port. */
SamiSession honest_session_of(guint16 port);

/* Reads until the collector has answered: "refused REASON: DETAIL", "record REASON: DETAIL", "receipt …", "alert TEXT" or "closed", a line each in
 * `answers`. Every Message of it is verified as an exporter does. */
void client_answer(Client *c);

/* Over SCTP: as the configuration says. One stack a process, of libusrsctp, whose datagrams leave by `send` if that was set before. */
void client_sctp_send_by(ssize_t (*send)(int fd, const struct msghdr *message, int flags));
/* An association that comes up once there were turns; dies if there cannot be one. (transfer full) */
SamiSctpAssoc *client_sctp_begin(const Identity *identity);
void client_sctp_turn(gboolean may_block);
/* After what has arrived, which is thrown away. */
SamiSctpState client_sctp_state(SamiSctpAssoc *assoc);
/* Of a client, for client.c: what blocks over TCP. FALSE: not before `end_us`. */
SSL *client_sctp_open(Client *c, gint64 timeout_us, GError **error);
gboolean client_sctp_wait(Client *c, gint64 end_us);
gboolean client_sctp_wait_for_room(Client *c, gint64 end_us);
void client_sctp_close(Client *c);
/* One turn; what the collector says is thrown away. TRUE: it has ended the association. */
gboolean client_sctp_is_over(Client *c);

/* One way to misbehave. `run` is called when the client has reached `stage`; it gives the client whose answer counts. */
typedef enum { STAGE_CONNECTED, STAGE_GREETED, STAGE_BEGUN } Stage;

typedef struct Case Case;
struct Case {
    const gchar *name;
    Stage stage;
    Client *(*run)(Client *c, const Case *self);
    const gchar *reason; /* that the collector has to give */
    gint argument;
    void (*change)(SamiSession *session); /* of a record case */
    void (*change_expected)(SamiExpectation *expectation);
};

extern const Case message_cases[], template_cases[], record_cases[]; /* the last one has no name */
/* Expectations of honest masters, in one migration: hostile CONFIG TO aimed. Reason NULL: it may be. */
extern const Case aimed_cases[];
