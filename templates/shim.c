#include "templates/shim.h"

#include <string.h>

#include "common/cursor.h"
#include "templates/rules.h"
#include "templates/signature.h"

#define N_IDS (SAMI_TEMPLATES_MAX + 1) /* one more: 300 is skipped */

struct SamiShim {
    guint32 domain;
    guint32 sequence;
    gboolean has_signature_template;
    SamiTemplate *templates[N_IDS]; /* by id - 256 */
};

SamiShim *
sami_shim_new(guint32 domain)
{
    SamiShim *shim = g_new0(SamiShim, 1);
    shim->domain = domain;
    return shim;
}

void
sami_shim_free(SamiShim *shim)
{
    if (!shim)
        return;
    for (guint i = 0; i < N_IDS; i++)
        g_free(shim->templates[i]);
    g_free(shim);
}

void
sami_shim_start_at(SamiShim *shim, guint32 sequence)
{
    shim->sequence = sequence;
}

const SamiTemplate *
sami_shim_template(const SamiShim *shim, guint16 id)
{
    return id >= SAMI_TEMPLATE_FIRST && id < SAMI_TEMPLATE_FIRST + N_IDS
               ? shim->templates[id - SAMI_TEMPLATE_FIRST]
               : NULL;
}

static gboolean
check_header(SamiShim *shim, SamiReader *r, GError **error)
{
    if (sami_reader_left(r) < SAMI_MESSAGE_HEADER)
        return sami_rule_error(error, SAMI_RULE_MESSAGE_LENGTH, "Message of %zu octets is shorter than its header", sami_reader_left(r));
    guint version = (guint) sami_reader_uint(r, 2);
    sami_reader_take(r, 2 + 4);
    guint32 sequence = (guint32) sami_reader_uint(r, 4);
    guint32 domain = (guint32) sami_reader_uint(r, 4);
    if (version != 10)
        return sami_rule_error(error, SAMI_RULE_MESSAGE_VERSION, "version %u, not 10", version);
    if (domain != shim->domain)
        return sami_rule_error(error, SAMI_RULE_DOMAIN, "Observation Domain %u, not %u", domain, shim->domain);
    if (sequence != shim->sequence)
        return sami_rule_error(error, SAMI_RULE_SEQUENCE_NUMBER, "Sequence Number %u, expected %u", sequence, shim->sequence);
    return TRUE;
}

/* Every build writes its own enterprise number, so a peer's other number shows first in template 300 (OPERATIONS §2). 0: not that. */
static guint32
find_other_pen(const guint8 *tmpl, gsize size, const SamiSpecifier *specifiers, guint n)
{
    gsize constant_size, at = 6;
    const guint8 *constant = sami_signature_template(&constant_size);
    g_autofree guint8 *copy = NULL;
    guint32 other = 0;
    if (size != constant_size - 4)
        return 0;
    copy = g_memdup2(tmpl, size);
    for (guint i = 0; i < n; i++) {
        at += 4;
        if (specifiers[i].pen == 0)
            continue;
        if (other && specifiers[i].pen != other)
            return 0;
        other = specifiers[i].pen;
        SamiWriter w;
        sami_writer_init(&w, copy + at, 4);
        sami_writer_uint(&w, SAMI_PEN, 4);
        at += 4;
    }
    return memcmp(copy, constant + 4, size) == 0 ? other : 0;
}

/* Reads one template's field specifiers. A field count of 0 is a withdrawal (RFC 7011 §8.1), which a session that ends with
 * its templates does not need: refused. */
