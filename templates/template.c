#include "templates/template.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "common/cursor.h"

#define WIDTH(member) sizeof(((SamiRecord *) NULL)->member)
#define UINT(e, member, group) { SAMI_E_##e, SAMI_FIELD_UINT, offsetof(SamiRecord, member), WIDTH(member), group }
#define OCTETS(e, member, group) { SAMI_E_##e, SAMI_FIELD_OCTETS, offsetof(SamiRecord, member), WIDTH(member), group }
#define FIELD(e, f, member, group) { SAMI_E_##e, SAMI_FIELD_##f, offsetof(SamiRecord, member), WIDTH(member), group }
#define KIND { SAMI_E_RECORD_KIND, SAMI_FIELD_KIND, 0, 0, 0 }
#define G(name) SAMI_GROUP_##name

/* Order on the wire. postNAT source is where replies go to, destination is where they come from. */
static const SamiField session_fields[] = {
    UINT(FIREWALL_EVENT, session.action, G(BASE)),
    UINT(PROTOCOL, session.key.protocol, G(BASE)),
    FIELD(SRC4, IPV4, session.key.orig.src, G(V4)),
    FIELD(DST4, IPV4, session.key.orig.dst, G(V4)),
    OCTETS(SRC6, session.key.orig.src, G(V6)),
    OCTETS(DST6, session.key.orig.dst, G(V6)),
    UINT(SPORT, session.key.orig.src_port, G(PORTS)),
    UINT(DPORT, session.key.orig.dst_port, G(PORTS)),
    { SAMI_E_ICMP_ID, SAMI_FIELD_UINT, offsetof(SamiRecord, session.key.orig.src_port), 2, G(ICMP4) | G(ICMP6) },
    FIELD(ICMP_TYPE4, HIGH, session.key.orig.dst_port, G(ICMP4)),
    FIELD(ICMP_CODE4, LOW, session.key.orig.dst_port, G(ICMP4)),
    FIELD(ICMP_TYPE6, HIGH, session.key.orig.dst_port, G(ICMP6)),
    FIELD(ICMP_CODE6, LOW, session.key.orig.dst_port, G(ICMP6)),
    FIELD(POST_SRC4, IPV4, session.reply.dst, G(REPLY4)),
    FIELD(POST_DST4, IPV4, session.reply.src, G(REPLY4)),
    OCTETS(POST_SRC6, session.reply.dst, G(REPLY6)),
    OCTETS(POST_DST6, session.reply.src, G(REPLY6)),
    UINT(POST_SPORT, session.reply.dst_port, G(REPLY_PORTS)),
    UINT(POST_DPORT, session.reply.src_port, G(REPLY_PORTS)),
    UINT(ICMP_ID_R, session.reply.src_port, G(REPLY_ICMP)),
    UINT(ZONE, session.key.zone, G(ZONE)),
    UINT(SESSION_FLAGS, session.flags, G(FLAGS)),
    UINT(STATUS, session.status, G(STATUS)),
    UINT(TIMEOUT, session.timeout_s, G(TIMEOUT)),
    UINT(TCP_STATE, session.tcp_state, G(TCP)),
    UINT(TCP_FLAGS, session.tcp_flags[0], G(TCP)),
    UINT(TCP_FLAGS_R, session.tcp_flags[1], G(TCP)),
    UINT(WSCALE, session.tcp_wscale[0], G(WSCALE)),
    UINT(WSCALE_R, session.tcp_wscale[1], G(WSCALE)),
    UINT(MARK, session.mark, G(MARK)),
    OCTETS(LABELS, session.labels, G(LABELS)),
    UINT(FLOW_ID, session.flow_id, G(ID)),
    FIELD(START, MS, session.start_ns, G(START)),
    UINT(PACKETS, session.packets[0], G(COUNTERS)),
    UINT(PACKETS_R, session.packets[1], G(COUNTERS)),
    UINT(OCTETS, session.octets[0], G(COUNTERS)),
    UINT(OCTETS_R, session.octets[1], G(COUNTERS)),
    UINT(VLAN, session.vlan, G(VLAN)),
};
static const SamiField hello_fields[] = {
    KIND, UINT(VERSION, hello.version, 0), UINT(PEN, hello.pen, 0), OCTETS(NONCE_E, hello.nonce, 0),
    OCTETS(PUBLIC_KEY, hello.public_key, 0), OCTETS(DESTINATION, hello.destination, 0),
    UINT(OPENING, hello.opening, 0), UINT(GENERATION, hello.generation, 0),
};
static const SamiField hello_reply_fields[] = {
    KIND, UINT(VERSION, hello_reply.version, 0), OCTETS(NONCE_E, hello_reply.nonce_e, 0),
    OCTETS(NONCE_C, hello_reply.nonce_c, 0), OCTETS(PUBLIC_KEY, hello_reply.public_key, 0),
    UINT(NEXT_COUNTER, hello_reply.next_counter, 0), UINT(LEASE, hello_reply.lease_s, 0),
    UINT(MESSAGE_MAX, hello_reply.message_max, 0), UINT(SESSIONS_MAX, hello_reply.sessions_max, 0),
};
static const SamiField vm_address4_fields[] = {
    KIND, FIELD(PREFIX4, IPV4, vm_address.address, 0), UINT(PREFIX4_LEN, vm_address.length, 0),
};
static const SamiField vm_address6_fields[] = {
    KIND, OCTETS(PREFIX6, vm_address.address, 0), UINT(PREFIX6_LEN, vm_address.length, 0),
};
static const SamiField begin_fields[] = {
    KIND, UINT(N_ADDRESSES, begin.n_addresses, 0), UINT(LEASE, begin.lease_s, 0),
    UINT(KINDS, begin.kinds, 0), OCTETS(DESTINATION, begin.destination, 0),
};
static const SamiField epoch_fields[] = {
    KIND, UINT(GENERATION, epoch.generation, 0), UINT(EPOCH_PHASE, epoch.phase, 0),
};
static const SamiField marker_fields[] = {
    KIND, UINT(MARKER, marker.marker, 0), UINT(N_RECORDS, marker.n_records, 0),
    UINT(FREEZE_MODE, marker.freeze_mode, 0),
};
static const SamiField end_fields[] = { KIND, UINT(N_RECORDS, end.n_records, 0) };
static const SamiField abort_fields[] = {
    KIND, UINT(ABORT_REASON, abort.reason, 0), UINT(MARKER_COUNTER, abort.marker_counter, 0),
};
static const SamiField receipt_fields[] = {
    KIND, UINT(RECEIPT_PHASE, receipt.phase, 0), UINT(MARKER_COUNTER, receipt.marker_counter, 0),
    UINT(N_RECORDS, receipt.n_records, 0), UINT(FREEZE_MODE, receipt.freeze_mode, 0),
    UINT(RECEIPT_FLAGS, receipt.flags, 0), UINT(N_ACCEPTED, receipt.n_accepted, 0),
    UINT(N_PRESENT, receipt.n_present, 0), UINT(N_MERGED, receipt.n_merged, 0),
    UINT(N_EXACT, receipt.n_exact, 0), UINT(N_DEGRADED, receipt.n_degraded, 0),
    UINT(N_REFUSED, receipt.n_refused, 0),
};
static const SamiField reason_count_fields[] = {
    KIND, UINT(REFUSAL_SCOPE, reason_count.scope, 0), UINT(REASON, reason_count.reason, 0),
    UINT(REASON_COUNT, reason_count.count, 0),
};
static const SamiField refusal_fields[] = {
    KIND, UINT(REFUSAL_SCOPE, refusal.scope, 0), UINT(REASON, refusal.reason, 0),
    UINT(COUNTER, refusal.counter, 0), OCTETS(FLOW_KEY, refusal.key, 0),
    OCTETS(DETAIL, refusal.detail, 0),
};
static const SamiField type_information_fields[] = {
    UINT(PEN, type_information.pen, 0), UINT(IE_ID, type_information.number, 0),
    UINT(IE_TYPE, type_information.type, 0), UINT(IE_SEMANTICS, type_information.semantics, 0),
    UINT(IE_UNITS, type_information.units, 0), OCTETS(IE_NAME, type_information.name, 0),
};

