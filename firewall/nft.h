/* Names of nftables, for the files that ask it through libnftnl. Internal to firewall/. */
#pragma once

#include <glib.h>

/* "inet" -> NFPROTO_INET; FALSE: nftables has no such family. */
gboolean sami_nft_family(const gchar *name, guint16 *ret_family);
