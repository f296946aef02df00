#include "templates/codec.h"

#include <fixbuf/public.h>
#include <string.h>

#include "common/cursor.h"
#include "templates/rules.h"
#include "templates/signature.h"

/* Room in front of libfixbuf's Message for the Template Sets of one Message. */
#define TEMPLATES_ROOM 4096u

struct SamiEncoder {
    guint32 domain;
    gsize message_max;
    fbInfoModel_t *model; /* (transfer none) */
    fBuf_t *fbuf;
    fbExporter_t *exporter; /* borrowed from fbuf */
    SamiTemplate templates[SAMI_TEMPLATES_MAX];
    gboolean is_defined[SAMI_TEMPLATES_MAX]; /* in this Transport Session */
    guint n_templates;
    guint16 current; /* id that libfixbuf is set to, 0 none */
    guint n_pending;
    guint32 sequence;
    gboolean is_first;
    guint8 sets[TEMPLATES_ROOM]; /* Template Sets of this Message */
    gsize n_sets;
    guint8 packed[1024];
    guint8 *buffer; /* TEMPLATES_ROOM, Message, signature */
};

struct SamiDecoder {
    fbInfoModel_t *model; /* (transfer none) */
    fbSession_t *session; /* borrowed from fbuf */
    fBuf_t *fbuf;
    SamiShim *shim;
    GError *template_error;
    guint32 sequence; /* as libfixbuf counts, which never sees signature records */
    guint8 packed[1024];
};

/* One for all encoders and decoders, for IANA's elements are many. Constant once it is made: whatever a template of ours may have is in it, so libfixbuf
 * only looks up, and nothing of a session gets into it. */
static fbInfoModel_t *
get_model(void)
{
    static fbInfoModel_t *made;
    if (!g_once_init_enter(&made))
        return made;
    fbInfoModel_t *model = fbInfoModelAlloc();
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        const SamiElement *e = &sami_elements[i];
        if (e->pen == 0 || e->pen == SAMI_PEN_REVERSE)
            continue;
        /* IPv4 addresses are numbers to libfixbuf, as integers are. */
        gboolean is_integer = e->type == SAMI_TYPE_U16 || e->type == SAMI_TYPE_U32 || e->type == SAMI_TYPE_U64 || e->type == SAMI_TYPE_S32 ||
                              e->type == SAMI_TYPE_IPV4 || e->type == SAMI_TYPE_MILLISECONDS;
        fbInfoElement_t element = FB_IE_INIT_FULL(e->name, e->pen, e->number, e->length,
                                                  is_integer ? FB_IE_F_ENDIAN : 0, 0, 0, (guint8) e->type, NULL);
        fbInfoModelAddElement(model, &element);
    }
    g_once_init_leave(&made, model);
    return made;
}

static fbTemplate_t *
build_template(fbInfoModel_t *model, const SamiTemplate *tmpl, GError **error)
{
    fbTemplate_t *out = fbTemplateAlloc(model);
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiElement *e = &sami_elements[tmpl->fields[i]->element];
        const fbInfoElement_t *known = fbInfoModelGetElementByID(model, e->number, e->pen);
        if (!known) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "libfixbuf does not know %s", e->name);
            fbTemplateFreeUnused(out);
            return NULL;
        }
        fbInfoElement_t element = *known;
        element.len = e->length;
        if (!fbTemplateAppend(out, &element, error)) {
            fbTemplateFreeUnused(out);
            return NULL;
        }
    }
    if (tmpl->n_scope)
        fbTemplateSetOptionsScope(out, tmpl->n_scope);
    return out;
}

/* The internal template is the same as the external one: the packed octets are what the wire has, in host order. */
static gboolean
add_template(fbInfoModel_t *model, fbSession_t *session, const SamiTemplate *tmpl, gboolean is_internal, GError **error)
{
    g_autoptr(GError) local = NULL; /* libfixbuf reads *error: NULL would crash it */
    fbTemplate_t *out = build_template(model, tmpl, &local);
    if (out && !fbSessionAddTemplate(session, is_internal, tmpl->id, out, &local))
        fbTemplateFreeUnused(out);
    if (!local)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&local));
    return FALSE;
}

