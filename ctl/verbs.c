/* The table of verbs, the table of options, and what derives from both: parsing, help, suggestions.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ctl/ctl.h"

#include <locale.h>
#include <string.h>
#include <sys/stat.h>

#include "common/value.h"

typedef struct {
    const gchar *name;
    gchar letter;
    GOptionArg type;
    gsize offset;
    const gchar *value; /* name of its argument */
    const gchar *help;
} Option;

#define ARG(field) G_STRUCT_OFFSET(CtlArgs, field)

static const Option options[] = {
    {"socket", 's', G_OPTION_ARG_FILENAME, ARG(socket), "SOCKET",
     "control socket (default: in run-dir of sami.conf)"},
    {"config-dir", 0, G_OPTION_ARG_FILENAME, ARG(config_dir), "DIR",
     "directory of sami.conf (default: " SAMI_SYSCONFDIR ")"},
    {"host", 'H', G_OPTION_ARG_STRING, ARG(host), "[USER@]HOST",
     "run it there, over ssh; files and CMD are that host's"},
    {"quiet", 'q', G_OPTION_ARG_NONE, ARG(is_quiet), NULL, "print errors only"},
    {"help", 'h', G_OPTION_ARG_NONE, ARG(is_help), NULL, "print help"},
    {"version", 'V', G_OPTION_ARG_NONE, ARG(is_version), NULL, "print the version"},
    {"json", 0, G_OPTION_ARG_NONE, ARG(is_json), NULL, "print JSON"},
    {"yes", 'y', G_OPTION_ARG_NONE, ARG(is_yes), NULL,
     "do not ask: the fingerprint has been compared"},
    {"fingerprint", 0, G_OPTION_ARG_STRING, ARG(fingerprint), "SHA256:…",
     "do not ask: this must be the peer's fingerprint"},
    {"name", 0, G_OPTION_ARG_STRING, ARG(name), "NAME", "DNS name of the firewall"},
    {"csr", 0, G_OPTION_ARG_NONE, ARG(is_csr), NULL, "make a certificate request for a CA instead of a self-signed certificate"},
    {"certificate", 0, G_OPTION_ARG_FILENAME, ARG(certificate), "FILE", "what the CA made of the request: our certificate, and what is between it and the CA"},
    {"encrypt", 0, G_OPTION_ARG_FILENAME, ARG(encrypt), "FILE", "encrypt private keys with the passphrase in FILE, of mode 0600"},
    {"address", 0, G_OPTION_ARG_STRING, ARG(address), "HOST:PORT",
     "where it is reached (default: NAME:4740); several with commas, in order of preference"},
    {"send", 0, G_OPTION_ARG_NONE, ARG(is_send), NULL, "we move sessions to it"},
    {"receive", 0, G_OPTION_ARG_NONE, ARG(is_receive), NULL, "it moves sessions to us"},
    {"both", 0, G_OPTION_ARG_NONE, ARG(is_both), NULL, "both"},
    {"allow", 0, G_OPTION_ARG_STRING, ARG(allow), "PREFIXES",
     "VM addresses it may bring, with commas"},
    {"allow-there", 0, G_OPTION_ARG_STRING, ARG(allow_there), "PREFIXES",
     "VM addresses we may bring there (default: those of --allow)"},
    {"here-only", 0, G_OPTION_ARG_NONE, ARG(is_here_only), NULL, "do not add us there"},
    {"nat-addresses", 0, G_OPTION_ARG_STRING, ARG(nat_addresses), "LIST",
     "translated addresses it may bring"},
    {"vm", 0, G_OPTION_ARG_STRING_ARRAY, ARG(vm), "NAME|ADDRESS",
     "VM by name (vms.d) or address; repeatable, with commas"},
    {"to", 0, G_OPTION_ARG_STRING, ARG(to), "PEER", "destination firewall"},
    {"mark", 0, G_OPTION_ARG_STRING, ARG(mark), "MARK", "only sessions with this mark"},
    {"zone", 0, G_OPTION_ARG_STRING, ARG(zone), "ZONE", "only sessions of this conntrack zone"},
    {"vlan", 0, G_OPTION_ARG_STRING, ARG(vlan), "VLAN", "VLAN of the VM (vlans in sami.conf); default: that of vms.d"},
    {"now", 0, G_OPTION_ARG_NONE, ARG(is_now), NULL, "freeze as soon as the snapshot is confirmed"},
    {"hold", 0, G_OPTION_ARG_NONE, ARG(is_hold), NULL,
     "follow until freeze is asked for (default)"},
    {"deadline", 0, G_OPTION_ARG_STRING, ARG(deadline), "TIME",
     "longest time from freeze to READY (default: sami.conf)"},
    {"on-late", 0, G_OPTION_ARG_STRING, ARG(on_late), "wait|resume|abort",
     "what to do when it is over (default: wait)"},
    {"open", 0, G_OPTION_ARG_NONE, ARG(is_open), NULL, "open the gate instead"},
    {"from", 0, G_OPTION_ARG_STRING, ARG(from), "PEER|any-peer", "the firewall that the VM comes from"},
    {"for", 0, G_OPTION_ARG_STRING, ARG(duration), "TIME", "how long it is expected (default: 1h)"},
    {"list", 0, G_OPTION_ARG_NONE, ARG(is_list), NULL, "show what is expected"},
    {"remove", 0, G_OPTION_ARG_NONE, ARG(is_remove), NULL,
     "expect it no longer; or: remove what the migration created"},
    {"keep", 0, G_OPTION_ARG_NONE, ARG(is_keep), NULL, "keep what the migration created"},
    {"purge", 0, G_OPTION_ARG_NONE, ARG(is_purge), NULL,
     "at the end remove here what the destination confirms"},
    {"wait", 0, G_OPTION_ARG_NONE, ARG(is_wait), NULL, "return when the peer is in step"},
    {"stop", 0, G_OPTION_ARG_NONE, ARG(is_stop), NULL, "end the replication; the peer keeps what it has"},
    {"with", 0, G_OPTION_ARG_STRING, ARG(with), "[USER@]HOST", "the peer, as ssh calls it"},
    {"save", 0, G_OPTION_ARG_FILENAME, ARG(save), "FILE", "write what this firewall has to FILE; - is standard output"},
    {"yield", 0, G_OPTION_ARG_NONE, ARG(is_yield), NULL,
     "this firewall is the backup now: what peers say wins over its older entries"},
    {"write", 0, G_OPTION_ARG_NONE, ARG(is_write), NULL, "write the keys to peers.d"},
    {"tls", 0, G_OPTION_ARG_NONE, ARG(is_tls), NULL, "the TLS key and its certificate, not the signing key"},
    {"activate", 0, G_OPTION_ARG_NONE, ARG(is_activate), NULL, "use the new key from now on"},
    {"finish", 0, G_OPTION_ARG_NONE, ARG(is_finish), NULL, "remove the old key"},
    {"hold-ready", 0, G_OPTION_ARG_STRING, ARG(hold_ready), "TIME",
     "after READY wait for settle, at most this long (default: do not wait)"},
    {"timeout", 0, G_OPTION_ARG_STRING, ARG(timeout), "TIME", "wait no longer than this"},
};

