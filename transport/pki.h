/* Certificates and keys that `samictl setup`, `keygen` and `peer add` make and read (OPERATIONS §1). */
#pragma once

#include "common/error.h"

/* A TLS identity: EC P-256 key and self-signed certificate, subjectAltName dNSName = name, ten years, digitalSignature,
 * both serverAuth and clientAuth. Files are created with O_EXCL (key 0600, certificate 0644); an existing pair that matches
 * is left as it is; an existing half is an error. Of a key behind a URI, which is there already, only the
 * certificate is made. passphrase_file (nullable), here and below: the key is, or will be, encrypted with it. */
gboolean sami_pki_make_identity(const gchar *name, const gchar *certificate_file, const gchar *key_file, const gchar *passphrase_file, GError **error);
/* Is the certificate of this key, and for this name? And does the key sign? */
gboolean sami_pki_check_identity(const gchar *name, const gchar *certificate_file, const gchar *key_file, const gchar *passphrase_file, GError **error);
/* Of a certificate that was read already, from `place`, which may say something else by now. */
gboolean sami_pki_check_certificate(const gchar *name, const gchar *pem, const gchar *place, const gchar *key_file, const gchar *passphrase_file, GError **error);
/* A certificate request (PKCS#10) with the name as dNSName and the usages that our own certificates have, and its key unless that is there. Left as it is
 * where it is there. */
gboolean sami_pki_make_request(const gchar *name, const gchar *request_file, const gchar *key_file, const gchar *passphrase_file, GError **error);
/* An Ed25519 signing key: PKCS#8 PEM 0600, and its public key (SPKI PEM) 0644. Never overwrites. */
gboolean sami_pki_make_signing_key(const gchar *key_file, const gchar *public_file, const gchar *passphrase_file, GError **error);
/* Does the public file have the key's own public half, and nothing else? */
gboolean sami_pki_check_signing_key(const gchar *key_file, const gchar *public_file, const gchar *passphrase_file, GError **error);
/* The SPKI PEM of a private key, which may be behind a URI. (transfer full) */
gchar *sami_pki_public_key(const gchar *place, const gchar *passphrase_file, GError **error);

/* The blocks of a PEM text, each as a text of its own: 1 to max of `type`, none of another. (transfer full) */
GStrv sami_pki_split(const gchar *pem, const gchar *type, guint max, GError **error);
#define SAMI_PEM_CERTIFICATE "CERTIFICATE"
#define SAMI_PEM_PUBLIC_KEY "PUBLIC KEY"
/* The fingerprint of each block. (transfer full) */
GStrv sami_pki_fingerprints(const gchar *pem, const gchar *type, guint max, GError **error);
gboolean sami_pki_is_self_signed(const gchar *pem);
/* "SHA256:…" in base64 without padding over the DER of a certificate or SPKI in a PEM text. (transfer full) */
gchar *sami_pki_fingerprint(const gchar *pem, gsize length, GError **error);
/* When the certificate in this PEM ends to be valid, in seconds since 1970. */
gboolean sami_pki_certificate_expiry(const gchar *pem, gsize length, gint64 *ret_expiry_s, GError **error);
/* Does the certificate in this PEM carry `name` as a dNSName (exact, lower case)? */
gboolean sami_pki_certificate_names(const gchar *pem, gsize length, const gchar *name, GError **error);

/* While a key or a certificate is being replaced, a peer file has the old one and the new one. */
#define SAMI_PEER_FILE_BLOCKS_MAX 2u

/* A public peer file: GLib key file [sami-peer] version=1 name= address= pen= and the PEM texts certificate= and
 * signing-key= (newlines escaped as \n by the key file), each of one or two blocks. No certificate: a CA vouches for the name. */
typedef struct {
    gchar *name;
    gchar *address; /* (nullable) one, or several with commas in order of preference */
    gchar *certificate_pem; /* (nullable) */
    gchar *signing_key_pem;
} SamiPeerFile;
SamiPeerFile *sami_peer_file_parse(const gchar *text, gsize length, GError **error);
gchar *sami_peer_file_print(const SamiPeerFile *peer);
void sami_peer_file_free(SamiPeerFile *peer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiPeerFile, sami_peer_file_free)
