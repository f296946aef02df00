#include "tests/fuzz/collector.h"

#include "firewall/fake.h"
#include "tests/fuzz/fuzz.h"

static void
put(const gchar *directory, const gchar *name, const gchar *text)
{
    g_autofree gchar *path = g_build_filename(directory, name, NULL);
    g_assert(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

static const SamiConfig *
make_config(void)
{
    g_autofree gchar *top = g_dir_make_tmp("sami-fuzz.XXXXXX", NULL);
    g_autofree gchar *signers = g_build_filename(top, "signers.d", NULL), *path = g_build_filename(top, "sami.conf", NULL);
    g_autofree gchar *text = g_strdup_printf("[sami]\nname=fw2.example\nrun-dir=%s\njournal=false\ngrace=0\nnat-elsewhere=true\nmax-sessions=1000\n"
                                             "[cumulative syn4]\ntable=inet filter\nset=syn4\nkind=counter\n", top);
    g_assert(g_mkdir_with_parents(signers, 0700) == 0);
    put(top, "sami.conf", text);
    put(top, "fw1.pem", SAMI_FUZZ_PUBLIC_PEM);
    g_autofree gchar *signer = g_strdup_printf("[signer]\nkeys=%s/fw1.pem\nallow-prefixes=10.0.0.0/24,2001:db8:0:a::/64\nnat-addresses=192.0.2.0/24\n"
                                               "kinds=session,expectation\nrequire-expect=false\nunscoped=true\n", top);
    put(signers, "fw1.example.conf", signer);
    g_autoptr(GError) error = NULL;
    SamiConfig *config = sami_config_load(path, &error);
    if (!config)
        g_error("%s", error->message);
    return config;
}

SamiCollector *
sami_fuzz_collector_of(const SamiConfig *config, GPtrArray *signers, SamiFirewall *firewall)
{
    SamiCollector *c = g_new0(SamiCollector, 1);
    g_autofree gchar *expected = g_build_filename(config->run_dir, "expected", NULL);
    c->config = sami_config_ref(config);
    c->budget = sami_budget_new();
    c->loop = g_main_loop_new(NULL, FALSE);
    c->sessions = g_ptr_array_new_with_free_func((GDestroyNotify) sami_collector_session_free);
    c->migrations = g_ptr_array_new_with_free_func((GDestroyNotify) sami_collector_migration_free);
    c->key = sami_fuzz_key();
    c->signers = g_ptr_array_ref(signers);
    c->expect = sami_expect_new(expected, NULL);
    g_assert(c->expect && sami_collector_replication_setup(c, NULL));
    c->firewall = firewall;
    c->injector = sami_injector_new(sami_firewall_fake_share(c->firewall));
    c->kinds = sami_collector_kinds_start();
    c->sync = sami_sync_new();
    return c;
}

SamiCollector *
sami_fuzz_collector_new(void)
{
    static const SamiConfig *config; /* what never changes is made once */
    static GPtrArray *signers;
    if (!config) {
        config = make_config();
        signers = sami_signers_load(config, NULL, NULL);
        g_assert(signers);
        sami_signers_enforce(signers);
        sami_fuzz_be_quiet();
    }
    return sami_fuzz_collector_of(config, signers, sami_firewall_fake_new(0));
}

void
sami_fuzz_collector_settle(SamiCollector *c, SamiSessionSocket *peer)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    do
        while (sami_session_socket_receive(peer, &type, &payload, &length, NULL) == SAMI_RECEIVE_FRAME)
            ;
    while (g_main_context_iteration(NULL, sami_collector_pending(c) > 0) || sami_collector_pending(c) > 0);
}

void
sami_fuzz_collector_free(SamiCollector *c)
{
    while (c->sessions->len > 0) {
        sami_collector_session_drop(g_ptr_array_index(c->sessions, 0));
        while (g_main_context_iteration(NULL, sami_collector_pending(c) > 0) || sami_collector_pending(c) > 0)
            ;
    }
    g_ptr_array_unref(c->sessions);
    sami_injector_free(c->injector);
    sami_collector_kinds_stop(c->kinds);
    sami_sync_free(c->sync);
    g_ptr_array_unref(c->migrations);
    g_assert(sami_budget_used(((SamiSigner *) g_ptr_array_index(c->signers, 0))->budget) == 0 && sami_budget_used(c->budget) == 0);
    g_ptr_array_unref(c->signers);
    sami_collector_replication_close(c);
    sami_budget_unref(c->budget);
    sami_expect_free(c->expect);
    sami_config_unref(c->config);
    sami_firewall_free(c->firewall);
    g_main_loop_unref(c->loop);
    g_free(c);
}
