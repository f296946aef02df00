/* Writes an example of each broken rule: rule-samples KEYS DIRECTORY. The same octets each time, for the same keys: Ed25519 is deterministic, times and
 * nonces are fixed. KEYS has fw1.key, fw2.key and fw3.key.
 *
 * RULE.ipfix, or RULE.VARIANT.ipfix, is what an honest exporter says first, then one Message that breaks RULE, a Message rule or a reason, and nothing
 * else. It is signed as it has to be, where the rule lies behind the signature. INDEX says in words what is wrong. tests/unit/test-rules.c takes
 * them as a collector does, of the configuration in tests/data/rules/config. */
#include <netinet/in.h>
#include <string.h>

#include "common/cursor.h"
#include "templates/rules.h"
#include "templates/stream.h"
#include "tests/tools/changes.h"

#define EXPORT_TIME 1795970000u /* 2026-11-29 */
#define SET_HEADER 4u
#define TEMPLATE_HEADER 4u /* id, count; two more in an Options Template */
#define DESTINATION "fw2.example"
#define SOURCE_IPV4 8u

/* The Message that breaks a rule, between an honest encoder and its signature. */
typedef struct {
    guint32 export_time, sequence, domain;
    guint16 version;
    GByteArray *sets;
    SamiSignature fields;
    SamiKey *key;
    gboolean is_unsigned;
    gsize n_template; /* octets of the Template Set in front of the data */
} Draft;

typedef enum {
    FW1,
    FW2, /* may bring sessions only, and only from its own peer */
    FW3, /* its time is over */
    N_SIGNERS
} Signer;

typedef struct Sample Sample;
struct Sample {
    const gchar *name;
    const gchar *what;
    gboolean is_first; /* it is the hello that breaks the rule */
    gboolean is_foreign; /* no signature, no hello: of any exporter */
    guint argument;
    void (*change)(Draft *d, guint argument);         /* before it is signed */
    void (*damage)(GByteArray *message, guint argument); /* afterwards */
    void (*session)(SamiSession *s);
    void (*expectation)(SamiExpectation *e);
    void (*record)(SamiRecord *record);
    void (*before)(SamiRecord *record); /* in a Message of its own, which is taken */
    guint n_more;              /* times that it is there once more */
    Signer signer;
};

static void G_GNUC_NORETURN
die(const gchar *text)
{
    g_printerr("rule-samples: %s\n", text);
    exit(1);
}

static void
write16(GByteArray *set, guint at, guint value)
{
    set->data[at] = (guint8) (value >> 8);
    set->data[at + 1] = (guint8) value;
}

static guint
read16(const GByteArray *set, guint at)
{
    return (guint) set->data[at] << 8 | set->data[at + 1];
}

/* --- the parts of a Message --- */

/* Puts `n` octets in the place of the `gone` at `at`, and mends the length of the Template Set that they are in. */
static void
splice(Draft *d, guint at, guint gone, const guint8 *octets, guint n)
{
    g_autoptr(GByteArray) tail = g_byte_array_new();
    g_byte_array_append(tail, d->sets->data + at + gone, d->sets->len - at - gone);
    g_byte_array_set_size(d->sets, at);
    g_byte_array_append(d->sets, octets, n);
    g_byte_array_append(d->sets, tail->data, tail->len);
    d->n_template += n - gone;
    write16(d->sets, 2, (guint) d->n_template);
}

static guint
find_field(const Draft *d, guint number)
{
    guint at = SET_HEADER + TEMPLATE_HEADER;
    while (at + 4 <= d->n_template && read16(d->sets, at) != number)
        at += (d->sets->data[at] & 0x80) ? 8 : 4;
    if (at + 4 > d->n_template)
        die("the template has no such element");
    return at;
}

static void
add_set(Draft *d, const guint8 *octets, guint n)
{
    g_byte_array_append(d->sets, octets, n);
}
#define OCTETS(...) (const guint8[]){ __VA_ARGS__ }, sizeof((const guint8[]){ __VA_ARGS__ })

/* --- changes before the signature --- */

static void set_domain(Draft *d, guint domain) { d->domain = domain; }
static void move_sequence(Draft *d, guint by) { d->sequence += by; }
static void set_data_length(Draft *d, guint length) { write16(d->sets, (guint) d->n_template + 2, length); }
static void set_data_id(Draft *d, guint id) { write16(d->sets, (guint) d->n_template, id); }
static void add_trailing(Draft *d, guint n) { add_set(d, (const guint8[4]){ 0 }, n); }
static void add_empty_templates(Draft *d, guint id) { add_set(d, OCTETS(0, (guint8) id, 0, 4)); }
static void add_empty_data(Draft *d, guint n) { add_set(d, OCTETS(d->sets->data[d->n_template], d->sets->data[d->n_template + 1], 0, 4)); }
static void set_count(Draft *d, guint n) { write16(d->sets, SET_HEADER + 2, n); }
static void set_length_of_field(Draft *d, guint length) { write16(d->sets, find_field(d, SOURCE_IPV4) + 2, length); }
static void set_element(Draft *d, guint number) { write16(d->sets, find_field(d, SOURCE_IPV4), number); }
static void withdraw(Draft *d, guint id) { add_set(d, OCTETS(0, 2, 0, 8, (guint8) (id >> 8), (guint8) id, 0, 0)); }