#define GLOBALS "host,socket,config-dir,quiet,help,version"

typedef struct {
    const gchar *name; /* one or two words */
    CtlHandler run;
    const gchar *operands;
    guint min_operands;
    guint max_operands;
    const gchar *options;
    gboolean has_command;
    const gchar *summary;
    const gchar *help;
} Verb;

static SamiExit run_help(Ctl *ctl, GError **error);

static const Verb verbs[] = {
    {"setup", ctl_setup, "", 0, 0, "name,address,csr,certificate,encrypt", FALSE,
     "make keys, certificate and configuration of this firewall",
     "Idempotent; nothing that exists is overwritten. Prints the fingerprint that the other side "
     "compares. For sites with a CA: --csr,\nand with what the CA made of it --certificate FILE."},
    {"keygen", ctl_keygen, "FILE", 1, 1, "encrypt", FALSE, "make an Ed25519 key pair in FILE and its .pub",
     "For labs and key exchange by hand; `samictl setup` makes its own."},
    {"peer add", ctl_peer_add, "FILE|ssh://[USER@]HOST[:PORT]", 1, 1,
     "send,receive,both,allow,nat-addresses,address,name,yes,fingerprint,allow-there,here-only", FALSE,
     "trust the firewall that a peer file describes, or that ssh reaches",
     "Over ssh the host key is what is trusted, and must be known; we are added there as well, the other way round. From a file:\nshows the fingerprint and asks; without a terminal --yes or --fingerprint is needed. A "
     "different peer of the same name is\n"
     "never overwritten. --address replaces the address of the peer file."},
    {"peer update", ctl_peer_update, "FILE|ssh://[USER@]HOST[:PORT]", 1, 1, "name,yes,fingerprint", FALSE,
     "take the new keys of a firewall that we trust", "What it may do stays as it is. Confirmed as by peer add."},
    {"peer export", ctl_peer_export, "", 0, 0, "", FALSE, "print the peer file of this firewall", ""},
    {"peer test", ctl_peer_test, "NAME", 1, 1, "json", FALSE, "ask a peer that we send to whether it knows us",
     "TLS with both certificates and names, then a hello and its answer with both signatures. Nothing else is sent."},
    {"peer list", ctl_peer_list, "", 0, 0, "", FALSE, "show the firewalls we trust, and for what",
     ""},
    {"peer remove", ctl_peer_remove, "NAME", 1, 1, "", FALSE, "trust a firewall no longer", ""},
    {"key list", ctl_key_list, "", 0, 0, "json", FALSE, "show our own keys and certificates", ""},
    {"key rotate", ctl_key_rotate, "", 0, 0, "tls,activate,finish", FALSE, "replace our signing key, in three steps without a gap",
     "Without an option a new key is made and put into the peer file beside the one in use; when the peers have taken it (peer update),\n"
     "--activate; when sessions that began before have ended, --finish. With --tls the same for the TLS key."},
    {"check", ctl_check, "", 0, 0, "vm,to,mark,zone,vlan,json", FALSE,
     "say what would not survive a move, before it",
     "With --to the destination is asked what would become of the VM's sessions, by a dry run: nothing is written there. Without it, only "
     "this\nfirewall is looked at, in every role that it has. Exit status 0: nothing; 20: warnings; 21: connections would be lost."},
    {"migrate", ctl_migrate, "", 0, 0, "vm,to,mark,zone,vlan,now,hold,deadline,on-late,purge,json", TRUE,
     "move the sessions of a VM to another firewall",
     "Stays attached to the end. Holds in FOLLOW until `samictl freeze`, an adapter, or CMD asks "
     "for the freeze: CMD is started when\n"
     "the snapshot is confirmed, with SAMI_ID and SAMI_SOCKET; if it succeeds, the freeze follows; "
     "if it fails before READY, the\n"
     "migration is aborted. Ctrl-C aborts; a second Ctrl-C leaves at once."},
    {"expect", ctl_expect, "", 0, 0, "vm,from,for,list,remove,json", FALSE,
     "announce at the destination that a VM will come",
     "Signers with require-expect, the default, may only move VMs that are announced. An "
     "announcement holds until its time ends,\n"
     "over restarts too. --remove takes back those of the same addresses, with --from only those "
     "for that peer."},
    {"freeze", ctl_freeze, "ID", 1, 1, "timeout,hold-ready", FALSE,
     "the VM is paused: complete the destination; returns at READY",
     "0 and 6: the VM may be resumed there. A prefix of the ID is enough. With --hold-ready it can be thawed or aborted until settle says\n"
     "that the VM runs there."},
    {"settle", ctl_settle, "ID", 1, 1, "", FALSE, "the VM runs there: finish a migration that freeze --hold-ready holds in READY", ""},
    {"wait", ctl_wait, "ID", 1, 1, "timeout", FALSE,
     "wait for READY, at the source or at the destination",
     "0 and 6: the VM may go on at the destination. Asks for nothing: the freeze comes from "
     "elsewhere."},
    {"gate", ctl_gate, "ID", 1, 1, "timeout,open", FALSE,
     "at the destination: hold the VM's packets back until READY",
     "For whoever knows there of the pause before the source says so. Needs gate=nft in sami.conf; "
     "opens at READY, with --open, or\n"
     "after the timeout (default: deadline of sami.conf)."},
    {"abort", ctl_abort, "ID", 1, 1, "", FALSE, "roll a migration back", ""},
    {"thaw", ctl_thaw, "ID", 1, 1, "", FALSE, "take a freeze back: the VM goes on here",
     "Back to FOLLOW, also after READY as long as the VM was not resumed there."},
    {"resolve", ctl_resolve, "ID", 1, 1, "keep,remove", FALSE,
     "decide about a migration in doubt, at its destination",
     "In doubt: READY was said, and the end was not. --keep where the VM runs, --remove where it "
     "does not."},
    {"replicate", ctl_replicate, "", 0, 0, "to,vm,wait,stop", FALSE,
     "keep the connection table of a standby in step with ours",
     "Without --vm everything inside vm-prefixes, for which the standby's signers.d needs unscoped=true. Goes on until --stop, over "
     "lost\nconnections; replicate=true in peers.d starts it with the daemon. What the peer replicates to us is not sent back."},
    {"takeover", ctl_takeover, "", 0, 0, "from", FALSE,
     "at the standby: what was replicated to it is its own from now on",
     "Returns when the table is usable. Nothing is written: the table is current. Idempotent."},
    {"resync", ctl_resync, "", 0, 0, "yield,from", FALSE,
     "compare everything anew with the firewalls that replicate to us, and with those that we replicate to",
     "Nothing is flushed. With --yield for a firewall that has lost its part: entries that are older than this give way to the peer's."},
    {"diff", ctl_diff, "[FILE FILE]", 0, 2, "with,save", FALSE,
     "compare this firewall's connection table with a peer's, or two saved ones",
     "Timeouts and counters are left out: the standby's are as old as the last dump. Exit status 20 if they differ."},
    {"import-conntrackd", ctl_import_conntrackd, "[FILE]", 0, 1, "to,write", FALSE,
     "show what conntrackd.conf becomes here, option by option",
     "FILE is /etc/conntrackd/conntrackd.conf unless given. --write adds the keys to the file of --to PEER in peers.d. Exit status 6 if "
     "options\nare not carried over; each is named with its reason."},
    {"status", ctl_status, "[ID]", 0, 1, "json", FALSE, "show migrations of both daemons", ""},
    {"show policy", ctl_show_policy, "[SIGNER]", 0, 1, "json", FALSE, "show what each signer may do here, as the collector has loaded it",
     "With how much of it is in use, and this firewall's own addresses."},
    {"stats", ctl_stats, "", 0, 0, "json", FALSE, "show the counters of both daemons", ""},
    {"show peers", ctl_show_peers, "", 0, 0, "json", FALSE, "show what each peer takes up at the collector",
     "Sessions and migrations, and the memory that they take at most. The limits are in sami-collector(8)."},
    {"metrics", ctl_metrics, "", 0, 0, "save", FALSE, "print the metrics of both daemons, as Prometheus reads them",
     "With --save FILE is written as a whole, for the textfile collector of Prometheus's node exporter."},
    {"help", run_help, "[VERB]", 0, 2, "", FALSE, "show help", ""},
};

