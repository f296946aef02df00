/* The network process's side of a session's SEQPACKET pair. Private to transport/. */
#pragma once

#include "transport/session.h"

/* 64 Messages of full size: what lies between the processes while one of them is busy. */
#define SAMI_SESSION_BUFFER (4 * 1024 * 1024)

/* `*ret_own` stays here; `*ret_other` goes over the channel and is then closed by the caller.
 * Both (transfer full). */
gboolean sami_session_pair(SamiSessionSocket **ret_own, int *ret_other, GError **error);
/* Sends an operator's text as ERROR, cut at a character to what the frame holds. Errors of
 * sami_session_socket_send. */
gboolean sami_session_send_text(SamiSessionSocket *session, const gchar *text, GError **error);