SamiEncoder *
sami_encoder_new(guint32 domain, gsize message_max)
{
    SamiEncoder *encoder = g_new0(SamiEncoder, 1);
    encoder->domain = domain;
    encoder->message_max = MIN(message_max, SAMI_MESSAGE_MAX);
    encoder->model = get_model();
    encoder->is_first = TRUE;
    encoder->buffer = g_malloc(TEMPLATES_ROOM + SAMI_MESSAGE_MAX + SAMI_SIGNATURE_SET);
    return encoder;
}

void
sami_encoder_free(SamiEncoder *encoder)
{
    if (!encoder)
        return;
    if (encoder->fbuf)
        fBufFree(encoder->fbuf);
    g_free(encoder->buffer);
    g_free(encoder);
}

/* fbSessionAddTemplate on a session that is attached to a buffer writes the template at once, into libfixbuf's own Set. Ours are
 * written by the cursor, so a new template means a new session; there are at most SAMI_TEMPLATES_MAX of them. */
static gboolean
rebuild(SamiEncoder *encoder, GError **error)
{
    fbSession_t *session = fbSessionAlloc(encoder->model);
    fbSessionSetDomain(session, encoder->domain);
    for (guint i = 0; i < encoder->n_templates; i++)
        if (!add_template(encoder->model, session, &encoder->templates[i], TRUE, error) ||
            !add_template(encoder->model, session, &encoder->templates[i], FALSE, error)) {
            fbSessionFree(session);
            return FALSE;
        }
    if (encoder->fbuf)
        fBufFree(encoder->fbuf);
    gsize room = encoder->message_max - SAMI_SIGNATURE_SET - TEMPLATES_ROOM;
    encoder->exporter = fbExporterAllocBuffer(encoder->buffer + TEMPLATES_ROOM, (guint16) room);
    encoder->fbuf = fBufAllocForExport(session, encoder->exporter);
    fBufSetAutomaticMode(encoder->fbuf, FALSE);
    encoder->current = 0;
    return TRUE;
}

static gboolean
full(GError **error)
{
    g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_FULL, "the Message is full");
    return FALSE;
}

static gboolean
has_room_for_template(const SamiEncoder *encoder)
{
    return encoder->n_sets + SAMI_TEMPLATE_SET_MAX <= TEMPLATES_ROOM - 64;
}

static void
define(SamiEncoder *encoder, guint i)
{
    encoder->n_sets += sami_template_write(&encoder->templates[i], encoder->sets + encoder->n_sets, TEMPLATES_ROOM - encoder->n_sets);
    encoder->is_defined[i] = TRUE;
}

static const SamiTemplate *
find_template(SamiEncoder *encoder, SamiRecordKind kind, SamiGroups groups, GError **error)
{
    for (guint i = 0; i < encoder->n_templates; i++) {
        if (encoder->templates[i].kind != kind || encoder->templates[i].groups != groups)
            continue;
        if (!encoder->is_defined[i] && !has_room_for_template(encoder))
            return full(error), NULL;
        if (!encoder->is_defined[i])
            define(encoder, i);
        return &encoder->templates[i];
    }
    if (encoder->n_templates == SAMI_TEMPLATES_MAX) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "more than %u templates in a session", SAMI_TEMPLATES_MAX);
        return NULL;
    }
    /* libfixbuf's pending records would be lost by a rebuild. */
    if (encoder->n_pending > 0 || !has_room_for_template(encoder))
        return full(error), NULL;
    guint16 id = (guint16) (SAMI_TEMPLATE_FIRST + encoder->n_templates);
    SamiTemplate *tmpl = &encoder->templates[encoder->n_templates];
    if (!sami_template_make(kind, groups, id >= SAMI_TEMPLATE_SIGNATURE ? id + 1 : id, tmpl)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "a record with more than %u fields", SAMI_TEMPLATE_FIELDS_MAX);
        return NULL;
    }
    g_assert(tmpl->length <= sizeof encoder->packed);
    define(encoder, encoder->n_templates++);
    return rebuild(encoder, error) ? tmpl : NULL;
}

