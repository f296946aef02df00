#include "replay/recut.h"

#include <string.h>

#include "common/cursor.h"
#include "templates/rules.h"
#include "templates/signature.h"

#define SET_TEMPLATE 2u
#define SET_OPTIONS 3u
#define SET_DATA_FIRST 256u
#define VARIABLE 65535u

typedef struct {
    gboolean is_options, is_signature;
    guint8 *octets; /* the template record, as it was defined */
    gsize n;
    guint16 *lengths; /* of its fields, only if one is variable */
    guint n_fields;
    gsize least; /* octets of the shortest record; 0: its records cannot be told apart */
} Template;

typedef struct {
    guint32 number;
    gboolean is_cutting;
    guint32 n_left_out; /* Data Records, since the beginning */
    guint n_since;      /* Messages since templates were repeated */
    guint64 refreshed_ms;
    GTree *templates; /* id -> Template */
} Domain;

struct ReplayRecut {
    gsize mtu;
    guint every;
    guint64 every_ms;
    GPtrArray *domains; /* of Domain */
    guint n_templates;
    gsize n_octets; /* of all templates */
    ReplayRecutCounts counts;
};

/* The Message that is being made. */
typedef struct {
    ReplayRecut *recut;
    Domain *domain;
    guint64 now_ms;
    gboolean is_repeating; /* templates */
    guint8 octets[SAMI_MESSAGE_MAX];
    gsize used, set_at; /* set_at 0: no Set is open */
    guint set;
    guint n_records;
    guint32 export_time, sequence;
    ReplayRecutFunc out;
    gpointer user_data;
} Piece;

static void refresh(Piece *piece);

static void
template_free(gpointer data)
{
    Template *t = data;
    g_free(t->octets);
    g_free(t->lengths);
    g_free(t);
}

static gint
compare_ids(gconstpointer a, gconstpointer b, gpointer user_data)
{
    return (GPOINTER_TO_INT(a) > GPOINTER_TO_INT(b)) - (GPOINTER_TO_INT(a) < GPOINTER_TO_INT(b));
}

static void
domain_free(gpointer data)
{
    Domain *domain = data;
    g_tree_unref(domain->templates);
    g_free(domain);
}

ReplayRecut *
replay_recut_new(gsize mtu, guint every, guint64 every_ms)
{
    ReplayRecut *recut = g_new0(ReplayRecut, 1);
    recut->mtu = CLAMP(mtu, REPLAY_RECUT_MTU_MIN, REPLAY_RECUT_MTU_MAX);
    recut->every = every;
    recut->every_ms = every_ms;
    recut->domains = g_ptr_array_new_with_free_func(domain_free);
    return recut;
}

void
replay_recut_free(ReplayRecut *recut)
{
    if (!recut)
        return;
    g_ptr_array_unref(recut->domains);
    g_free(recut);
}

const ReplayRecutCounts *
replay_recut_counts(const ReplayRecut *recut)
{
    return &recut->counts;
}

/* --- templates --- */

static void
forget(ReplayRecut *recut, Domain *domain, guint id)
{
    const Template *t = g_tree_lookup(domain->templates, GUINT_TO_POINTER(id));
    if (!t)
        return;
    recut->n_templates--;
    recut->n_octets -= t->n;
    g_tree_remove(domain->templates, GUINT_TO_POINTER(id));
}

static gboolean
note_id(gpointer key, gpointer value, gpointer user_data)
{
    const gpointer *call = user_data;
    if (((const Template *) value)->is_options == GPOINTER_TO_INT(call[0]))
        g_array_append_val(call[1], key);
    return FALSE;
}

/* RFC 7011 §8.1: the id of the Set withdraws all of its kind. */
static void
withdraw(ReplayRecut *recut, Domain *domain, guint id)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(gpointer));
    gpointer call[] = { GINT_TO_POINTER(id == SET_OPTIONS), ids };
    if (id >= SET_DATA_FIRST) {
        forget(recut, domain, id);
        return;
    }
    g_tree_foreach(domain->templates, note_id, call);
    for (guint i = 0; i < ids->len; i++)
        forget(recut, domain, GPOINTER_TO_UINT(g_array_index(ids, gpointer, i)));
}

/* One template record; a withdrawal has no fields. */
typedef struct {
    guint id, n_fields, n_scope;
    const guint8 *octets, *fields;
    gsize n;
} Definition;