static void
set_id(Draft *d, guint id)
{
    write16(d->sets, SET_HEADER, id);
    set_data_id(d, id);
}

static void
add_fields(Draft *d, guint n)
{
    g_autoptr(GByteArray) fields = g_byte_array_new();
    for (guint i = 0; i < n; i++)
        g_byte_array_append(fields, OCTETS(0, 4, 0, 1));
    splice(d, SET_HEADER + TEMPLATE_HEADER, (guint) d->n_template - SET_HEADER - TEMPLATE_HEADER, fields->data, fields->len);
    set_count(d, n);
}

static void
make_options(Draft *d, guint n_scope)
{
    splice(d, SET_HEADER + TEMPLATE_HEADER, 0, OCTETS(0, (guint8) n_scope));
    write16(d->sets, 0, 3);
}

static void
repeat_field(Draft *d, guint number)
{
    guint at = find_field(d, number);
    splice(d, at + 4, 0, (const guint8[4]){ d->sets->data[at], d->sets->data[at + 1], d->sets->data[at + 2], d->sets->data[at + 3] }, 4);
    set_count(d, read16(d->sets, SET_HEADER + 2) + 1);
}

static void
drop_field(Draft *d, guint number)
{
    splice(d, find_field(d, number), 4, NULL, 0);
    set_count(d, read16(d->sets, SET_HEADER + 2) - 1);
}

/* Addresses of IPv6 in the place of those of IPv4, whose reply tuple stays. */
static void
mix_families(Draft *d, guint argument)
{
    drop_field(d, 8);
    guint at = find_field(d, 12);
    splice(d, at, 4, OCTETS(0, 27, 0, 16, 0, 28, 0, 16));
    set_count(d, read16(d->sets, SET_HEADER + 2) + 1);
}

static void
add_signature_template(Draft *d, guint by)
{
    gsize size;
    const guint8 *constant = sami_signature_template(&size);
    add_set(d, constant, (guint) size);
    write16(d->sets, d->sets->len - 6, 32); /* octets of its last field */
}

static void
drop_signature_template(Draft *d, guint argument)
{
    gsize size;
    sami_signature_template(&size);
    g_byte_array_remove_range(d->sets, 0, (guint) size);
}

static void
add_signature_set(Draft *d, guint argument)
{
    guint8 set[SAMI_SIGNATURE_SET] = { SAMI_TEMPLATE_SIGNATURE >> 8, SAMI_TEMPLATE_SIGNATURE & 0xff, 0, SAMI_SIGNATURE_SET };
    add_set(d, set, sizeof set);
}

/* Another enterprise number in every template, and in the hello. */
static void
set_pen(Draft *d, guint by)
{
    guint8 ours[4], other[4];
    SamiWriter w;
    sami_writer_init(&w, ours, 4);
    sami_writer_uint(&w, SAMI_PEN, 4);
    sami_writer_init(&w, other, 4);
    sami_writer_uint(&w, SAMI_PEN + by, 4);
    for (guint i = 0; i + 4 <= d->sets->len; i++)
        if (memcmp(d->sets->data + i, ours, 4) == 0)
            memcpy(d->sets->data + i, other, 4);
}

static void set_protocol(Draft *d, guint protocol) { d->sets->data[d->n_template + SET_HEADER + 1] = (guint8) protocol; }
static void set_kind(Draft *d, guint kind) { d->sets->data[d->n_template + SET_HEADER] = (guint8) kind; }
static void set_key_length(Draft *d, guint length) { d->sets->data[d->n_template + SET_HEADER + 32 + 8 + 4] = (guint8) length; }
static void set_icmp_type(Draft *d, guint type) { d->sets->data[d->n_template + SET_HEADER + 1 + 1 + 4 + 4 + 2] = (guint8) type; }

static void leave_unsigned(Draft *d, guint argument) { d->is_unsigned = TRUE; }
static void set_role(Draft *d, guint role) { d->fields.role = (guint8) role; }
static void set_binding(Draft *d, guint octet) { d->fields.binding[0] ^= (guint8) octet; }
static void set_migration(Draft *d, guint octet) { d->fields.migration_id[0] ^= (guint8) octet; }
static void move_counter(Draft *d, guint by) { d->fields.counter += (guint64) (gint) by; }
static void hold_back(Draft *d, guint seconds) { d->export_time += seconds; } /* the receiver's clock in the test, and not the sender's */

/* --- and behind it --- */