gboolean
sami_encoder_add(SamiEncoder *encoder, const SamiRecord *record, GError **error)
{
    const SamiTemplate *tmpl = find_template(encoder, record->kind, sami_record_groups(record), error);
    if (!tmpl)
        return FALSE;
    if (encoder->current != tmpl->id) {
        g_autoptr(GError) local = NULL;
        if (!fBufSetInternalTemplate(encoder->fbuf, tmpl->id, &local) ||
            !fBufSetExportTemplate(encoder->fbuf, tmpl->id, &local)) {
            g_propagate_prefixed_error(error, g_steal_pointer(&local), "libfixbuf: ");
            return FALSE;
        }
        encoder->current = tmpl->id;
    }
    sami_template_pack(tmpl, record, encoder->packed);
    /* The first append after template work answers EOM once with an empty buffer; a second EOM is a full Message. */
    for (guint try = 0; try < 2; try++) {
        g_autoptr(GError) local = NULL;
        if (fBufAppend(encoder->fbuf, encoder->packed, tmpl->length, &local)) {
            encoder->n_pending++;
            return TRUE;
        }
        if (!g_error_matches(local, FB_ERROR_DOMAIN, FB_ERROR_EOM)) {
            g_propagate_prefixed_error(error, g_steal_pointer(&local), "libfixbuf: ");
            return FALSE;
        }
        if (encoder->n_pending > 0)
            break;
    }
    return full(error);
}

guint
sami_encoder_pending(const SamiEncoder *encoder)
{
    return encoder->n_pending;
}

void
sami_encoder_restart(SamiEncoder *encoder)
{
    g_assert(encoder->n_pending == 0);
    encoder->is_first = TRUE;
    encoder->sequence = 0;
    encoder->n_sets = 0;
    memset(encoder->is_defined, 0, sizeof encoder->is_defined);
}

void
sami_encoder_redefine(SamiEncoder *encoder)
{
    g_assert(encoder->n_pending == 0);
    encoder->n_sets = 0;
    encoder->is_first = TRUE;
    memset(encoder->is_defined, 0, sizeof encoder->is_defined);
}

gboolean
sami_encoder_add_templates(SamiEncoder *encoder)
{
    for (guint i = 0; i < encoder->n_templates && has_room_for_template(encoder); i++)
        if (!encoder->is_defined[i])
            define(encoder, i);
    return encoder->n_sets > 0;
}

gboolean
sami_encoder_take(SamiEncoder *encoder, guint32 export_time, guint8 **ret_message, gsize *ret_length, GError **error)
{
    guint8 *fixbuf_message = encoder->buffer + TEMPLATES_ROOM;
    gsize n_data = 0;
    if (encoder->n_pending > 0) {
        g_autoptr(GError) local = NULL;
        if (!fBufEmit(encoder->fbuf, &local)) {
            g_propagate_prefixed_error(error, g_steal_pointer(&local), "libfixbuf: ");
            return FALSE;
        }
        n_data = fbExporterGetMsgLen(encoder->exporter) - SAMI_MESSAGE_HEADER;
    }
    gsize n_signature = 0;
    const guint8 *signature = encoder->is_first ? sami_signature_template(&n_signature) : NULL;
    gsize n_front = SAMI_MESSAGE_HEADER + n_signature + encoder->n_sets;
    guint8 *message = fixbuf_message + SAMI_MESSAGE_HEADER - n_front;
    gsize length = n_front + n_data;
    SamiWriter w;
    sami_writer_init(&w, message, n_front);
    sami_writer_uint(&w, 10, 2);
    sami_writer_uint(&w, length, 2);
    sami_writer_uint(&w, export_time, 4);
    sami_writer_uint(&w, encoder->sequence, 4);
    sami_writer_uint(&w, encoder->domain, 4);
    sami_writer_octets(&w, signature, n_signature);
    sami_writer_octets(&w, encoder->sets, encoder->n_sets);
    g_assert(!w.is_bad);
    encoder->sequence += encoder->n_pending + 1;
    encoder->n_pending = 0;
    encoder->n_sets = 0;
    encoder->is_first = FALSE;
    *ret_message = message;
    *ret_length = length;
    return TRUE;
}

SamiDecoder *
sami_decoder_new(guint32 domain)
{
    SamiDecoder *decoder = g_new0(SamiDecoder, 1);
    decoder->shim = sami_shim_new(domain);
    decoder->model = get_model();
    decoder->session = fbSessionAlloc(decoder->model);
    fbSessionSetDomain(decoder->session, domain);
    decoder->fbuf = fBufAllocForCollection(decoder->session, NULL);
    fBufSetAutomaticMode(decoder->fbuf, FALSE);
    return decoder;
}

void
sami_decoder_free(SamiDecoder *decoder)
{
    if (!decoder)
        return;
    fBufFree(decoder->fbuf);
    sami_shim_free(decoder->shim);
    g_clear_error(&decoder->template_error);
    g_free(decoder);
}

