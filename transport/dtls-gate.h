/* The order in which DTLS records are given to OpenSSL (RFC 6083 §3.3, §4.1).
 *
 * OpenSSL drops records that are 64 numbers behind the highest one (RFC 6347 §4.1.2.6) and cannot be told not to. On SCTP, where streams overtake
 * one another and nothing is lost, that would lose Messages. So a record waits here until it is within that window of the lowest number that is
 * still missing, and an alert, which may end the session, until nothing before it is missing. Record numbers are in clear and under SCTP-AUTH.
 * Records of one ordered stream never wait.
 * Pure: no I/O, no time. */
#pragma once

#include "common/error.h"

#define SAMI_DTLS_HEADER 13u
#define SAMI_DTLS_WINDOW 64u

typedef enum { SAMI_DTLS_CCS = 20, SAMI_DTLS_ALERT = 21, SAMI_DTLS_HANDSHAKE = 22, SAMI_DTLS_DATA = 23 } SamiDtlsType;

typedef struct SamiDtlsGate SamiDtlsGate;
SamiDtlsGate *sami_dtls_gate_new(void);
void sami_dtls_gate_free(SamiDtlsGate *gate);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiDtlsGate, sami_dtls_gate_free)
/* One user message. SAMI_ERROR_MALFORMED: it is not exactly one record of DTLS, longer than any that is allowed, of a third epoch (there is no
 * renegotiation), of a number that was there before, or too much waits. */
gboolean sami_dtls_gate_put(SamiDtlsGate *gate, const guint8 *message, gsize n, GError **error);
/* The next record that may go on, NULL if none. (transfer full) */
GBytes *sami_dtls_gate_take(SamiDtlsGate *gate);
/* Most records that ever waited at once. */
guint sami_dtls_gate_most(const SamiDtlsGate *gate);