static void set_version(GByteArray *message, guint version) { write16(message, 0, version); }
static void set_message_length(GByteArray *message, guint length) { write16(message, 2, length); }
static void cut_message(GByteArray *message, guint n) { g_byte_array_set_size(message, message->len - n); }
static void flip_bit(GByteArray *message, guint from_end) { message->data[message->len - from_end] ^= 1; }

/* --- records --- */

static SamiSession
honest_session(void)
{
    SamiSession s = { .action = SAMI_ACTION_CREATED, .key = { .family = 4, .protocol = IPPROTO_TCP }, .status = 14, .timeout_s = 300,
                      .tcp_state = SAMI_TCP_STATE_ESTABLISHED,
                      .has = SAMI_HAS_REPLY | SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_TCP | SAMI_HAS_MARK | SAMI_HAS_ID };
    s.key.orig = (SamiTuple){ record_address("10.0.0.13"), record_address("198.51.100.10"), 40001, 443 };
    record_mirror(&s);
    return s;
}

/* Of FTP: the client in the Internet connects to the VM. */
static SamiExpectation
honest_expectation(void)
{
    SamiExpectation e = { .action = SAMI_ACTION_CREATED, .timeout_s = 120, .has = SAMI_EXPECT_HAS_HELPER, .helper = "ftp",
                          .key = { .family = 4, .protocol = IPPROTO_TCP }, .master = { .family = 4, .protocol = IPPROTO_TCP } };
    e.key.orig = (SamiTuple){ record_address("198.51.100.10"), record_address("10.0.0.13"), 0, 40104 };
    e.master.orig = (SamiTuple){ record_address("198.51.100.10"), record_address("10.0.0.13"), 40004, 21 };
    memset(e.mask_src.octets, 0xff, 4);
    return e;
}

static void icmp_on_ipv6(SamiSession *s)
{
    record_set_remote(s, "2001:db8:c::10");
    s->key.protocol = IPPROTO_ICMP;
    s->key.orig.dst_port = 8 << 8;
    s->has &= ~(guint32) SAMI_HAS_TCP;
    record_mirror(s);
}
static void in_zone_7(SamiSession *s) { s->key.zone = 7; }
static void in_zone_3(SamiSession *s) { s->key.zone = 3; }
static void in_vlan_11(SamiSession *s) { s->has |= SAMI_HAS_VLAN; s->vlan = 11; }
static void in_vlan_20(SamiSession *s) { s->has |= SAMI_HAS_VLAN; s->vlan = 20; }
static void to_mapped(SamiSession *s) { s->key.orig.dst = record_address("203.0.113.140"); record_mirror(s); }
static void icmp_request(SamiSession *s) { s->key.orig.dst_port = 8 << 8; record_of_protocol(s, IPPROTO_ICMP, 0); }

static void
other_port6(SamiSession *s)
{
    record_set_remote(s, "2001:db8:c::10");
    s->reply.dst_port++;
}
static void udp_lite(SamiSession *s) { record_of_protocol(s, IPPROTO_UDPLITE, 0); }
static void from_ssh(SamiSession *s) { s->key.orig.src_port = 22; record_mirror(s); }
static void to_ssh(SamiSession *s) { s->key.orig.dst_port = 22; record_mirror(s); }
static void to_gateway(SamiSession *s) { record_set_remote(s, "10.0.0.1"); }
static void from_gateway(SamiSession *s)
{
    s->key.orig = (SamiTuple){ record_address("10.0.0.1"), record_address("10.0.0.13"), 443, 40001 };
    record_mirror(s);
}
static void with_marks(SamiSession *s) { s->mark = 0x107; }
static void
with_label(SamiSession *s)
{
    s->has |= SAMI_HAS_LABELS;
    sami_labels_put(s->labels, 5, TRUE);
    sami_labels_put(s->labels, 64, TRUE);
}
static void for_a_day(SamiSession *s) { s->timeout_s = 86400; }
static void with_sip(SamiSession *s) { s->has |= SAMI_HAS_HELPER; g_strlcpy(s->helper, "sip", sizeof s->helper); }
static void gre(SamiSession *s)
{
    s->key.orig.src_port = s->key.orig.dst_port = 0;
    record_of_protocol(s, IPPROTO_GRE, 0);
}
static void pptp_call(SamiSession *s)
{
    s->key.orig.src_port = 1;
    s->key.orig.dst_port = 2;
    record_of_protocol(s, IPPROTO_GRE, 0);
}
static void in_flowtable(SamiSession *s) { s->status |= SAMI_IPS_OFFLOAD; }

static void expected_as_it_is(SamiExpectation *e) { }
static void expected_by_sip(SamiExpectation *e) { g_strlcpy(e->helper, "sip", sizeof e->helper); }
static void expected_by_nobody(SamiExpectation *e) { e->has &= ~(guint32) SAMI_EXPECT_HAS_HELPER; }
static void expected_at_ssh(SamiExpectation *e) { e->key.orig.dst_port = 22; }
static void expected_udp_lite(SamiExpectation *e) { e->key.protocol = IPPROTO_UDPLITE; }
static void expected_at_gateway(SamiExpectation *e) { e->key.orig.dst = record_address("10.0.0.1"); }
static void any_port(SamiExpectation *e) { e->key.orig.dst_port = 0; }

