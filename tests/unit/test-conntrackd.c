/* conntrackd.conf as the importer reads it: own files with the keys that they become, Debian's examples where they are installed, and what is
 * refused with its line. */
#include <string.h>

#include "common/config-keys.h"
#include "common/config.h"
#include "ctl/conntrackd-conf.h"
#include "tests/unit/harness.h"

static gchar *
data_file(const gchar *name)
{
    const gchar *top = g_getenv("srcdir");
    return g_build_filename(top ? top : ".", "tests/data/conntrackd", name, NULL);
}

static CtlConntrackd *
parse(const gchar *text, GError **error)
{
    return ctl_conntrackd_parse("c.conf", text, strlen(text), error);
}

static CtlConntrackd *
parse_file(const gchar *path)
{
    g_autofree gchar *text = NULL;
    g_autoptr(GError) error = NULL;
    gsize length = 0;
    CtlConntrackd *conf = g_file_get_contents(path, &text, &length, &error) ? ctl_conntrackd_parse(path, text, length, &error) : NULL;
    if (!conf)
        g_printerr("%s\n", error->message);
    return conf;
}

/* What is printed can be read as a peer's file. */
static void
check_readable(const CtlConntrackd *conf)
{
    g_autofree gchar *directory = g_dir_make_tmp("sami-conntrackd.XXXXXX", NULL);
    g_autofree gchar *peers = g_build_filename(directory, "peers.d", NULL), *file = g_build_filename(peers, "a.example.conf", NULL);
    g_autofree gchar *main_file = g_build_filename(directory, "sami.conf", NULL), *shown = ctl_conntrackd_print(conf, "a.example");
    g_autofree gchar *text = g_strconcat(shown, "certificate=a\nsigning-key=b\n", NULL);
    g_autoptr(GError) error = NULL;
    CU_ASSERT_FATAL(g_mkdir_with_parents(peers, 0700) == 0);
    CU_ASSERT(g_file_set_contents(file, text, -1, NULL) && g_file_set_contents(main_file, "[sami]\nname=b.example\n", -1, NULL));
    SamiConfig *config = sami_config_load(main_file, &error);
    CU_ASSERT_PTR_NOT_NULL(config);
    if (error)
        g_printerr("%s\n", error->message);
    sami_config_free(config);
    const gchar *files[] = { file, main_file, peers, directory };
    for (guint i = 0; i < G_N_ELEMENTS(files); i++)
        remove(files[i]);
}

static void
check_file(const gchar *stem, guint n_lost)
{
    g_autofree gchar *conf_name = g_strconcat(stem, ".conf", NULL), *keys_name = g_strconcat(stem, ".keys", NULL);
    g_autofree gchar *conf_path = data_file(conf_name), *keys_path = data_file(keys_name), *wanted = NULL;
    g_autoptr(CtlConntrackd) conf = parse_file(conf_path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
    g_autofree gchar *keys = ctl_conntrackd_keys(conf);
    CU_ASSERT(g_file_get_contents(keys_path, &wanted, NULL, NULL));
    CU_ASSERT_STRING_EQUAL(keys, wanted);
    CU_ASSERT_EQUAL(conf->n_lost, n_lost);
    check_readable(conf);
}

static void
test_files(void)
{
    check_file("links", 0);
    check_file("lossy", 11);
}

/* The own addresses for samictl setup, the default link first; a line for each option, with its number. */
static void
test_notes(void)
{
    g_autofree gchar *path = data_file("links.conf");
    g_autoptr(CtlConntrackd) conf = parse_file(path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
    CU_ASSERT_EQUAL_FATAL(conf->own->len, 2);
    CU_ASSERT_STRING_EQUAL(conf->own->pdata[0], "[2001:db8:1::1]:4740");
    CU_ASSERT_STRING_EQUAL(conf->own->pdata[1], "172.16.0.1:4740");
    g_autofree gchar *text = ctl_conntrackd_print(conf, "fw2.example");
    static const gchar *const lines[] = {
        "# peers.d/fw2.example.conf, ",
        "# this firewall: samictl setup --address [2001:db8:1::1]:4740,172.16.0.1:4740\n",
        "# line 4: ResendQueueSize 131072: not needed: ",
        "# line 23: ExpectationSync off: not needed: ",
        "# line 28: Nice -20: not needed: ",
        "# line 46: Protocol VRRP: not needed: it is never replicated\n",
        "# line 48: Address Ignore: carried over: ",
    };
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        if (!strstr(text, lines[i]))
            g_printerr("no line '%s' in:\n%s\n", lines[i], text);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, lines[i]));
    }
}

