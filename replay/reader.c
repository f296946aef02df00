#include "replay/reader.h"

#include <string.h>

#include "common/cursor.h"
#include "templates/rules.h"

#define SPECIFIER_MIN 4u /* octets of a field specifier without enterprise number */

/* The last Message of an SCTP stream, or of a session of another kind. */
typedef struct {
    guint32 sequence;
    guint n_records, n_options;
} Counted;

/* One Observation Domain of one Transport Session. */
typedef struct {
    GHashTable *templates;    /* id -> ReplayTemplate */
    GHashTable *learned;      /* (nullable) pen << 16 | number -> SamiRegistryElement, see RFC 5610 */
    GHashTable *counted;      /* SCTP stream -> Counted: each has Sequence Numbers of its own (RFC 7011 §3.1) */
    guint64 used;             /* clock of the reader at its last Message */
    gboolean has_foreign_300; /* template 300 is not the signature's */
    gboolean is_uncounted;    /* this Message had records of no known template, so what follows has any Sequence Number */
} Source;

struct ReplayReader {
    ReplayHandlers handlers;
    gpointer user_data;
    SamiRegistry *registry;
    GHashTable *sources; /* session << 32 | domain -> Source */
    guint n_fields, n_learned; /* of all sources */
    guint64 n_messages;
    ReplayMessage message; /* that is being read */
    Source *source;        /* of it */
    guint n_records, n_options, n_faults; /* of it; options are records, too */
};

/* --- sources --- */

static guint64 *
key_new(guint64 value)
{
    return g_memdup2(&value, sizeof value);
}

static void
source_free(gpointer data)
{
    Source *source = data;
    g_hash_table_unref(source->templates);
    g_clear_pointer(&source->learned, g_hash_table_unref);
    g_hash_table_unref(source->counted);
    g_free(source);
}

static void
element_free(gpointer data)
{
    SamiRegistryElement *element = data;
    g_free((gchar *) element->name);
    g_free(element);
}

ReplayReader *
replay_reader_new(const ReplayHandlers *handlers, gpointer user_data)
{
    ReplayReader *reader = g_new0(ReplayReader, 1);
    reader->handlers = *handlers;
    reader->user_data = user_data;
    reader->registry = sami_registry_new();
    reader->sources = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, source_free);
    return reader;
}

void
replay_reader_free(ReplayReader *reader)
{
    if (!reader)
        return;
    g_hash_table_unref(reader->sources);
    sami_registry_free(reader->registry);
    g_free(reader);
}

static void
forget_counts(ReplayReader *reader, Source *source)
{
    GHashTableIter iter;
    gpointer tmpl;
    g_hash_table_iter_init(&iter, source->templates);
    while (g_hash_table_iter_next(&iter, NULL, &tmpl))
        reader->n_fields -= ((ReplayTemplate *) tmpl)->n_fields;
    if (source->learned)
        reader->n_learned -= g_hash_table_size(source->learned);
}

static void
drop_oldest(ReplayReader *reader)
{
    GHashTableIter iter;
    gpointer key, value, oldest = NULL;
    Source *least = NULL;
    g_hash_table_iter_init(&iter, reader->sources);
    while (g_hash_table_iter_next(&iter, &key, &value))
        if (!least || ((Source *) value)->used < least->used) {
            least = value;
            oldest = key;
        }
    forget_counts(reader, least);
    g_hash_table_remove(reader->sources, oldest);
}

static Source *
get_source(ReplayReader *reader, guint32 session, guint32 domain)
{
    guint64 key = (guint64) session << 32 | domain;
    Source *source = g_hash_table_lookup(reader->sources, &key);
    if (!source) {
        if (g_hash_table_size(reader->sources) >= REPLAY_SOURCES_MAX)
            drop_oldest(reader);
        source = g_new0(Source, 1);
        source->templates = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        source->counted = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        g_hash_table_insert(reader->sources, key_new(key), source);
    }
    source->used = reader->n_messages;
    return source;
}