/* --- and others --- */

static void
marker(SamiRecord *r)
{
    *r = (SamiRecord){ .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_SNAPSHOT } };
}

static void
freeze(SamiRecord *r)
{
    *r = (SamiRecord){ .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_FREEZE, .freeze_mode = SAMI_FREEZE_EVENTS } };
}

static void
freeze_of_one(SamiRecord *r)
{
    freeze(r);
    r->marker.n_records = 1;
}

static void abort_it(SamiRecord *r) { *r = (SamiRecord){ .kind = SAMI_RECORD_ABORT }; }
static void a_receipt(SamiRecord *r) { *r = (SamiRecord){ .kind = SAMI_RECORD_RECEIPT, .receipt = { .phase = SAMI_RECEIPT_READY } }; }
static void to_fw3(SamiRecord *r) { g_strlcpy(r->hello.destination, "fw3.example", sizeof r->hello.destination); }
static void resume(SamiRecord *r) { r->hello.opening = SAMI_OPENING_RESUME; }
static void a_hello(SamiRecord *r) { *r = (SamiRecord){ .kind = SAMI_RECORD_HELLO, .hello = { .version = 1, .pen = SAMI_PEN, .destination = DESTINATION } }; }

static void
element(SamiRecord *r)
{
    *r = (SamiRecord){ .kind = SAMI_RECORD_CUMULATIVE, .cumulative = { .set = "syn4", .key_type = 7, .key_length = 4, .key = { 10, 0, 0, 13 } } };
}

static void
a_session(SamiRecord *r)
{
    *r = (SamiRecord){ .kind = SAMI_RECORD_SESSION, .session = honest_session() };
}

static void
another_session(SamiRecord *r)
{
    a_session(r);
    r->session.key.orig.src_port++;
    record_mirror(&r->session);
}

static void
an_expectation(SamiRecord *r)
{
    *r = (SamiRecord){ .kind = SAMI_RECORD_EXPECTATION, .expectation = honest_expectation() };
}

static void
another_expectation(SamiRecord *r)
{
    an_expectation(r);
    r->expectation.key.orig.dst_port++;
}

static SamiRecord
begin_of(guint n_addresses)
{
    return (SamiRecord){ .kind = SAMI_RECORD_BEGIN,
                         .begin = { n_addresses, 120, SAMI_KIND_SESSION | SAMI_KIND_EXPECTATION | SAMI_KIND_CUMULATIVE, DESTINATION } };
}
static void begin_of_two(SamiRecord *r) { *r = begin_of(2); }
static void begin_of_three(SamiRecord *r) { *r = begin_of(3); }

static void
vm(SamiRecord *r)
{
    *r = (SamiRecord){ .kind = SAMI_RECORD_VM_ADDRESS4, .vm_address = { .family = 4, .length = 32, .address = record_address("10.0.0.13") } };
}

static void
vm_at(SamiRecord *r, const gchar *address)
{
    vm(r);
    r->vm_address.address = record_address(address);
}
static void vm_more(SamiRecord *r) { vm_at(r, "10.0.0.14"); }
static void vm_elsewhere(SamiRecord *r) { vm_at(r, "198.51.100.10"); }

static void
vm_with_bits(SamiRecord *r)
{
    *r = (SamiRecord){ .kind = SAMI_RECORD_VM_ADDRESS4, .vm_address = { .family = 4, .length = 24, .address = { { 10, 0, 0, 13 } } } };
}

/* --- recorded Messages of anybody: a template, and what comes behind it --- */

static void
begin_foreign(Draft *d, guint number, guint length)
{
    d->domain = 7;
    d->is_unsigned = TRUE;
    add_set(d, OCTETS(0, 2, 0, 12, 1, 0, 0, 1, 0, (guint8) number, (guint8) (length >> 8), (guint8) length));
}
static void withdraw_unknown(Draft *d, guint argument) { begin_foreign(d, 7, 2); add_set(d, OCTETS(0, 2, 0, 8, 1, 44, 0, 0)); }
static void empty_records(Draft *d, guint argument) { begin_foreign(d, 7, 0); add_set(d, OCTETS(1, 0, 0, 6, 1, 2)); }
static void long_value(Draft *d, guint argument) { begin_foreign(d, 82, 65535); add_set(d, OCTETS(1, 0, 0, 8, 200, 1, 2, 3)); }
static void wrong_checksum(Draft *d, guint argument)
{
    d->domain = 7;
    d->is_unsigned = TRUE;
    add_set(d, OCTETS(0, 3, 0, 18, 1, 0, 0, 2, 0, 1, 1, 7, 0, 1, 1, 6, 0, 16));
    add_set(d, OCTETS(1, 0, 0, 21, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16));
}
static void earlier(Draft *d, guint seconds) { begin_foreign(d, 7, 2); d->export_time -= seconds; }

