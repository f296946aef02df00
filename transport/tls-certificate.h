/* What everything that handles certificates with OpenSSL shares. Private to transport/. */
#pragma once

#include <glib.h>

struct x509_st; /* OpenSSL's X509 */

/* PROTOCOL §1: a subjectAltName dNSName equals `name`, a valid DNS name. No wildcards, no common
 * name. */
gboolean sami_certificate_has_name(struct x509_st *certificate, const gchar *name);
/* OpenSSL's oldest queued error in words; empties the queue. Until the next call. */
const gchar *sami_openssl_take_reason(void);
/* A pem_password_cb that has none: OpenSSL's own would ask on the terminal. */
int sami_openssl_no_passphrase(char *buffer, int size, int is_writing, void *unused);
