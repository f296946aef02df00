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
    gchar *certificate;      /* (nullable) what is in it, and then read from here */
} SamiPeer;

/* What one peer may take up; a reload changes it. */
typedef struct {
    guint sessions;     /* of one peer at once; 0: any number */
    guint max_delay_ms; /* a Message that has begun has to end within this time, as the state process refuses one that was longer on its way; 0: any time */
} SamiNetworkLimits;

typedef struct {
    gchar *listen;           /* "[::]:4740"; collector only. [::] serves IPv4 too */
    gchar *certificate_file; /* own, PEM chain */
    gchar *certificate;      /* (nullable) what is in it, and then read from here */
    gchar *key_file;         /* own, PEM, or a URI */
    gchar *passphrase_file;  /* of key_file; NULL: it is not encrypted */
    gchar *ca_file;          /* PEM bundle, NULL for pinned certificates only */
    gchar *ca;               /* (nullable) what is in it, and then read from here */
    gchar *key_log;          /* file to which the secrets of all sessions are written, opened before privileges are dropped; NULL: none */
    GPtrArray *peers;        /* of SamiPeer */
    gboolean is_sctp;        /* DTLS over SCTP; else TLS over TCP */
    SamiSctpConfig sctp;
    guint connect_timeout_s; /* exporter: TCP connect and handshake together, default 5; more with several addresses, see connector.c */
    SamiNetworkLimits limits;
    gboolean is_sandboxed;   /* transport/sandbox.h */
} SamiNetworkConfig;

/* Both run in the forked network process until the channel to the state process closes; they return the exit status.
 * `listener` is bound before privileges are dropped. user NULL: do not change user (a lab without root).
 * They drop to `user` (with its groups, no capabilities, no_new_privs), after reading certificate and key; then, sandboxed, they open no
 * file any more, but for the connector's look-ups of names. RELOAD brings the peers of now with it (sami_daemon_send_reload()); a session with one that
 * would be refused now is cut. */
int sami_listener_open(const SamiNetworkConfig *config, GError **error);
int sami_listener_run(const SamiNetworkConfig *config, int listener, int channel, const gchar *user);
int sami_connector_run(const SamiNetworkConfig *config, int channel, const gchar *user);
