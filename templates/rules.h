/* Message rules: what stands behind the reason `malformed`, and what sami-replay finds in recorded Messages of anybody.
 *
 * One table for all who read Messages: network process, signature, shim, templates and codec, the sender's end of the same, and the loose
 * reader of sami-replay. A broken rule is a GError, or a text, that begins with the rule's id: refusals to the peer, log, status and
 * counters have it from there. sami-collector(8) prints the table; tests/data/rules has an example of each. */
#pragma once

#include "common/error.h"

/* Where a rule holds: in what comes over a network and is signed, in recorded Messages whose exporter is anybody, or in both. */
#define SAMI_RULE_IN_STREAM 1u
#define SAMI_RULE_IN_FILE 2u
#define SAMI_RULE_IN_BOTH 3u

/* X(symbol, where, id, source, text). A source is a section of an RFC, or of sami-protocol(7), in ASCII: peers and operators get it quoted. Ids are
 * stable: operators and scripts match them. */
#define SAMI_RULES(X) \
    X(MESSAGE_VERSION, BOTH, "message-version", "RFC 7011 section 3.1", "a Message is of version 10") \
    X(MESSAGE_LENGTH, BOTH, "message-length", "RFC 7011 section 3.1", "the header's Length is that of the Message, and within the limit of the transport") \
    X(MESSAGE_CUT, BOTH, "message-cut", "RFC 7011 section 3.1", "nothing ends within a Message") \
    X(DOMAIN, STREAM, "domain", "sami-protocol(7), DESCRIPTION", "the Observation Domain is that of the direction: 1 or 2") \
    X(SEQUENCE_NUMBER, BOTH, "sequence-number", "RFC 7011 section 3.1", "the Sequence Number is that of the Data Records before it: nothing is lost, nothing comes twice") \
    X(SET_LENGTH, BOTH, "set-length", "RFC 7011 section 3.3.2", "a Set lies within its Message, and Sets fill it") \
    X(SET_RESERVED, BOTH, "set-reserved", "RFC 7011 section 3.3.2", "Set ids 0, 1 and 4 to 255 are not used") \
    X(TEMPLATE_SET_EMPTY, BOTH, "template-set-empty", "RFC 7011 section 3.3.1", "a Template Set has a template") \
    X(TEMPLATE_CUT, BOTH, "template-cut", "RFC 7011 section 3.4.1", "a template lies within its Set") \
    X(TEMPLATE_ID, BOTH, "template-id", "RFC 7011 section 3.4.1", "template ids begin at 256") \
    X(TEMPLATE_LIMIT, STREAM, "template-limit", "sami-protocol(7), LIMITS", "no template id is beyond the last one") \
    X(TEMPLATE_FIELDS, BOTH, "template-fields", "sami-protocol(7), LIMITS", "a template has no more fields than the limit, and all of a file together no more than sami-replay keeps") \
    X(TEMPLATE_WITHDRAWAL, STREAM, "template-withdrawal", "sami-protocol(7), MESSAGES", "no template is withdrawn") \
    X(WITHDRAWAL_UNKNOWN, FILE, "withdrawal-unknown", "RFC 7011 section 8.1", "only a template that there is can be withdrawn, and all of a kind in a Set of that kind") \
    X(TEMPLATE_REDEFINED, STREAM, "template-redefined", "RFC 7011 section 8.1", "a template that is sent again is the same") \
    X(OPTIONS_SCOPE, BOTH, "options-scope", "RFC 7011 section 3.4.2.2", "an Options Template has a scope field, and no more of them than fields") \
    X(TEMPLATE_ELEMENT, STREAM, "template-unknown-element", "sami-protocol(7), INFORMATION ELEMENTS", "a field's element is in the table of elements") \
    X(TEMPLATE_LENGTH, STREAM, "template-field-length", "sami-protocol(7), INFORMATION ELEMENTS", "a field has the one length of its element") \
    X(TEMPLATE_TWICE, STREAM, "template-duplicate", "sami-protocol(7), FIELDS OF THE DATA RECORDS", "a field is not there twice") \
    X(TEMPLATE_PLACE, STREAM, "template-field-place", "sami-protocol(7), FIELDS OF THE DATA RECORDS", "a field belongs to the kind of record, and is in its place") \
    X(TEMPLATE_INCOMPLETE, STREAM, "template-incomplete", "sami-protocol(7), FIELDS OF THE DATA RECORDS", "a template has all fields of its kind, or of each of its groups") \
    X(TEMPLATE_GROUPS, STREAM, "template-groups", "sami-protocol(7), FIELDS OF THE DATA RECORDS", "groups that exclude each other are not in one template, and those that every record needs are") \
    X(SIGNATURE_TEMPLATE, STREAM, "signature-template-differs", "sami-protocol(7), SIGNATURE", "template 300 is the signature's") \
    X(SIGNATURE_UNDEFINED, STREAM, "signature-undefined", "sami-protocol(7), MESSAGES", "the first Message of a direction defines template 300") \
    X(SIGNATURE_TWICE, STREAM, "signature-set-twice", "sami-protocol(7), SIGNATURE", "the one signature Set is the last Set") \
    X(DATA_WITHOUT_TEMPLATE, BOTH, "data-without-template", "RFC 7011 section 8", "a Data Set comes behind its template") \
    X(DATA_SET_EMPTY, BOTH, "data-set-empty", "RFC 7011 section 3.3.1", "a Data Set has a record") \
    X(RECORD_EMPTY, FILE, "record-empty", "RFC 7011 section 3.4.3", "a record has octets") \
    X(RECORD_CUT, FILE, "record-cut", "RFC 7011 section 7", "a record with values of variable length lies within its Set") \
    X(RECORD_KIND, BOTH, "record-kind", "sami-protocol(7), FIELDS OF THE CONTROL RECORDS", "samiRecordKind is that of the template") \
    X(RECORD_SELECTORS, BOTH, "record-selectors", "sami-protocol(7), Groups", "the template has the selectors of the record's protocol") \
    X(RECORD_REPLY, BOTH, "record-reply", "sami-protocol(7), SESSION RECORDS", "an ICMP type without an answer has its reply tuple beside it") \
    X(RECORD_KEY, BOTH, "record-key", "sami-protocol(7), Groups", "the key of a cumulative record fits its template") \
    X(VM_ADDRESS_BITS, BOTH, "vm-address-bits", "sami-protocol(7), OPENING", "a vm-address has no bits beyond its length") \
    X(CODEC, STREAM, "codec", "sami-protocol(7), MESSAGES", "libfixbuf reads the records that were counted before it") \
    X(CHECKSUM, FILE, "message-checksum", "RFC 5655 section 8.1.1", "a Message with a checksum has one, and it is right") \
    X(EXPORT_TIME, FILE, "export-time", "RFC 5655 section 7.2", "Export Times do not go back")

typedef enum {
    SAMI_RULE_NONE,
#define X(symbol, where, id, source, text) SAMI_RULE_##symbol,
    SAMI_RULES(X)
#undef X
    SAMI_N_RULES
} SamiRule;

/* "none", and empty texts, for NONE. */
const gchar *sami_rule_id(guint rule);
const gchar *sami_rule_source(guint rule);
const gchar *sami_rule_text(guint rule);
/* SAMI_RULE_IN_STREAM, SAMI_RULE_IN_FILE. */
guint sami_rule_where(guint rule);

/* "ID: what was found (SOURCE)". (transfer full) */
gchar *sami_rule_say(SamiRule rule, const gchar *format, ...) G_GNUC_PRINTF(2, 3);
gchar *sami_rule_say_va(SamiRule rule, const gchar *format, va_list args) G_GNUC_PRINTF(2, 0);
/* Sets SAMI_ERROR_MALFORMED with that text, and returns FALSE. Nothing is formatted for an error that nobody wants. */
gboolean sami_rule_error(GError **error, SamiRule rule, const gchar *format, ...) G_GNUC_PRINTF(3, 4);
/* The rule that a text of these begins with; NONE: it names none. */
SamiRule sami_rule_find(const gchar *text);
