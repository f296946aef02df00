/* Templates: which fields a record of a kind has, and where they lie in its struct.
 *
 * Control records have one template each. Templates of a kind with groups are made on demand by the set of groups present
 * (PROTOCOL §4); a group is there as a whole or not at all. */
#pragma once

#include "common/error.h"
#include "templates/elements.h"
#include "templates/records.h"

/* Groups of a session template: bits of a guint64. */
typedef guint64 SamiGroups;
#define SAMI_GROUP(n) ((SamiGroups) 1 << (n))
#define SAMI_GROUP_BASE SAMI_GROUP(0) /* action, protocol: always */
#define SAMI_GROUP_V4 SAMI_GROUP(1)
#define SAMI_GROUP_V6 SAMI_GROUP(2)
#define SAMI_GROUP_PORTS SAMI_GROUP(3)
#define SAMI_GROUP_ICMP4 SAMI_GROUP(4)
#define SAMI_GROUP_ICMP6 SAMI_GROUP(5)
#define SAMI_GROUP_REPLY4 SAMI_GROUP(6) /* absent: the reply tuple mirrors the original */
#define SAMI_GROUP_REPLY6 SAMI_GROUP(7)
#define SAMI_GROUP_REPLY_PORTS SAMI_GROUP(8)
#define SAMI_GROUP_REPLY_ICMP SAMI_GROUP(9)
#define SAMI_GROUP_ZONE SAMI_GROUP(10)
#define SAMI_GROUP_FLAGS SAMI_GROUP(11)
#define SAMI_GROUP_STATUS SAMI_GROUP(12)
#define SAMI_GROUP_TIMEOUT SAMI_GROUP(13)
#define SAMI_GROUP_TCP SAMI_GROUP(14)
#define SAMI_GROUP_WSCALE SAMI_GROUP(15)
#define SAMI_GROUP_MARK SAMI_GROUP(16)
#define SAMI_GROUP_LABELS SAMI_GROUP(17)
#define SAMI_GROUP_ID SAMI_GROUP(18)
#define SAMI_GROUP_START SAMI_GROUP(19)
#define SAMI_GROUP_COUNTERS SAMI_GROUP(20)
#define SAMI_GROUP_VLAN SAMI_GROUP(21)
#define SAMI_GROUP_GRE SAMI_GROUP(22)
#define SAMI_GROUP_REPLY_GRE SAMI_GROUP(23)
#define SAMI_GROUP_REPLY_ZONE SAMI_GROUP(24)
#define SAMI_GROUP_SCTP SAMI_GROUP(25)
#define SAMI_GROUP_DCCP SAMI_GROUP(26)
#define SAMI_GROUP_SEQADJ SAMI_GROUP(27)
#define SAMI_GROUP_SYNPROXY SAMI_GROUP(28)
#define SAMI_GROUP_HELPER SAMI_GROUP(29)
#define SAMI_GROUP_HELPER_INFO SAMI_GROUP(30)
#define SAMI_GROUP_MASTER4 SAMI_GROUP(31)
#define SAMI_GROUP_MASTER6 SAMI_GROUP(32)
#define SAMI_GROUP_SECCTX SAMI_GROUP(33)
/* Of a cumulative template, with BASE; bits of their own, so that each has one name in sami-protocol(7). */
#define SAMI_GROUP_KEY16 SAMI_GROUP(56)
#define SAMI_GROUP_KEY64 SAMI_GROUP(57)
#define SAMI_GROUP_SOURCE4 SAMI_GROUP(58)
#define SAMI_GROUP_SOURCE6 SAMI_GROUP(59)
#define SAMI_GROUP_COUNTER SAMI_GROUP(60)
#define SAMI_GROUP_QUOTA SAMI_GROUP(61)
#define SAMI_GROUP_EXPIRY SAMI_GROUP(62)

/* Groups of an expectation template; BASE, V4, V6 and ZONE as above. */
#define SAMI_GROUP_EXPECT_NAT4 SAMI_GROUP(48)
#define SAMI_GROUP_EXPECT_NAT6 SAMI_GROUP(49)
#define SAMI_GROUP_EXPECT_FUNCTION SAMI_GROUP(50)
#define SAMI_GROUP_EXPECT_HELPER SAMI_GROUP(51)

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
    SamiGroups group; /* of a kind with groups; more than one bit: in a template that has any of them */
} SamiField;

typedef struct SamiTemplate SamiTemplate;

typedef struct {
    SamiRecordKind kind;
    const gchar *name;
    const SamiField *fields;
    guint n_fields;
    guint n_scope; /* 0: a Data Template */
    /* The rest is NULL for a kind that always has all its fields. No two kinds of Data Records may have the same list of fields. */
    SamiGroups (*groups)(const SamiRecord *record); /* that this record needs */
    const gchar *(*check)(SamiGroups groups);        /* (nullable) which rule a template with these groups breaks */
    /* What absent groups mean. FALSE with SAMI_ERROR_MALFORMED: the record cannot have this template. */
    gboolean (*finish)(const SamiTemplate *tmpl, SamiRecord *record, GError **error);
} SamiKind;

extern const SamiKind sami_kinds[SAMI_N_RECORD_KINDS];

/* A template as one session knows it. */
struct SamiTemplate {
    guint16 id;
    SamiRecordKind kind;
    SamiGroups groups; /* of a kind with groups, otherwise 0 */
    guint16 n_scope;
    guint16 n_fields;
    guint16 length; /* octets of one record; 0: no such template */
    const SamiField *fields[SAMI_TEMPLATE_FIELDS_MAX];
};

/* The groups that this record needs; 0 for a kind without. */
SamiGroups sami_record_groups(const SamiRecord *record);
/* Fills a template for a kind and groups. FALSE: groups that exclude each other have more fields than a template holds, and *ret is of no use. */
gboolean sami_template_make(SamiRecordKind kind, SamiGroups groups, guint16 id, SamiTemplate *ret);
/* Writes its (Options) Template Set; at most SAMI_TEMPLATE_SET_MAX octets. Returns the octets written. */
#define SAMI_TEMPLATE_SET_MAX (4u + 6u + 8u * SAMI_TEMPLATE_FIELDS_MAX)
gsize sami_template_write(const SamiTemplate *tmpl, guint8 *buffer, gsize size);
/* Field specifiers as received -> the template they are. `is_options`, scope count and every (PEN, number, length) must be
 * exactly those of a kind, in the order of its table, with groups whole and by the kind's own rule.
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
/* The same from the record as it is on the wire, `tmpl->length` octets. */
gboolean sami_template_unpack_wire(const SamiTemplate *tmpl, const guint8 *octets, SamiRecord *ret, GError **error);
/* The record as it is on the wire: `tmpl->length` octets. */
void sami_template_pack_wire(const SamiTemplate *tmpl, const SamiRecord *record, guint8 *ret_octets);
