#include "firewall/nft.h"

#include <linux/netfilter.h>

static const struct {
    const gchar *name;
    guint16 family;
} families[] = {
    { "inet", NFPROTO_INET },     { "ip", NFPROTO_IPV4 },       { "ip6", NFPROTO_IPV6 },
    { "bridge", NFPROTO_BRIDGE }, { "netdev", NFPROTO_NETDEV },
};

gboolean
sami_nft_family(const gchar *name, guint16 *ret_family)
{
    for (gsize i = 0; i < G_N_ELEMENTS(families); i++)
        if (g_str_equal(families[i].name, name)) {
            *ret_family = families[i].family;
            return TRUE;
        }
    return FALSE;
}
