#include "templates/elements.h"

#include "templates/registry.h"

const SamiElement sami_elements[SAMI_N_ELEMENTS] = {
#define X(symbol, registry, number, octets, type, semantics, units, name, description)              \
    { SAMI_PEN_##registry, number, octets, SAMI_TYPE_##type, SAMI_SEM_##semantics,                  \
      SAMI_UNIT_##units, name, description },
    SAMI_ELEMENTS(X)
#undef X
};

/* RFC 5103 §6.2: the twin of the reply direction has the next highest bit of the number. */
static gboolean
is_reversible(const SamiElement *e)
{
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++)
        if (sami_elements[i].pen == e->pen && sami_elements[i].number == (e->number | 0x4000))
            return TRUE;
    return FALSE;
}

static const gchar *const semantics_names[] = { "default", "quantity", "totalCounter", "deltaCounter",
                                                "identifier", "flags" };
static const gchar *const units_names[] = { [0] = "none",    [2] = "octets",        [3] = "packets",
                                            [6] = "seconds", [7] = "milliseconds", [10] = "messages",
                                            [12] = "entries" };

gchar *
sami_elements_to_xml(void)
{
    GString *xml = g_string_new(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<registry xmlns=\"http://www.iana.org/assignments\" xmlns:cert=\"http://www.cert.org/ipfix\" "
        "id=\"ipfix\">\n<registry id=\"ipfix-information-elements\">\n");
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        const SamiElement *e = &sami_elements[i];
        if (e->pen != SAMI_PEN || (e->number & 0x4000))
            continue;
        g_string_append_printf(
            xml, "<record><cert:enterpriseId>%u</cert:enterpriseId>%s<name>%s</name>"
                 "<dataType>%s</dataType><group>sami</group>"
                 "<dataTypeSemantics>%s</dataTypeSemantics><elementId>%u</elementId>"
                 "<units>%s</units><description>%s</description></record>\n",
            e->pen, is_reversible(e) ? "<cert:reversible>1</cert:reversible>" : "", e->name,
            sami_type_name(e->type), semantics_names[e->semantics], e->number, units_names[e->units],
            e->description);
    }
    g_string_append(xml, "</registry>\n</registry>\n");
    return g_string_free(xml, FALSE);
}
