/* Signed as it has to be, but not IPFIX as it has to be: what crashes, loops or invents records in libfixbuf 2.4.1 (its reader knows no
 * limits), and every rule of RFC 7011 §3 and §8 that the shim holds up in front of it. */
#include <string.h>

#include "common/cursor.h"
#include "tests/hostile/hostile.h"

#define SET_HEADER 4u
#define TEMPLATE_HEADER 4u /* id, count; an Options Template has two more for the scope */

/* An honest Message in its parts. */
typedef struct {
    Client *client;
    GByteArray *tmpl; /* the Template Set of a session */
    GByteArray *data; /* a Data Set with one record */
} Parts;

static guint
read16(const GByteArray *set, guint at)
{
    return (guint) set->data[at] << 8 | set->data[at + 1];
}

static void
write16(GByteArray *set, guint at, guint value)
{
    set->data[at] = (guint8) (value >> 8);
    set->data[at + 1] = (guint8) value;
}

static void
set_length(GByteArray *set)
{
    write16(set, 2, set->len);
}

static Parts
take_apart(Client *c)
{
    SamiRecord record = { .session = honest_session() };
    Parts parts = { c, g_byte_array_new(), g_byte_array_new() };
    client_add(c, &record);
    client_prepare(c);
    guint n = (guint) c->body->data[SAMI_MESSAGE_HEADER + 2] << 8 | c->body->data[SAMI_MESSAGE_HEADER + 3];
    g_byte_array_append(parts.tmpl, c->body->data + SAMI_MESSAGE_HEADER, n);
    g_byte_array_append(parts.data, c->body->data + SAMI_MESSAGE_HEADER + n, c->body->len - SAMI_MESSAGE_HEADER - n);
    return parts;
}

/* template, between, data, after; between and after may be NULL. Takes the parts. */
static Client *
put_together(Parts parts, GByteArray *between, GByteArray *after)
{
    GByteArray *const order[] = { parts.tmpl, between, parts.data, after };
    g_autoptr(GByteArray) sets = g_byte_array_new();
    for (guint i = 0; i < G_N_ELEMENTS(order); i++) {
        if (!order[i])
            continue;
        g_byte_array_append(sets, order[i]->data, order[i]->len);
        g_byte_array_unref(order[i]);
    }
    client_set_body(parts.client, sets->data, sets->len, 1);
    client_seal(parts.client);
    client_transmit(parts.client);
    return parts.client;
}

/* Where the field specifier of an IANA element is in the Template Set. */
static guint
find_field(const GByteArray *tmpl, guint number)
{
    guint at = SET_HEADER + TEMPLATE_HEADER;
    while (at + 4 <= tmpl->len && read16(tmpl, at) != number)
        at += (tmpl->data[at] & 0x80) ? 8 : 4;
    if (at + 4 > tmpl->len)
        die("the session template has no element %u", number);
    return at;
}

#define SOURCE_IPV4 8u

/* argument: the id that template and data get. */
static Client *
run_id(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    write16(parts.tmpl, SET_HEADER, (guint) self->argument);
    write16(parts.data, 0, (guint) self->argument);
    return put_together(parts, NULL, NULL);
}

/* argument: copies of the template, each with an id of its own */
static Client *
run_many(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    GByteArray *between = g_byte_array_new();
    g_byte_array_append(between, parts.tmpl->data, SET_HEADER);
    for (gint i = 0; i < self->argument; i++) {
        guint at = between->len;
        g_byte_array_append(between, parts.tmpl->data + SET_HEADER, parts.tmpl->len - SET_HEADER);
        write16(between, at, SAMI_TEMPLATE_SIGNATURE + 1 + (guint) i);
    }
    set_length(between);
    return put_together(parts, between, NULL);
}

/* argument: 2 or 3, "all templates" of that Set (RFC 7011 §8.1). */
static Client *
run_withdraw_all(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    const guint8 set[] = { 0, (guint8) self->argument, 0, 8, 0, (guint8) self->argument, 0, 0 };
    GByteArray *between = g_byte_array_new();
    g_byte_array_append(between, set, sizeof set);
    return put_together(parts, between, NULL);
}

static Client *
run_withdraw(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    const guint8 set[] = { 0, 2, 0, 8, parts.data->data[0], parts.data->data[1], 0, 0 };
    GByteArray *between = g_byte_array_new();
    g_byte_array_append(between, set, sizeof set);
    return put_together(parts, between, NULL);
}

/* argument: octets of sourceIPv4Address. */
static Client *
run_length(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    write16(parts.tmpl, find_field(parts.tmpl, SOURCE_IPV4) + 2, (guint) self->argument);
    return put_together(parts, NULL, NULL);
}

/* argument: the element in the place of sourceIPv4Address. */
static Client *
run_element(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    write16(parts.tmpl, find_field(parts.tmpl, SOURCE_IPV4), (guint) self->argument);
    return put_together(parts, NULL, NULL);
}