/* 1: one was read; 0: what is left is padding; -1: neither. */
static gint
next_definition(SamiReader *r, gboolean is_options, Definition *ret, GError **error)
{
    Definition d = { .octets = r->at };
    if (sami_reader_left(r) < 4)
        return 0;
    d.id = (guint) sami_reader_uint(r, 2);
    d.n_fields = (guint) sami_reader_uint(r, 2);
    gboolean is_for_all = d.n_fields == 0 && d.id == (is_options ? SET_OPTIONS : SET_TEMPLATE);
    if (d.id < SET_DATA_FIRST && !is_for_all) {
        sami_rule_error(error, SAMI_RULE_TEMPLATE_ID, "template id %u", d.id);
        return -1;
    }
    if (is_options && d.n_fields > 0) {
        d.n_scope = (guint) sami_reader_uint(r, 2);
        if (!r->is_bad && (d.n_scope == 0 || d.n_scope > d.n_fields)) {
            sami_rule_error(error, SAMI_RULE_OPTIONS_SCOPE, "Options Template %u has %u scope fields of %u", d.id, d.n_scope, d.n_fields);
            return -1;
        }
    }
    d.fields = r->at;
    for (guint i = 0; i < d.n_fields && !r->is_bad; i++)
        if (sami_reader_uint(r, 4) & 0x80000000u) /* the enterprise bit of its number (§3.2) */
            sami_reader_take(r, 4);
    if (r->is_bad) {
        sami_rule_error(error, SAMI_RULE_TEMPLATE_CUT, "template %u is longer than its Set", d.id);
        return -1;
    }
    d.n = (gsize) (r->at - d.octets);
    *ret = d;
    return 1;
}

static gboolean
is_signature_template(const Definition *d, gboolean is_options)
{
    gsize size;
    const guint8 *constant = sami_signature_template(&size);
    return is_options && d->n == size - 4 && memcmp(d->octets, constant + 4, size - 4) == 0;
}

static void
learn(ReplayRecut *recut, Domain *domain, const Definition *d, gboolean is_options)
{
    SamiReader r;
    gboolean is_variable = FALSE;
    forget(recut, domain, d->id);
    if (recut->n_templates >= REPLAY_RECUT_TEMPLATES_MAX || recut->n_octets + d->n > REPLAY_RECUT_OCTETS_MAX) {
        recut->counts.n_unremembered++;
        return;
    }
    Template *t = g_new0(Template, 1);
    t->is_options = is_options;
    t->is_signature = is_signature_template(d, is_options);
    t->octets = g_memdup2(d->octets, d->n);
    t->n = d->n;
    t->n_fields = d->n_fields;
    t->lengths = g_new(guint16, d->n_fields);
    sami_reader_init(&r, d->fields, (gsize) (d->octets + d->n - d->fields));
    for (guint i = 0; i < d->n_fields; i++) {
        gboolean is_enterprise = (sami_reader_uint(&r, 2) & 0x8000) != 0;
        t->lengths[i] = (guint16) sami_reader_uint(&r, 2);
        if (is_enterprise)
            sami_reader_take(&r, 4);
        is_variable |= t->lengths[i] == VARIABLE;
        t->least += t->lengths[i] == VARIABLE ? 1u : t->lengths[i];
    }
    if (!is_variable)
        g_clear_pointer(&t->lengths, g_free);
    recut->n_templates++;
    recut->n_octets += t->n;
    g_tree_insert(domain->templates, GUINT_TO_POINTER(d->id), t);
}

/* Octets of the record at the front of `body`; 0: what is left is no record. */
static gsize
record_length(const Template *t, const guint8 *body, gsize left)
{
    SamiReader r;
    if (t->least == 0 || left < t->least)
        return 0;
    if (!t->lengths)
        return t->least;
    sami_reader_init(&r, body, left);
    for (guint i = 0; i < t->n_fields; i++) {
        guint64 n = t->lengths[i];
        if (n == VARIABLE && (n = sami_reader_uint(&r, 1)) == 255) /* RFC 7011 §7 */
            n = sami_reader_uint(&r, 2);
        if (!sami_reader_take(&r, n))
            return 0;
    }
    return (gsize) (r.at - body);
}

/* --- Messages out --- */

static void
give_out(Piece *piece)
{
    SamiWriter w;
    if (piece->used > SAMI_MESSAGE_HEADER) {
        sami_writer_init(&w, piece->octets, SAMI_MESSAGE_HEADER);
        sami_writer_uint(&w, 10, 2);
        sami_writer_uint(&w, piece->used, 2);
        sami_writer_uint(&w, piece->export_time, 4);
        sami_writer_uint(&w, piece->sequence, 4);
        sami_writer_uint(&w, piece->domain->number, 4);
        piece->out(piece->octets, piece->used, piece->user_data);
        piece->recut->counts.n_out++;
        piece->recut->counts.n_refreshes += piece->is_repeating;
        piece->domain->n_since += !piece->is_repeating;
        piece->sequence += piece->n_records;
    }
    piece->used = SAMI_MESSAGE_HEADER;
    piece->set_at = piece->n_records = 0;
}

