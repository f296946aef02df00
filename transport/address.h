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
/* Of the other end of a connected socket. */
void sami_address_print_peer(int fd, gchar ret_text[SAMI_ADDRESS_TEXT]);