/* A key without words would mean everything. */
static void
test_nothing_left(void)
{
    static const gchar *const texts[] = {
        "Sync { Mode FTFW { } }\nGeneral { Filter { Protocol Accept { SCTP } } }",
        "Sync { Mode FTFW { } }\nGeneral { Filter { Protocol Ignore { TCP UDP ICMP IPv6-ICMP } } }",
        "Sync { Mode FTFW { } }\nGeneral { Filter { Address Accept { } } }",
        "Sync { Mode FTFW { } }\nGeneral { Filter { Protocol Accept { TCP } State Accept { } } }",
    };
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(CtlConntrackd) conf = parse(texts[i], NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
        g_autofree gchar *keys = ctl_conntrackd_keys(conf);
        CU_ASSERT_STRING_EQUAL(keys, "");
        CU_ASSERT(conf->n_lost > 0);
    }
    /* everything accepted is no filter, and no General is no filter either */
    g_autoptr(CtlConntrackd) all = parse("Sync { Mode NOTRACK { } } General { Filter { Protocol Accept { TCP UDP ICMP IPv6-ICMP } } }", NULL);
    g_autoptr(CtlConntrackd) none = parse("Sync { Mode notrack { } }", NULL);
    g_autoptr(CtlConntrackd) empty = parse("", NULL);
    CU_ASSERT_FATAL(all && none && empty);
    g_autofree gchar *a = ctl_conntrackd_keys(all), *b = ctl_conntrackd_keys(none), *c = ctl_conntrackd_keys(empty);
    CU_ASSERT(!strcmp(a, "replicate=true\n") && !strcmp(b, "replicate=true\n") && !strcmp(c, ""));
    CU_ASSERT_EQUAL(all->n_lost + none->n_lost + empty->n_lost, 0);
}

/* States are TCP's alone: none of them is no TCP, and the rest as it was. */
static void
test_no_state(void)
{
    static const struct {
        const gchar *filter, *protocols;
    } cases[] = {
        { "State Accept { }", "udp,icmp,icmpv6" },
        { "State Accept { } Protocol Accept { TCP UDP }", "udp" },
        { "Protocol Ignore { UDP } State Accept { }", "icmp,icmpv6" },
        { "State Accept { } Protocol Ignore { TCP }", "udp,icmp,icmpv6" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree gchar *text = g_strdup_printf("Sync { Mode FTFW { } }\nGeneral { Filter { %s } }", cases[i].filter);
        g_autofree gchar *wanted = g_strdup_printf("replicate=true\nreplicate-protocols=%s\n", cases[i].protocols);
        g_autoptr(CtlConntrackd) conf = parse(text, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
        g_autofree gchar *keys = ctl_conntrackd_keys(conf), *print = ctl_conntrackd_print(conf, "fw2.example");
        CU_ASSERT_STRING_EQUAL(keys, wanted);
        CU_ASSERT_PTR_NOT_NULL(strstr(print, "Filter State: carried over: it lets no state of TCP pass"));
        CU_ASSERT_PTR_NULL(strstr(print, "is left out"));
        CU_ASSERT_EQUAL(conf->n_lost, 0);
    }
}

/* The words that come out of a filter are those that the configuration takes, and all of them can. */
static void
test_words(void)
{
    static const struct {
        const gchar *key, *filters[2];
    } cases[] = {
        { "replicate-protocols", { "Protocol Ignore { TCP }", "Protocol Ignore { UDP }" } },
        { "replicate-states", { "State Ignore { LISTEN }", "State Ignore { CLOSED }" } },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GHashTable) found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        const SamiKey *key = sami_key_find("peer", cases[i].key);
        CU_ASSERT_FATAL(key && key->choices);
        g_auto(GStrv) known = g_strsplit(key->choices, ",", -1);
        for (guint k = 0; k < 2; k++) {
            g_autofree gchar *text = g_strdup_printf("General { Filter { %s } }", cases[i].filters[k]);
            g_autoptr(CtlConntrackd) conf = parse(text, NULL);
            CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
            g_auto(GStrv) words = g_strsplit(i == 0 ? conf->protocols : conf->states, ",", -1);
            CU_ASSERT_EQUAL(g_strv_length(words) + 1, g_strv_length(known));
            for (guint m = 0; words[m]; m++) {
                CU_ASSERT(g_strv_contains((const gchar *const *) known, words[m]));
                g_hash_table_add(found, g_strdup(words[m]));
            }
        }
        CU_ASSERT_EQUAL(g_hash_table_size(found), g_strv_length(known));
    }
}

static const struct {
    const gchar *text, *where, *what;
} bad[] = {
    { "Sync {\n\tMode FTFW {\n", "c.conf:3: ", "Sync Mode, which begins in line 2, has no closing brace" },
    { "Sync { }\n}\n", "c.conf:2: ", "a closing brace without an opening one" },
    { "{ }", "c.conf:1: ", "an opening brace without a name" },
    { "Snyc { }", "c.conf:1: ", "unknown option 'Snyc' in conntrackd.conf; known: Sync, General, Stats, Helper" },
    { "General {\n HashSizes 1 }", "c.conf:2: ", "unknown option 'HashSizes' in General; known: Systemd" },
    { "General { HashSize many }", "c.conf:1: ", "HashSize: 'many' is wrong; allowed: a number" },
    { "General { HashSize\n}", "c.conf:2: ", "HashSize: the value is missing" },
    { "General { HashSize", "c.conf:1: ", "HashSize: the value is missing" },
    { "General { Systemd maybe }", "c.conf:1: ", "Systemd: 'maybe' is wrong; allowed: on or off" },
    { "Sync { Mode FASTER { } }", "c.conf:1: ", "Mode: allowed here: ftfw|notrack|alarm" },
    { "Sync { Mode FTFW\n ResendQueueSize 1 }", "c.conf:2: ", "Mode: the opening brace is missing" },
    { "Sync { UDP { IPv4_address fe80::1 } }", "c.conf:1: ", "IPv4_address: 'fe80::1' is no IPv4 address" },
    { "Sync { UDP { IPv6_address 10.0.0.1 } }", "c.conf:1: ", "IPv6_address: '10.0.0.1' is no IPv6 address" },
    { "Sync { UDP { IPv4_address 10.0.0.0/24 } }", "c.conf:1: ", "is no IPv4 address" },
    { "Sync { Options { ExpectationSync { ftp ", "c.conf:1: ", "ExpectationSync: the closing brace is missing" },
    { "General { Filter { Address Ignore {\n\n IPv4_address 10.0.0.0/33 } } }", "c.conf:3: ", "is no IPv4 address or network" },
    { "General { Filter { Protocol Accept { TCP } Protocol Ignore { UDP } } }", "c.conf:1: ", "Protocol: both Accept and Ignore" },
    { "General { Filter { Protocol { TCP } } }", "c.conf:1: ", "Protocol: allowed here: accept|ignore" },
    { "General { Filter { State Accept { OPEN for TCP } } }", "c.conf:1: ", "State: 'OPEN' is no TCP state; allowed: SYN_SENT" },
    { "General { Filter { State Accept { CLOSED for UDP } } }", "c.conf:1: ", "State: for is followed by TCP" },
    { "General { LogFile \"x\" }", "c.conf:1: ", "cannot stand here" },
    { "General { LogFile /v\xe4r }", "c.conf:1: ", "'\\344' cannot stand here" },
};

static void
test_bad(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        CtlConntrackd *conf = parse(bad[i].text, &error);
        CU_ASSERT_PTR_NULL(conf);
        ctl_conntrackd_free(conf);
        gboolean is_good = error && g_str_has_prefix(error->message, bad[i].where) && strstr(error->message, bad[i].what);
        if (!is_good)
            g_printerr("case %u: '%s' is not '%s…%s'\n", i, error ? error->message : "no error", bad[i].where, bad[i].what);
        CU_ASSERT(is_good);
    }
    g_autoptr(GError) error = NULL;
    CtlConntrackd *conf = ctl_conntrackd_parse("c.conf", "Sync\0 { }", 9, &error);
    CU_ASSERT_PTR_NULL(conf);
    CU_ASSERT(error && strstr(error->message, "'\\0' cannot stand here"));
}