static void
put_set_length(Piece *piece)
{
    SamiWriter w;
    sami_writer_init(&w, piece->octets + piece->set_at, 4);
    sami_writer_uint(&w, piece->set, 2);
    sami_writer_uint(&w, piece->used - piece->set_at, 2);
}

/* What cannot be divided any more: into this Message or, if that has no room, into one behind it. */
static void
put(Piece *piece, guint set, const guint8 *octets, gsize n, guint n_records)
{
    gsize alone = SAMI_MESSAGE_HEADER + 4 + n;
    gboolean is_open = piece->set_at > 0 && piece->set == set;
    if (piece->used + (is_open ? 0u : 4u) + n > piece->recut->mtu) {
        give_out(piece);
        is_open = FALSE;
        refresh(piece);
    }
    if (alone > piece->recut->mtu) {
        piece->recut->counts.n_long++;
        if (alone > REPLAY_RECUT_MTU_MAX) {
            piece->recut->counts.n_dropped++;
            piece->sequence += n_records;
            return;
        }
    }
    if (!is_open) {
        piece->set = set;
        piece->set_at = piece->used;
        piece->used += 4;
    }
    memcpy(piece->octets + piece->used, octets, n);
    piece->used += n;
    piece->n_records += n_records;
    put_set_length(piece);
}

static void
cut_data(Piece *piece, Domain *domain, guint set, const guint8 *body, gsize left)
{
    const Template *t = g_tree_lookup(domain->templates, GUINT_TO_POINTER(set));
    if (t && t->is_signature) {
        guint n = t->least ? (guint) (left / t->least) : 0;
        piece->recut->counts.n_unsigned++;
        domain->n_left_out += n;
        return;
    }
    for (gsize n; t && (n = record_length(t, body, left)) > 0; body += n, left -= n)
        put(piece, set, body, n, 1);
    if (left > 0 && (!t || left >= t->least)) /* otherwise padding (RFC 7011 §3.3.1) */
        put(piece, set, body, left, 0);
}

/* Learns; what goes on is put into `piece`, if there is one. */
static void
take_templates(ReplayRecut *recut, Domain *domain, Piece *piece, guint set, const guint8 *body, gsize length)
{
    Definition d;
    SamiReader r;
    sami_reader_init(&r, body, length);
    while (next_definition(&r, set == SET_OPTIONS, &d, NULL) > 0) {
        if (d.n_fields == 0) {
            withdraw(recut, domain, d.id);
            recut->counts.n_withdrawals++;
            continue;
        }
        learn(recut, domain, &d, set == SET_OPTIONS);
        if (piece && !is_signature_template(&d, set == SET_OPTIONS))
            put(piece, set, d.octets, d.n, 0);
    }
}

typedef struct {
    Piece *piece;
    gboolean is_options; /* Templates first: one Set of each kind a Message */
} Repeat;

static gboolean
repeat(gpointer key, gpointer value, gpointer user_data)
{
    const Repeat *call = user_data;
    const Template *t = value;
    if (t->is_options == call->is_options && !(t->is_signature && call->piece->domain->is_cutting))
        put(call->piece, t->is_options ? SET_OPTIONS : SET_TEMPLATE, t->octets, t->n, 0);
    return FALSE;
}

/* Templates once more, if it is time. `piece` holds nothing. */
static void
refresh(Piece *piece)
{
    const ReplayRecut *recut = piece->recut;
    Domain *domain = piece->domain;
    gboolean is_due = (recut->every > 0 && domain->n_since >= recut->every) ||
                      (recut->every_ms > 0 && piece->now_ms - MIN(piece->now_ms, domain->refreshed_ms) >= recut->every_ms);
    if (!is_due || piece->is_repeating)
        return;
    domain->n_since = 0;
    domain->refreshed_ms = piece->now_ms;
    piece->is_repeating = TRUE;
    for (guint i = 0; i < 2; i++) {
        Repeat call = { piece, i == 1 };
        g_tree_foreach(domain->templates, repeat, &call);
    }
    give_out(piece);
    piece->is_repeating = FALSE;
}

/* --- Messages in --- */

