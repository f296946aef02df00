/* The table of verbs and the table of options; parsing, help and the list of what a verb takes derive from them. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "replay/replay.h"

#include <errno.h>
#include <locale.h>
#include <string.h>

#include "common/value.h"
#include "transport/tls-memory.h"

typedef struct {
    const gchar *name;
    gchar letter;
    GOptionArg type;
    gsize offset;
    const gchar *value; /* name of its argument */
    const gchar *help;
} Option;

#define ARG(field) G_STRUCT_OFFSET(ReplayArgs, field)

static const Option options[] = {
    { "config", 'c', G_OPTION_ARG_FILENAME, ARG(config), "FILE", "configuration (default: " SAMI_SYSCONFDIR "/sami.conf): its signers and peers are believed" },
    { "key", 'k', G_OPTION_ARG_FILENAME_ARRAY, ARG(keys), "FILE", "believe this Ed25519 public key (PEM) too; repeatable" },
    { "json", 'j', G_OPTION_ARG_NONE, ARG(is_json), NULL, "one JSON object a line" },
    { "quiet", 'q', G_OPTION_ARG_NONE, ARG(is_quiet), NULL, "no progress bar, and only what is wrong" },
    { "help", 'h', G_OPTION_ARG_NONE, ARG(is_help), NULL, "print help" },
    { "version", 'V', G_OPTION_ARG_NONE, ARG(is_version), NULL, "print the version" },
    { "key-log", 0, G_OPTION_ARG_FILENAME, ARG(key_log), "FILE", "TLS secrets, to read TLS 1.3 in a capture (key-log of sami.conf writes them)" },
    { "capture-port", 0, G_OPTION_ARG_STRING_ARRAY, ARG(capture_ports), "PORT",
      "only this port of a capture; repeatable (default: all that begins like IPFIX)" },
    { "address", 'a', G_OPTION_ARG_STRING_ARRAY, ARG(addresses), "PREFIX", "records with an address in it, of any field; repeatable" },
    { "port", 'p', G_OPTION_ARG_STRING_ARRAY, ARG(ports), "PORT", "records with this transport port; repeatable" },
    { "protocol", 'P', G_OPTION_ARG_STRING_ARRAY, ARG(protocols), "NAME", "records of this IP protocol, by name or number; repeatable" },
    { "vlan", 0, G_OPTION_ARG_STRING_ARRAY, ARG(vlans), "VLAN", "records of this VLAN; repeatable" },
    { "migration", 'm', G_OPTION_ARG_STRING, ARG(migration), "ID", "Messages of the migration whose id begins so" },
    { "since", 0, G_OPTION_ARG_STRING, ARG(since), "TIME", "Messages exported then or later: 2026-11-29T17:00:00, 17:00, or seconds since 1970" },
    { "until", 0, G_OPTION_ARG_STRING, ARG(until), "TIME", "Messages exported before" },
    { "kind", 'K', G_OPTION_ARG_STRING_ARRAY, ARG(kinds), "KIND", "records of this kind (session, expectation, cumulative, marker, foreign, …); repeatable" },
    { "count", 'n', G_OPTION_ARG_STRING, ARG(count), "N", "stop after N records" },
    { "follow", 'f', G_OPTION_ARG_NONE, ARG(is_following), NULL, "go on at the end of a file that grows, until interrupted" },
    { "wide", 'w', G_OPTION_ARG_NONE, ARG(is_wide), NULL, "every field of a record, not only the usual ones" },
    { "unsigned", 0, G_OPTION_ARG_NONE, ARG(is_unsigned_fine), NULL, "that nothing is signed is no finding: of other exporters' files" },
    { "dry-run", 0, G_OPTION_ARG_NONE, ARG(is_dry), NULL, "say what would become of it, and write nothing" },
    { "force-unsigned", 0, G_OPTION_ARG_NONE, ARG(is_forcing), NULL,
      "take what nobody known has signed; refused in the initial network namespace" },
    { "no-aging", 0, G_OPTION_ARG_NONE, ARG(is_keeping_times), NULL, "timeouts as recorded, whatever time has passed since" },
    { "on-conflict", 0, G_OPTION_ARG_STRING, ARG(on_conflict), "WORD", "a flow that is there already: merge, keep or replace (default: the signer's)" },
    { "output", 'o', G_OPTION_ARG_FILENAME, ARG(output), "FILE", "the file to write; - is standard output" },
    { "vm", 0, G_OPTION_ARG_STRING_ARRAY, ARG(vms), "PREFIX", "only flows of this address or prefix; repeatable" },
    { "zone", 0, G_OPTION_ARG_STRING, ARG(zone), "N", "only flows of this conntrack zone" },
    { "mark", 0, G_OPTION_ARG_STRING, ARG(mark), "N", "only flows with this connection mark" },
    { "live", 0, G_OPTION_ARG_NONE, ARG(is_live), NULL, "compare with the table of this firewall" },
    { "to", 0, G_OPTION_ARG_STRING, ARG(to), "PEER", "as a new migration to this peer of peers.d, signed with our key" },
    { "udp", 0, G_OPTION_ARG_STRING, ARG(udp), "HOST:PORT", "to any collector: neither encrypted nor authenticated, and datagrams may be lost" },
    { "tcp", 0, G_OPTION_ARG_STRING, ARG(tcp), "HOST:PORT", "to any collector: the Messages as they are, neither encrypted nor authenticated" },
    { "speed", 's', G_OPTION_ARG_STRING, ARG(speed), "SPEED", "full, recorded, N Messages a second, or Nx times as fast as recorded (full; UDP 1000)" },
    { "sign-unsigned", 0, G_OPTION_ARG_NONE, ARG(is_signing_unsigned), NULL, "--to: our signature vouches for Messages that no known key has signed" },
    { "mtu", 0, G_OPTION_ARG_STRING, ARG(mtu), "OCTETS", "--udp: the longest Message; what is longer is divided (1400)" },
    { "template-refresh", 0, G_OPTION_ARG_STRING, ARG(template_refresh), "N|TIME", "--udp: templates again after N Messages, or after a time as 30s (20)" },
};