#define ROW(kind, name, table, n_scope) \
    [SAMI_RECORD_##kind] = { SAMI_RECORD_##kind, name, table, G_N_ELEMENTS(table), n_scope }
const SamiKind sami_kinds[SAMI_N_RECORD_KINDS] = {
    ROW(SESSION, "session", session_fields, 0),
    ROW(HELLO, "hello", hello_fields, 1),
    ROW(HELLO_REPLY, "hello-reply", hello_reply_fields, 1),
    ROW(VM_ADDRESS4, "vm-address (IPv4)", vm_address4_fields, 1),
    ROW(VM_ADDRESS6, "vm-address (IPv6)", vm_address6_fields, 1),
    ROW(BEGIN, "begin", begin_fields, 1),
    ROW(EPOCH, "epoch", epoch_fields, 1),
    ROW(MARKER, "marker", marker_fields, 1),
    ROW(END, "end", end_fields, 1),
    ROW(ABORT, "abort", abort_fields, 1),
    ROW(RECEIPT, "receipt", receipt_fields, 1),
    ROW(REASON_COUNT, "reason-count", reason_count_fields, 1),
    ROW(REFUSAL, "refusal", refusal_fields, 1),
    ROW(TYPE_INFORMATION, "type-information", type_information_fields, 2),
};

/* Which group carries the protocol's selectors, and which the reply's. */
static guint32
selector_groups(guint8 family, guint8 protocol, guint32 *ret_reply)
{
    switch (protocol) {
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        *ret_reply = G(REPLY_ICMP);
        return family == 4 ? G(ICMP4) : G(ICMP6);
    default:
        *ret_reply = G(REPLY_PORTS);
        return G(PORTS);
    }
}

guint32
sami_session_groups(const SamiSession *s)
{
    static const struct {
        guint32 has, group;
    } optional[] = {
        { SAMI_HAS_STATUS, G(STATUS) }, { SAMI_HAS_TIMEOUT, G(TIMEOUT) }, { SAMI_HAS_TCP, G(TCP) },
        { SAMI_HAS_WSCALE, G(WSCALE) }, { SAMI_HAS_MARK, G(MARK) },       { SAMI_HAS_LABELS, G(LABELS) },
        { SAMI_HAS_ID, G(ID) },         { SAMI_HAS_START, G(START) },     { SAMI_HAS_COUNTERS, G(COUNTERS) },
        { SAMI_HAS_VLAN, G(VLAN) },
    };
    guint32 reply_selectors;
    guint32 groups = G(BASE) | (s->key.family == 4 ? G(V4) : G(V6)) |
                     selector_groups(s->key.family, s->key.protocol, &reply_selectors);
    SamiTuple mirror = { 0 };
    if ((s->has & SAMI_HAS_REPLY) &&
        (!sami_flow_key_mirror(&s->key, &mirror) || memcmp(&mirror, &s->reply, sizeof mirror) != 0))
        groups |= (s->key.family == 4 ? G(REPLY4) : G(REPLY6)) | reply_selectors;
    if (s->key.zone)
        groups |= G(ZONE);
    if (s->flags)
        groups |= G(FLAGS);
    for (gsize i = 0; i < G_N_ELEMENTS(optional); i++)
        if (s->has & optional[i].has)
            groups |= optional[i].group;
    return groups;
}

static guint32
session_has(guint32 groups, guint8 action)
{
    guint32 has = action == SAMI_ACTION_DELETED ? 0 : SAMI_HAS_REPLY;
    has |= (groups & G(STATUS)) ? SAMI_HAS_STATUS : 0;
    has |= (groups & G(TIMEOUT)) ? SAMI_HAS_TIMEOUT : 0;
    has |= (groups & G(TCP)) ? SAMI_HAS_TCP : 0;
    has |= (groups & G(WSCALE)) ? SAMI_HAS_WSCALE : 0;
    has |= (groups & G(MARK)) ? SAMI_HAS_MARK : 0;
    has |= (groups & G(LABELS)) ? SAMI_HAS_LABELS : 0;
    has |= (groups & G(ID)) ? SAMI_HAS_ID : 0;
    has |= (groups & G(START)) ? SAMI_HAS_START : 0;
    has |= (groups & G(COUNTERS)) ? SAMI_HAS_COUNTERS : 0;
    has |= (groups & G(VLAN)) ? SAMI_HAS_VLAN : 0;
    return has;
}

void
sami_template_make(SamiRecordKind kind, guint32 groups, guint16 id, SamiTemplate *ret)
{
    const SamiKind *row = &sami_kinds[kind];
    *ret = (SamiTemplate){ .id = id, .kind = kind, .groups = groups, .n_scope = (guint16) row->n_scope };
    for (guint i = 0; i < row->n_fields; i++) {
        const SamiField *field = &row->fields[i];
        if (kind == SAMI_RECORD_SESSION && !(field->group & groups))
            continue;
        ret->fields[ret->n_fields++] = field;
        ret->length += sami_elements[field->element].length;
    }
}

gsize
sami_template_write(const SamiTemplate *tmpl, guint8 *buffer, gsize size)
{
    SamiWriter w;
    sami_writer_init(&w, buffer, size);
    sami_writer_uint(&w, tmpl->n_scope ? 3 : 2, 2);
    sami_writer_uint(&w, 0, 2);
    sami_writer_uint(&w, tmpl->id, 2);
    sami_writer_uint(&w, tmpl->n_fields, 2);
    if (tmpl->n_scope)
        sami_writer_uint(&w, tmpl->n_scope, 2);
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiElement *e = &sami_elements[tmpl->fields[i]->element];
        sami_writer_uint(&w, e->pen ? e->number | 0x8000u : e->number, 2);
        sami_writer_uint(&w, e->length, 2);
        if (e->pen)
            sami_writer_uint(&w, e->pen, 4);
    }
    g_assert(!w.is_bad);
    gsize length = sami_writer_length(&w);
    buffer[2] = (guint8) (length >> 8);
    buffer[3] = (guint8) length;
    return length;
}