static gchar *
first_word(const Verb *verb)
{
    return g_strndup(verb->name, strcspn(verb->name, " "));
}

/* Edit distance, for words of at most 31 octets. */
static guint
measure(const gchar *a, const gchar *b)
{
    guint row[32];
    gsize m = strlen(a), n = strlen(b);
    if (m >= G_N_ELEMENTS(row) || n >= G_N_ELEMENTS(row))
        return G_MAXUINT;
    for (guint j = 0; j <= n; j++)
        row[j] = j;
    for (guint i = 1; i <= m; i++) {
        guint diagonal = row[0];
        row[0] = i;
        for (guint j = 1; j <= n; j++) {
            guint best = MIN(MIN(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

const gchar *
ctl_suggest(const gchar *word, const gchar *const *candidates)
{
    const gchar *best = NULL;
    guint least = MAX(2u, (guint)strlen(word) / 3 + 1);
    for (guint i = 0; candidates[i]; i++) {
        guint distance = measure(word, candidates[i]);
        if (*word && g_str_has_prefix(candidates[i], word))
            distance = 0;
        if (distance < least || (distance == least && !best)) {
            best = candidates[i];
            least = distance;
        }
    }
    return best;
}

void
ctl_say(FILE *stream, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *text = g_strdup_vprintf(format, args);
    va_end(args);
    sami_value_mask_controls(text);
    fputs(text, stream);
}

/* One printf-style usage error with the nearest candidate. */
static void
fail_unknown(GError **error, const gchar *what, const gchar *word, GPtrArray *candidates,
             const gchar *more)
{
    g_ptr_array_add(candidates, NULL);
    const gchar *near = ctl_suggest(word, (const gchar *const *)candidates->pdata);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "unknown %s '%s'; %s%s%s%s", what, word,
                near ? "did you mean '" : "", near ? near : "", near ? "'? " : "", more);
}

/* Rows whose word number `index` is `word`, else begins with it. */
static GPtrArray *
match(GPtrArray *rows, const gchar *word, guint index)
{
    for (guint is_prefix = 0; is_prefix < 2; is_prefix++) {
        g_autoptr(GPtrArray) found = g_ptr_array_new();
        for (guint i = 0; i < rows->len; i++) {
            const Verb *verb = rows->pdata[i];
            g_auto(GStrv) words = g_strsplit(verb->name, " ", 2);
            const gchar *own = words[0] && index ? words[1] : words[0];
            if (own && (is_prefix ? g_str_has_prefix(own, word) : !strcmp(own, word)))
                g_ptr_array_add(found, (gpointer)verb);
        }
        if (found->len)
            return g_steal_pointer(&found);
    }
    return g_ptr_array_new();
}

static const Verb *
pick(GPtrArray *found, GPtrArray *all, const gchar *word, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    GPtrArray *shown = found->len ? found : all;
    for (guint i = 0; i < shown->len; i++)
        g_ptr_array_add(names, g_strdup(((const Verb *)shown->pdata[i])->name));
    if (found->len == 1)
        return found->pdata[0];
    if (found->len == 0) {
        for (guint i = 0; i < all->len; i++) {
            gchar *last = strchr(names->pdata[i], ' ');
            if (last && all->len < G_N_ELEMENTS(verbs))
                memmove(names->pdata[i], last + 1, strlen(last));
        }
        fail_unknown(error, "verb", word, names, "`samictl help` lists all");
        return NULL;
    }
    g_ptr_array_add(names, NULL);
    g_autofree gchar *list = g_strjoinv(", ", (gchar **)names->pdata);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%s' may be: %s", word, list);
    return NULL;
}

/* The verb that the words name; *ret_n is how many of them it took. */
static const Verb *
find_verb(gchar **words, guint *ret_n, GError **error)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    for (guint i = 0; i < G_N_ELEMENTS(verbs); i++)
        g_ptr_array_add(all, (gpointer)&verbs[i]);
    g_autoptr(GPtrArray) first = match(all, words[0], 0);
    g_autofree gchar *group = first->len ? first_word(first->pdata[0]) : NULL;
    gboolean is_group = group && strchr(((const Verb *)first->pdata[0])->name, ' ');
    for (guint i = 1; i < first->len; i++) {
        g_autofree gchar *other = first_word(first->pdata[i]);
        is_group = is_group && !strcmp(group, other);
    }
    *ret_n = is_group ? 2 : 1;
    if (!is_group)
        return pick(first, all, words[0], error);
    if (!words[1]) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "'%s' needs a second word; `samictl %s --help` lists them", group, group);
        return NULL;
    }
    g_autoptr(GPtrArray) second = match(first, words[1], 1);
    return pick(second, first, words[1], error);
}

static const Option *
find_option(const gchar *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        if (!strcmp(options[i].name, name))
            return &options[i];
    return NULL;
}

static void
print_options(const gchar *title, const gchar *list)
{
    g_auto(GStrv) names = g_strsplit(list, ",", -1);
    if (!*list)
        return;
    printf("\n%s:\n", title);
    for (guint i = 0; names[i]; i++) {
        const Option *option = find_option(names[i]);
        g_autofree gchar *left = g_strdup_printf(
            "%c%c%s--%s%s%s", option->letter ? '-' : ' ', option->letter ? option->letter : ' ',
            option->letter ? ", " : "  ", option->name, option->value ? " " : "",
            option->value ? option->value : "");
        printf("  %-36s %s\n", left, option->help);
    }
}

static void
print_usage(const Verb *verb)
{
    printf("Usage: samictl %s%s%s%s%s\n\n%s.\n", verb->name, *verb->options ? " [OPTIONS]" : "",
           *verb->operands ? " " : "", verb->operands, verb->has_command ? " [-- CMD…]" : "",
           verb->summary);
    if (*verb->help)
        printf("%s\n", verb->help);
    print_options("Options", verb->options);
    print_options("Global options", GLOBALS);
}

static void
print_verbs(const gchar *group)
{
    printf("Usage: samictl [OPTIONS] VERB …\n\n");
    for (guint i = 0; i < G_N_ELEMENTS(verbs); i++) {
        g_autofree gchar *word = first_word(&verbs[i]);
        g_autofree gchar *left = g_strjoin(" ", verbs[i].name, verbs[i].operands, NULL);
        if (!group || !strcmp(word, group))
            printf("  %-18s %s\n", left, verbs[i].summary);
    }
    print_options("Global options", GLOBALS);
    printf("\nUnique prefixes of verbs are enough. `samictl VERB --help` explains one; samictl(8) "
           "explains all.\n");
}

/* The first word of verbs that have two, if it begins with `prefix`. (nullable) (transfer full) */
static gchar *
find_group(const gchar *prefix)
{
    for (guint i = 0; *prefix && i < G_N_ELEMENTS(verbs); i++)
        if (strchr(verbs[i].name, ' ') && !strchr(prefix, ' ') && g_str_has_prefix(verbs[i].name, prefix))
            return first_word(&verbs[i]);
    return NULL;
}

static SamiExit
run_help(Ctl *ctl, GError **error)
{
    guint n = 0;
    if (!ctl->args.operands[0]) {
        print_verbs(NULL);
        return SAMI_EXIT_DONE;
    }
    g_autofree gchar *group = ctl->args.operands[1] ? NULL : find_group(ctl->args.operands[0]);
    if (group) {
        print_verbs(group);
        return SAMI_EXIT_DONE;
    }
    const Verb *verb = find_verb(ctl->args.operands, &n, error);
    if (verb)
        print_usage(verb);
    return SAMI_EXIT_DONE;
}

/* The words of unknown options as GOption reports them are localised; ours are found by looking
 * again. */
static void
explain(GError **error, const GError *reason, gchar **argv, const gchar *allowed, const gchar *verb)
{
    g_autoptr(GPtrArray) candidates = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) names = g_strsplit(allowed, ",", -1);
    g_autofree gchar *more = *verb ? g_strdup_printf("`samictl %s --help` lists all", verb)
                                   : g_strdup("`samictl --help` lists all");
    for (guint i = 0; names[i]; i++)
        if (*names[i])
            g_ptr_array_add(candidates, g_strconcat("--", names[i], NULL));
    for (guint i = 1;
         g_error_matches(reason, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION) && argv[i]; i++) {
        g_autofree gchar *word = g_strndup(argv[i], strcspn(argv[i], "="));
        if (!g_str_has_prefix(word, "--") || g_strv_contains((const gchar *const *)names, word + 2))
            continue;
        fail_unknown(error, "option", word, candidates, more);
        return;
    }
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s; %s", reason->message, more);
}

