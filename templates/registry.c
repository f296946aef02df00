#include "templates/registry.h"

#include <fixbuf/public.h>

#include "templates/elements.h"

struct SamiRegistry {
    fbInfoModel_t *model; /* (transfer none) only looked up in: an element that it lacks is never added, see reference of libfixbuf on unknown ones */
};

const gchar *
sami_type_name(guint type)
{
    static const gchar *const names[SAMI_N_TYPES] = {
        "octetArray",  "unsigned8",  "unsigned16", "unsigned32",      "unsigned64",           "signed8",              "signed16",            "signed32",
        "signed64",    "float32",    "float64",    "boolean",         "macAddress",           "string",               "dateTimeSeconds",     "dateTimeMilliseconds",
        "dateTimeMicroseconds", "dateTimeNanoseconds", "ipv4Address", "ipv6Address",          "basicList",            "subTemplateList",     "subTemplateMultiList",
    };
    return type < SAMI_N_TYPES ? names[type] : NULL;
}

/* IANA's elements are many, and constant: one for all. */
static fbInfoModel_t *
get_model(void)
{
    static fbInfoModel_t *made;
    if (g_once_init_enter(&made))
        g_once_init_leave(&made, fbInfoModelAlloc());
    return made;
}

SamiRegistry *
sami_registry_new(void)
{
    SamiRegistry *registry = g_new0(SamiRegistry, 1);
    registry->model = get_model();
    return registry;
}

void
sami_registry_free(SamiRegistry *registry)
{
    g_free(registry);
}

gboolean
sami_registry_find(const SamiRegistry *registry, guint32 pen, guint16 number, SamiRegistryElement *ret)
{
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        const SamiElement *e = &sami_elements[i];
        if (e->pen == pen && e->number == number) {
            *ret = (SamiRegistryElement){ pen, number, e->units, (guint8) e->type, e->semantics, e->name };
            return TRUE;
        }
    }
    const fbInfoElement_t *e = fbInfoModelGetElementByID(registry->model, number, pen);
    if (!e || e->type >= SAMI_N_TYPES)
        return FALSE;
    *ret = (SamiRegistryElement){ pen, number, FB_IE_UNITS(e->flags), e->type, FB_IE_SEMANTIC(e->flags), e->ref.name };
    return TRUE;
}