static gboolean
is_element(const SamiSpecifier *s, SamiElementId id)
{
    const SamiElement *e = &sami_elements[id];
    return s->pen == e->pen && s->number == e->number && s->length == e->length;
}

static gboolean
match_options(const SamiSpecifier *specifiers, guint n, guint n_scope, SamiRecordKind *ret_kind)
{
    for (guint k = 1; k < SAMI_N_RECORD_KINDS; k++) {
        const SamiKind *kind = &sami_kinds[k];
        guint i = 0;
        if (kind->n_fields != n || kind->n_scope != n_scope)
            continue;
        while (i < n && is_element(&specifiers[i], kind->fields[i].element))
            i++;
        if (i == n) {
            *ret_kind = (SamiRecordKind) k;
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
refuse_specifier(const SamiSpecifier *s, guint index, GError **error)
{
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++)
        if (sami_elements[i].pen == s->pen && sami_elements[i].number == s->number) {
            const SamiElement *e = &sami_elements[i];
            if (e->length != s->length)
                g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                            "field %u: %s (%u/%u) has %u octets, allowed are %u", index, e->name, s->pen,
                            s->number, s->length, e->length);
            else
                g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                            "field %u: %s is twice, out of order or not allowed in this template", index, e->name);
            return FALSE;
        }
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "field %u: unknown element %u/%u", index,
                s->pen, s->number);
    return FALSE;
}