#define GLOBALS "quiet,help,version"
#define INPUT "key-log,capture-port"
#define FILTERS "address,port,protocol,vlan,migration,since,until,kind"

typedef struct {
    const gchar *name;
    ReplayHandler run;
    const gchar *operands;
    guint min_operands, max_operands;
    const gchar *options;
    const gchar *summary;
    const gchar *help;
} Verb;

static const Verb verbs[] = {
    { "dump", replay_dump, "FILE...", 1, G_MAXUINT, "json,wide,follow,count,config,key," INPUT "," FILTERS, "show Messages and records",
      "A heading a Message, with whose signature it has, then its records; what breaks a rule is said on standard error, and reading goes on.\n"
      "With --wide also templates and every field. With --json an object a record, every field by name." },
    { "validate", replay_validate, "FILE...", 1, G_MAXUINT, "json,unsigned,config,key," INPUT, "check every rule of Messages, signatures and records",
      "A line a Message, and one for each rule that is broken. Exit status 3 if there is any, which a key that is not known is too: then nobody\n"
      "vouches for what is there. Of what a signer's policy would let in: inject --dry-run." },
    { "diff", replay_diff, "FILE [FILE]", 1, 2, "live,json," INPUT "," FILTERS, "which flows two files leave differently, or a file and this firewall",
      "< only in the first, > only in the second, ! in both with other attributes. Timeouts and counters are not compared. With --live of a migration\n"
      "only the flows of its VM. Exit status 20 if anything differs." },
    { "send", replay_send, "FILE...", 1, G_MAXUINT, "to,udp,tcp,speed,vm,no-aging,sign-unsigned,mtu,template-refresh,json,config,key," INPUT "," FILTERS,
      "send what was recorded to a collector",
      "One of --to, --udp and --tcp says where. With --to the FILEs are those of one migration, in any order,\n"
      "and filters choose from it. Exit status also: 4 interrupted and rolled back, 6 done with refused or degraded records, 7 in doubt, 8 sent to who\n"
      "confirms nothing." },
    { "stats", replay_stats, "FILE...", 1, G_MAXUINT, "json,config,key," INPUT "," FILTERS, "count what is in it", "" },
    { "inject", replay_inject, "FILE...", 1, G_MAXUINT,
      "config,json,dry-run,force-unsigned,no-aging,on-conflict,count," INPUT "," FILTERS, "put what it says into this kernel's connection tracking",
      "Takes what a signer of signers.d has signed, as far as that signer may bring it, and backups that `record` has made here. Exit status: 0 all of it\n"
      "is in, 6 records were refused or went in with less, 3 a Message was refused, 10 not permitted." },
    { "record", replay_record, "", 0, 0, "config,json,output,vm,zone,mark", "write this kernel's connection tracking to a signed file",
      "Signs with signing-key of sami.conf. The file appears when it is whole." },
};