#define FIRST(name, func, value, what) { name, what, .is_first = TRUE, .argument = value, .change = func }
#define CHANGED(name, func, value, what) { name, what, .argument = value, .change = func }
#define DAMAGED(name, func, value, what) { name, what, .argument = value, .damage = func }
#define SESSION(name, func, what) { name, what, .session = func }
#define EXPECTED(name, func, what) { name, what, .expectation = func }
#define RECORD(name, func, what) { name, what, .record = func }
#define BEHIND(name, func, func_before, what) { name, what, .record = func, .before = func_before }
#define FOREIGN(name, func, value, what) { name, what, .is_foreign = TRUE, .argument = value, .change = func }

static const Sample samples[] = {
    DAMAGED("message-version", set_version, 9, "version 9"),
    DAMAGED("message-length", set_message_length, 15, "a Length of 15"),
    DAMAGED("message-cut", cut_message, 50, "ends 50 octets before its end"),
    CHANGED("domain", set_domain, 2, "Observation Domain 2, the collector's"),
    CHANGED("domain.new", set_domain, 4711, "Observation Domain 4711"),
    CHANGED("sequence-number", move_sequence, 7, "7 more than there were records"),
    CHANGED("sequence-number.back", move_sequence, G_MAXUINT32, "one less than there were records"),
    CHANGED("set-length", set_data_length, 1000, "a Data Set of 1000 octets in a shorter Message"),
    CHANGED("set-length.short", set_data_length, 3, "a Set of 3 octets"),
    CHANGED("set-length.trailing", add_trailing, 2, "2 octets behind the last Set"),
    CHANGED("set-reserved", set_data_id, 4, "Set 4"),
    CHANGED("set-reserved.0", set_data_id, 0, "Set 0"),
    CHANGED("template-set-empty", add_empty_templates, 2, "a Template Set of 4 octets"),
    CHANGED("template-set-empty.options", add_empty_templates, 3, "an Options Template Set of 4 octets"),
    CHANGED("template-cut", set_count, 50, "a template of 50 fields in a Set of fewer"),
    CHANGED("template-id", set_id, 255, "template 255"),
    CHANGED("template-id.0", set_id, 0, "template 0"),
    CHANGED("template-limit", set_id, 385, "template 385"),
    CHANGED("template-fields", add_fields, 61, "a template of 61 fields"),
    CHANGED("template-withdrawal", withdraw, 256, "template 256 is withdrawn"),
    CHANGED("template-withdrawal.all", withdraw, 2, "all templates are withdrawn"),
    CHANGED("template-redefined", set_id, 256, "template 256, which was the hello's, is the session's"),
    CHANGED("options-scope", make_options, 0, "an Options Template of 0 scope fields"),
    CHANGED("options-scope.many", make_options, 60, "60 scope fields of fewer fields"),
    CHANGED("template-unknown-element", set_element, 500, "element 500"),
    CHANGED("template-unknown-element.list", set_element, 291, "a basicList (RFC 6313)"),
    CHANGED("template-field-length", set_length_of_field, 16, "sourceIPv4Address of 16 octets"),
    CHANGED("template-field-length.0", set_length_of_field, 0, "sourceIPv4Address of 0 octets"),
    CHANGED("template-field-length.variable", set_length_of_field, 65535, "sourceIPv4Address of variable length"),
    CHANGED("template-duplicate", repeat_field, SOURCE_IPV4, "sourceIPv4Address comes twice"),
    CHANGED("template-field-place", make_options, 1, "a session's template as Options Template"),
    CHANGED("template-incomplete", drop_field, SOURCE_IPV4, "a template without sourceIPv4Address beside destinationIPv4Address"),
    { "template-groups", "addresses of IPv6, and the reply tuple's of IPv4", .session = change_snat_unlisted, .change = mix_families },
    CHANGED("signature-template-differs", add_signature_template, 0, "template 300 with a last field of 32 octets"),
    FIRST("signature-undefined", drop_signature_template, 0, "a hello without template 300"),
    CHANGED("signature-set-twice", add_signature_set, 0, "a signature Set before the last one"),
    CHANGED("data-without-template", set_data_id, 350, "Set 350, of no template"),
    CHANGED("data-set-empty", add_empty_data, 4, "a Data Set of 4 octets"),
    { "record-kind", "samiRecordKind end in the template of marker", .argument = SAMI_RECORD_END, .change = set_kind, .record = marker },
    CHANGED("record-selectors", set_protocol, IPPROTO_ICMP, "ICMP in a template with ports"),
    { "record-reply", "ICMP type 5, which has no answer, without reply tuple", .argument = 5, .session = icmp_request, .change = set_icmp_type },
    { "record-key", "a key of 17 octets in a template of 16", .argument = 17, .change = set_key_length, .record = element },
    RECORD("vm-address-bits", vm_with_bits, "10.0.0.13/24"),
    FOREIGN("withdrawal-unknown", withdraw_unknown, 0, "template 300 is withdrawn, which nobody defined"),
    FOREIGN("record-empty", empty_records, 0, "data of a template whose one field has 0 octets"),
    FOREIGN("record-cut", long_value, 0, "a value of 200 octets in a Set of 8"),
    FOREIGN("message-checksum", wrong_checksum, 0, "a message checksum that is not the Message's"),
    FOREIGN("export-time", earlier, 60, "exported a minute before the Message before it"),

    CHANGED("not-signed", leave_unsigned, 0, "no signature Set"),
    DAMAGED("unknown-signer", flip_bit, 129, "another key id"),
    CHANGED("wrong-role", set_role, SAMI_ROLE_COLLECTOR, "the collector's role"),
    CHANGED("wrong-role.file", set_role, SAMI_ROLE_FILE, "a file's role"),
    CHANGED("wrong-session", set_binding, 1, "bound to another session"),
    CHANGED("wrong-session.migration", set_migration, 1, "of another migration"),
    CHANGED("wrong-counter", move_counter, 1, "a Message is missing"),
    CHANGED("wrong-counter.again", move_counter, G_MAXUINT32, "the counter of the Message before it"),
    DAMAGED("bad-signature", flip_bit, 1, "a bit of the signature"),
    DAMAGED("bad-signature.data", flip_bit, 150, "a bit of a record"),
    DAMAGED("bad-signature.algorithm", flip_bit, 139, "another algorithm"),
    CHANGED("too-late", hold_back, 60, "read a minute after it was signed"),
    FIRST("pen-mismatch", set_pen, 1, "elements of another enterprise number"),
    SESSION("address-not-allowed", change_other_vm, "10.0.0.77 is not the VM"),
    SESSION("address-not-allowed.translated", change_vm_translated, "the VM is the untranslated end of nothing"),
    SESSION("nat-address", change_snat_unlisted, "source translated to 203.0.113.9"),
    SESSION("nat-address.destination", change_dnat_unlisted, "destination translated from 203.0.113.9"),
    SESSION("address-special", change_to_loopback, "to 127.0.0.1"),
    SESSION("address-special.multicast", change_to_multicast, "to 224.0.0.5"),
    SESSION("address-special.link-local", change_to_link_local6, "to fe80::1"),
    SESSION("tuple-inconsistent", icmp_on_ipv6, "ICMP over IPv6"),
    SESSION("tuple-inconsistent.master", change_own_master, "its own master"),
    SESSION("state-range", change_tcp_state, "a TCP state that there is not"),
    SESSION("state-range.sctp", change_sctp_state, "an SCTP state that there is not"),
    SESSION("state-range.timeout", change_no_time, "a timeout of 0"),
    SESSION("state-range.window", change_window_scale, "a window scale of 15"),
    SESSION("state-range.protocol", change_udp_with_tcp, "UDP with the state of TCP"),
    SESSION("state-range.action", change_action, "firewallEvent 9"),
    SESSION("field-missing", change_without_timeout, "no timeout"),
    SESSION("field-missing.tcp", change_without_tcp, "TCP without its state"),
    SESSION("protocol-unsupported", change_dccp, "DCCP"),
    SESSION("zone-not-allowed", in_zone_7, "zone 7"),
    SESSION("vlan-unknown", in_vlan_11, "VLAN 11, which has no zone there"),
    SESSION("vlan-not-allowed", in_vlan_20, "VLAN 20, which is not the signer's"),
    SESSION("zone-of-vlan", in_zone_3, "zone 3, which is VLAN 10 there"),
    SESSION("map-clash", to_mapped, "to an address that another one is mapped to"),
    { "expectation-not-allowed", "of a signer that may bring sessions only", .expectation = expected_as_it_is, .signer = FW2 },
    SESSION("protocol-not-allowed", udp_lite, "UDP-Lite, which is not in the signer's protocols"),
    EXPECTED("protocol-not-allowed.expected", expected_udp_lite, "UDP-Lite to come, which is not in the signer's protocols"),
    SESSION("nat-not-applied", other_port6, "translated to another port, of IPv6, which the kernel there does not translate"),
    SESSION("port-not-allowed", from_ssh, "the VM's port 22, which is not in the signer's ports"),
    { "port-not-allowed.remote", "another's port 22, which is not in the signer's remote-ports", .session = to_ssh, .signer = FW2 },
    EXPECTED("port-not-allowed.expected", expected_at_ssh, "to the VM's port 22, which is not in the signer's ports"),
    SESSION("address-own", to_gateway, "to 10.0.0.1, the firewall itself"),
    SESSION("address-own.source", from_gateway, "from 10.0.0.1, the firewall itself"),
    EXPECTED("address-own.expected", expected_at_gateway, "a flow to come to 10.0.0.1, the firewall itself"),
    EXPECTED("helper-not-allowed", expected_by_sip, "expected by SIP's helper, which is not in the signer's helpers"),
    EXPECTED("helper-not-allowed.none", expected_by_nobody, "expected by no helper"),
    SESSION("mark-cut", with_marks, "mark 0x107, of which 0x100 is not in the signer's mark-mask"),
    SESSION("labels-cut", with_label, "labels 5 and 64, of which 64 is not in the signer's labels"),
    SESSION("timeout-clamped", for_a_day, "a timeout of a day, where the kernel gives an hour"),
    SESSION("no-helper", with_sip, "a flow with SIP's helper, which is not in the signer's helpers"),
    SESSION("gre-timeout", gre, "GRE, whose timeouts a kernel does not take"),
    SESSION("gre-keymap", pptp_call, "GRE of a PPTP call, whose keys a kernel does not take"),
    SESSION("offloaded", in_flowtable, "was in a flowtable"),
    EXPECTED("expectation-wide", change_half_a_mask, "from a whole network"),
    EXPECTED("expectation-wide.permanent", change_for_ever, "for ever"),
    EXPECTED("expectation-wide.port", any_port, "to any port"),
    { "destination-name", "to fw3.example", .is_first = TRUE, .record = to_fw3 },
    { "tls-name", "of a signer that does not come by way of fw1.example", .is_first = TRUE, .signer = FW2 },
    { "signer-not-valid", "of a signer whose time is over", .is_first = TRUE, .signer = FW3 },
    { "resume-unavailable", "goes on with a migration that there is not", .is_first = TRUE, .record = resume },
    RECORD("vm-not-allowed", vm_elsewhere, "the VM 198.51.100.10, which is not in the signer's allow-prefixes"),
    { "limit", "65 addresses of the VM", .record = vm, .n_more = 64 },
    { "limit.markers", "17 markers in one Message", .record = marker, .n_more = 16 },
    BEHIND("not-expected", begin_of_three, vm_more, "an address of the VM that nobody announced"),
    RECORD("protocol", begin_of_three, "begin of 3 addresses, of which 2 came"),
    RECORD("protocol.hello", a_hello, "a second hello"),
    RECORD("protocol.direction", a_receipt, "a receipt from the exporter"),
    BEHIND("protocol.begin", begin_of_two, begin_of_two, "a second begin"),
    BEHIND("already-ready", abort_it, freeze, "an abort that does not know of READY"),
    BEHIND("aborted", element, abort_it, "an element behind the abort"),
    RECORD("kind-not-allowed", element, "an element of a signer that may bring sessions and expectations"),
    BEHIND("max-sessions", another_session, a_session, "one session more than the signer may bring"),
    BEHIND("max-expectations", another_expectation, an_expectation, "one expectation more than the signer may bring"),
    BEHIND("expectation-master", freeze_of_one, an_expectation, "an expectation whose master did not come"),
};

