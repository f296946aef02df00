/* What a reload gives to the network process, which can read no configuration itself: the peers, what one may take up, the CA bundle and our own certificate, with the certificates in
 * them, in an anonymous file whose descriptor comes with RELOAD. Private to transport/. */
#pragma once

#include "transport/network.h"

/* Reads the files that `config` names and writes all of it to a new file. SAMI_ERROR_CONFIG names a file that cannot be read. -1 on failure;
 * (transfer full). */
int sami_reload_write(const SamiNetworkConfig *config, GError **error);

/* Peers, of SamiPeer, the CA bundle ((nullable), PEM) and our own chain ((nullable), PEM), all (transfer full), and the limits. `fd` stays the caller's. SAMI_ERROR_MALFORMED. */
gboolean sami_reload_read(int fd, GPtrArray **ret_peers, SamiNetworkLimits *ret_limits, gchar **ret_ca, gchar **ret_certificate, GError **error);

/* Free function of a SamiPeer and all in it. */
void sami_peer_free(gpointer peer);
