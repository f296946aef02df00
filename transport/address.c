#include "transport/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

gboolean
sami_address_split(const gchar *text, gchar **ret_host, gchar **ret_port, GError **error)
{
    const gchar *colon = strrchr(text, ':'), *host = text, *host_end = colon;
    if (colon && *text == '[') {
        host = text + 1;
        host_end = colon > host && colon[-1] == ']' ? colon - 1 : NULL;
    } else if (colon && memchr(text, ':', (gsize) (colon - text))) {
        host_end = NULL; /* a bare IPv6 address: its last group could be the port or not */
    }
    guint64 port;
    if (!host_end || host_end == host ||
        !g_ascii_string_to_unsigned(colon + 1, 10, 0, G_MAXUINT16, &port, NULL)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "'%s' is not host:port, IPv4:port or [IPv6]:port", text);
        return FALSE;
    }
    *ret_host = g_strndup(host, (gsize) (host_end - host));
    *ret_port = g_strdup(colon + 1);
    return TRUE;
}

void
sami_address_print(const struct sockaddr *address, gchar ret_text[SAMI_ADDRESS_TEXT])
{
    gchar host[INET6_ADDRSTRLEN];
    g_strlcpy(ret_text, "unknown", SAMI_ADDRESS_TEXT);
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        if (inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host)))
            g_snprintf(ret_text, SAMI_ADDRESS_TEXT, "%s:%u", host, ntohs(v4.sin_port));
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        gboolean is_mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
        if (inet_ntop(is_mapped ? AF_INET : AF_INET6, v6.sin6_addr.s6_addr + (is_mapped ? 12 : 0),
                      host, sizeof(host)))
            g_snprintf(ret_text, SAMI_ADDRESS_TEXT, is_mapped ? "%s:%u" : "[%s]:%u", host,
                       ntohs(v6.sin6_port));
    }
}

void
sami_address_print_peer(int fd, gchar ret_text[SAMI_ADDRESS_TEXT])
{
    struct sockaddr_storage address = { 0 };
    socklen_t length = sizeof(address);
    g_strlcpy(ret_text, "unknown", SAMI_ADDRESS_TEXT);
    if (getpeername(fd, (struct sockaddr *) &address, &length) == 0)
        sami_address_print((struct sockaddr *) &address, ret_text);
}

void
sami_address_network(const gchar *text, guint8 ret[SAMI_ADDRESS_NETWORK])
{
    guint8 octets[16] = { 0 };
    gchar host[SAMI_ADDRESS_TEXT];
    const gchar *colon = strrchr(text, ':');
    gboolean is_v6 = *text == '[';
    memset(ret, 0, SAMI_ADDRESS_NETWORK);
    if (!colon)
        return;
    g_strlcpy(host, text + is_v6, MIN((gsize) (colon - text) + 1 - 2 * is_v6, sizeof(host)));
    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, host, octets) == 1)
        memcpy(ret, octets, SAMI_ADDRESS_NETWORK);
}
