/* Template Sets: what the shim takes is a template of ours, and says the same when we write it. The first octet is the Set's id. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/cursor.h"

static gboolean
check(guint set_id, const guint8 *body, gsize length, SamiTemplateFunc func)
{
    g_autoptr(SamiShim) shim = sami_shim_new(SAMI_DOMAIN_FORWARD);
    g_autofree guint8 *message = g_malloc(SAMI_MESSAGE_HEADER + 4 + length);
    guint n_records;
    SamiWriter w;
    sami_writer_init(&w, message, SAMI_MESSAGE_HEADER + 4 + length);
    sami_writer_uint(&w, 10, 2);
    sami_writer_uint(&w, SAMI_MESSAGE_HEADER + 4 + length, 2);
    sami_writer_uint(&w, 0, 8);
    sami_writer_uint(&w, SAMI_DOMAIN_FORWARD, 4);
    sami_writer_uint(&w, set_id, 2);
    sami_writer_uint(&w, length + 4, 2);
    sami_writer_octets(&w, body, length);
    g_assert(!w.is_bad);
    return sami_shim_check(shim, message, sami_writer_length(&w), FALSE, func, NULL, &n_records, NULL);
}

static void
ignore(const SamiTemplate *tmpl, gpointer user_data)
{
}

static void
on_template(const SamiTemplate *tmpl, gpointer user_data)
{
    guint8 set[SAMI_TEMPLATE_SET_MAX], packed[1024] = {0}, again[1024] = {0};
    SamiRecord record;
    gsize length = sami_template_write(tmpl, set, sizeof set);
    g_assert(tmpl->length > 0 && tmpl->length <= sizeof packed && tmpl->n_fields <= SAMI_TEMPLATE_FIELDS_MAX);
    g_assert(check(tmpl->n_scope ? 3 : 2, set + 4, length - 4, ignore));
    if (tmpl->kind != SAMI_RECORD_SESSION && tmpl->kind != SAMI_RECORD_TYPE_INFORMATION)
        packed[0] = (guint8)tmpl->kind;
    if (!sami_template_unpack(tmpl, packed, &record, NULL))
        return;
    sami_template_pack(tmpl, &record, again);
    g_assert(memcmp(packed, again, sizeof again) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && size < SAMI_MESSAGE_MAX - 32)
        check(data[0], data + 1, size - 1, on_template);
    return 0;
}
