#include "templates/elements.h"

const SamiElement sami_elements[SAMI_N_ELEMENTS] = {
#define X(symbol, registry, number, octets, type, semantics, units, name, description)              \
    { SAMI_PEN_##registry, number, octets, SAMI_TYPE_##type, SAMI_SEM_##semantics,                  \
      SAMI_UNIT_##units, name, description },
    SAMI_ELEMENTS(X)
#undef X
};

static const gchar *
type_name(SamiElementType type)
{
    switch (type) {
    case SAMI_TYPE_OCTETS: return "octetArray";
    case SAMI_TYPE_U8: return "unsigned8";
    case SAMI_TYPE_U16: return "unsigned16";
    case SAMI_TYPE_U32: return "unsigned32";
    case SAMI_TYPE_U64: return "unsigned64";
    case SAMI_TYPE_STRING: return "string";
    case SAMI_TYPE_MILLISECONDS: return "dateTimeMilliseconds";
    case SAMI_TYPE_IPV4: return "ipv4Address";
    case SAMI_TYPE_IPV6: return "ipv6Address";
    default: return "octetArray";
    }
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
        gboolean is_reversible = e->number == 1 || e->number == 9;
        g_string_append_printf(
            xml, "<record><cert:enterpriseId>%u</cert:enterpriseId>%s<name>%s</name>"
                 "<dataType>%s</dataType><group>sami</group>"
                 "<dataTypeSemantics>%s</dataTypeSemantics><elementId>%u</elementId>"
                 "<units>%s</units><description>%s</description></record>\n",
            e->pen, is_reversible ? "<cert:reversible>1</cert:reversible>" : "", e->name,
            type_name(e->type), semantics_names[e->semantics], e->number, units_names[e->units],
            e->description);
    }
    g_string_append(xml, "</registry>\n</registry>\n");
    return g_string_free(xml, FALSE);
}