void
replay_reader_closed(ReplayReader *reader, guint32 session)
{
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init(&iter, reader->sources);
    while (g_hash_table_iter_next(&iter, &key, &value))
        if (*(guint64 *) key >> 32 == session) {
            forget_counts(reader, value);
            g_hash_table_iter_remove(&iter);
        }
    if (reader->handlers.closed)
        reader->handlers.closed(session, reader->user_data);
}

/* The text begins with a rule's id. */
static void
tell_fault(ReplayReader *reader, gsize within, const gchar *text)
{
    const ReplayMessage *m = &reader->message;
    ReplayFault report = { m, m->input.offset + (m->input.carrier == SAMI_CARRIER_FILE ? within : 0), within, FALSE, text };
    reader->n_faults++;
    if (reader->handlers.fault)
        reader->handlers.fault(&report, reader->user_data);
}

static void G_GNUC_PRINTF(4, 5)
fault(ReplayReader *reader, gsize within, SamiRule rule, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *text = sami_rule_say_va(rule, format, args);
    va_end(args);
    tell_fault(reader, within, text);
}

/* --- templates --- */

static void
name_field(ReplayReader *reader, ReplayField *field)
{
    SamiRegistryElement *e = &field->element;
    gint64 key = (gint64) e->pen << 16 | e->number;
    const SamiRegistryElement *learned = reader->source->learned ? g_hash_table_lookup(reader->source->learned, &key) : NULL;
    if (!sami_registry_find(reader->registry, e->pen, e->number, e) && learned)
        *e = *learned;
}

/* Only what RFC 7011 asks of a template; which of ours it is, is tried. */
static void
finish_template(ReplayReader *reader, ReplayTemplate *tmpl)
{
    SamiSpecifier specifiers[SAMI_TEMPLATE_FIELDS_MAX];
    gboolean may_be_ours = tmpl->n_fields <= SAMI_TEMPLATE_FIELDS_MAX;
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (guint i = 0; i < tmpl->n_fields; i++) {
        ReplayField *field = &tmpl->fields[i];
        guint64 key = (guint64) field->element.pen << 16 | field->element.number;
        guint before = GPOINTER_TO_UINT(g_hash_table_lookup(seen, &key)); /* its index and 1 */
        field->is_later = before > 0;
        if (before > 0)
            tmpl->fields[before - 1].next = (guint16) i;
        g_hash_table_replace(seen, key_new(key), GUINT_TO_POINTER(i + 1));
        name_field(reader, field);
        tmpl->has_variable |= field->length == REPLAY_VARIABLE;
        tmpl->min_length += field->length == REPLAY_VARIABLE ? 1 : field->length;
        if (may_be_ours)
            specifiers[i] = (SamiSpecifier){ field->element.pen, field->element.number, field->length };
    }
    tmpl->is_ours = may_be_ours && sami_template_match(specifiers, tmpl->n_fields, tmpl->n_scope, tmpl->id, &tmpl->ours, NULL);
}

static void
tell_template(ReplayReader *reader, const ReplayTemplate *tmpl, gboolean is_withdrawn)
{
    if (reader->handlers.tmpl)
        reader->handlers.tmpl(&reader->message, tmpl, is_withdrawn, reader->user_data);
}

static void
remove_template(ReplayReader *reader, guint16 id)
{
    ReplayTemplate *tmpl = g_hash_table_lookup(reader->source->templates, GUINT_TO_POINTER(id));
    tell_template(reader, tmpl, TRUE);
    reader->n_fields -= tmpl->n_fields;
    g_hash_table_remove(reader->source->templates, GUINT_TO_POINTER(id));
}

