/* Peer files over ssh: ssh has authenticated the host before, so its host key is what is trusted, and nobody is on first use. */
#pragma once

#include "ctl/ctl.h"

typedef struct {
    gchar *login;     /* [USER@]HOST, as ssh takes it */
    gchar *host;      /* lower case */
    gchar *port;      /* (nullable) */
} CtlSshUrl;

#define CTL_SSH_SCHEME "ssh://"
/* "ssh://[USER@]HOST[:PORT]". SAMI_ERROR_USAGE. */
gboolean ctl_ssh_url_init(CtlSshUrl *url, const gchar *text, GError **error);
void ctl_ssh_url_clear(CtlSshUrl *url);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CtlSshUrl, ctl_ssh_url_clear)

/* Runs samictl with these words there, with `input` (nullable) on its standard input; never with a host key that is not known already. What it says on
 * standard error is shown, made harmless. *ret_code is its exit status there. SAMI_ERROR_FAILED where ssh itself failed, with what to do.
 * (transfer full): what it said on standard output, at most 128 KiB. */
gchar *ctl_ssh_run(const CtlSshUrl *url, const gchar *const *words, const gchar *input, gint *ret_code, GError **error);

/* Runs this, with `input` (nullable) as its standard input; what it says goes to `out` and `err`, what is in `err` also to standard error, made
 * harmless. SAMI_ERROR_MALFORMED where both together are longer than `max` octets: it is ended then. */
gboolean ctl_ssh_collect(gchar *const *argv, const gchar *input, gsize max, GString *out, GString *err, gint *ret_code, GError **error);