static const Option *
find_option(const gchar *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        if (!strcmp(options[i].name, name))
            return &options[i];
    return NULL;
}

static const Verb *
find_verb(const gchar *word)
{
    const Verb *found = NULL;
    guint n = 0;
    for (guint i = 0; i < G_N_ELEMENTS(verbs); i++) {
        if (!strcmp(verbs[i].name, word))
            return &verbs[i];
        if (g_str_has_prefix(verbs[i].name, word)) {
            found = &verbs[i];
            n++;
        }
    }
    return n == 1 ? found : NULL;
}

static void
print_options(const gchar *title, const gchar *list)
{
    g_auto(GStrv) names = g_strsplit(list, ",", -1);
    printf("\n%s:\n", title);
    for (guint i = 0; names[i]; i++) {
        const Option *option = find_option(names[i]);
        g_autofree gchar *left = g_strdup_printf("%c%c%s--%s%s%s", option->letter ? '-' : ' ', option->letter ? option->letter : ' ',
                                                 option->letter ? ", " : "  ", option->name, option->value ? " " : "",
                                                 option->value ? option->value : "");
        printf("  %-28s %s\n", left, option->help);
    }
}

static void
print_help(const Verb *verb)
{
    if (verb) {
        printf("usage: sami-replay %s [OPTION...] %s\n\n%s.\n", verb->name, verb->operands, verb->summary);
        if (*verb->help)
            printf("%s\n", verb->help);
        print_options("options", verb->options);
        print_options("always", GLOBALS);
        return;
    }
    printf("usage: sami-replay VERB [OPTION...] FILE...\n\n"
           "Reads IPFIX files, the collector's journals, and captures (pcap, pcapng) of IPFIX over UDP, TCP, SCTP and TLS 1.3.\n"
           "FILE - is standard input.\n\nverbs:\n");
    for (guint i = 0; i < G_N_ELEMENTS(verbs); i++)
        printf("  %-9s %s\n", verbs[i].name, verbs[i].summary);
    printf("\n`sami-replay VERB --help` has the options. Exit status: 0 done, 1 error, 2 usage, 3 the input breaks a rule or something was\n"
           "refused, 4 rolled back, 6 done with refused or degraded records, 7 in doubt, 8 unconfirmed, 10 not permitted, 20 diff found\n"
           "differences. sami-replay(1)\n");
}

static void
args_clear(ReplayArgs *args)
{
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        gpointer place = (guint8 *) args + options[i].offset;
        if (options[i].type == G_OPTION_ARG_STRING || options[i].type == G_OPTION_ARG_FILENAME)
            g_clear_pointer((gchar **) place, g_free);
        else if (options[i].type != G_OPTION_ARG_NONE)
            g_clear_pointer((GStrv *) place, g_strfreev);
    }
    g_clear_pointer(&args->operands, g_strfreev);
}

/* Options of the verb, or with NULL the global ones; what is left are operands. */
static gboolean
parse_options(Replay *replay, const Verb *verb, gchar ***argv, GError **error)
{
    g_autofree gchar *list = verb ? g_strconcat(verb->options, "," GLOBALS, NULL) : g_strdup(GLOBALS);
    g_auto(GStrv) names = g_strsplit(list, ",", -1);
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GArray) entries = g_array_new(TRUE, TRUE, sizeof(GOptionEntry));
    for (guint i = 0; names[i]; i++) {
        const Option *option = find_option(names[i]);
        GOptionEntry entry = { option->name, option->letter, 0, option->type, (guint8 *) &replay->args + option->offset, option->help, option->value };
        g_array_append_val(entries, entry);
    }
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, (GOptionEntry *) (gpointer) entries->data, NULL);
    if (g_option_context_parse_strv(context, argv, error))
        return TRUE;
    (*error)->domain = SAMI_ERROR; /* GLib's text is an operator's; the exit code is ours */
    (*error)->code = SAMI_ERROR_USAGE;
    if (verb)
        g_prefix_error(error, "%s: ", verb->name);
    return FALSE;
}