/* RFC 7011 §8.1: one id, or 2 and 3 for all of their kind. */
static void
withdraw(ReplayReader *reader, guint16 id, gboolean is_options, gsize within)
{
    if (id != 2 && id != 3) {
        if (g_hash_table_contains(reader->source->templates, GUINT_TO_POINTER(id)))
            remove_template(reader, id);
        else
            fault(reader, within, SAMI_RULE_WITHDRAWAL_UNKNOWN, "withdrawal of template %u, which there is not", id);
        return;
    }
    if ((id == 3) != is_options)
        fault(reader, within, SAMI_RULE_WITHDRAWAL_UNKNOWN, "withdrawal of all templates with id %u in a Set %u", id, is_options ? 3 : 2);
    g_autoptr(GList) ids = g_hash_table_get_keys(reader->source->templates);
    for (GList *i = ids; i; i = i->next) {
        const ReplayTemplate *tmpl = g_hash_table_lookup(reader->source->templates, i->data);
        if ((tmpl->n_scope > 0) == (id == 3))
            remove_template(reader, tmpl->id);
    }
}

static gboolean
is_signature_template(const guint8 *at, gsize length)
{
    gsize size;
    const guint8 *constant = sami_signature_template(&size);
    return length == size - 4 && memcmp(at, constant + 4, length) == 0;
}

static void
keep_template(ReplayReader *reader, ReplayTemplate *tmpl_take, const guint8 *at, gsize length)
{
    const ReplayTemplate *old = g_hash_table_lookup(reader->source->templates, GUINT_TO_POINTER(tmpl_take->id));
    finish_template(reader, tmpl_take);
    if (tmpl_take->id == SAMI_TEMPLATE_SIGNATURE)
        reader->source->has_foreign_300 = !is_signature_template(at, length);
    reader->n_fields += tmpl_take->n_fields - (old ? old->n_fields : 0);
    g_hash_table_replace(reader->source->templates, GUINT_TO_POINTER(tmpl_take->id), tmpl_take);
    tell_template(reader, tmpl_take, FALSE);
}

/* FALSE: the rest of the Set cannot be read. */
static gboolean
read_template(ReplayReader *reader, SamiReader *r, const guint8 *message, gboolean is_options)
{
    const guint8 *start = r->at;
    gsize within = (gsize) (start - message);
    guint16 id = (guint16) sami_reader_uint(r, 2);
    guint n = (guint) sami_reader_uint(r, 2);
    if (n == 0) {
        withdraw(reader, id, is_options, within);
        return TRUE;
    }
    guint n_scope = is_options ? (guint) sami_reader_uint(r, 2) : 0;
    if (r->is_bad || n > sami_reader_left(r) / SPECIFIER_MIN)
        return fault(reader, within, SAMI_RULE_TEMPLATE_CUT, "template %u with %u fields is longer than its Set", id, n), FALSE;
    if (id < SAMI_TEMPLATE_FIRST)
        fault(reader, within, SAMI_RULE_TEMPLATE_ID, "template id %u; ids begin at 256", id);
    if (is_options && (n_scope == 0 || n_scope > n))
        fault(reader, within, SAMI_RULE_OPTIONS_SCOPE, "Options Template %u has %u scope fields of %u", id, n_scope, n);
    if (reader->n_fields + n > REPLAY_FIELDS_MAX)
        return fault(reader, within, SAMI_RULE_TEMPLATE_FIELDS, "template %u: more than %u fields in all templates; no further ones are kept", id,
                     REPLAY_FIELDS_MAX), FALSE;
    g_autofree ReplayTemplate *tmpl = g_malloc0(sizeof *tmpl + n * sizeof tmpl->fields[0]);
    tmpl->id = id;
    tmpl->n_scope = (guint16) n_scope;
    tmpl->n_fields = n;
    for (guint i = 0; i < n; i++) {
        guint number = (guint) sami_reader_uint(r, 2);
        tmpl->fields[i].length = (guint16) sami_reader_uint(r, 2);
        tmpl->fields[i].element.pen = (number & 0x8000) ? (guint32) sami_reader_uint(r, 4) : 0;
        tmpl->fields[i].element.number = number & 0x7fff;
    }
    if (r->is_bad)
        return fault(reader, within, SAMI_RULE_TEMPLATE_CUT, "template %u is longer than its Set", id), FALSE;
    if (id >= SAMI_TEMPLATE_FIRST && n_scope <= n)
        keep_template(reader, g_steal_pointer(&tmpl), start, (gsize) (r->at - start));
    return TRUE;
}