/* The groups of a session template are the union of its fields' groups; a group that lacks a field is refused by
 * making the template of that union and comparing. */
static gboolean
match_session(const SamiSpecifier *specifiers, guint n, guint16 id, SamiTemplate *ret, GError **error)
{
    guint32 groups = 0;
    guint next = 0;
    for (guint i = 0; i < n; i++) {
        guint f = next;
        while (f < G_N_ELEMENTS(session_fields) && !is_element(&specifiers[i], session_fields[f].element))
            f++;
        if (f == G_N_ELEMENTS(session_fields))
            return refuse_specifier(&specifiers[i], i, error);
        if (session_fields[f].element != SAMI_E_ICMP_ID)
            groups |= session_fields[f].group;
        next = f + 1;
    }
    sami_template_make(SAMI_RECORD_SESSION, groups, id, ret);
    guint32 families = groups & (G(V4) | G(V6)), selectors = groups & (G(PORTS) | G(ICMP4) | G(ICMP6));
    guint32 reply4 = G(REPLY4) | G(ICMP4), reply6 = G(REPLY6) | G(ICMP6);
    gboolean is_whole = ret->n_fields == n && (groups & G(BASE));
    gboolean is_one_family = (families == G(V4) && !(groups & reply6)) ||
                             (families == G(V6) && !(groups & reply4));
    if (!is_whole || !is_one_family || !selectors || (selectors & (selectors - 1))) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "a session template needs its groups whole, one address family and one kind of selector");
        return FALSE;
    }
    return TRUE;
}