/* --- writing --- */

/* A Message of its own: a new template has to be the first in one. */
static void
add_message(GByteArray *out, SamiStream *stream, const SamiRecord *record, guint64 now_ms)
{
    const guint8 *message;
    gsize length;
    if (!sami_encoder_add(stream->encoder, record, NULL) ||
        !sami_stream_take(stream, now_ms, EXPORT_TIME + (guint32) (now_ms / 1000), FALSE, &message, &length, NULL))
        die("a record");
    g_byte_array_append(out, message, (guint) length);
}

static void
fill_hello(SamiRecord *r, const SamiKey *key)
{
    *r = (SamiRecord){ .kind = SAMI_RECORD_HELLO, .hello = { .version = 1, .pen = SAMI_PEN, .destination = DESTINATION, .opening = SAMI_OPENING_NEW } };
    sami_key_public(key, r->hello.public_key);
}

/* hello, addresses, begin: up to the first that is of this kind. */
static void
say_opening(GByteArray *out, SamiStream *stream, SamiKey *collector, SamiRecordKind until)
{
    SamiRecord records[3];
    vm(&records[0]);
    records[1] = (SamiRecord){ .kind = SAMI_RECORD_VM_ADDRESS6, .vm_address = { .family = 6, .length = 128, .address = record_address("2001:db8:a::13") } };
    records[2] = begin_of(2);
    SamiRecord hello;
    fill_hello(&hello, stream->key);
    add_message(out, stream, &hello, 1010);
    stream->peer_key = collector;
    sami_stream_bind(stream, DESTINATION);
    for (guint i = 0; i < G_N_ELEMENTS(records) && records[i].kind != until; i++)
        add_message(out, stream, &records[i], 1020);
}