static void
read_template_set(ReplayReader *reader, const guint8 *message, const guint8 *body, gsize length, gboolean is_options)
{
    SamiReader r;
    sami_reader_init(&r, body, length);
    if (length < 4)
        fault(reader, (gsize) (body - message), SAMI_RULE_TEMPLATE_SET_EMPTY, "a Template Set without a template");
    while (sami_reader_left(&r) >= 4)
        if (!read_template(reader, &r, message, is_options))
            return;
}

/* --- records --- */

/* The length in front of a value of variable length (RFC 7011 §7). FALSE: it does not fit. */
static gboolean
read_variable(const guint8 *octets, gsize left, gsize *ret_head, gsize *ret_length)
{
    if (left < 1 || (octets[0] == 255 && left < 3))
        return FALSE;
    *ret_head = octets[0] == 255 ? 3 : 1;
    *ret_length = octets[0] == 255 ? (gsize) (octets[1] << 8 | octets[2]) : octets[0];
    return left - *ret_head >= *ret_length;
}

/* Octets of the record at `octets`; 0: it does not fit into `left`. */
static gsize
measure(const ReplayTemplate *tmpl, const guint8 *octets, gsize left)
{
    gsize at = 0;
    if (!tmpl->has_variable)
        return tmpl->min_length <= left ? tmpl->min_length : 0;
    for (guint i = 0; i < tmpl->n_fields; i++) {
        gsize head = 0, length = tmpl->fields[i].length;
        if (length == REPLAY_VARIABLE && !read_variable(octets + at, left - at, &head, &length))
            return 0;
        if (left - at < head + length)
            return 0;
        at += head + length;
    }
    return at;
}

gboolean
replay_walk(ReplayWalk *walk, ReplayValue *ret)
{
    const ReplayRecord *record = walk->record;
    if (walk->index == record->tmpl->n_fields)
        return FALSE;
    const ReplayField *field = &record->tmpl->fields[walk->index++];
    gsize head = 0, length = field->length;
    if (length == REPLAY_VARIABLE)
        read_variable(record->octets + walk->at, record->length - walk->at, &head, &length);
    *ret = (ReplayValue){ field, record->octets + walk->at + head, length };
    walk->at += head + length;
    return TRUE;
}

static guint64
value_uint(const ReplayValue *value)
{
    SamiReader r;
    sami_reader_init(&r, value->octets, value->length);
    return value->length <= 8 ? sami_reader_uint(&r, (guint) value->length) : 0;
}

/* A name that came over a network: what is not a letter, digit, - or _ would confuse whoever reads the table. */
static gchar *
clean_name(const ReplayValue *value)
{
    gsize n = strnlen((const gchar *) value->octets, MIN(value->length, 64));
    gchar *name = g_strndup((const gchar *) value->octets, n);
    return g_strcanon(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", '_');
}

static void
name_everywhere(ReplayReader *reader)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, reader->source->templates);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        ReplayTemplate *tmpl = value;
        for (guint i = 0; i < tmpl->n_fields; i++)
            if (!tmpl->fields[i].element.name)
                name_field(reader, &tmpl->fields[i]);
    }
}