/* Parses the options of `allowed` into args. With is_leading it stops at the first operand. */
static gboolean
parse(CtlArgs *args, GStrv *argv, const gchar *allowed, gboolean is_leading, const gchar *verb,
      GError **error)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autofree GOptionEntry *entries = g_new0(GOptionEntry, G_N_ELEMENTS(options) + 1);
    g_auto(GStrv) names = g_strsplit(allowed, ",", -1);
    g_auto(GStrv) original = g_strdupv(*argv);
    g_autoptr(GError) local = NULL;
    for (guint i = 0, n = 0; names[i]; i++) {
        const Option *option = find_option(names[i]);
        if (option)
            entries[n++] = (GOptionEntry){option->name,
                                          option->letter,
                                          0,
                                          option->type,
                                          G_STRUCT_MEMBER_P(args, option->offset),
                                          option->help,
                                          option->value};
    }
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_strict_posix(context, is_leading);
    if (g_option_context_parse_strv(context, argv, &local))
        return TRUE;
    explain(error, local, original, allowed, verb);
    return FALSE;
}

static void
args_clear(CtlArgs *args)
{
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        gpointer field = G_STRUCT_MEMBER_P(args, options[i].offset);
        if (options[i].type == G_OPTION_ARG_STRING || options[i].type == G_OPTION_ARG_FILENAME)
            g_clear_pointer((gchar **)field, g_free);
        else if (options[i].type == G_OPTION_ARG_STRING_ARRAY)
            g_clear_pointer((GStrv *)field, g_strfreev);
    }
    g_clear_pointer(&args->operands, g_strfreev);
    g_clear_pointer(&args->command, g_strfreev);
}

