/* Prints the tables of sami-protocol(7) as roff, from the tables that the code runs on; with --xml the registry of our elements. */
#include <string.h>

#include "templates/template.h"
#include "templates/validate.h"

static const gchar *
registry(guint32 pen, gchar buffer[16])
{
    if (pen == 0)
        return "IANA";
    g_snprintf(buffer, 16, "%u", pen);
    return buffer;
}

static void
print_elements(void)
{
    gchar buffer[16];
    g_print(".SH INFORMATION ELEMENTS\n.nf\n");
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        const SamiElement *e = &sami_elements[i];
        g_print("%5s %5u  %3u octets  %-32s %s\n", registry(e->pen, buffer), e->number, e->length, e->name, e->description);
    }
    g_print(".fi\n");
}

static void
print_records(void)
{
    g_print(".SH RECORDS\nThe first field of a control record is its scope; samiRecordKind is the number in parentheses.\n");
    for (guint k = 0; k < SAMI_N_RECORD_KINDS; k++) {
        const SamiKind *kind = &sami_kinds[k];
        g_print(".TP\n.B %s (%u)\n", kind->name, k);
        for (guint i = 0; i < kind->n_fields; i++)
            g_print("%s%s", sami_elements[kind->fields[i].element].name, i + 1 < kind->n_fields ? ", " : "\n");
    }
}

static void
print_reasons(void)
{
    g_print(".SH REASONS\n.nf\n");
    for (guint i = 1; i < SAMI_N_REASONS; i++)
        if (sami_reason_is_known(i))
            g_print("%3u  %-22s %s\n", i, sami_reason_id(i), sami_reason_text(i));
    g_print(".fi\n");
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--xml") == 0) {
        g_autofree gchar *xml = sami_elements_to_xml();
        g_print("%s", xml);
        return 0;
    }
    print_elements();
    print_records();
    print_reasons();
    return 0;
}
