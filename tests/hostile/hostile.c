/* hostile CONFIG TO CASE [CERTIFICATE KEY | none]: misbehaves in one way and says what the collector answered.
 * hostile CONFIG TO resume:ID: wants to go on with the migration of somebody else.
 * hostile --all CONFIG TO SOCKET NETNS: every case but those of max-delay, each on its own and by its name. Around each one it reads the
 * collector's counters at its control SOCKET, and the connection table in NETNS.
 *
 * Exit status 0: refused for its reason (or, for the case "honest", whatever was answered). 1: anything else. */
#include <stdlib.h>
#include <string.h>

#include "tests/hostile/hostile.h"

static Client *
run_honest(Client *c, const Case *self)
{
    return c;
}

/* For those whom TLS refuses, or the signer's policy. */
static const Case honest = { "honest", STAGE_CONNECTED, run_honest, NULL, 0, NULL, NULL };

static Client *
run_resume(Client *c, const Case *self)
{
    SamiRecord record;
    client_fill_hello(c, &record);
    record.hello.opening = SAMI_OPENING_RESUME;
    client_add(c, &record);
    client_send(c);
    return c;
}

static const Case resume = { "resume", STAGE_CONNECTED, run_resume, "not-owner", 0, NULL, NULL };

static const Case *const lists[] = { message_cases, template_cases, record_cases };

static const Case *
find_case(const gchar *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++)
        for (const Case *at = lists[i]; at->name; at++)
            if (g_str_equal(at->name, name))
                return at;
    if (g_str_has_prefix(name, "resume:"))
        return &resume;
    if (!g_str_equal(name, "honest"))
        die("there is no case '%s'", name);
    return &honest;
}

/* What the collector answered, (transfer full); *ret_is_right: for the reason of the case. */
static gchar *
play(const Case *what, const Identity *identity, const guint8 *migration_id, gboolean *ret_is_right)
{
    g_autofree gchar *alert = NULL;
    Client *c = client_new(identity, migration_id, &alert);
    if (!c) {
        *ret_is_right = what == &honest;
        return g_strdup_printf("alert %s\n", alert);
    }
    if (what->stage >= STAGE_GREETED)
        client_hello(c);
    if (what->stage >= STAGE_BEGUN)
        client_begin(c);
    if (what == &honest) {
        SamiRecord record;
        client_fill_hello(c, &record);
        client_add(c, &record);
        client_send(c);
    }
    Client *answered = what->run(c, what);
    client_answer(answered);
    const gchar *reason = answered->reason ? answered->reason : "-";
    gchar *answers = g_strdup(answered->answers->str);
    *ret_is_right = what == &honest || g_str_equal(reason, what->reason);
    if (answered != c)
        client_free(answered);
    client_free(c);
    return answers;
}

/* ---- every case ---- */

static gboolean
is_refusal(const gchar *name)
{
    return g_str_has_prefix(name, "refused_") || g_str_has_prefix(name, "session_errors_");
}

static gboolean
run_watched(Watch *watch, const Identity *identity, const Case *what)
{
    gboolean is_right;
    set_case(what->name);
    g_autofree gchar *answers = play(what, identity, NULL, &is_right);
    g_autofree gchar *name = g_str_equal(what->reason, "-") ? g_strdup("session_errors_total")
                                                           : g_strdup_printf("refused_%s_total", what->reason);
    g_autofree gchar *wrong = watch_counters(watch, name, 1);
    watch_read_events(watch);
    g_strchomp(answers);
    gboolean is_passed = is_right && !wrong && watch->written->len == 0;
    g_print("%s %s: %s\n", is_passed ? "ok  " : "FAIL", what->name, answers);
    if (!is_right)
        g_print("     the sender had to be told %s\n", what->reason);
    if (wrong)
        g_print("     %s\n", wrong);
    g_print("%s", watch->written->str);
    return is_passed;
}

static int
run_all(const Identity *identity, const gchar *socket, const gchar *netns)
{
    Watch watch;
    guint n = 0, n_failed = 0;
    watch_open(&watch, socket, is_refusal, netns);
    g_autofree gchar *before = watch_read_table(&watch);
    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++)
        for (const Case *at = lists[i]; at->name; at++)
            if (!g_str_equal(at->reason, "too-late")) {
                n++;
                n_failed += !run_watched(&watch, identity, at);
            }
    g_autofree gchar *table = watch_read_table(&watch);
    if (!g_str_equal(before, table)) {
        g_print("FAIL the connection table was\n%s\n     and is\n%s\n", before, table);
        n_failed++;
    }
    watch_close(&watch);
    g_print("%u cases, %u failed\n", n, n_failed);
    return n > 0 && n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    gboolean is_all = argc > 1 && g_str_equal(argv[1], "--all"), is_right;
    if (is_all) {
        argv++;
        argc--;
    }
    if (is_all ? argc != 5 : argc < 4 || argc > 6)
        die("usage: hostile CONFIG TO CASE [CERTIFICATE KEY | none]\n       hostile --all CONFIG TO SOCKET NETNS");
    g_autoptr(SamiConfig) config = sami_config_load(argv[1], &error);
    if (!config)
        die("%s", error->message);
    Identity identity = { .config = config, .peer = sami_config_peer(config, argv[2]),
                          .certificate = config->certificate, .key = config->key };
    if (!is_all && argc == 5)
        identity.certificate = identity.key = NULL;
    if (argc == 6) {
        identity.certificate = argv[4];
        identity.key = argv[5];
    }
    if (!identity.peer)
        die("%s is no peer", argv[2]);
    if (!(identity.signing_key = sami_key_load_private(config->signing_key, config->key_passphrase_file, &error)) ||
        !(identity.peer_key = sami_key_load_public(identity.peer->signing_key_file, &error)))
        die("%s", error->message);
    identity.stranger = sami_key_generate();
    int status;
    if (is_all) {
        status = run_all(&identity, argv[3], argv[4]);
    } else {
        guint8 id[16] = { 0 };
        const Case *what = find_case(argv[3]);
        if (what == &resume && strspn(argv[3] + 7, "0123456789abcdef") != 2 * sizeof id)
            die("an id has 32 digits");
        for (guint i = 0; what == &resume && i < sizeof id; i++)
            id[i] = (guint8) (g_ascii_xdigit_value(argv[3][7 + 2 * i]) << 4 | g_ascii_xdigit_value(argv[3][8 + 2 * i]));
        g_autofree gchar *answers = play(what, &identity, what == &resume ? id : NULL, &is_right);
        g_print("%s", answers);
        status = is_right ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    sami_key_free(identity.signing_key);
    sami_key_free(identity.peer_key);
    sami_key_free(identity.stranger);
    return status;
}