/* Takes everything after the first "--" out of argv. */
static GStrv
cut_command(GStrv argv)
{
    for (guint i = 1; argv[i]; i++) {
        if (strcmp(argv[i], "--") != 0)
            continue;
        GStrv command = g_strdupv(argv + i + 1);
        for (guint j = i; argv[j]; j++)
            g_clear_pointer(&argv[j], g_free);
        return command;
    }
    return NULL;
}

static gboolean
check_usage(const Verb *verb, const CtlArgs *args, GError **error)
{
    guint n = g_strv_length(args->operands);
    if (n < verb->min_operands)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s needs %s; `samictl %s --help`",
                    verb->name, verb->operands, verb->name);
    else if (n > verb->max_operands)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "%s: '%s' is too much; `samictl %s --help`", verb->name,
                    args->operands[verb->max_operands], verb->name);
    else if (args->command && !(verb->has_command && args->command[0]))
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s: %s", verb->name,
                    verb->has_command ? "no command after --" : "takes no command after --");
    else
        return TRUE;
    return FALSE;
}

static void
add_option(GPtrArray *words, const Option *option, const gchar *value)
{
    g_ptr_array_add(words, value ? g_strdup_printf("--%s=%s", option->name, value) : g_strconcat("--", option->name, NULL));
}