/* What the encoder makes of n times this record, in its parts. */
static void
take_draft(SamiStream *stream, const SamiRecord *record, guint n, Draft *d)
{
    guint8 *message;
    gsize length;
    SamiReader r;
    gboolean is_added = TRUE;
    for (guint i = 0; i < n; i++)
        is_added &= sami_encoder_add(stream->encoder, record, NULL);
    if (!is_added || !sami_stream_end(stream, EXPORT_TIME + 1, &message, &length, &d->fields.counter, NULL))
        die("a record");
    sami_reader_init(&r, message, length);
    d->version = (guint16) sami_reader_uint(&r, 2);
    sami_reader_uint(&r, 2);
    d->export_time = (guint32) sami_reader_uint(&r, 4);
    d->sequence = (guint32) sami_reader_uint(&r, 4);
    d->domain = (guint32) sami_reader_uint(&r, 4);
    g_byte_array_append(d->sets, r.at, (guint) sami_reader_left(&r));
    d->n_template = read16(d->sets, 2);
}

static void
finish(Draft *d, GByteArray *ret)
{
    gsize length = SAMI_MESSAGE_HEADER + d->sets->len;
    SamiWriter w;
    g_byte_array_set_size(ret, (guint) (length + SAMI_SIGNATURE_SET));
    sami_writer_init(&w, ret->data, ret->len);
    sami_writer_uint(&w, d->version, 2);
    sami_writer_uint(&w, length, 2);
    sami_writer_uint(&w, d->export_time, 4);
    sami_writer_uint(&w, d->sequence, 4);
    sami_writer_uint(&w, d->domain, 4);
    sami_writer_octets(&w, d->sets->data, d->sets->len);
    if (!d->is_unsigned)
        length = sami_signature_seal(d->key, &d->fields, ret->data, length);
    g_byte_array_set_size(ret, (guint) length);
}

