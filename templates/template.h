/* Templates: which fields a record of a kind has, and where they lie in its struct.
 *
 * Control records have one template each. Session templates are made on demand by the set of field groups
 * present (PROTOCOL §4); a group is there as a whole or not at all. */
#pragma once

#include "common/error.h"
#include "templates/elements.h"
#include "templates/records.h"

/* Groups of a session template. */
typedef enum {
    SAMI_GROUP_BASE = 1u << 0, /* action, protocol: always */
    SAMI_GROUP_V4 = 1u << 1,
    SAMI_GROUP_V6 = 1u << 2,
    SAMI_GROUP_PORTS = 1u << 3,
    SAMI_GROUP_ICMP4 = 1u << 4,
    SAMI_GROUP_ICMP6 = 1u << 5,
    SAMI_GROUP_REPLY4 = 1u << 6, /* absent: the reply tuple mirrors the original */
    SAMI_GROUP_REPLY6 = 1u << 7,
    SAMI_GROUP_REPLY_PORTS = 1u << 8,
    SAMI_GROUP_REPLY_ICMP = 1u << 9,
    SAMI_GROUP_ZONE = 1u << 10,
    SAMI_GROUP_FLAGS = 1u << 11,
    SAMI_GROUP_STATUS = 1u << 12,
    SAMI_GROUP_TIMEOUT = 1u << 13,
    SAMI_GROUP_TCP = 1u << 14,
    SAMI_GROUP_WSCALE = 1u << 15,
    SAMI_GROUP_MARK = 1u << 16,
    SAMI_GROUP_LABELS = 1u << 17,
    SAMI_GROUP_ID = 1u << 18,
    SAMI_GROUP_START = 1u << 19,
    SAMI_GROUP_COUNTERS = 1u << 20,
    SAMI_GROUP_VLAN = 1u << 21,
} SamiGroup;

/* How a field of a struct becomes octets. */
typedef enum {
    SAMI_FIELD_UINT,   /* host integer of `width` octets */
    SAMI_FIELD_HIGH,   /* upper octet of a host guint16 */
    SAMI_FIELD_LOW,    /* lower octet of it */
    SAMI_FIELD_OCTETS, /* copied */
    SAMI_FIELD_IPV4,   /* four octets in network order */
    SAMI_FIELD_MS,     /* nanoseconds in the struct, milliseconds on the wire */
    SAMI_FIELD_KIND,   /* samiRecordKind itself: no place in the struct */
} SamiFieldForm;

typedef struct {
    SamiElementId element;
    SamiFieldForm form;
    guint16 offset; /* in SamiRecord */
    guint16 width;  /* octets in the struct */
    guint32 group;  /* SamiGroup, session fields only */
} SamiField;

typedef struct {
    SamiRecordKind kind;
    const gchar *name;
    const SamiField *fields;
    guint n_fields;
    guint n_scope; /* 0: a Data Template */
} SamiKind;

extern const SamiKind sami_kinds[SAMI_N_RECORD_KINDS];

/* A template as one session knows it. */
typedef struct {
    guint16 id;
    SamiRecordKind kind;
    guint32 groups; /* of a session template */
    guint16 n_scope;
    guint16 n_fields;
    guint16 length; /* octets of one record; 0: no such template */
    const SamiField *fields[SAMI_TEMPLATE_FIELDS_MAX];
} SamiTemplate;

/* The groups that this session record needs. */
guint32 sami_session_groups(const SamiSession *session);
/* Fills a template for a kind (and groups, for sessions). */
void sami_template_make(SamiRecordKind kind, guint32 groups, guint16 id, SamiTemplate *ret);
/* Writes its (Options) Template Set; at most SAMI_TEMPLATE_SET_MAX octets. Returns the octets written. */
#define SAMI_TEMPLATE_SET_MAX (4u + 6u + 8u * SAMI_TEMPLATE_FIELDS_MAX)
gsize sami_template_write(const SamiTemplate *tmpl, guint8 *buffer, gsize size);
/* Field specifiers as received -> the template they are. `is_options`, scope count and every (PEN, number, length) must be
 * exactly those of a kind; session fields in the order of the table, groups whole, one address family.
 * SAMI_ERROR_MALFORMED names the field and what is allowed. */
typedef struct {
    guint32 pen;
    guint16 number;
    guint16 length;
} SamiSpecifier;
gboolean sami_template_match(const SamiSpecifier *specifiers, guint n, guint n_scope, guint16 id, SamiTemplate *ret, GError **error);

/* Record <-> packed octets in libfixbuf's memory form (integers and IPv4 in host order), without padding. */
void sami_template_pack(const SamiTemplate *tmpl, const SamiRecord *record, guint8 *ret_octets);
/* Fills defaults of absent groups. FALSE with SAMI_ERROR_MALFORMED if a value cannot be (a wrong record kind, a session
 * without port or identifier group where its protocol has them). */
gboolean sami_template_unpack(const SamiTemplate *tmpl, const guint8 *octets, SamiRecord *ret, GError **error);