static void
on_template(const SamiTemplate *tmpl, gpointer user_data)
{
    SamiDecoder *decoder = user_data;
    if (!decoder->template_error)
        add_template(decoder->model, decoder->session, tmpl, TRUE, &decoder->template_error);
}

/* Walks the records that the shim has counted. libfixbuf ends a damaged Message silently, so fewer records than counted
 * is an error of its own. */
static gboolean
read_records(SamiDecoder *decoder, guint n_records, SamiRecordFunc func, gpointer user_data, GError **error)
{
    SamiRecord record;
    guint16 current = 0;
    for (guint i = 0; i < n_records; i++) {
        g_autoptr(GError) local = NULL;
        guint16 id = 0;
        if (!fBufNextCollectionTemplate(decoder->fbuf, &id, &local))
            return sami_rule_error(error, SAMI_RULE_CODEC, "libfixbuf gave %u of %u records: %s", i, n_records, local ? local->message : "no reason");
        const SamiTemplate *tmpl = sami_shim_template(decoder->shim, id);
        gsize size = tmpl ? tmpl->length : 0;
        if (!tmpl || (id != current && !fBufSetInternalTemplate(decoder->fbuf, id, &local)) ||
            !fBufNext(decoder->fbuf, decoder->packed, &size, &local))
            return sami_rule_error(error, SAMI_RULE_CODEC, "libfixbuf: record %u: %s", i, local ? local->message : "unknown template");
        current = id;
        if (!sami_template_unpack(tmpl, decoder->packed, &record, error))
            return FALSE;
        func(&record, user_data);
    }
    /* Only the end of the Message makes libfixbuf count its records; anything else there was not counted by the shim. */
    g_autoptr(GError) end = NULL;
    guint16 id = 0;
    if (fBufNextCollectionTemplate(decoder->fbuf, &id, &end) || !g_error_matches(end, FB_ERROR_DOMAIN, FB_ERROR_EOM))
        return sami_rule_error(error, SAMI_RULE_CODEC, "libfixbuf found more than %u records", n_records);
    return TRUE;
}

/* `body` octets of the Message are what libfixbuf sees. */
static gboolean
read_body(SamiDecoder *decoder, guint8 *message, gsize body, gboolean has_signature, SamiRecordFunc func, gpointer user_data, GError **error)
{
    guint n_records = 0;
    if (!sami_shim_check(decoder->shim, message, body, has_signature, on_template, decoder, &n_records, error))
        return FALSE;
    if (decoder->template_error)
        return sami_rule_error(error, SAMI_RULE_CODEC, "libfixbuf: a template: %s", decoder->template_error->message);
    guint8 header[SAMI_MESSAGE_HEADER];
    SamiWriter w;
    memcpy(header, message, sizeof header);
    sami_writer_init(&w, message + 2, SAMI_MESSAGE_HEADER - 2);
    sami_writer_uint(&w, body, 2);
    sami_writer_octets(&w, header + 4, 4);
    sami_writer_uint(&w, decoder->sequence, 4);
    decoder->sequence += n_records;
    fBufSetBuffer(decoder->fbuf, message, body);
    g_autoptr(GError) local = NULL;
    gboolean is_read = fBufNextMessage(decoder->fbuf, &local);
    if (!is_read)
        sami_rule_error(error, SAMI_RULE_CODEC, "libfixbuf: %s", local->message);
    is_read = is_read && read_records(decoder, n_records, func, user_data, error);
    memcpy(message, header, sizeof header);
    return is_read;
}

gboolean
sami_decoder_read(SamiDecoder *decoder, guint8 *message, gsize length, SamiRecordFunc func, gpointer user_data,
                  GError **error)
{
    if (length < SAMI_MESSAGE_HEADER + SAMI_SIGNATURE_SET)
        return sami_rule_error(error, SAMI_RULE_MESSAGE_LENGTH, "Message of %zu octets", length);
    return read_body(decoder, message, length - SAMI_SIGNATURE_SET, TRUE, func, user_data, error);
}

gboolean
sami_decoder_read_unsigned(SamiDecoder *decoder, guint8 *message, gsize length, SamiRecordFunc func, gpointer user_data, GError **error)
{
    return read_body(decoder, message, length, FALSE, func, user_data, error);
}

void
sami_decoder_start_at(SamiDecoder *decoder, guint32 sequence)
{
    sami_shim_start_at(decoder->shim, sequence);
}
