/* A listener, fw2.example, and a connector, fw1.example, against each other; the fixture of the programs that test TLS. */
#pragma once

#include "tests/unit/harness.h"
#include "tests/unit/transport-lab.h"

/* transport-cases.c: what is the same over every transport. */
extern const SamiTest transport_cases[];
extern const guint n_transport_cases;

extern LabProcess listener, connector;
/* The ends of the session that a test is about; pair_stop() frees them. */
extern SamiSessionSocket *at_server, *at_client;

/* The laboratory with all its certificates. */
int pair_set_up(void);
int pair_tear_down(void);
/* Stems of identity and CA, and peers as for lab_listen() and lab_connect(). */
void pair_start(const gchar *server, const gchar *server_ca, const gchar *server_peers, const gchar *client, const gchar *client_ca,
                const gchar *client_peers);
/* Each with the other's certificate pinned. */
void pair_start_pinned(void);
/* Both processes end by themselves. */
void pair_stop(void);
/* Both ends of one session, both OPENs read. */
gboolean pair_meet(SamiFrameOpen *ret_server, SamiFrameOpen *ret_client);
typedef struct {
    SamiSessionSocket *socket;
    guint n_sent, n_received, n_wanted;
    gboolean has_closed, is_closed, is_wrong;
    guint8 *message; /* the next one to send */
    gsize length;
} PairSide;
/* As much as the socket takes, and CLOSE at the end; up to n_max frames of what it has. */
void pair_send_some(PairSide *side);
void pair_receive_some(PairSide *side, guint n_max);
/* So many Messages each way, and the end of both. */
void pair_exchange(guint n_from_client, guint n_from_server);
void pair_expect_end(SamiSessionSocket *session);