gboolean
sami_template_match(const SamiSpecifier *specifiers, guint n, guint n_scope, guint16 id, SamiTemplate *ret, GError **error)
{
    SamiTemplate tmpl;
    SamiRecordKind kind;
    if (n_scope == 0) {
        if (!match_session(specifiers, n, id, &tmpl, error))
            return FALSE;
    } else if (match_options(specifiers, n, n_scope, &kind)) {
        sami_template_make(kind, 0, id, &tmpl);
    } else {
        for (guint i = 0; i < n; i++) {
            guint e = 0;
            while (e < SAMI_N_ELEMENTS && !is_element(&specifiers[i], (SamiElementId) e))
                e++;
            if (e == SAMI_N_ELEMENTS)
                return refuse_specifier(&specifiers[i], i, error);
        }
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "Options Template %u is none of the protocol's control records", id);
        return FALSE;
    }
    *ret = tmpl;
    return TRUE;
}

static guint64
read_host(const guint8 *p, guint n)
{
    switch (n) {
    case 1: return *p;
    case 2: { guint16 v; memcpy(&v, p, 2); return v; }
    case 4: { guint32 v; memcpy(&v, p, 4); return v; }
    default: { guint64 v; memcpy(&v, p, 8); return v; }
    }
}

static void
write_host(guint8 *p, guint n, guint64 value)
{
    switch (n) {
    case 1: *p = (guint8) value; break;
    case 2: { guint16 v = (guint16) value; memcpy(p, &v, 2); break; }
    case 4: { guint32 v = (guint32) value; memcpy(p, &v, 4); break; }
    default: memcpy(p, &value, 8); break;
    }
}

void
sami_template_pack(const SamiTemplate *tmpl, const SamiRecord *record, guint8 *at)
{
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiField *field = tmpl->fields[i];
        const guint8 *place = (const guint8 *) record + field->offset;
        guint length = sami_elements[field->element].length;
        switch (field->form) {
        case SAMI_FIELD_UINT: write_host(at, length, read_host(place, field->width)); break;
        case SAMI_FIELD_HIGH: *at = (guint8) (read_host(place, 2) >> 8); break;
        case SAMI_FIELD_LOW: *at = (guint8) read_host(place, 2); break;
        case SAMI_FIELD_OCTETS: memcpy(at, place, length); break;
        case SAMI_FIELD_IPV4: write_host(at, 4, g_ntohl((guint32) read_host(place, 4))); break;
        case SAMI_FIELD_MS: write_host(at, 8, read_host(place, 8) / 1000000u); break;
        case SAMI_FIELD_KIND: *at = (guint8) tmpl->kind; break;
        }
        at += length;
    }
}