/* argument: a list element (RFC 6313), of variable length; the record begins with a list that claims to be longer than it is. */
static Client *
run_list(Client *c, const Case *self)
{
    static const guint8 list[] = { 255, 0xff, 0xff, 3, 0, 0, 0xff, 0xff };
    Parts parts = take_apart(c);
    guint at = find_field(parts.tmpl, SOURCE_IPV4);
    write16(parts.tmpl, at, (guint) self->argument);
    write16(parts.tmpl, at + 2, 65535);
    memcpy(parts.data->data + SET_HEADER + 2, list, sizeof list);
    return put_together(parts, NULL, NULL);
}

/* An enterprise that nobody knows, in the first enterprise field. */
static Client *
run_enterprise(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    guint at = SET_HEADER + TEMPLATE_HEADER;
    while (!(parts.tmpl->data[at] & 0x80))
        at += 4;
    write16(parts.tmpl, at + 6, 55555);
    return put_together(parts, NULL, NULL);
}

/* argument: how many fields of an enterprise that nobody knows the template has. */
static Client *
run_fields(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    g_byte_array_set_size(parts.tmpl, SET_HEADER + TEMPLATE_HEADER);
    write16(parts.tmpl, SET_HEADER + 2, (guint) self->argument);
    for (gint i = 0; i < self->argument; i++) {
        const guint8 field[] = { (guint8) (0x80 | i >> 8), (guint8) i, 0, 1, 0, 0, 0xd9, 3 };
        g_byte_array_append(parts.tmpl, field, sizeof field);
    }
    set_length(parts.tmpl);
    return put_together(parts, NULL, NULL);
}

static Client *
run_field_twice(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    guint at = find_field(parts.tmpl, SOURCE_IPV4);
    memcpy(parts.tmpl->data + at + 4, parts.tmpl->data + at, 4);
    return put_together(parts, NULL, NULL);
}

/* Template 256 was the hello's. */
static Client *
run_redefined(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    write16(parts.tmpl, SET_HEADER, SAMI_TEMPLATE_FIRST);
    write16(parts.data, 0, SAMI_TEMPLATE_FIRST);
    return put_together(parts, NULL, NULL);
}

/* argument: scope fields of the session's template, made an Options Template. */
static Client *
run_scope(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    const guint8 scope[] = { 0, (guint8) self->argument };
    GByteArray *options = g_byte_array_new();
    g_byte_array_append(options, parts.tmpl->data, SET_HEADER + TEMPLATE_HEADER);
    g_byte_array_append(options, scope, sizeof scope);
    g_byte_array_append(options, parts.tmpl->data + SET_HEADER + TEMPLATE_HEADER, parts.tmpl->len - SET_HEADER - TEMPLATE_HEADER);
    write16(options, 0, 3);
    set_length(options);
    g_byte_array_unref(parts.tmpl);
    parts.tmpl = options;
    return put_together(parts, NULL, NULL);
}

/* argument: octets that the Template Set keeps. */
static Client *
run_template_cut(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    g_byte_array_set_size(parts.tmpl, (guint) self->argument);
    set_length(parts.tmpl);
    return put_together(parts, NULL, NULL);
}

/* The signature's own template, with another length of its last field. */
static Client *
run_template_300(Client *c, const Case *self)
{
    gsize size;
    const guint8 *constant = sami_signature_template(&size);
    Parts parts = take_apart(c);
    GByteArray *between = g_byte_array_new();
    g_byte_array_append(between, constant, (guint) size);
    write16(between, between->len - 6, 32);
    return put_together(parts, between, NULL);
}

static Client *
run_signature_inside(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    GByteArray *between = g_byte_array_new();
    g_byte_array_set_size(between, SAMI_SIGNATURE_SET);
    memset(between->data, 0, between->len);
    write16(between, 0, SAMI_TEMPLATE_SIGNATURE);
    set_length(between);
    return put_together(parts, between, NULL);
}

/* argument: octets of a second Data Set, too few for a record. */
static Client *
run_second_set(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    GByteArray *after = g_byte_array_new();
    g_byte_array_set_size(after, (guint) self->argument);
    memset(after->data, 0, after->len);
    write16(after, 0, read16(parts.data, 0));
    set_length(after);
    return put_together(parts, NULL, after);
}

/* argument: what the length of the Data Set is off by. */
static Client *
run_set_length(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    write16(parts.data, 2, (guint) ((gint) parts.data->len + self->argument));
    return put_together(parts, NULL, NULL);
}

/* argument: what the Data Set says about its length. */
static Client *
run_set_says(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    write16(parts.data, 2, (guint) self->argument);
    return put_together(parts, NULL, NULL);
}

/* argument: id of the Data Set. */
static Client *
run_set_id(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    write16(parts.data, 0, (guint) self->argument);
    return put_together(parts, NULL, NULL);
}

/* Of variable length, whose content is longer than its Set. */
static Client *
run_varlen(Client *c, const Case *self)
{
    static const guint8 prefix[] = { 255, 0x7f, 0xff };
    Parts parts = take_apart(c);
    write16(parts.tmpl, find_field(parts.tmpl, SOURCE_IPV4) + 2, 65535);
    memcpy(parts.data->data + SET_HEADER + 2, prefix, sizeof prefix);
    return put_together(parts, NULL, NULL);
}

