#include "transport/reload.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/trust.h"

/* The limits; peers with name, addresses and certificates; the CA bundle; our own certificate chain. Of the same program on the same host, so the order of octets is no matter. */
#define FORMAT "(uua(sasmay)maymay)"
/* 10 000 peers of 3 KiB, a CA bundle of any system. */
#define RELOAD_MAX (32 * 1024 * 1024)

void
sami_peer_free(gpointer data)
{
    SamiPeer *peer = data;
    g_free(peer->name);
    g_strfreev(peer->addresses);
    g_free(peer->certificate_file);
    g_free(peer->certificate);
    g_free(peer);
}

/* `given` (nullable): what is in it; NULL for both: nothing. (transfer full) */
static GVariant *
pack_file(const gchar *path, const gchar *given, GError **error)
{
    gsize length;
    if (!path && !given)
        return g_variant_new_maybe(G_VARIANT_TYPE_BYTESTRING, NULL);
    g_autofree gchar *text = given ? NULL : sami_trust_read(path, SAMI_TRUST_PUBLIC, RELOAD_MAX, &length, error);
    return given || text ? g_variant_new_maybe(NULL, g_variant_new_bytestring(given ? given : text)) : NULL;
}

static GVariant *
pack(const SamiNetworkConfig *config, GError **error)
{
    g_auto(GVariantBuilder) peers = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a(sasmay)"));
    for (guint i = 0; config->peers && i < config->peers->len; i++) {
        const SamiPeer *peer = g_ptr_array_index(config->peers, i);
        GVariant *certificate = pack_file(peer->certificate_file, peer->certificate, error);
        if (!certificate) {
            g_prefix_error(error, "peer %s: ", peer->name);
            return NULL;
        }
        g_variant_builder_add(&peers, "(s@as@may)", peer->name,
                              g_variant_new_strv((const gchar *const *) peer->addresses, peer->addresses ? -1 : 0), certificate);
    }
    GVariant *ca = pack_file(config->ca_file, config->ca, error);
    if (!ca) {
        g_prefix_error(error, "tls-ca: ");
        return NULL;
    }
    /* Whom the other process believes must not depend on whether our own certificate is in order: without it, it says so and keeps the old one. */
    GVariant *own = pack_file(config->certificate_file, NULL, NULL);
    return g_variant_ref_sink(g_variant_new("(uu@a(sasmay)@may@may)", config->limits.sessions, config->limits.max_delay_ms,
                                            g_variant_builder_end(&peers), ca, own ? own : g_variant_new_maybe(G_VARIANT_TYPE_BYTESTRING, NULL)));
}

int
sami_reload_write(const SamiNetworkConfig *config, GError **error)
{
    g_autoptr(GVariant) packed = pack(config, error);
    if (!packed)
        return -1;
    const guint8 *data = g_variant_get_data(packed);
    gsize n = g_variant_get_size(packed), at = 0;
    int fd = n <= RELOAD_MAX ? memfd_create("sami-peers", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;
    if (n > RELOAD_MAX)
        errno = EFBIG;
    while (fd >= 0 && at < n) {
        ssize_t written = write(fd, data + at, n - at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            break;
        at += (gsize) written;
    }
    /* The connector may map code from files, and shall have none that it can write. */
    if (fd >= 0 && at == n && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
        return fd;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "peers for the network process: %s", g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static GPtrArray *
unpack_peers(GVariant *list)
{
    GPtrArray *peers = g_ptr_array_new_with_free_func(sami_peer_free);
    for (gsize i = 0; i < g_variant_n_children(list); i++) {
        g_autoptr(GVariant) one = g_variant_get_child_value(list, i);
        SamiPeer *peer = g_new0(SamiPeer, 1);
        g_variant_get(one, "(s^asm^ay)", &peer->name, &peer->addresses, &peer->certificate);
        if (!*peer->addresses)
            g_clear_pointer(&peer->addresses, g_strfreev);
        g_ptr_array_add(peers, peer);
    }
    return peers;
}

gboolean
sami_reload_read(int fd, GPtrArray **ret_peers, SamiNetworkLimits *ret_limits, gchar **ret_ca, gchar **ret_certificate, GError **error)
{
    struct stat status;
    gboolean is_file = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 && status.st_size <= RELOAD_MAX;
    gsize n = is_file ? (gsize) status.st_size : 0;
    guint8 *data = is_file ? g_malloc(n) : NULL;
    if (!is_file || pread(fd, data, n, 0) != (ssize_t) n) {
        g_free(data);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "channel: RELOAD comes without a file that can be read");
        return FALSE;
    }
    g_autoptr(GVariant) packed = g_variant_ref_sink(g_variant_new_from_data(G_VARIANT_TYPE(FORMAT), data, n, FALSE, g_free, data));
    if (!g_variant_is_normal_form(packed)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "channel: what came with RELOAD is no list of peers");
        return FALSE;
    }
    g_autoptr(GVariant) list = g_variant_get_child_value(packed, 2);
    g_autoptr(GVariant) ca = g_variant_get_child_value(packed, 3);
    g_autoptr(GVariant) own = g_variant_get_child_value(packed, 4);
    g_variant_get_child(packed, 0, "u", &ret_limits->sessions);
    g_variant_get_child(packed, 1, "u", &ret_limits->max_delay_ms);
    *ret_peers = unpack_peers(list);
    g_variant_get(ca, "m^ay", ret_ca);
    g_variant_get(own, "m^ay", ret_certificate);
    return TRUE;
}
