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
/* Sessions that wait for their master, and expectations that wait for the freeze marker, of one migration: half a kilobyte each. Helpers make
 * few; a kernel holds a few thousand expectations for all its flows together. */
#define SAMI_CHILDREN_MAX 1024u
#define SAMI_EXPECTATIONS_MAX 1024u
/* DESIGN §4: what the exporter keeps unsent towards its connector. */
#define SAMI_UNSENT_MAX (1024u * 1024u)
/* PROTOCOL §3: Messages that the exporter keeps until they are acknowledged, and how often the collector does that. */
#define SAMI_RING_MAX (8u * 1024u * 1024u)
#define SAMI_ACKNOWLEDGE_EVERY (1024u * 1024u)
/* OPERATIONS §2: one control request, one line. */
#define SAMI_CONTROL_REQUEST_MAX 65536u
/* Clients of a control socket at once: each migration may have one that is attached and one that waits, and there is room for operators
 * and a monitor. */
#define SAMI_CONTROL_CLIENTS_MAX 640u
/* Of them those that may only read: monitors, whose leaks must not keep operators out. */
#define SAMI_CONTROL_READERS_MAX 64u
/* A client that asks for nothing, or does not read what it was told, holds one of those places no longer than this. */
#define SAMI_CONTROL_IDLE_S 60
/* Announcements of VMs that a collector expects; each is one address, and a begin looks through all of them. */
#define SAMI_EXPECT_MAX 4096u
/* What one session takes of memory, before anything waits in it: in the state process, once there was a Message, a frame, a Message that is being built
 * and what the codec has (570 KiB were measured); in the listener what was read, what is being written, and TLS, when all of it is full. */
#define SAMI_SESSION_OCTETS (640u * 1024u)
#define SAMI_CONNECTION_OCTETS (384u * 1024u)
/* And over SCTP, where no kernel has them: libusrsctp's queues, of 512 chunks each way in buffers of 2 KiB, and records that wait for others. */
#define SAMI_ASSOCIATION_OCTETS (3u * 1024u * 1024u + 512u * 1024u)
/* Octets of a DNS name (RFC 1035 §2.3.4), and our fixed string for it on the wire. */
#define SAMI_NAME_MAX 253u
/* TLS sessions that a listener holds at once, and those that have not finished their handshake. */
#define SAMI_SESSIONS_MAX 256u
#define SAMI_HANDSHAKES_MAX 64u
/* Of what all peers share, none may have all: peer-sessions of the sessions, and of running migrations max-migrations, where all together may have so
 * many times as many. Sessions that were refused for it stand a moment longer, until the peer has read why; more of these are cut unsaid. */
#define SAMI_PEER_SHARE 4u
#define SAMI_PEER_REFUSED_MAX 4u
/* Answers of a session that its peer does not read, octets: beyond, nothing more is read from it. Those of its last Messages, and the list of what
 * was refused, still come on top. */
#define SAMI_ANSWERS_HIGH (1024u * 1024u)
/* Markers, epochs and the like in one Message. An honest exporter ends a Message behind a marker; each may cost the disk and the kernel something. */
#define SAMI_CONTROLS_MAX 16u
/* Jobs of one migration that are not done, and files of it that are on their way to the disk: beyond, nothing more is read from its session. Small
 * Messages need many jobs for few records, and the disk is shared by all whose READY waits for it. */
#define SAMI_JOBS_MAX 64u
#define SAMI_SYNCS_MAX 4u
/* Migrations in doubt of one signer: each has its ledger in memory until somebody decides. */
#define SAMI_IN_DOUBT_MAX 64u
/* Migrations of one signer that are done and whose entries are still looked after: until window tracking is strict everywhere, which may take five
 * minutes. With more of them the oldest has no more time. */
