/* sami-messages [--key-log FILE] INPUT [TO]: the Messages of a file or a capture, one behind the other, to standard output; of a capture only those
 * that went to TO. What is wrong is told, and is exit status 3. */
#include <stdio.h>
#include <string.h>

#include "transport/input.h"

int
main(int argc, char **argv)
{
    g_autofree gchar *key_log = NULL;
    const GOptionEntry entries[] = { { "key-log", 0, 0, G_OPTION_ARG_FILENAME, &key_log, "TLS secrets", "FILE" }, { NULL } };
    g_autoptr(GOptionContext) context = g_option_context_new("INPUT [TO]");
    g_autoptr(GError) error = NULL;
    SamiInputMessage message;
    SamiInputStatus status;
    guint n_faults = 0;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc < 2 || argc > 3) {
        fprintf(stderr, "%s\n", error ? error->message : "usage: sami-messages [--key-log FILE] INPUT [TO]");
        return 2;
    }
    const SamiInputOptions options = { .key_log = key_log };
    g_autofree gchar *to = argc > 2 ? g_strdup_printf(" > %s", argv[2]) : g_strdup("");
    g_autoptr(SamiInput) input = sami_input_open(argv[1], &options, &error);
    if (!input) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    while ((status = sami_input_next(input, &message, &error)) != SAMI_INPUT_END) {
        if (status == SAMI_INPUT_MESSAGE && g_str_has_suffix(message.ends, to))
            fwrite(message.octets, 1, message.length, stdout);
        if (error)
            fprintf(stderr, "at octet %" G_GUINT64_FORMAT ": %s\n", message.offset, error->message);
        n_faults += error != NULL;
        g_clear_error(&error);
    }
    if (error)
        fprintf(stderr, "%s\n", error->message);
    return error || n_faults ? 3 : 0;
}