static gboolean
finish_session(const SamiTemplate *tmpl, SamiSession *s, GError **error)
{
    guint32 reply_selectors;
    s->key.family = (tmpl->groups & G(V4)) ? 4 : 6;
    if (!(tmpl->groups & selector_groups(s->key.family, s->key.protocol, &reply_selectors))) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "template %u does not have the selectors of protocol %u", tmpl->id, s->key.protocol);
        return FALSE;
    }
    s->has = session_has(tmpl->groups, s->action);
    SamiTuple mirror = { 0 };
    gboolean has_mirror = sami_flow_key_mirror(&s->key, &mirror);
    if (!(tmpl->groups & (G(REPLY4) | G(REPLY6)))) {
        if (!has_mirror && (s->has & SAMI_HAS_REPLY)) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "an ICMP type without an answer needs a reply tuple");
            return FALSE;
        }
        s->reply = mirror;
    } else if (reply_selectors == G(REPLY_ICMP) && has_mirror) {
        s->reply.dst_port = mirror.dst_port; /* the answer's type is implied */
    }
    return TRUE;
}

gboolean
sami_template_unpack(const SamiTemplate *tmpl, const guint8 *at, SamiRecord *ret, GError **error)
{
    memset(ret, 0, sizeof *ret);
    ret->kind = tmpl->kind;
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiField *field = tmpl->fields[i];
        guint8 *place = (guint8 *) ret + field->offset;
        guint length = sami_elements[field->element].length;
        switch (field->form) {
        case SAMI_FIELD_UINT: write_host(place, field->width, read_host(at, length)); break;
        case SAMI_FIELD_HIGH:
            write_host(place, 2, read_host(place, 2) | (guint64) *at << 8);
            break;
        case SAMI_FIELD_LOW: write_host(place, 2, read_host(place, 2) | *at); break;
        case SAMI_FIELD_OCTETS: memcpy(place, at, length); break;
        case SAMI_FIELD_IPV4: write_host(place, 4, g_htonl((guint32) read_host(at, 4))); break;
        case SAMI_FIELD_MS: write_host(place, 8, read_host(at, 8) * 1000000u); break;
        case SAMI_FIELD_KIND:
            if (*at != tmpl->kind) {
                g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "samiRecordKind is %u in the template of %s",
                            *at, sami_kinds[tmpl->kind].name);
                return FALSE;
            }
            break;
        }
        at += length;
    }
    if (tmpl->kind == SAMI_RECORD_SESSION)
        return finish_session(tmpl, &ret->session, error);
    if (tmpl->kind == SAMI_RECORD_VM_ADDRESS4 || tmpl->kind == SAMI_RECORD_VM_ADDRESS6)
        ret->vm_address.family = tmpl->kind == SAMI_RECORD_VM_ADDRESS4 ? 4 : 6;
    return TRUE;
}

void
sami_flow_key_pack(const SamiFlowKey *key, guint8 ret_octets[40])
{
    SamiWriter w;
    sami_writer_init(&w, ret_octets, 40);
    sami_writer_octets(&w, &key->orig.src, 16);
    sami_writer_octets(&w, &key->orig.dst, 16);
    sami_writer_uint(&w, key->orig.src_port, 2);
    sami_writer_uint(&w, key->orig.dst_port, 2);
    sami_writer_uint(&w, key->zone, 2);
    sami_writer_uint(&w, key->family, 1);
    sami_writer_uint(&w, key->protocol, 1);
}

void
sami_flow_key_unpack(const guint8 octets[40], SamiFlowKey *ret_key)
{
    SamiReader r;
    sami_reader_init(&r, octets, 40);
    memcpy(&ret_key->orig.src, sami_reader_take(&r, 16), 16);
    memcpy(&ret_key->orig.dst, sami_reader_take(&r, 16), 16);
    ret_key->orig.src_port = (guint16) sami_reader_uint(&r, 2);
    ret_key->orig.dst_port = (guint16) sami_reader_uint(&r, 2);
    ret_key->zone = (guint16) sami_reader_uint(&r, 2);
    ret_key->family = (guint8) sami_reader_uint(&r, 1);
    ret_key->protocol = (guint8) sami_reader_uint(&r, 1);
}