/* Debian's own, as the package installs them. */
static void
test_examples(void)
{
    static const gchar *const paths[] = {
        "/usr/share/doc/conntrackd/examples/sync/ftfw/conntrackd.conf",
        "/usr/share/doc/conntrackd/examples/sync/alarm/conntrackd.conf",
        "/usr/share/doc/conntrackd/examples/sync/notrack/conntrackd.conf",
        "/usr/share/doc/conntrackd/examples/stats/conntrackd.conf",
    };
    guint n = 0;
    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        if (!g_file_test(paths[i], G_FILE_TEST_EXISTS))
            continue;
        n++;
        g_autoptr(CtlConntrackd) conf = parse_file(paths[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
        CU_ASSERT_EQUAL(conf->is_sync, strstr(paths[i], "/sync/") != NULL);
        CU_ASSERT_STRING_EQUAL(conf->protocols, "tcp");
        CU_ASSERT(conf->ignore && g_str_has_prefix(conf->ignore, "127.0.0.1"));
        CU_ASSERT(conf->n_lost > 0); /* multicast names no peer; SCTP and DCCP; Stats */
        check_readable(conf);
    }
    if (n == 0)
        g_print("(no examples of conntrackd are installed) ");
}

static const SamiTest tests[] = { { "own files", test_files },
                                  { "notes", test_notes },
                                  { "filters that let nothing through", test_nothing_left },
                                  { "a filter that lets no TCP through", test_no_state },
                                  { "words", test_words },
                                  { "what is refused", test_bad },
                                  { "Debian's examples", test_examples } };

int
main(void)
{
    return sami_test_main("conntrackd.conf", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
