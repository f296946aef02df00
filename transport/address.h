/* Socket addresses as operators write and read them. For transport/, and for replay/ where it opens sockets without TLS. */
#pragma once

#include <sys/socket.h>

#include "common/error.h"

/* Large enough for "[v6%scope]:port". */
#define SAMI_ADDRESS_TEXT 64

/* Splits "host:port" or "[v6]:port". Both (transfer full). SAMI_ERROR_USAGE. */
gboolean sami_address_split(const gchar *text, gchar **ret_host, gchar **ret_port, GError **error);
/* "192.0.2.1:4740", "[2001:db8::1]:4740"; an IPv4-mapped address is printed as IPv4. "unknown"
 * for other families. */
void sami_address_print(const struct sockaddr *address, gchar ret_text[SAMI_ADDRESS_TEXT]);
/* The network that one sender can choose his addresses from: an IPv4 address, or the /64 of an IPv6 one. Of what sami_address_print() wrote; zeros for
 * anything else. */
#define SAMI_ADDRESS_NETWORK 8u
void sami_address_network(const gchar *text, guint8 ret[SAMI_ADDRESS_NETWORK]);
/* Of the other end of a connected socket. */
void sami_address_print_peer(int fd, gchar ret_text[SAMI_ADDRESS_TEXT]);