/* RFC 5610 §3.9: what a stream says of an element that nobody else knows; the first word holds, in this Transport Session. */
static void
learn(ReplayReader *reader, const ReplayRecord *record)
{
    SamiRegistryElement e = { 0 }, known;
    ReplayWalk walk = REPLAY_WALK(record);
    ReplayValue value;
    g_autofree gchar *name = NULL;
    gboolean has_number = FALSE;
    while (replay_walk(&walk, &value)) {
        if (value.field->element.pen != 0)
            continue;
        switch (value.field->element.number) {
        case 346: e.pen = (guint32) value_uint(&value); break;
        case 303: e.number = value_uint(&value) & 0x7fff; has_number = TRUE; break;
        case 339: e.type = (guint8) value_uint(&value); break;
        case 344: e.semantics = (guint8) value_uint(&value); break;
        case 345: e.units = (guint16) value_uint(&value); break;
        case 341: g_free(name); name = clean_name(&value); break;
        default: break;
        }
    }
    gint64 key = (gint64) e.pen << 16 | e.number;
    GHashTable **learned = &reader->source->learned;
    if (!has_number || !name || !*name || e.type >= SAMI_N_TYPES || reader->n_learned == REPLAY_LEARNED_MAX ||
        sami_registry_find(reader->registry, e.pen, e.number, &known))
        return;
    if (!*learned)
        *learned = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, element_free);
    if (g_hash_table_contains(*learned, &key))
        return;
    e.name = g_steal_pointer(&name);
    g_hash_table_insert(*learned, key_new((guint64) key), g_memdup2(&e, sizeof e));
    reader->n_learned++;
    name_everywhere(reader);
}

static gboolean
describes_elements(const ReplayTemplate *tmpl)
{
    guint found = 0;
    for (guint i = 0; tmpl->n_scope > 0 && i < tmpl->n_fields; i++)
        if (tmpl->fields[i].element.pen == 0)
            found |= (tmpl->fields[i].element.number == 303 ? 1u : 0) | (tmpl->fields[i].element.number == 341 ? 2u : 0);
    return found == 3;
}

static void
hand_out(ReplayReader *reader, const ReplayTemplate *tmpl, const guint8 *octets, gsize length, gsize within)
{
    SamiRecord ours;
    g_autoptr(GError) error = NULL;
    ReplayRecord record = { &reader->message, tmpl, octets, length, within, NULL };
    if (tmpl->is_ours && sami_template_unpack_wire(&tmpl->ours, octets, &ours, &error))
        record.ours = &ours;
    else if (tmpl->is_ours)
        tell_fault(reader, within, error->message);
    reader->n_records++;
    reader->n_options += tmpl->n_scope > 0;
    if (describes_elements(tmpl))
        learn(reader, &record);
    if (reader->handlers.record)
        reader->handlers.record(&record, reader->user_data);
}

static void
read_data_set(ReplayReader *reader, const guint8 *message, guint16 id, const guint8 *body, gsize length)
{
    gsize within = (gsize) (body - message), at = 0;
    const ReplayTemplate *tmpl = g_hash_table_lookup(reader->source->templates, GUINT_TO_POINTER(id));
    if (!tmpl || tmpl->min_length == 0) {
        if (tmpl)
            fault(reader, within, SAMI_RULE_RECORD_EMPTY, "Set %u: records of its template have no octets", id);
        else
            fault(reader, within, SAMI_RULE_DATA_WITHOUT_TEMPLATE, "Set %u has no template", id);
        reader->source->is_uncounted = TRUE;
        return;
    }
    if (length < tmpl->min_length)
        fault(reader, within, SAMI_RULE_DATA_SET_EMPTY, "Data Set %u of %zu octets holds no record of %u", id, length + 4, tmpl->min_length);
    while (length - at >= tmpl->min_length) {
        gsize n = measure(tmpl, body + at, length - at);
        if (n == 0) {
            fault(reader, within + at, SAMI_RULE_RECORD_CUT, "a record of template %u goes beyond its Set", id);
            reader->source->is_uncounted = TRUE;
            return;
        }
        hand_out(reader, tmpl, body + at, n, within + at);
        at += n;
    }
}

/* --- Messages --- */

/* Not every exporter counts as RFC 7011 §3.1 has it. What would explain a number that is not the next one, besides a loss; "": nothing else. */
static const gchar *
explain_sequence(const ReplayReader *reader, const Counted *last)
{
    guint32 step = reader->message.sequence - last->sequence;
    if (reader->message.is_signed)
        return "";
    if (step == last->n_records - last->n_options)
        return ", or the exporter does not count Options records";
    if (!reader->source->is_uncounted && (step == reader->n_records || step == reader->n_records - reader->n_options))
        return ", or the exporter counts those of the Message itself, too";
    return "";
}