/* The command line again, in full words: all that was given but -H. */
static GPtrArray *
restore(const Verb *verb, const CtlArgs *args)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) name = g_strsplit(verb->name, " ", 2);
    for (guint i = 0; name[i]; i++)
        g_ptr_array_add(words, g_strdup(name[i]));
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        gconstpointer field = (const gchar *)args + options[i].offset;
        GStrv many = options[i].type == G_OPTION_ARG_STRING_ARRAY ? *(const GStrv *)field : NULL;
        if (options[i].offset == ARG(host))
            continue;
        if (options[i].type == G_OPTION_ARG_NONE && *(const gboolean *)field)
            add_option(words, &options[i], NULL);
        else if ((options[i].type == G_OPTION_ARG_STRING || options[i].type == G_OPTION_ARG_FILENAME) && *(gchar *const *)field)
            add_option(words, &options[i], *(gchar *const *)field);
        for (guint k = 0; many && many[k]; k++)
            add_option(words, &options[i], many[k]);
    }
    for (guint i = 0; args->operands[i]; i++)
        g_ptr_array_add(words, g_strdup(args->operands[i]));
    if (args->command)
        g_ptr_array_add(words, g_strdup("--"));
    for (guint i = 0; args->command && args->command[i]; i++)
        g_ptr_array_add(words, g_strdup(args->command[i]));
    g_ptr_array_add(words, NULL);
    return words;
}