static SamiExit
run(Replay *replay, gchar ***argv, GError **error)
{
    const gchar *word = NULL;
    guint n_operands;
    for (guint i = 1; (*argv)[i] && !word; i++)
        word = (*argv)[i][0] != '-' ? (*argv)[i] : NULL;
    const Verb *verb = word && strcmp(word, "help") != 0 ? find_verb(word) : NULL;
    if (word && !verb && strcmp(word, "help") != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "unknown verb '%s'; `sami-replay help` lists all", word);
        return SAMI_EXIT_USAGE;
    }
    if (!parse_options(replay, verb, argv, error))
        return SAMI_EXIT_USAGE;
    /* [0] is the program, [1] the verb */
    n_operands = g_strv_length(*argv);
    n_operands -= MIN(n_operands, word ? 2u : 1u);
    replay->args.operands = g_strdupv(*argv + g_strv_length(*argv) - n_operands);
    if (replay->args.is_version) {
        printf("sami-replay %s\n", PACKAGE_VERSION);
        return SAMI_EXIT_DONE;
    }
    if (word && !verb && n_operands == 1 && !find_verb(replay->args.operands[0])) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "unknown verb '%s'; `sami-replay help` lists all", replay->args.operands[0]);
        return SAMI_EXIT_USAGE;
    }
    if (replay->args.is_help || (word && !verb)) {
        print_help(verb ? verb : n_operands ? find_verb(replay->args.operands[0]) : NULL);
        return SAMI_EXIT_DONE;
    }
    if (!verb) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "a verb is missing; `sami-replay help` lists all");
        return SAMI_EXIT_USAGE;
    }
    if (n_operands < verb->min_operands || n_operands > verb->max_operands) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s: %s; usage: sami-replay %s [OPTION...] %s", verb->name,
                    n_operands < verb->min_operands ? "an operand is missing" : "too many operands", verb->name, verb->operands);
        return SAMI_EXIT_USAGE;
    }
    return verb->run(replay, error);
}

int
replay_main(int argc, char **argv)
{
    Replay replay = { 0 };
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) words = g_strdupv(argv);
    sami_tls_wipe_freed();
    setlocale(LC_ALL, "");
    SamiExit code = run(&replay, &words, &error);
    if (fflush(stdout) != 0 && !error)
        g_set_error(&error, SAMI_ERROR, SAMI_ERROR_FAILED, "standard output: %s", g_strerror(errno));
    if (error) {
        replay_say(stderr, NULL, "sami-replay: %s\n", error->message);
        code = sami_exit_of_error(error);
    }
    args_clear(&replay.args);
    sami_config_unref(replay.config);
    return (int) code;
}

gboolean
replay_load_config(Replay *replay, GError **error)
{
    const gchar *path = replay->args.config ? replay->args.config : SAMI_SYSCONFDIR "/sami.conf";
    if (replay->config || (!replay->args.config && !g_file_test(path, G_FILE_TEST_EXISTS)))
        return TRUE;
    replay->config = sami_config_load(path, error);
    return replay->config != NULL;
}

SamiInput *
replay_open(const Replay *replay, const gchar *path, GError **error)
{
    guint16 ports[64];
    SamiInputOptions input = { .is_following = replay->args.is_following, .key_log = replay->args.key_log, .ports = ports };
    for (guint i = 0; replay->args.capture_ports && replay->args.capture_ports[i]; i++) {
        guint64 port;
        if (i == G_N_ELEMENTS(ports) || !sami_value_uint(replay->args.capture_ports[i], 1, 65535, &port, error)) {
            if (i == G_N_ELEMENTS(ports))
                g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "at most %u are taken", (guint) G_N_ELEMENTS(ports));
            g_prefix_error(error, "--capture-port: ");
            return NULL;
        }
        ports[input.n_ports++] = (guint16) port;
    }
    return sami_input_open(path, &input, error);
}
