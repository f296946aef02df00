/* The secrets of a key log, by connection. Private to transport/. */
#pragma once

#include "transport/tls-decrypt.h"

#define SAMI_TLS_RANDOM 32u     /* octets of a hello's random (RFC 8446 §4.1.2) */
#define SAMI_TLS_SECRET_MAX 48u /* octets of a traffic secret: of the suite's hash, SHA-384 at most */

typedef enum {
    SAMI_TLS_CLIENT_HANDSHAKE,
    SAMI_TLS_SERVER_HANDSHAKE,
    SAMI_TLS_CLIENT_APPLICATION,
    SAMI_TLS_SERVER_APPLICATION,
    SAMI_N_TLS_SECRETS
} SamiTlsSecretKind;

typedef struct {
    guint8 random[SAMI_TLS_RANDOM]; /* of the ClientHello; with `kind` what it is found by */
    guint8 kind;                    /* SamiTlsSecretKind */
    guint8 length;                  /* 32 or 48 */
    guint8 octets[SAMI_TLS_SECRET_MAX];
} SamiTlsSecret;

/* NULL if the key log has no such secret. Valid as the log. */
const SamiTlsSecret *sami_key_log_find(const SamiKeyLog *log, const guint8 random[SAMI_TLS_RANDOM], SamiTlsSecretKind kind);
/* As it stands in a key log: "CLIENT_HANDSHAKE_TRAFFIC_SECRET", … */
const gchar *sami_tls_secret_label(SamiTlsSecretKind kind);
