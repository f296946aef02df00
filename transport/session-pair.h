/* The network process's side of a session's SEQPACKET pair. Private to transport/. */
#pragma once

#include "transport/session.h"

/* 16 Messages of full size: what lies between the processes while one of them is busy. Not more: what waits here ages, and a
 * writer that found it full is woken when three quarters are free again (net/unix/af_unix.c, unix_writable). */
#define SAMI_SESSION_BUFFER (1024 * 1024)

/* `*ret_own` stays here; `*ret_other` goes over the channel and is then closed by the caller.
 * Both (transfer full). */
gboolean sami_session_pair(SamiSessionSocket **ret_own, int *ret_other, GError **error);
/* Sends an operator's text as ERROR or MALFORMED, cut at a character to what the frame holds.
 * Errors of sami_session_socket_send. */
gboolean sami_session_send_text(SamiSessionSocket *session, SamiFrameType type, const gchar *text,
                                GError **error);