static SamiExit
run_verb(Ctl *ctl, const Verb *verb, GError **error)
{
    if (!ctl->args.host)
        return verb->run(ctl, error);
    g_autoptr(GPtrArray) words = restore(verb, &ctl->args);
    return ctl_remote(ctl, (const gchar *const *)words->pdata, error);
}

static SamiExit
run(Ctl *ctl, GStrv *argv, GError **error)
{
    guint n = 0;
    if (!parse(&ctl->args, argv, GLOBALS, TRUE, "", error))
        return SAMI_EXIT_USAGE;
    if (ctl->args.is_version) {
        printf("samictl %s\n", PACKAGE_VERSION);
        return SAMI_EXIT_DONE;
    }
    if (!(*argv)[1]) {
        if (ctl->args.is_help)
            print_verbs(NULL);
        else
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "no verb; `samictl help` lists them");
        return SAMI_EXIT_DONE;
    }
    /* `samictl peer --help`: a group has help without a second word. */
    g_autofree gchar *group = (*argv)[2] && g_str_has_prefix((*argv)[2], "-") ? find_group((*argv)[1]) : NULL;
    if (group) {
        print_verbs(group);
        return !strcmp((*argv)[2], "--help") || !strcmp((*argv)[2], "-h") ? SAMI_EXIT_DONE
                                                                          : SAMI_EXIT_USAGE;
    }
    const Verb *verb = find_verb(*argv + 1, &n, error);
    g_autofree gchar *allowed = verb ? g_strjoin(",", GLOBALS, verb->options, NULL) : NULL;
    if (!verb || !parse(&ctl->args, argv, allowed, FALSE, verb->name, error))
        return SAMI_EXIT_USAGE;
    if (ctl->args.is_help) {
        print_usage(verb);
        return SAMI_EXIT_DONE;
    }
    ctl->args.operands = g_strdupv(*argv + 1 + n);
    return check_usage(verb, &ctl->args, error) ? run_verb(ctl, verb, error) : SAMI_EXIT_USAGE;
}

int
ctl_main(int argc, char **argv)
{
    Ctl ctl = {0};
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) words = g_strdupv(argv);
    setlocale(LC_CTYPE, "");
    /* Files that we make are public by intent; keys are made with a mode of their own. */
    umask(022);
    ctl.args.command = cut_command(words);
    SamiExit code = run(&ctl, &words, &error);
    if (error) {
        ctl_say(stderr, "samictl: %s\n", error->message);
        code = ctl_is_not_running(error) ? SAMI_EXIT_NOT_RUNNING : sami_exit_of_error(error);
    }
    args_clear(&ctl.args);
    sami_config_free(ctl.config);
    if (fflush(stdout) != 0 && code == SAMI_EXIT_DONE)
        code = SAMI_EXIT_FAILED;
    return (int)code;
}
