/* The network process of either daemon: TLS 1.3 over TCP or DTLS 1.2 over SCTP, with mutual certificates, DNS-ID checked both ways.
 *
 * PROTOCOL §1: the exporter is the TLS client. No resumption, tickets, 0-RTT or renegotiation. The peers are an explicit
 * list; a peer's certificate is either pinned (its own self-signed certificate is in its peer file) or issued
 * by a CA of `tls-ca`. The name must be a subjectAltName dNSName of the certificate, equal to the peer's
 * configured name: no CN, no wildcard, no reverse DNS. */
#pragma once

#include "common/error.h"
#include "transport/sctp.h"

typedef struct {
    gchar *name;             /* DNS name, lower case */
    GStrv addresses;         /* each "192.0.2.1:4740", "[2001:db8::1]:4740" or "host:port", in order of preference; NULL for a peer that only
                                sends to us */
    gchar *certificate_file; /* PEM, one or several: each is pinned; NULL if the CA vouches for it */
} SamiPeer;

typedef struct {
    gchar *listen;           /* "[::]:4740"; collector only. [::] serves IPv4 too */
    gchar *certificate_file; /* own, PEM chain */
    gchar *key_file;         /* own, PEM, or a URI */
    gchar *passphrase_file;  /* of key_file; NULL: it is not encrypted */
    gchar *ca_file;          /* PEM bundle, NULL for pinned certificates only */
    gchar *key_log;          /* file to which the secrets of all sessions are written, opened before privileges are dropped; NULL: none */
    GPtrArray *peers;        /* of SamiPeer */
    gboolean is_sctp;        /* DTLS over SCTP; else TLS over TCP */
    SamiSctpConfig sctp;
    guint connect_timeout_s; /* exporter: TCP connect and handshake together, default 5; more with several addresses, see connector.c */
    /* For a reload, called in the network process without privileges: the peers as they are configured now, of SamiPeer (transfer full).
     * NULL: a reload reads the files of the same peers again. */
    GPtrArray *(*load_peers)(gpointer user_data, GError **error);
    gpointer user_data;
} SamiNetworkConfig;

/* Both run in the forked network process until the channel to the state process closes; they return the exit status.
 * `listener` is bound before privileges are dropped. user NULL: do not change user (a lab without root).
 * They drop to `user` (with its groups, no capabilities, no_new_privs), after reading certificate and key. */
int sami_listener_open(const SamiNetworkConfig *config, GError **error);
int sami_listener_run(const SamiNetworkConfig *config, int listener, int channel, const gchar *user);
int sami_connector_run(const SamiNetworkConfig *config, int channel, const gchar *user);
