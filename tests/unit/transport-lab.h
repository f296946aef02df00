/* A listener and a connector as processes of their own, with certificates in a temporary
 * directory. */
#pragma once

#include <sys/types.h>

#include "transport/network.h"
#include "transport/session.h"

/* What a test waits for at most; far beyond what anything here takes. */
#define LAB_TIMEOUT_MS 15000

typedef struct {
    pid_t pid;
    int channel;
    guint port; /* of a listener */
    SamiNetworkConfig config;
} LabProcess;

/* DTLS over SCTP instead of TLS over TCP, for all processes from now on; and what their datagrams go through (SamiSctpConfig). */
extern gboolean lab_is_sctp;
extern SamiSctpConfig lab_sctp;
/* What listeners and connectors let one peer take up. */
extern SamiNetworkLimits lab_limits;
/* What connectors get. Dozens of handshakes at once take seconds on a machine that does other work, too: as long as a test waits at most. Where nobody
 * will answer, a test says LAB_NO_ANSWER_S, and LAB_ANSWER_S again. */
#define LAB_ANSWER_S (LAB_TIMEOUT_MS / 1000)
#define LAB_NO_ANSWER_S 2
extern guint lab_connect_timeout_s;
/* Where listeners are: "127.0.0.1" or "[::1]". */
extern const gchar *lab_host;
/* Octets of the largest Message there, or of a smaller one that a test asks for. */
extern gsize lab_message_limit;
gsize lab_message_max(void);

gboolean lab_open(void);
void lab_close(void);
/* A file in the laboratory's directory. (transfer full) */
gchar *lab_path(const gchar *stem, const gchar *suffix);

/* Makes STEM.crt and STEM.key for `name`, signed by the CA of stem `ca` (NULL: by itself), valid
 * from and to now plus days. A `name` of NULL makes a CA. */
void lab_issue(const gchar *stem, const gchar *name, const gchar *ca, int from_days, int to_days);

/* peers is "name=pin name= …": with the stem of the pinned certificate, or vouched for by the
 * CA. All addresses are those of `address`. */
void lab_listen(LabProcess *lab, const gchar *stem, const gchar *ca, const gchar *peers,
                const gchar *user);
void lab_connect(LabProcess *lab, const gchar *stem, const gchar *ca, const gchar *peers,
                 const gchar *address);
/* Closes the channel and waits. TRUE if it ended by itself with status 0. */
gboolean lab_stop(LabProcess *lab);
void lab_kill(LabProcess *lab);

/* The next SESSION of the channel, NULL if none comes in time. */
SamiSessionSocket *lab_session(LabProcess *lab, int timeout_ms);
SamiSessionSocket *lab_request(LabProcess *lab, const gchar *name);
/* Waits for a frame. AGAIN: none came in time. */
SamiReceive lab_receive(SamiSessionSocket *session, SamiFrameType *ret_type, guint8 **ret_payload,
                        gsize *ret_length);
/* Waits for ERROR, passing over other frames; its text, or NULL if the session ended otherwise.
 * (transfer full) */
gchar *lab_error(SamiSessionSocket *session);
/* Waits for OPEN. */
gboolean lab_opened(SamiSessionSocket *session, SamiFrameOpen *ret_open);

/* Message number i: 16 to lab_message_max() octets, all of them determined by i. `message` has
 * SAMI_MESSAGE_MAX octets. */
gsize lab_message(guint i, guint8 *message);
gboolean lab_is_message(guint i, const guint8 *message, gsize length);
