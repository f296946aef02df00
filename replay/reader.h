/* Loose reading: any IPFIX Message of any exporter, shown as it is. Templates may change and be withdrawn (RFC 5655 §7.1), sessions and domains
 * are many, elements may be unknown, values of any length. What breaks a rule of RFC 7011 is a fault with its place; the rest of the Message is
 * read as far as Set lengths go. Nothing here believes a signature: that is strict.h.
 *
 * Streaming: what is kept is templates and learned elements, under the limits below. */
#pragma once

#include "replay/replay.h"
#include "templates/registry.h"
#include "templates/signature.h"
#include "templates/template.h"

#define REPLAY_VARIABLE 65535u        /* length of a field of variable length (RFC 7011 §7) */
#define REPLAY_FIELDS_MAX (1u << 18)  /* fields of all templates together: 8 MiB; a file that defines more has its templates refused from then on */
#define REPLAY_LEARNED_MAX 4096u      /* elements described by RFC 5610 records */
#define REPLAY_STREAMS_MAX 256u       /* SCTP streams of a source whose Sequence Numbers are followed */
#define REPLAY_SOURCES_MAX 4096u      /* pairs of Transport Session and Observation Domain at once */

typedef struct {
    SamiRegistryElement element; /* .name is NULL and .type octetArray where nobody has described it */
    guint16 length;              /* octets, or REPLAY_VARIABLE */
    guint16 next;                /* index of the next field of the same element; 0: none */
    gboolean is_later;           /* such a next one */
} ReplayField;

typedef struct {
    guint16 id;
    guint16 n_scope; /* 0: not of options */
    guint n_fields;
    guint min_length; /* octets of the shortest record; of one that has_variable not, of every */
    gboolean has_variable;
    gboolean is_ours;   /* `ours` says what it is */
    SamiTemplate ours;
    ReplayField fields[];
} ReplayTemplate;

typedef struct {
    SamiInputMessage input;
    guint64 number; /* in the input, from 1 */
    guint32 export_time, sequence, domain;
    gboolean is_signed; /* ends in a signature's Set, which says: */
    SamiSignature signature;
} ReplayMessage;

typedef struct {
    const ReplayMessage *message;
    const ReplayTemplate *tmpl;
    const guint8 *octets; /* on the wire */
    gsize length;
    gsize offset;           /* in the Message */
    const SamiRecord *ours; /* (nullable) decoded; NULL: of a foreign template */
} ReplayRecord;

/* Value number i of a record: its octets, without a length in front. */
typedef struct {
    const ReplayField *field;
    const guint8 *octets;
    gsize length;
} ReplayValue;

/* Walks the values. `at` begins as 0 and `index` as 0; FALSE after the last one. */
typedef struct {
    const ReplayRecord *record;
    guint index;
    gsize at;
} ReplayWalk;
#define REPLAY_WALK(record) { (record), 0, 0 }
gboolean replay_walk(ReplayWalk *walk, ReplayValue *ret);

/* Where and what; text names the rule. `offset` is in the input if of a file, else of the packet, and `within` in the Message (0 of a fault
 * outside of Messages). */
typedef struct {
    const ReplayMessage *message; /* (nullable): no Message */
    guint64 offset;
    gsize within;
    gboolean is_loss; /* Sequence Number: records are missing, nothing is malformed */
    const gchar *text;
} ReplayFault;

/* Each may be NULL. */
typedef struct {
    void (*message)(const ReplayMessage *message, gpointer user_data); /* before what is in it */
    void (*tmpl)(const ReplayMessage *message, const ReplayTemplate *tmpl, gboolean is_withdrawn, gpointer user_data);
    void (*record)(const ReplayRecord *record, gpointer user_data); /* the signature's record too */
    void (*fault)(const ReplayFault *fault, gpointer user_data);
    void (*end)(const ReplayMessage *message, gpointer user_data);
    void (*closed)(guint32 session, gpointer user_data);
    gboolean (*idle)(gpointer user_data); /* of a file that is followed, where it ends; FALSE: stop */
} ReplayHandlers;

typedef struct ReplayReader ReplayReader;
ReplayReader *replay_reader_new(const ReplayHandlers *handlers, gpointer user_data);
void replay_reader_free(ReplayReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayReader, replay_reader_free)
/* One Message; `input` is copied. Returns the number of faults that were reported. */
guint replay_reader_message(ReplayReader *reader, const SamiInputMessage *input);
/* Its templates are gone. */
void replay_reader_closed(ReplayReader *reader, guint32 session);
/* What the input was, once it was read. */
typedef struct {
    const gchar *form;
    SamiInputCounts counts;
} ReplayInputFacts;
/* The whole input, with progress, until its end or until *stop (nullable) is set. Returns FALSE if reading failed; *ret_n_faults counts faults,
 * losses not. ret_facts (nullable). */
gboolean replay_read(const Replay *replay, const gchar *path, const ReplayHandlers *handlers, gpointer user_data, const gboolean *stop,
                     ReplayProgress *progress, guint64 *ret_n_faults, ReplayInputFacts *ret_facts, GError **error);
/* "FILE: Message 3 at 624, octet 20: TEXT" on standard error, clear of the bar. */
void replay_say_fault(const gchar *path, ReplayProgress *progress, const ReplayFault *fault);