/* Losses are no faults. */
static void
check_sequence(ReplayReader *reader)
{
    ReplayMessage *m = &reader->message;
    const Counted *last = g_hash_table_lookup(reader->source->counted, GUINT_TO_POINTER(m->input.sctp_stream + 1u));
    guint32 expected = last ? last->sequence + last->n_records : m->sequence;
    gint32 ahead = (gint32) (m->sequence - expected);
    if (ahead == 0)
        return;
    g_autofree gchar *text = sami_rule_say(SAMI_RULE_SEQUENCE_NUMBER, "Sequence Number %u, expected %u: %u records %s%s", m->sequence, expected,
                                           ahead > 0 ? (guint) ahead : 0u - (guint) ahead, ahead > 0 ? "are not here" : "come again, or late",
                                           explain_sequence(reader, last));
    ReplayFault report = { m, m->input.offset, 8, TRUE, text };
    if (reader->handlers.fault)
        reader->handlers.fault(&report, reader->user_data);
}

/* A Message whose records could not all be counted says nothing about the next one. */
static void
count_sequence(ReplayReader *reader)
{
    Source *source = reader->source;
    const ReplayMessage *m = &reader->message;
    gpointer stream = GUINT_TO_POINTER(m->input.sctp_stream + 1u);
    Counted *last = source->is_uncounted ? NULL : g_hash_table_lookup(source->counted, stream);
    if (source->is_uncounted) {
        g_hash_table_remove(source->counted, stream);
        return;
    }
    if (!last && g_hash_table_size(source->counted) >= REPLAY_STREAMS_MAX)
        g_hash_table_remove_all(source->counted);
    if (!last)
        g_hash_table_insert(source->counted, stream, last = g_new(Counted, 1));
    *last = (Counted){ m->sequence, reader->n_records, reader->n_options };
}

static void
read_sets(ReplayReader *reader, const guint8 *message, gsize total)
{
    SamiReader r;
    sami_reader_init(&r, message + SAMI_MESSAGE_HEADER, total - SAMI_MESSAGE_HEADER);
    while (sami_reader_left(&r) >= 4) {
        gsize within = (gsize) (r.at - message);
        guint id = (guint) sami_reader_uint(&r, 2);
        guint length = (guint) sami_reader_uint(&r, 2);
        const guint8 *body = length >= 4 ? sami_reader_take(&r, length - 4u) : NULL;
        if (!body) {
            fault(reader, within, SAMI_RULE_SET_LENGTH, "Set %u of %u octets does not fit its Message", id, length);
            reader->source->is_uncounted = TRUE;
            return;
        }
        if (id == 2 || id == 3)
            read_template_set(reader, message, body, length - 4u, id == 3);
        else if (id < SAMI_TEMPLATE_FIRST)
            fault(reader, within, SAMI_RULE_SET_RESERVED, "Set id %u", id);
        else
            read_data_set(reader, message, (guint16) id, body, length - 4u);
    }
    if (sami_reader_left(&r) > 0)
        fault(reader, total - sami_reader_left(&r), SAMI_RULE_SET_LENGTH, "%zu octets after the last Set", sami_reader_left(&r));
}