static gboolean
read_template(SamiShim *shim, SamiReader *r, gboolean is_options, SamiTemplateFunc func, gpointer user_data,
              GError **error)
{
    const guint8 *start = r->at;
    SamiSpecifier specifiers[SAMI_TEMPLATE_FIELDS_MAX];
    guint16 id = (guint16) sami_reader_uint(r, 2);
    guint n = (guint) sami_reader_uint(r, 2);
    if (r->is_bad)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_CUT, "truncated template header");
    if (n == 0)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_WITHDRAWAL, "template %u: withdrawals are not used on this transport", id);
    guint n_scope = is_options ? (guint) sami_reader_uint(r, 2) : 0;
    if (id < SAMI_TEMPLATE_FIRST)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_ID, "template id %u; allowed are ids from 256", id);
    if (n > SAMI_TEMPLATE_FIELDS_MAX)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_FIELDS, "template %u with %u fields; allowed are up to %u fields", id, n, SAMI_TEMPLATE_FIELDS_MAX);
    if (is_options && (n_scope == 0 || n_scope > n))
        return sami_rule_error(error, SAMI_RULE_OPTIONS_SCOPE, "Options Template %u has %u scope fields of %u", id, n_scope, n);
    for (guint i = 0; i < n; i++) {
        guint number = (guint) sami_reader_uint(r, 2);
        specifiers[i].length = (guint16) sami_reader_uint(r, 2);
        specifiers[i].pen = (number & 0x8000) ? (guint32) sami_reader_uint(r, 4) : 0;
        specifiers[i].number = number & 0x7fff;
    }
    if (r->is_bad)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_CUT, "template %u is longer than its Set", id);
    if (id == SAMI_TEMPLATE_SIGNATURE) {
        gsize size;
        const guint8 *constant = sami_signature_template(&size);
        if (!is_options || (gsize) (r->at - start) != size - 4 || memcmp(start, constant + 4, size - 4) != 0) {
            guint32 pen = is_options ? find_other_pen(start, (gsize) (r->at - start), specifiers, n) : 0;
            if (!pen)
                return sami_rule_error(error, SAMI_RULE_SIGNATURE_TEMPLATE, "template 300 is not the signature's");
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_PEN, "the peer was built with enterprise number %u, this is %u", pen, SAMI_PEN);
            return FALSE;
        }
        shim->has_signature_template = TRUE;
        return TRUE;
    }
    if (id >= SAMI_TEMPLATE_FIRST + N_IDS)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_LIMIT, "template id %u; allowed are 256 to %u", id, SAMI_TEMPLATE_FIRST + N_IDS - 1);
    SamiTemplate tmpl;
    if (!sami_template_match(specifiers, n, n_scope, id, &tmpl, error))
        return FALSE;
    SamiTemplate **slot = &shim->templates[id - SAMI_TEMPLATE_FIRST];
    if (*slot) {
        if ((*slot)->kind != tmpl.kind || (*slot)->groups != tmpl.groups) /* which make its fields */
            return sami_rule_error(error, SAMI_RULE_TEMPLATE_REDEFINED, "template %u is defined twice, differently", id);
        return TRUE;
    }
    *slot = g_memdup2(&tmpl, sizeof tmpl);
    func(*slot, user_data);
    return TRUE;
}

/* Template Sets may end in padding shorter than a template record (RFC 7011 §3.3.1). */
static gboolean
check_template_set(SamiShim *shim, const guint8 *body, gsize length, gboolean is_options, SamiTemplateFunc func,
                   gpointer user_data, GError **error)
{
    SamiReader r;
    sami_reader_init(&r, body, length);
    if (length < 4)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_SET_EMPTY, "Template Set without a template");
    while (sami_reader_left(&r) >= 4)
        if (!read_template(shim, &r, is_options, func, user_data, error))
            return FALSE;
    return TRUE;
}

gboolean
sami_shim_check(SamiShim *shim, const guint8 *message, gsize length, gboolean has_signature,
                SamiTemplateFunc func, gpointer user_data, guint *ret_records, GError **error)
{
    SamiReader r;
    guint n_records = 0;
    sami_reader_init(&r, message, length);
    if (!check_header(shim, &r, error))
        return FALSE;
    while (sami_reader_left(&r) > 0) {
        guint id = (guint) sami_reader_uint(&r, 2);
        guint set_length = (guint) sami_reader_uint(&r, 2);
        const guint8 *body = set_length >= 4 ? sami_reader_take(&r, set_length - 4u) : NULL;
        if (!body || r.is_bad)
            return sami_rule_error(error, SAMI_RULE_SET_LENGTH, "Set %u of %u octets does not fit its Message", id, set_length);
        if (id == 2 || id == 3) {
            if (!check_template_set(shim, body, set_length - 4u, id == 3, func, user_data, error))
                return FALSE;
            continue;
        }
        if (id == SAMI_TEMPLATE_SIGNATURE)
            return sami_rule_error(error, SAMI_RULE_SIGNATURE_TWICE, "a signature Set that is not the last of its Message");
        if (id < SAMI_TEMPLATE_FIRST)
            return sami_rule_error(error, SAMI_RULE_SET_RESERVED, "Set %u", id);
        const SamiTemplate *tmpl = id <= G_MAXUINT16 ? sami_shim_template(shim, (guint16) id) : NULL;
        if (!tmpl)
            return sami_rule_error(error, SAMI_RULE_DATA_WITHOUT_TEMPLATE, "Set %u has no template", id);
        if (set_length - 4u < tmpl->length)
            return sami_rule_error(error, SAMI_RULE_DATA_SET_EMPTY, "Data Set %u of %u octets holds no record of %u", id, set_length, tmpl->length);
        n_records += (set_length - 4u) / tmpl->length;
    }
    if (has_signature && !shim->has_signature_template)
        return sami_rule_error(error, SAMI_RULE_SIGNATURE_UNDEFINED, "the first Message does not define template 300");
    shim->sequence += n_records + (has_signature ? 1 : 0);
    *ret_records = n_records;
    return TRUE;
}