static SamiRecord
record_of(const Sample *sample, const SamiKey *key)
{
    SamiRecord r;
    a_session(&r);
    if (sample->is_first)
        fill_hello(&r, key);
    if (sample->record)
        sample->record(&r);
    else if (sample->expectation) {
        an_expectation(&r);
        sample->expectation(&r.expectation);
    } else if (sample->session)
        sample->session(&r.session);
    return r;
}

static void
write_sample(const Sample *sample, const gchar *directory, SamiKey *exporter, SamiKey *collector)
{
    static const guint8 ekm[32] = { 1, 2, 3 };
    g_autoptr(SamiStream) stream = sami_stream_new(SAMI_ROLE_EXPORTER, exporter, ekm, SAMI_MESSAGE_MAX, 1000, 30000);
    g_autoptr(GByteArray) out = g_byte_array_new(), message = g_byte_array_new(), sets = g_byte_array_new();
    g_autofree gchar *name = g_strconcat(sample->name, ".ipfix", NULL), *path = g_build_filename(directory, name, NULL);
    Draft d = { .sets = sets, .key = exporter, .version = 10, .export_time = EXPORT_TIME + 1, .fields = { .role = SAMI_ROLE_EXPORTER, .elapsed_ms = 30 } };
    SamiRecord record = record_of(sample, exporter), before;
    memset(stream->migration_id, 0x5e, sizeof stream->migration_id);
    if (sample->is_foreign) {
        begin_foreign(&d, 7, 2);
        finish(&d, out);
        g_byte_array_set_size(sets, 0);
    } else {
        if (!sample->is_first)
            say_opening(out, stream, collector, record.kind);
        if (sample->before) {
            sample->before(&before);
            add_message(out, stream, &before, 1025);
        }
        take_draft(stream, &record, 1 + sample->n_more, &d);
        memcpy(d.fields.migration_id, stream->migration_id, sizeof d.fields.migration_id);
        memcpy(d.fields.binding, stream->binding, sizeof d.fields.binding);
    }
    if (sample->change)
        sample->change(&d, sample->argument);
    finish(&d, message);
    if (sample->damage)
        sample->damage(message, sample->argument);
    g_byte_array_append(out, message->data, message->len);
    if (!g_file_set_contents(path, (const gchar *) out->data, (gssize) out->len, NULL))
        die(path);
}

int
main(int argc, char **argv)
{
    if (argc != 3)
        g_error("usage: rule-samples KEYS DIRECTORY");
    static const gchar *const names[N_SIGNERS] = { "fw1.key", "fw2.key", "fw3.key" };
    SamiKey *keys[N_SIGNERS];
    g_autoptr(GString) index = g_string_new(NULL);
    g_autofree gchar *path = g_build_filename(argv[2], "INDEX", NULL);
    for (guint i = 0; i < N_SIGNERS; i++) {
        g_autofree gchar *key = g_build_filename(argv[1], names[i], NULL);
        if (!(keys[i] = sami_key_load_private(key, NULL, NULL)))
            die(key);
    }
    for (guint i = 0; i < G_N_ELEMENTS(samples); i++) {
        write_sample(&samples[i], argv[2], keys[samples[i].signer], keys[FW2]);
        g_string_append_printf(index, "%-32s %s\n", samples[i].name, samples[i].what);
    }
    if (!g_file_set_contents(path, index->str, (gssize) index->len, NULL))
        die(path);
    for (guint i = 0; i < N_SIGNERS; i++)
        sami_key_free(keys[i]);
    return 0;
}