#define SAMI_LOOKED_AFTER_MAX 256u
/* Entries of a ledger, gone ones included, before those that are gone give their memory back; then twice as many as are left. */
#define SAMI_LEDGER_COMPACT 65536u
/* Files in journal-dir of migrations that are over: each is looked at when a session begins, and journal-max bounds octets only. */
#define SAMI_JOURNAL_FILES_MAX 8192u
/* Descriptors of a process: of each session its socket, journal and ledger, with one more while it is synced, and the control clients. */
#define SAMI_DESCRIPTORS_MAX 4096u
/* Octets of certificates in PEM: one of ours is some hundred, a chain some thousand, the CAs of a site some ten thousand. */
#define SAMI_CERTIFICATES_MAX (256u * 1024u)
/* The CAs of any system, and lists of what they have revoked. */
#define SAMI_CA_MAX (16u * 1024u * 1024u)
/* Addresses of one peer: they are tried one after the other, each for some seconds. */
#define SAMI_PEER_ADDRESSES_MAX 8u
/* A handshake that takes longer is cut, so that half-open connections cannot fill the table. */
#define SAMI_HANDSHAKE_TIMEOUT_S 10u
/* Records of a handshake with all that TLS and DTLS have in it, certificates too: with the smallest that an extension may ask for (RFC 8449: 64 octets), of
 * 16 KiB. OpenSSL bounds octets only, and a peer without a certificate may send them one by one. */
#define SAMI_TLS_HANDSHAKE_RECORDS_MAX 256u
/* What a session may have beside Messages: KeyUpdates, NewSessionTickets, records that are empty or cannot be decrypted. Each costs new keys or more, and
 * OpenSSL sets no bound. A session is at most a day old and needs none; some stacks send a ticket or two, and a KeyUpdate every 2^24 records or so. */
#define SAMI_TLS_EXTRA_MAX 32u
/* RFC 6951: addresses that sent us UDP datagrams and have no association, each 200 octets. INITs from forged addresses fill this table; the oldest
 * goes first, and loses nothing by it: all that an INIT leaves is in the cookie that its sender has. An entry that stays silent expires. */
#define SAMI_SCTP_PEERS_MAX 1024u
#define SAMI_SCTP_PEER_TTL_S 60u
/* UDP datagrams of those who have not proven who they are, while others are served: of each of 64 lanes of networks, with an association or without. A
 * handshake has some at once. */
#define SAMI_SCTP_LANE_DATAGRAMS 32u
#define SAMI_SCTP_LANE_OCTETS (64u * 1024u)
/* RFC 6083 §3.2: SCTP has to take user messages of 2^14 + 2048 + 13 octets; what AEAD ciphers make of 2^14 is shorter, and more is refused. */
#define SAMI_SCTP_USER_MESSAGE_MAX 18445u
#define SAMI_DTLS_RECORD_MAX (13u + 16384u + 8u + 16u)
/* Octets of DTLS records that wait for one with a lower number, which can only be late if the peer uses several streams: what may be under way. Each is
 * counted with what it takes beside its octets, as a peer may leave out a number and send what is as short as it likes. */
#define SAMI_DTLS_GATE_MAX (1024u * 1024u)
#define SAMI_DTLS_RECORD_COST 256u
/* What a peer may say over SCTP before it has proven who it is: a chain of certificates takes some KiB. Of it records under the key that the handshake
 * makes: OpenSSL keeps up to a hundred of those that come too early, 18 KiB each, where one Finished and an alert have a reason to. */
#define SAMI_DTLS_HANDSHAKE_MAX (128u * 1024u)
#define SAMI_DTLS_EARLY_MAX 8u
/* Tombstones and dirty tuples that the exporter keeps; beyond it is treated as an event overrun. */
#define SAMI_DIRTY_MAX (1024u * 1024u)

/* Findings and refusals that an exporter takes from a collector's answer to a check; an honest one has some dozens. */
#define SAMI_FINDINGS_MAX 2048u

/* Keys of refused records that a migration remembers, so that a re-dump does not count them again; 100 octets each. Beyond it they are. */
#define SAMI_REFUSED_MAX 65536u

/* Helpers that a kernel was asked for and has not; flows come without any where more are named. */
#define SAMI_MISSING_HELPERS_MAX 16u

/* An entry that has no more time than this in the audit may have ended by itself before it is read back: the collector does not miss it, and
 * the exporter's clean-up leaves it to end. */
#define SAMI_EXPIRING_S 10u

/* [cumulative NAME]: octets of a NAME, which every record of the set repeats; groups in a configuration, each of them a dump or two a migration;
 * and elements of a set: the kernel's dumps cost the more an element the more there are, a million takes a minute. */
#define SAMI_CUMULATIVE_NAME_MAX 32u
#define SAMI_CUMULATIVES_MAX 32u
#define SAMI_CUMULATIVE_ELEMENTS_MAX (1u << 20)
/* Elements of a blacklist that are looked at once more while the VM stands still: this many take a millisecond or two. */
#define SAMI_CUMULATIVE_FREEZE_MAX 1000u