guint
replay_reader_message(ReplayReader *reader, const SamiInputMessage *input)
{
    SamiReader r;
    ReplayMessage *m = &reader->message;
    *m = (ReplayMessage){ .input = *input, .number = ++reader->n_messages };
    sami_reader_init(&r, input->octets + 4, SAMI_MESSAGE_HEADER - 4);
    m->export_time = (guint32) sami_reader_uint(&r, 4);
    m->sequence = (guint32) sami_reader_uint(&r, 4);
    m->domain = (guint32) sami_reader_uint(&r, 4);
    reader->source = get_source(reader, input->session, m->domain);
    reader->source->is_uncounted = FALSE;
    reader->n_records = reader->n_options = reader->n_faults = 0;
    m->is_signed = !reader->source->has_foreign_300 && sami_signature_read(input->octets, input->length, &m->signature, NULL) &&
                   m->signature.role >= SAMI_ROLE_EXPORTER && m->signature.role <= SAMI_ROLE_FILE;
    if (reader->handlers.message)
        reader->handlers.message(m, reader->user_data);
    read_sets(reader, input->octets, input->length);
    check_sequence(reader);
    count_sequence(reader);
    if (reader->handlers.end)
        reader->handlers.end(m, reader->user_data);
    return reader->n_faults;
}

/* --- inputs --- */

static void
tell_outside(ReplayReader *reader, const SamiInputMessage *where, const GError *error)
{
    ReplayFault report = { NULL, where->offset, 0, FALSE, error->message };
    if (reader->handlers.fault)
        reader->handlers.fault(&report, reader->user_data);
}

/* Nobody is to take silence for a good answer. */
static void
tell_nothing(ReplayReader *reader, const Replay *replay, const SamiInput *input)
{
    SamiInputCounts counts;
    sami_input_counts(input, &counts);
    g_autofree gchar *text = g_strdup_printf("no IPFIX Message in %" G_GUINT64_FORMAT " packets%s", counts.n_packets,
                                             replay->args.capture_ports ? " (only those of --capture-port were looked at)" : "");
    ReplayFault report = { NULL, 0, 0, FALSE, text };
    if (reader->handlers.fault)
        reader->handlers.fault(&report, reader->user_data);
}

gboolean
replay_read(const Replay *replay, const gchar *path, const ReplayHandlers *handlers, gpointer user_data, const gboolean *stop,
            ReplayProgress *progress, guint64 *ret_n_faults, ReplayInputFacts *ret_facts, GError **error)
{
    SamiInputMessage message;
    SamiInputStatus status = SAMI_INPUT_WAIT;
    guint64 n_faults = 0;
    g_autoptr(GError) trouble = NULL;
    g_autoptr(ReplayReader) reader = replay_reader_new(handlers, user_data);
    g_autoptr(SamiInput) input = replay_open(replay, path, error);
    if (!input)
        return FALSE;
    replay_progress_begin(progress, replay, input, path);
    while (!(stop && *stop) && (status = sami_input_next(input, &message, &trouble)) != SAMI_INPUT_END) {
        replay_progress(progress);
        if (status == SAMI_INPUT_MESSAGE)
            n_faults += replay_reader_message(reader, &message);
        else if (status == SAMI_INPUT_CLOSED)
            replay_reader_closed(reader, message.session);
        else if (status == SAMI_INPUT_WAIT && !(handlers->idle && handlers->idle(user_data)))
            break;
        else if (status == SAMI_INPUT_FAULT) {
            n_faults++;
            tell_outside(reader, &message, trouble);
        }
        g_clear_error(&trouble);
    }
    replay_progress_end(progress);
    if (status == SAMI_INPUT_END && !reader->n_messages && !n_faults) {
        tell_nothing(reader, replay, input);
        n_faults++;
    }
    *ret_n_faults = n_faults;
    if (ret_facts) {
        ret_facts->form = sami_input_form(input);
        sami_input_counts(input, &ret_facts->counts);
    }
    if (!trouble)
        return TRUE;
    g_propagate_prefixed_error(error, g_steal_pointer(&trouble), "%s: ", path);
    return FALSE;
}

void
replay_say_fault(const gchar *path, ReplayProgress *progress, const ReplayFault *fault)
{
    if (fault->message)
        replay_say(stderr, progress, "%s: Message %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT ", octet %zu: %s\n", path, fault->message->number,
                   fault->message->input.offset, fault->within, fault->text);
    else
        replay_say(stderr, progress, "%s: at %" G_GUINT64_FORMAT ": %s\n", path, fault->offset, fault->text);
}
