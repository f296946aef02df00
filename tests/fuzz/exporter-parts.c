#include "tests/fuzz/exporter.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

SamiFirewall *__wrap_sami_firewall_linux_new(GError **error);
GArray *__wrap_sami_host_addresses(GError **error);
guint64 __wrap_sami_exporter_events_since(const SamiConfig *config);
void __wrap_sami_random(guint8 *ret, gsize n);

SamiFirewall *
__wrap_sami_firewall_linux_new(GError **error)
{
    SamiFirewall *firewall = sami_firewall_fake_new(0);
    for (guint i = 0; i < 4; i++) {
        SamiSession s = {.key = {.family = 4, .protocol = IPPROTO_UDP}, .status = SAMI_IPS_SEEN_REPLY, .timeout_s = 100,
                         .has = SAMI_HAS_REPLY | SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT};
        memcpy(s.key.orig.src.octets, (guint8[]){10, 0, 0, 13}, 4);
        memcpy(s.key.orig.dst.octets, (guint8[]){198, 51, 100, 10}, 4);
        s.key.orig.src_port = (guint16)(1000 + i), s.key.orig.dst_port = 53;
        sami_flow_key_mirror(&s.key, &s.reply);
        SamiOp op = {.kind = SAMI_OP_CREATE, .session = &s};
        g_assert(sami_firewall_apply(firewall, &op, 1, NULL));
    }
    return firewall;
}

GArray *
__wrap_sami_host_addresses(GError **error)
{
    return g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
}

guint64
__wrap_sami_exporter_events_since(const SamiConfig *config)
{
    return 0;
}

void
__wrap_sami_random(guint8 *ret, gsize n)
{
    memset(ret, 1, n); /* an id of zeros is none */
}

static void
put(const gchar *path, const gchar *text)
{
    g_assert(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

static const SamiConfig *
make_config(void)
{
    g_autofree gchar *top = g_dir_make_tmp("sami-fuzz.XXXXXX", NULL);
    g_autofree gchar *peers = g_build_filename(top, "peers.d", NULL), *path = g_build_filename(top, "sami.conf", NULL);
    g_autofree gchar *peer = g_build_filename(peers, "fw2.example.conf", NULL), *key = g_build_filename(top, "fw2.pem", NULL);
    g_autofree gchar *text = g_strdup_printf("[sami]\nname=fw1.example\nrun-dir=%s\nvm-prefixes=10.0.0.0/24\ntls-ca=%s/ca.pem\n", top, top);
    g_autofree gchar *peer_text = g_strdup_printf("[peer]\naddress=192.0.2.2:4740\nsigning-key=%s\n", key);
    g_autoptr(GError) error = NULL;
    g_assert(g_mkdir_with_parents(peers, 0700) == 0);
    put(path, text);
    put(peer, peer_text);
    put(key, SAMI_FUZZ_PUBLIC_PEM);
    SamiConfig *config = sami_config_load(path, &error);
    if (!config)
        g_error("%s", error->message);
    return config;
}

static int connector; /* its end of the channel: nobody reads */

SamiExporter *
sami_fuzz_exporter_new(void)
{
    static const SamiConfig *config;
    SamiPrefix vm = {.family = 4, .length = 32, .address = {{10, 0, 0, 13}}};
    GArray *prefixes = g_array_new(FALSE, TRUE, sizeof vm);
    SamiExporter *e = g_new0(SamiExporter, 1);
    int fds[2];
    if (!config) {
        config = make_config();
        sami_fuzz_be_quiet();
    }
    g_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
    e->channel = fds[1];
    connector = fds[0];
    e->config = sami_config_ref(config);
    e->loop = g_main_loop_new(NULL, FALSE);
    e->key = sami_fuzz_key();
    e->migrations = g_ptr_array_new_with_free_func((GDestroyNotify) sami_migration_free);
    e->checks = g_ptr_array_new_with_free_func((GDestroyNotify) sami_check_free);
    e->vm_prefixes = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    sami_replications_setup(e);
    g_array_append_val(prefixes, vm);
    SamiMigration *m = sami_migration_new(e, g_ptr_array_index(config->peers, 0), prefixes, NULL);
    g_assert(m);
    return e;
}

void
sami_fuzz_exporter_free(SamiExporter *e)
{
    sami_replications_close(e);
    g_ptr_array_unref(e->checks);
    g_ptr_array_unref(e->migrations);
    g_array_unref(e->vm_prefixes);
    sami_config_unref(e->config);
    g_main_loop_unref(e->loop);
    close(e->channel);
    close(connector);
    g_free(e);
}