/* argument: added to a field of the header; domain or Sequence Number. */
static Client *
change_header(Client *c, guint at, gint by)
{
    SamiRecord record = { .session = honest_session() };
    SamiReader r;
    SamiWriter w;
    client_add(c, &record);
    client_prepare(c);
    sami_reader_init(&r, c->body->data + at, 4);
    guint32 value = (guint32) sami_reader_uint(&r, 4) + (guint32) by;
    sami_writer_init(&w, c->body->data + at, 4);
    sami_writer_uint(&w, value, 4);
    client_seal(c);
    client_transmit(c);
    return c;
}

static Client *
run_sequence(Client *c, const Case *self)
{
    return change_header(c, 8, self->argument);
}

static Client *
run_domain(Client *c, const Case *self)
{
    return change_header(c, 12, self->argument);
}

/* A record of a protocol whose selectors the template does not have. */
static Client *
run_selectors(Client *c, const Case *self)
{
    Parts parts = take_apart(c);
    parts.data->data[SET_HEADER + 1] = (guint8) self->argument;
    return put_together(parts, NULL, NULL);
}

/* A control record that says to be of another kind than its template. */
static Client *
run_kind(Client *c, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_FREEZE } };
    client_add(c, &record);
    client_prepare(c);
    guint n = (guint) c->body->data[SAMI_MESSAGE_HEADER + 2] << 8 | c->body->data[SAMI_MESSAGE_HEADER + 3];
    c->body->data[SAMI_MESSAGE_HEADER + n + SET_HEADER] = SAMI_RECORD_END;
    client_seal(c);
    client_transmit(c);
    return c;
}

#define MALFORMED(name, run, argument) { name, STAGE_BEGUN, run, "malformed", argument, NULL }

const Case template_cases[] = {
    /* reference/ipfix.md §4.6, in its order */
    MALFORMED("template-id-100", run_id, 100),
    MALFORMED("template-id-1", run_id, 1),
    MALFORMED("template-id-255", run_id, 255),
    MALFORMED("withdraw-all-templates", run_withdraw_all, 2),
    MALFORMED("withdraw-all-options-templates", run_withdraw_all, 3),
    MALFORMED("template-id-0", run_id, 0),
    MALFORMED("withdraw-then-data", run_withdraw, 0),
    MALFORMED("zero-length-field", run_length, 0),
    MALFORMED("empty-set-after-good-one", run_second_set, 4),
    MALFORMED("short-set-after-good-one", run_second_set, 7),
    MALFORMED("set-longer-than-message", run_set_length, 100),
    MALFORMED("truncated-varlen", run_varlen, 0),
    MALFORMED("set-id-0", run_set_id, 0),
    MALFORMED("set-id-1", run_set_id, 1),
    MALFORMED("set-id-4", run_set_id, 4),
    MALFORMED("set-id-255", run_set_id, 255),
    MALFORMED("data-without-template", run_set_id, 350),
    MALFORMED("sequence-gap", run_sequence, 7),
    MALFORMED("sequence-back", run_sequence, -1),
    MALFORMED("ipv4-of-16-octets", run_length, 16),
    MALFORMED("unknown-enterprise", run_enterprise, 0),
    MALFORMED("8000-unknown-elements", run_fields, 8000),
    MALFORMED("template-redefined", run_redefined, 0),
    MALFORMED("domain-of-collector", run_domain, 1),
    MALFORMED("new-domain", run_domain, 4711),
    MALFORMED("basic-list", run_list, 291),
    MALFORMED("sub-template-list", run_list, 292),
    MALFORMED("sub-template-multi-list", run_list, 293),
    /* and the other rules */
    MALFORMED("template-id-385", run_id, 385),
    MALFORMED("template-id-65535", run_id, 65535),
    MALFORMED("ipv4-of-3-octets", run_length, 3),
    MALFORMED("unknown-element", run_element, 500),
    MALFORMED("element-of-wrong-type", run_element, 10),
    MALFORMED("element-in-wrong-place", run_element, 44),
    MALFORMED("padding-element", run_element, 210),
    MALFORMED("61-fields", run_fields, 61),
    MALFORMED("endless-templates", run_many, SAMI_TEMPLATES_MAX),
    MALFORMED("field-twice", run_field_twice, 0),
    MALFORMED("scope-of-0-fields", run_scope, 0),
    MALFORMED("scope-of-too-many-fields", run_scope, 59),
    MALFORMED("session-as-options", run_scope, 1),
    MALFORMED("template-cut", run_template_cut, 18),
    MALFORMED("template-set-without-template", run_template_cut, 4),
    MALFORMED("signature-template-changed", run_template_300, 0),
    MALFORMED("signature-in-the-middle", run_signature_inside, 0),
    MALFORMED("set-of-3-octets", run_set_says, 3),
    MALFORMED("set-shorter-than-record", run_set_length, -1),
    MALFORMED("wrong-selectors", run_selectors, 1),
    MALFORMED("wrong-record-kind", run_kind, 0),
    { NULL, 0, NULL, NULL, 0, NULL, NULL },
};
