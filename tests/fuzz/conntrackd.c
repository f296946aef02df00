/* conntrackd.conf: what is taken prints to a file of peers.d that has the same keys, and every note names a line of the input. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/value.h"
#include "ctl/conntrackd-conf.h"

static void
check_prefixes(const gchar *text)
{
    g_auto(GStrv) list = sami_value_list(text ? text : "", NULL);
    g_assert(list);
    for (guint i = 0; list[i]; i++)
        g_assert(sami_value_address(list[i], TRUE, NULL));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CtlConntrackd) conf = ctl_conntrackd_parse("conntrackd.conf", (const gchar *)data, size, &error);
    guint n_lines = 1, n_lost = 0;
    g_assert(!conf != !error && (!error || (g_utf8_validate(error->message, -1, NULL) && g_str_has_prefix(error->message, "conntrackd.conf:"))));
    if (!conf)
        return 0;
    for (size_t i = 0; i < size; i++)
        n_lines += data[i] == '\n';
    for (guint i = 0; i < conf->notes->len; i++) {
        const CtlNote *note = conf->notes->pdata[i];
        g_assert(note->line >= 1 && note->line <= n_lines && note->why && g_str_is_ascii(note->option) && !strpbrk(note->option, "\n\r"));
        n_lost += note->fate == CTL_FATE_LOST;
    }
    g_assert(n_lost == conf->n_lost);
    g_autofree gchar *keys = ctl_conntrackd_keys(conf), *text = ctl_conntrackd_print(conf, "fw2.example");
    g_autofree gchar *whole = g_strconcat("[peer]\n", keys, NULL);
    g_autoptr(GKeyFile) a = g_key_file_new(), b = g_key_file_new();
    g_assert(g_key_file_load_from_data(a, whole, (gsize)-1, G_KEY_FILE_NONE, NULL) && g_key_file_load_from_data(b, text, (gsize)-1, G_KEY_FILE_NONE, NULL));
    g_autofree gchar *from_a = g_key_file_to_data(a, NULL, NULL), *from_b = g_key_file_to_data(b, NULL, NULL);
    g_assert_cmpstr(from_a, ==, from_b);
    check_prefixes(conf->ignore);
    check_prefixes(conf->addresses);
    g_autofree gchar *address = g_key_file_get_string(a, "peer", "address", NULL);
    g_auto(GStrv) list = address ? sami_value_list(address, NULL) : NULL;
    for (guint i = 0; list && list[i]; i++)
        g_assert(sami_value_endpoint(list[i], NULL));
    return 0;
}
