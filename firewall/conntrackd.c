#include "firewall/conntrackd.h"

#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <glib.h>

/* Port ids of the NETLINK_NETFILTER sockets of this namespace. (transfer full) */
static GHashTable *
read_ports(void)
{
    GHashTable *ports = g_hash_table_new(NULL, NULL);
    g_autofree gchar *text = NULL;
    if (!g_file_get_contents("/proc/self/net/netlink", &text, NULL, NULL))
        return ports;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i]; i++) {
        guint family, port;
        if (sscanf(lines[i], "%*s %u %u", &family, &port) == 2 && family == NETLINK_NETFILTER)
            g_hash_table_add(ports, GUINT_TO_POINTER(port));
    }
    return ports;
}

static gboolean
has_name(const gchar *process, const gchar *name)
{
    g_autofree gchar *path = g_strdup_printf("/proc/%s/comm", process);
    g_autofree gchar *comm = NULL;
    return g_file_get_contents(path, &comm, NULL, NULL) && !strcmp(g_strchomp(comm), name);
}

static gboolean
is_in_namespace(const gchar *process, const struct stat *own)
{
    g_autofree gchar *path = g_strdup_printf("/proc/%s/net/netlink", process);
    struct stat other;
    return stat(path, &other) == 0 && other.st_ino == own->st_ino && other.st_dev == own->st_dev;
}

/* By any of its ids: one for each PID namespace that it is seen in. */
static gboolean
has_port(const gchar *process, GHashTable *ports)
{
    g_autofree gchar *path = g_strdup_printf("/proc/%s/status", process);
    g_autofree gchar *status = NULL;
    const gchar *line = g_file_get_contents(path, &status, NULL, NULL) ? strstr(status, "\nNSpid:") : NULL;
    if (!line)
        return FALSE;
    line += strlen("\nNSpid:");
    g_autofree gchar *text = g_strndup(line, strcspn(line, "\n"));
    g_auto(GStrv) ids = g_strsplit_set(text, " \t", -1);
    for (guint i = 0; ids[i]; i++)
        if (*ids[i] && g_hash_table_contains(ports, GUINT_TO_POINTER((guint)g_ascii_strtoull(ids[i], NULL, 10))))
            return TRUE;
    return FALSE;
}

pid_t
sami_conntrackd_find(void)
{
    g_autoptr(GHashTable) ports = read_ports();
    g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
    struct stat own;
    if (!processes || stat("/proc/self/net/netlink", &own) != 0)
        return 0;
    for (const gchar *entry; (entry = g_dir_read_name(processes));)
        if (g_ascii_isdigit(*entry) && has_name(entry, "conntrackd") && is_in_namespace(entry, &own) && has_port(entry, ports))
            return (pid_t)g_ascii_strtoull(entry, NULL, 10);
    return 0;
}