static gboolean
next_set(SamiReader *r, guint *ret_set, const guint8 **ret_body, gsize *ret_length, GError **error)
{
    guint set = (guint) sami_reader_uint(r, 2), length = (guint) sami_reader_uint(r, 2);
    const guint8 *body = length >= 4 ? sami_reader_take(r, length - 4u) : NULL;
    if (!body || r->is_bad)
        return sami_rule_error(error, SAMI_RULE_SET_LENGTH, "Set %u of %u octets does not fit its Message", set, length);
    *ret_set = set;
    *ret_body = body;
    *ret_length = length - 4u;
    return TRUE;
}

/* Are all of its Sets whole, and its templates templates? */
static gboolean
check(const guint8 *message, gsize length, gboolean *ret_withdraws, GError **error)
{
    SamiReader r, inner;
    guint set;
    const guint8 *body;
    gsize n;
    Definition d;
    gint status = 1;
    *ret_withdraws = FALSE;
    if (length < SAMI_MESSAGE_HEADER || length > SAMI_MESSAGE_MAX || message[0] != 0 || message[1] != 10 || (gsize) (message[2] << 8 | message[3]) != length)
        return sami_rule_error(error, SAMI_RULE_MESSAGE_LENGTH, "no Message of version 10 and its own Length");
    sami_reader_init(&r, message + SAMI_MESSAGE_HEADER, length - SAMI_MESSAGE_HEADER);
    while (sami_reader_left(&r) > 0) {
        if (!next_set(&r, &set, &body, &n, error))
            return FALSE;
        if (set != SET_TEMPLATE && set != SET_OPTIONS)
            continue;
        sami_reader_init(&inner, body, n);
        while ((status = next_definition(&inner, set == SET_OPTIONS, &d, error)) > 0)
            *ret_withdraws |= d.n_fields == 0;
        if (status < 0)
            return FALSE;
    }
    return TRUE;
}

static void
each_set(ReplayRecut *recut, Domain *domain, Piece *piece, const guint8 *message, gsize length)
{
    SamiReader r;
    guint set;
    const guint8 *body;
    gsize n;
    sami_reader_init(&r, message + SAMI_MESSAGE_HEADER, length - SAMI_MESSAGE_HEADER);
    while (sami_reader_left(&r) > 0 && next_set(&r, &set, &body, &n, NULL))
        if (set == SET_TEMPLATE || set == SET_OPTIONS)
            take_templates(recut, domain, piece, set, body, n);
        else if (piece)
            cut_data(piece, domain, set, body, n);
}

static Domain *
obtain_domain(ReplayRecut *recut, guint32 number, guint64 now_ms, GError **error)
{
    for (guint i = 0; i < recut->domains->len; i++) {
        Domain *domain = recut->domains->pdata[i];
        if (domain->number == number)
            return domain;
    }
    if (recut->domains->len >= REPLAY_RECUT_DOMAINS_MAX) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "Observation Domain %u is one too many: %u are followed", number, REPLAY_RECUT_DOMAINS_MAX);
        return NULL;
    }
    Domain *domain = g_new0(Domain, 1);
    domain->number = number;
    domain->refreshed_ms = now_ms;
    domain->templates = g_tree_new_full(compare_ids, NULL, NULL, template_free);
    g_ptr_array_add(recut->domains, domain);
    return domain;
}

gboolean
replay_recut_message(ReplayRecut *recut, const guint8 *message, gsize length, guint64 now_ms, ReplayRecutFunc out, gpointer user_data, GError **error)
{
    SamiReader r;
    gboolean withdraws;
    if (!check(message, length, &withdraws, error))
        return FALSE;
    g_autofree Piece *piece = g_malloc(sizeof *piece);
    sami_reader_init(&r, message + 4, SAMI_MESSAGE_HEADER - 4);
    piece->recut = recut;
    piece->now_ms = now_ms;
    piece->is_repeating = FALSE;
    piece->export_time = (guint32) sami_reader_uint(&r, 4);
    piece->sequence = (guint32) sami_reader_uint(&r, 4);
    piece->used = SAMI_MESSAGE_HEADER;
    piece->set_at = piece->n_records = 0;
    piece->out = out;
    piece->user_data = user_data;
    Domain *domain = piece->domain = obtain_domain(recut, (guint32) sami_reader_uint(&r, 4), now_ms, error);
    if (!domain)
        return FALSE;
    domain->is_cutting |= withdraws || length > recut->mtu;
    piece->sequence -= domain->n_left_out;
    refresh(piece);
    if (domain->is_cutting) {
        each_set(recut, domain, piece, message, length);
        give_out(piece);
        recut->counts.n_cut++;
    } else {
        each_set(recut, domain, NULL, message, length);
        out(message, length, user_data);
        recut->counts.n_out++;
        domain->n_since++;
    }
    return TRUE;
}
