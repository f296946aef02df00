/* QEMU's side of dbus-vmstate, for tests of the helper without a VM: the calls that backends/dbus-vmstate.c of QEMU 7.2 makes, in its
 * order and with its flags and checks.
 *
 *   fake-qemu BUS save FILE      every queued owner of the name: Id, Save; FILE gets a line "ID HEX" each
 *   fake-qemu BUS load FILE      the same owners: Id; for each line of FILE the Load of its owner
 *
 * Exit status: 0; 1 where QEMU's migration would fail; 2 usage. It says what it did, and how long it took. */
#include <gio/gio.h>
#include <string.h>

#define NAME "org.qemu.VMState1"
#define PATH "/org/qemu/VMState1"
#define SIZE_MAX_OCTETS (1024u * 1024u)

static gchar **
list_owners(GDBusConnection *bus, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autoptr(GVariant) result = g_dbus_connection_call_sync(
        bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ListQueuedOwners", g_variant_new("(s)", NAME),
        G_VARIANT_TYPE("(as)"), G_DBUS_CALL_FLAGS_NO_AUTO_START, -1, NULL, &local);
    gchar **names = NULL;
    if (g_error_matches(local, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER))
        return g_new0(gchar *, 1);
    if (local)
        g_propagate_error(error, g_steal_pointer(&local));
    if (result)
        g_variant_get(result, "(^as)", &names);
    return names;
}

/* Id -> proxy. */
static GHashTable *
get_proxies(GDBusConnection *bus, GError **error)
{
    g_autoptr(GHashTable) proxies = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_object_unref);
    g_auto(GStrv) owners = list_owners(bus, error);
    for (guint i = 0; owners && owners[i]; i++) {
        g_autoptr(GDBusProxy) proxy =
            g_dbus_proxy_new_sync(bus, G_DBUS_PROXY_FLAGS_NONE, NULL, owners[i], PATH, NAME, NULL, error);
        g_autoptr(GVariant) id = proxy ? g_dbus_proxy_get_cached_property(proxy, "Id") : NULL;
        if (!proxy)
            return NULL;
        const gchar *text = id && g_variant_is_of_type(id, G_VARIANT_TYPE_STRING) ? g_variant_get_string(id, NULL) : "";
        if (!*text || strlen(text) >= 256 || g_hash_table_contains(proxies, text)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "Id '%s' of %s is invalid or there twice", text, owners[i]);
            return NULL;
        }
        g_hash_table_insert(proxies, g_strdup(text), g_steal_pointer(&proxy));
    }
    return owners ? g_steal_pointer(&proxies) : NULL;
}

static gboolean
save(GHashTable *proxies, const gchar *file, GError **error)
{
    GHashTableIter iter;
    gpointer id, proxy;
    g_autoptr(GString) text = g_string_new(NULL);
    g_hash_table_iter_init(&iter, proxies);
    while (g_hash_table_iter_next(&iter, &id, &proxy)) {
        gint64 start = g_get_monotonic_time();
        gsize size = 0;
        g_autoptr(GVariant) result =
            g_dbus_proxy_call_sync(proxy, "Save", NULL, G_DBUS_CALL_FLAGS_NO_AUTO_START, -1, NULL, error);
        g_autoptr(GVariant) child = result ? g_variant_get_child_value(result, 0) : NULL;
        const guint8 *data = child ? g_variant_get_fixed_array(child, &size, 1) : NULL;
        if (!result)
            return FALSE;
        if (!data || size == 0 || size > SIZE_MAX_OCTETS) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "%s saved %" G_GSIZE_FORMAT " octets", (gchar *)id, size);
            return FALSE;
        }
        g_string_append_printf(text, "%s ", (gchar *)id);
        for (gsize i = 0; i < size; i++)
            g_string_append_printf(text, "%02x", data[i]);
        g_string_append_c(text, '\n');
        g_print("saved %s in %.1f ms: %.*s\n", (gchar *)id, (gdouble)(g_get_monotonic_time() - start) / 1000, (int)size, data);
    }
    return g_file_set_contents(file, text->str, -1, error);
}

static gboolean
load_one(GHashTable *proxies, const gchar *id, const gchar *hex, GError **error)
{
    GDBusProxy *proxy = g_hash_table_lookup(proxies, id);
    gint64 start = g_get_monotonic_time();
    g_autoptr(GByteArray) data = g_byte_array_new();
    if (!proxy) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "no helper with the Id '%s'", id);
        return FALSE;
    }
    for (; hex[0] && hex[1]; hex += 2) {
        guint8 octet = (guint8)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));
        g_byte_array_append(data, &octet, 1);
    }
    GVariant *value = g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data->data, data->len, 1);
    g_autoptr(GVariant) result =
        g_dbus_proxy_call_sync(proxy, "Load", g_variant_new("(@ay)", value), G_DBUS_CALL_FLAGS_NO_AUTO_START, -1, NULL, error);
    g_print("load of %s %s after %.1f ms\n", id, result ? "returned" : "failed", (gdouble)(g_get_monotonic_time() - start) / 1000);
    return result != NULL;
}

static gboolean
load(GHashTable *proxies, const gchar *file, GError **error)
{
    g_autofree gchar *text = NULL;
    if (!g_file_get_contents(file, &text, NULL, error))
        return FALSE;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] && *lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 2);
        if (!load_one(proxies, words[0], words[1] ? words[1] : "", error))
            return FALSE;
    }
    return TRUE;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    gboolean is_save = argc == 4 && !strcmp(argv[2], "save");
    if (argc != 4 || (!is_save && strcmp(argv[2], "load") != 0))
        return 2;
    g_autoptr(GDBusConnection) bus = g_dbus_connection_new_for_address_sync(
        argv[1], G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL, NULL, &error);
    g_autoptr(GHashTable) proxies = bus ? get_proxies(bus, &error) : NULL;
    if (proxies && (is_save ? save : load)(proxies, argv[3], &error))
        return 0;
    g_print("QEMU would fail: %s\n", error->message);
    return 1;
}
