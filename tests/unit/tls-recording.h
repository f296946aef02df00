/* A TLS connection between two OpenSSLs in this process, written down as a capture and a key log would. */
#pragma once

#include <glib.h>
#include <openssl/ssl.h>

enum { CLIENT, SERVER };

typedef struct {
    SSL_CTX *contexts[2]; /* to be set up further before recording_open() */
    SSL *ssl[2];
    GString *key_log;       /* what the client's callback got */
    GByteArray *wire[2];    /* what each has sent */
    GArray *order;          /* of Piece */
    GByteArray *said[2];    /* application data that each has sent */
    GByteArray *heard[2];   /* that the other one has read */
} Recording;

/* `n` octets that `sender` sent, in the order of time. */
typedef struct {
    guint8 sender;
    gsize n;
} Piece;

/* Certificates for both, made in `directory` once. */
void recording_init(Recording *recording, const gchar *directory);
void recording_clear(Recording *recording);
/* The handshake. FALSE if it failed. */
gboolean recording_open(Recording *recording);
/* `sender` says n octets, different ones each time. */
void recording_say(Recording *recording, guint sender, gsize n);
void recording_say_octets(Recording *recording, guint sender, const guint8 *octets, gsize n);
/* `sender` changes its key, and has the other one change its own. */
void recording_update(Recording *recording, guint sender);
/* close_notify of both. */
void recording_close(Recording *recording);
