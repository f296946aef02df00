/* `import-conntrackd`: what conntrackd.conf says, as keys of peers.d. */
#include "ctl/ctl.h"

#include <errno.h>
#include <string.h>

#include "ctl/conntrackd-conf.h"

#define DEFAULT_FILE "/etc/conntrackd/conntrackd.conf"

/* peers.d/PEER.conf with the keys that it has not, behind its others; NULL: it has one with another value. What is there stays, and an address
 * too: it came with the peer file. (transfer full) */
static gchar *
merge(const gchar *path, const gchar *old, const gchar *keys, guint *ret_n, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GString) text = g_string_new(old);
    g_auto(GStrv) lines = g_strsplit(keys, "\n", -1);
    if (!g_key_file_load_from_data(file, old, strlen(old), G_KEY_FILE_NONE, error))
        return NULL;
    if (text->len && text->str[text->len - 1] != '\n')
        g_string_append_c(text, '\n');
    *ret_n = 0;
    for (guint i = 0; lines[i] && *lines[i]; i++) {
        g_auto(GStrv) halves = g_strsplit(lines[i], "=", 2);
        g_autofree gchar *there = g_key_file_get_value(file, "peer", halves[0], NULL);
        if (there && strcmp(there, halves[1]) != 0 && strcmp(halves[0], "address") != 0) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s has %s=%s already, and conntrackd.conf says %s; nothing was written", path, halves[0],
                        there, halves[1]);
            return NULL;
        }
        if (there)
            continue;
        g_string_append_printf(text, "%s\n", lines[i]);
        ++*ret_n;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* What was written has to be what the daemons can read. */
static gboolean
write_keys(Ctl *ctl, const gchar *keys, GError **error)
{
    g_autofree gchar *name = g_strdup_printf("peers.d/%s.conf", ctl->args.to);
    g_autofree gchar *path = ctl_path(ctl, name), *old = NULL;
    guint n = 0;
    if (!ctl_load_config(ctl, error))
        return FALSE;
    if (!ctl->config || !sami_config_peer(ctl->config, ctl->args.to) || !g_file_get_contents(path, &old, NULL, NULL)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "no peer '%s' in %s; add it first: samictl peer add FILE --both --allow PREFIXES", ctl->args.to,
                    path);
        return FALSE;
    }
    g_autofree gchar *text = merge(path, old, keys, &n, error);
    if (!text || (n && !ctl_write(path, text, error)))
        return FALSE;
    g_clear_pointer(&ctl->config, sami_config_free);
    if (!ctl_load_config(ctl, error)) {
        ctl_write(path, old, NULL);
        g_prefix_error(error, "nothing was written: ");
        return FALSE;
    }
    if (!ctl->args.is_quiet)
        ctl_say(stdout, "%s %s\n%s", n ? "added to" : "unchanged:", path,
                n ? "next: stop conntrackd, then: systemctl reload sami-exporter    (or send SIGHUP); a replication waits until conntrackd has ended\n" : "");
    return TRUE;
}

SamiExit
ctl_import_conntrackd(Ctl *ctl, GError **error)
{
    const gchar *path = ctl->args.operands[0] ? ctl->args.operands[0] : DEFAULT_FILE;
    g_autoptr(GError) local = NULL;
    g_autofree gchar *text = NULL;
    gsize length = 0;
    if (ctl->args.is_write && !ctl->args.to) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--write needs --to PEER, whose file in peers.d gets the keys");
        return SAMI_EXIT_USAGE;
    }
    if (!g_file_get_contents(path, &text, &length, &local)) {
        g_set_error_literal(error, SAMI_ERROR, g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_ACCES) ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED,
                            local->message);
        return SAMI_EXIT_FAILED;
    }
    g_autoptr(CtlConntrackd) conf = ctl_conntrackd_parse(path, text, length, error);
    if (!conf)
        return SAMI_EXIT_FAILED;
    g_autofree gchar *keys = ctl_conntrackd_keys(conf);
    g_autofree gchar *shown = ctl_conntrackd_print(conf, ctl->args.to ? ctl->args.to : "PEER");
    if (!ctl->args.is_quiet)
        ctl_say(stdout, "%s", shown);
    if (ctl->args.is_write && !write_keys(ctl, keys, error))
        return SAMI_EXIT_FAILED;
    if (conf->n_lost == 0)
        return SAMI_EXIT_DONE;
    ctl_say(stderr, "samictl: %s: %u options are not carried over%s\n", path, conf->n_lost,
            ctl->args.is_quiet ? "; without -q each is named with its reason" : ": those with NOT CARRIED OVER above");
    return SAMI_EXIT_DEGRADED;
}
