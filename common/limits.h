/* Every size, count and rate that a peer controls, with the reason for its bound. */
#pragma once

/* RFC 7011 §3.1: Length is 16 bits. On TCP and in files; DTLS/SCTP allows 2^14 (RFC 6083 §4.1). */
#define SAMI_MESSAGE_MAX 65535u
#define SAMI_MESSAGE_MAX_SCTP 16384u
#define SAMI_MESSAGE_HEADER 16u
/* PROTOCOL §2: Set header 4 + record 140. */
#define SAMI_SIGNATURE_SET 144u

/* PROTOCOL §4: what one session may define. 60 is also the most that tshark decodes by default. */
#define SAMI_TEMPLATE_FIELDS_MAX 60u
#define SAMI_TEMPLATES_MAX 128u
#define SAMI_TEMPLATE_FIRST 256u
#define SAMI_TEMPLATE_SIGNATURE 300u

/* Addresses and prefixes that name one VM; a begin that announces more is refused. */
#define SAMI_VM_ADDRESSES_MAX 64u
/* PROTOCOL §4: refusal records a rule, then only counts. */
#define SAMI_REFUSALS_PER_RULE 1000u
/* DESIGN §4: what the exporter keeps unsent towards its connector. */
#define SAMI_UNSENT_MAX (1024u * 1024u)
/* OPERATIONS §2: one control request, one line. */
#define SAMI_CONTROL_REQUEST_MAX 65536u
/* Clients of a control socket at once; operators, adapters and a monitor fit many times. */
#define SAMI_CONTROL_CLIENTS_MAX 64u
/* Octets of a DNS name (RFC 1035 §2.3.4), and our fixed string for it on the wire. */
#define SAMI_NAME_MAX 253u
/* TLS sessions that a listener holds at once, and those that have not finished their handshake. */
#define SAMI_SESSIONS_MAX 256u
#define SAMI_HANDSHAKES_MAX 64u
/* A handshake that takes longer is cut, so that half-open connections cannot fill the table. */
#define SAMI_HANDSHAKE_TIMEOUT_S 10u
/* Tombstones and dirty tuples that the exporter keeps; beyond it is treated as an event overrun. */
#define SAMI_DIRTY_MAX (1024u * 1024u)
