#include "ctl/conntrackd-conf.h"

#include <arpa/inet.h>
#include <string.h>

/* No configuration is nearly as large. */
#define TEXT_MAX (1024u * 1024u)

typedef enum {
    IN_TOP,
    IN_SYNC,
    IN_MODE,
    IN_LINK,
    IN_OPTIONS,
    IN_GENERAL,
    IN_UNIX,
    IN_FILTER,
    IN_PROTOCOLS,
    IN_ADDRESSES,
    IN_STATES,
    IN_SCHEDULER,
    IN_STATS,
    IN_HELPER,
    IN_TYPE,
    IN_POLICY,
    N_BLOCKS,
} Block;

static const gchar *const block_names[N_BLOCKS] = {
    "conntrackd.conf", "Sync",    "Sync Mode",          "a link of Sync",      "Sync Options",     "General", "General UNIX", "General Filter",
    "Filter Protocol", "Filter Address", "Filter State", "General Scheduler", "Stats", "Helper",  "Helper Type",  "Helper Policy",
};

typedef enum {
    VALUE_BOOL,
    VALUE_NUMBER,
    VALUE_WORD,
    VALUE_BOOL_OR_WORD,
    VALUE_IP,   /* an address of the link's own */
    VALUE_PEER, /* an address of the other firewall */
    VALUE_LIST, /* yes, no, or words in braces */
    VALUE_BLOCK,
    N_VALUES
} Value;

static const gchar *const value_names[N_VALUES] = {
    "on or off", "a number", "a word", "on, off or a word", "an address", "an address", "on, off or words in braces", "a block in braces",
};

/* An option. Which words may stand before the brace of a block is in `head`, one place each: "a|b" must be one of them, "[a]" may be there,
 * "?" is any word. */
typedef struct {
    Block block;
    const gchar *name;
    Value value;
    Block child; /* of a block */
    const gchar *head;
    CtlFate fate;
    gboolean is_for_on; /* lost only when it is switched on; else it is what we do anyway */
    const gchar *why;
} Option;

#define NO_CACHE "there are no caches: the standby's kernel has the table itself"
#define TRANSPORT "TLS over TCP does that itself"
#define EVENTS "the event socket has 64 MiB, and lost events are made good by a dump at once"
#define LOGGING "the daemons log to the journal, or to standard error"
#define HELPERS "user-space helpers stay conntrackd's: leave it a file without Sync, and set beside-conntrackd=true in sami.conf"
#define STATISTICS "no statistics of ended flows: leave conntrackd a file with Stats alone and set beside-conntrackd=true in sami.conf, or use ulogd"

static const Option options[] = {
    { IN_TOP, "Sync", VALUE_BLOCK, IN_SYNC, "", CTL_FATE_KEY, FALSE, "replicate=true, at both firewalls for both ways" },
    { IN_TOP, "General", VALUE_BLOCK, IN_GENERAL, "", CTL_FATE_NEEDLESS, FALSE, "each option has its own line" },
    { IN_TOP, "Stats", VALUE_BLOCK, IN_STATS, "", CTL_FATE_LOST, FALSE, STATISTICS },
    { IN_TOP, "Helper", VALUE_BLOCK, IN_HELPER, "", CTL_FATE_LOST, FALSE, HELPERS },

    { IN_SYNC, "Mode", VALUE_BLOCK, IN_MODE, "ftfw|notrack|alarm|nack|persistent", CTL_FATE_NEEDLESS, FALSE,
      "there is one mode, which is reliable and writes into the standby's kernel" },
    { IN_SYNC, "Multicast", VALUE_BLOCK, IN_LINK, "[default]", CTL_FATE_LOST, FALSE,
      "a multicast group names no firewall: give each peer its addresses, with samictl peer add --address or address= in peers.d" },
    { IN_SYNC, "UDP", VALUE_BLOCK, IN_LINK, "[default]", CTL_FATE_KEY, FALSE, "address=, the default link first; TLS over TCP, port 4740" },
    { IN_SYNC, "TCP", VALUE_BLOCK, IN_LINK, "[default]", CTL_FATE_KEY, FALSE, "address=, the default link first; with TLS, port 4740" },
    { IN_SYNC, "Options", VALUE_BLOCK, IN_OPTIONS, "", CTL_FATE_NEEDLESS, FALSE, "each option has its own line" },

    { IN_MODE, "ResendQueueSize", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "8 MiB wait for acknowledgement; what falls out is dumped again" },
    { IN_MODE, "ACKWindowSize", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "acknowledged at least every MiB and every second" },
    { IN_MODE, "CommitTimeout", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE,
      "nothing is committed: entries have their own timeouts, none shorter than lease= while they are replicated" },
    { IN_MODE, "PurgeTimeout", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "nothing is flushed: samictl resync --yield gives way to the peer's" },
    { IN_MODE, "RefreshTime", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "everything is dumped again three times a lease=" },
    { IN_MODE, "CacheTimeout", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "the end of each dump removes what it did not name" },
    { IN_MODE, "DisableInternalCache", VALUE_BOOL, 0, NULL, CTL_FATE_NEEDLESS, FALSE, NO_CACHE },
    { IN_MODE, "DisableExternalCache", VALUE_BOOL, 0, NULL, CTL_FATE_NEEDLESS, FALSE, NO_CACHE },
    { IN_MODE, "StartupResync", VALUE_BOOL, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "each stream begins with a dump" },
    { IN_MODE, "ErrorQueueLength", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "samictl stats counts errors" },

    { IN_LINK, "IPv4_address", VALUE_IP, 0, NULL, CTL_FATE_KEY, FALSE, "samictl setup --address at this firewall; a multicast group is none" },
    { IN_LINK, "IPv6_address", VALUE_IP, 0, NULL, CTL_FATE_KEY, FALSE, "samictl setup --address at this firewall; a multicast group is none" },
    { IN_LINK, "IPv4_interface", VALUE_IP, 0, NULL, CTL_FATE_KEY, FALSE, "samictl setup --address at this firewall" },
    { IN_LINK, "IPv6_interface", VALUE_WORD, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "the route to the peer's address decides" },
    { IN_LINK, "IPv4_Destination_Address", VALUE_PEER, 0, NULL, CTL_FATE_KEY, FALSE, "address= in peers.d" },
    { IN_LINK, "IPv6_Destination_Address", VALUE_PEER, 0, NULL, CTL_FATE_KEY, FALSE, "address= in peers.d; a link-local one is not carried over" },
    { IN_LINK, "Interface", VALUE_WORD, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "the route to the peer's address decides" },
    { IN_LINK, "Port", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "listen= in sami.conf and address= in peers.d have ports: 4740 unless changed" },
    { IN_LINK, "Group", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "listen= in sami.conf and address= in peers.d have ports: 4740 unless changed" },
    { IN_LINK, "SndSocketBuffer", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, TRANSPORT },
    { IN_LINK, "RcvSocketBuffer", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, TRANSPORT },
    { IN_LINK, "Checksum", VALUE_BOOL, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "every message is signed" },

    { IN_OPTIONS, "TCPWindowTracking", VALUE_BOOL, 0, NULL, CTL_FATE_NEEDLESS, FALSE,
      "window scale is replicated; tracking is lenient until both sides have sent after a takeover, then strict" },
    { IN_OPTIONS, "ExpectationSync", VALUE_LIST, 0, NULL, CTL_FATE_LOST, TRUE, "expectations are not replicated" },

    { IN_GENERAL, "Systemd", VALUE_BOOL, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "the units come with the daemons" },
    { IN_GENERAL, "Nice", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "conntrackd ignores it too; Nice= in a drop-in of the units" },
    { IN_GENERAL, "HashSize", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, NO_CACHE },
    { IN_GENERAL, "HashLimit", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "nf_conntrack_max is the limit" },
    { IN_GENERAL, "LogFile", VALUE_BOOL_OR_WORD, 0, NULL, CTL_FATE_NEEDLESS, FALSE, LOGGING },
    { IN_GENERAL, "Syslog", VALUE_BOOL_OR_WORD, 0, NULL, CTL_FATE_NEEDLESS, FALSE, LOGGING },
    { IN_GENERAL, "LockFile", VALUE_WORD, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "the control sockets in run-dir= are the lock" },
    { IN_GENERAL, "Lockfile", VALUE_WORD, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "the control sockets in run-dir= are the lock" },
    { IN_GENERAL, "UNIX", VALUE_BLOCK, IN_UNIX, "", CTL_FATE_NEEDLESS, FALSE, "each option has its own line" },
    { IN_GENERAL, "NetlinkBufferSize", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, EVENTS },
    { IN_GENERAL, "NetlinkBufferSizeMaxGrowth", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, EVENTS },
    { IN_GENERAL, "SocketBufferSize", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, EVENTS },
    { IN_GENERAL, "SocketBufferSizeMaxGrowth", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, EVENTS },
    { IN_GENERAL, "SocketBufferSizeMaxGrown", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, EVENTS },
    { IN_GENERAL, "NetlinkOverrunResync", VALUE_BOOL_OR_WORD, 0, NULL, CTL_FATE_NEEDLESS, FALSE, EVENTS },
    { IN_GENERAL, "NetlinkEventsReliable", VALUE_BOOL, 0, NULL, CTL_FATE_NEEDLESS, FALSE, EVENTS },
    { IN_GENERAL, "PollSecs", VALUE_NUMBER, 0, NULL, CTL_FATE_LOST, FALSE,
      "there is no polling instead of events: what changes is sent at once; replicate-states=established makes it less" },
    { IN_GENERAL, "EventIterationLimit", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "events are read in bounded turns" },
    { IN_GENERAL, "Filter", VALUE_BLOCK, IN_FILTER, "[from] [userspace|kernelspace]", CTL_FATE_KEY, FALSE, "replicate-* in peers.d" },
    { IN_GENERAL, "Scheduler", VALUE_BLOCK, IN_SCHEDULER, "", CTL_FATE_LOST, FALSE,
      "CPUSchedulingPolicy= and CPUSchedulingPriority= in a drop-in of the units do that, where it is needed" },
    { IN_UNIX, "Path", VALUE_WORD, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "the control sockets are in run-dir= of sami.conf" },
    { IN_UNIX, "Backlog", VALUE_NUMBER, 0, NULL, CTL_FATE_NEEDLESS, FALSE, "conntrackd ignores it too" },

    { IN_FILTER, "Protocol", VALUE_BLOCK, IN_PROTOCOLS, "accept|ignore", CTL_FATE_KEY, FALSE,
      "replicate-protocols=; what SAMI does not carry, as SCTP and DCCP, has a line of its own" },
    { IN_FILTER, "Address", VALUE_BLOCK, IN_ADDRESSES, "accept|ignore", CTL_FATE_KEY, FALSE, "replicate-addresses= or replicate-ignore=" },
    { IN_FILTER, "State", VALUE_BLOCK, IN_STATES, "accept|ignore", CTL_FATE_KEY, FALSE, "replicate-states=" },
    { IN_ADDRESSES, "IPv4_address", VALUE_IP, 0, NULL, CTL_FATE_KEY, FALSE, "an address or a network" },
    { IN_ADDRESSES, "IPv6_address", VALUE_IP, 0, NULL, CTL_FATE_KEY, FALSE, "an address or a network" },
    { IN_SCHEDULER, "Type", VALUE_WORD, 0, NULL, CTL_FATE_LOST, FALSE, "CPUSchedulingPolicy= in a drop-in of the units" },
    { IN_SCHEDULER, "Priority", VALUE_NUMBER, 0, NULL, CTL_FATE_LOST, FALSE, "CPUSchedulingPriority= in a drop-in of the units" },

    { IN_STATS, "LogFile", VALUE_BOOL_OR_WORD, 0, NULL, CTL_FATE_LOST, TRUE, STATISTICS },
    { IN_STATS, "NetlinkEventsReliable", VALUE_BOOL, 0, NULL, CTL_FATE_LOST, TRUE, STATISTICS },
    { IN_STATS, "Syslog", VALUE_BOOL_OR_WORD, 0, NULL, CTL_FATE_LOST, TRUE, STATISTICS },
    { IN_HELPER, "Type", VALUE_BLOCK, IN_TYPE, "? ? ?", CTL_FATE_LOST, FALSE, HELPERS },
    { IN_TYPE, "QueueNum", VALUE_NUMBER, 0, NULL, CTL_FATE_LOST, FALSE, HELPERS },
    { IN_TYPE, "QueueLen", VALUE_NUMBER, 0, NULL, CTL_FATE_LOST, FALSE, HELPERS },
    { IN_TYPE, "Policy", VALUE_BLOCK, IN_POLICY, "?", CTL_FATE_LOST, FALSE, HELPERS },
    { IN_POLICY, "ExpectMax", VALUE_NUMBER, 0, NULL, CTL_FATE_LOST, FALSE, HELPERS },
    { IN_POLICY, "ExpectTimeout", VALUE_NUMBER, 0, NULL, CTL_FATE_LOST, FALSE, HELPERS },
};

/* conntrackd's word, ours. */
typedef struct {
    const gchar *theirs;
    const gchar *ours; /* NULL: not carried */
} Word;

static const Word protocols[] = {
    { "tcp", "tcp" },     { "udp", "udp" },         { "icmp", "icmp" },   { "ipv6-icmp", "icmpv6" }, { "icmpv6", "icmpv6" },
    { "sctp", NULL },     { "dccp", NULL },         { "udplite", NULL },  { "gre", NULL },           { "vrrp", NULL },
    { "igmp", NULL },
};
static const gchar *const all_protocols[] = { "tcp", "udp", "icmp", "icmpv6", NULL };

static const Word states[] = {
    { "SYN_SENT", "syn-sent" },     { "SYN_RECV", "syn-recv" },   { "ESTABLISHED", "established" }, { "FIN_WAIT", "fin-wait" },
    { "CLOSE_WAIT", "close-wait" }, { "LAST_ACK", "last-ack" },   { "TIME_WAIT", "time-wait" },     { "CLOSED", "close" },
    { "CLOSE", "close" },           { "LISTEN", "syn-sent2" },
};
static const gchar *const all_states[] = { "none",       "syn-sent", "syn-sent2", "syn-recv", "established", "fin-wait",
                                           "close-wait", "last-ack", "time-wait", "close",    NULL };

/* A set of the filter while it is read. */
typedef struct {
    gboolean is_there, is_ignore;
    GPtrArray *words; /* of gchar *, ours */
} Set;

typedef struct {
    const gchar *name;
    const gchar *at, *end;
    guint line;
    gchar *token; /* the last one: a word, "{" or "}"; NULL at the end */
    guint token_line;
    CtlConntrackd *conf;
    Set protocols, accepted, ignored, states;
    Set *set;     /* of the block that is read */
    gboolean is_default;
    guint n_own, n_peer; /* of the default link: go first */
} Parser;

static gboolean fail(const Parser *p, GError **error, const gchar *format, ...) G_GNUC_PRINTF(3, 4);

static gboolean
fail(const Parser *p, GError **error, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s:%u: %s", p->name, p->token_line, text);
    return FALSE;
}

/* ---- words ---- */

static gboolean
is_word(guchar c)
{
    return c > ' ' && c < 0x7f && c != '{' && c != '}' && c != '#' && c != '"';
}

/* FALSE only for a character that is in no word. */
static gboolean
next(Parser *p, GError **error)
{
    g_clear_pointer(&p->token, g_free);
    while (p->at < p->end && (strchr(" \t\r\n", *p->at) || *p->at == '#')) {
        if (*p->at == '\0')
            break;
        if (*p->at == '#')
            while (p->at < p->end && *p->at != '\n')
                p->at++;
        else
            p->line += *p->at++ == '\n';
    }
    p->token_line = p->line;
    if (p->at == p->end)
        return TRUE;
    const gchar *begin = p->at;
    if (*p->at == '{' || *p->at == '}')
        p->at++;
    while (p->at < p->end && begin[0] != '{' && begin[0] != '}' && is_word((guchar)*p->at))
        p->at++;
    if (p->at == begin) {
        g_autofree gchar *one = g_strndup(begin, 1), *quoted = g_strescape(one, NULL);
        return fail(p, error, "'%s' cannot stand here; allowed: words, braces, comments with #", *begin ? quoted : "\\0");
    }
    p->token = g_strndup(begin, (gsize)(p->at - begin));
    return TRUE;
}

static gboolean
is_token(const Parser *p, const gchar *text)
{
    return p->token && !strcmp(p->token, text);
}

static gboolean
is_brace(const Parser *p)
{
    return is_token(p, "{") || is_token(p, "}");
}

/* The next one has to be a word. */
static gboolean
take_word(Parser *p, const gchar *after, GError **error)
{
    if (!next(p, error))
        return FALSE;
    return (p->token && !is_brace(p)) || fail(p, error, "%s: a word is missing", after);
}

/* TRUE with *ret, of what stands for yes or no. */
static gboolean
read_bool(const gchar *word, gboolean *ret)
{
    static const gchar *const words[] = { "off", "no", "on", "yes" };
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        if (!g_ascii_strcasecmp(word, words[i])) {
            *ret = i >= 2;
            return TRUE;
        }
    return FALSE;
}

static gboolean
is_number(const gchar *word)
{
    word += *word == '-' || *word == '+';
    return *word && strspn(word, "0123456789") == strlen(word) && strlen(word) < 20;
}

/* ---- notes and keys ---- */

static void
note_free(gpointer data)
{
    CtlNote *note = data;
    g_free(note->option);
    g_free(note);
}

static void
add_note(Parser *p, guint line, CtlFate fate, gchar *option_take, const gchar *why)
{
    CtlNote *note = g_new(CtlNote, 1);
    *note = (CtlNote){ line, fate, option_take, why };
    g_ptr_array_add(p->conf->notes, note);
    p->conf->n_lost += fate == CTL_FATE_LOST;
}

static gboolean
has_string(const GPtrArray *list, const gchar *text)
{
    return g_ptr_array_find_with_equal_func((GPtrArray *)list, text, g_str_equal, NULL);
}

/* Those of the default link before the others. */
static void
add_endpoint(Parser *p, gboolean is_peer, int family, const gchar *address)
{
    GPtrArray *list = is_peer ? p->conf->peer : p->conf->own;
    guint *n_first = is_peer ? &p->n_peer : &p->n_own;
    g_autofree gchar *endpoint = g_strdup_printf(family == AF_INET6 ? "[%s]:4740" : "%s:4740", address);
    if (!has_string(list, endpoint))
        g_ptr_array_insert(list, p->is_default ? (gint)(*n_first)++ : -1, g_steal_pointer(&endpoint));
}

/* An address or network as our keys have it: bits beyond the length are zero. FALSE: it is none. */
static gboolean
read_address(const gchar *word, gboolean has_length, int *ret_family, gchar ret_text[INET6_ADDRSTRLEN + 4], guint8 ret_octets[16])
{
    gchar text[INET6_ADDRSTRLEN];
    const gchar *slash = has_length ? strchr(word, '/') : NULL;
    gsize n = slash ? (gsize)(slash - word) : strlen(word);
    g_autofree gchar *address = g_strndup(word, n);
    int family = strchr(address, ':') ? AF_INET6 : AF_INET;
    guint bits = family == AF_INET6 ? 128 : 32;
    guint64 length = bits;
    if (inet_pton(family, address, ret_octets) != 1 || (slash && !g_ascii_string_to_unsigned(slash + 1, 10, 0, bits, &length, NULL)))
        return FALSE;
    for (guint i = (guint)length; i < bits; i++)
        ret_octets[i / 8] &= (guint8)~(0x80u >> i % 8);
    inet_ntop(family, ret_octets, text, sizeof text);
    g_snprintf(ret_text, INET6_ADDRSTRLEN + 4, length < bits ? "%s/%u" : "%s", text, (guint)length);
    *ret_family = family;
    return TRUE;
}

/* ---- values ---- */

static gboolean
take_address(Parser *p, const Option *option, guint line, GError **error)
{
    gchar text[INET6_ADDRSTRLEN + 4];
    guint8 octets[16];
    int family;
    gboolean is_filter = option->block == IN_ADDRESSES;
    gboolean wants_6 = g_str_has_prefix(option->name, "IPv6");
    if (!read_address(p->token, is_filter, &family, text, octets) || (family == AF_INET6) != wants_6) {
        g_autofree gchar *quoted = g_strescape(p->token, NULL);
        return fail(p, error, "%s: '%.80s' is no %s address%s", option->name, quoted, wants_6 ? "IPv6" : "IPv4", is_filter ? " or network" : "");
    }
    gboolean is_link_local = family == AF_INET6 && octets[0] == 0xfe && (octets[1] & 0xc0) == 0x80;
    gboolean is_group = family == AF_INET6 ? octets[0] == 0xff : (octets[0] & 0xf0) == 0xe0;
    g_autofree gchar *shown = g_strdup_printf("%s %s", option->name, text);
    if (is_filter) {
        if (!has_string(p->set->words, text))
            g_ptr_array_add(p->set->words, g_strdup(text));
        return TRUE;
    }
    if (is_group)
        add_note(p, line, CTL_FATE_NEEDLESS, g_steal_pointer(&shown), "the group of a multicast link");
    else if (is_link_local)
        add_note(p, line, CTL_FATE_LOST, g_steal_pointer(&shown),
                 "a link-local address means nothing without its interface, which address= cannot name: give the link other addresses");
    else {
        add_endpoint(p, option->value == VALUE_PEER, family, text);
        add_note(p, line, option->fate, g_steal_pointer(&shown), option->why);
    }
    return TRUE;
}

/* Words in braces; the opening one is the token. (transfer full) */
static gchar *
take_list(Parser *p, const Option *option, GError **error)
{
    g_autoptr(GString) text = g_string_new("{");
    while (next(p, error)) {
        if (is_token(p, "}"))
            return g_strconcat(text->str, " }", NULL);
        if (!p->token || is_token(p, "{")) {
            fail(p, error, "%s: the closing brace is missing", option->name);
            return NULL;
        }
        g_string_append_printf(text, " %s", p->token);
    }
    return NULL;
}

static gboolean
take_value(Parser *p, const Option *option, guint line, GError **error)
{
    gboolean is_on = TRUE;
    g_autofree gchar *list = NULL;
    if (!next(p, error))
        return FALSE;
    if (option->value == VALUE_LIST && is_token(p, "{")) {
        if (!(list = take_list(p, option, error)))
            return FALSE;
    } else if (!p->token || is_brace(p)) {
        return fail(p, error, "%s: the value is missing; allowed: %s", option->name, value_names[option->value]);
    }
    const gchar *word = list ? list : p->token;
    gboolean is_bool = !list && read_bool(word, &is_on);
    if (option->value == VALUE_IP || option->value == VALUE_PEER)
        return take_address(p, option, line, error);
    if (((option->value == VALUE_BOOL || (option->value == VALUE_LIST && !list)) && !is_bool) ||
        (option->value == VALUE_NUMBER && !is_number(word))) {
        g_autofree gchar *quoted = g_strescape(word, NULL);
        return fail(p, error, "%s: '%.80s' is wrong; allowed: %s", option->name, quoted, value_names[option->value]);
    }
    gboolean is_off = option->is_for_on && is_bool && !is_on;
    add_note(p, line, is_off ? CTL_FATE_NEEDLESS : option->fate, g_strdup_printf("%s %s", option->name, word),
             is_off ? "nothing does it" : option->why);
    return TRUE;
}

static const Word *
find_word(const Word *words, guint n, const gchar *theirs)
{
    for (guint i = 0; i < n; i++)
        if (!g_ascii_strcasecmp(words[i].theirs, theirs))
            return &words[i];
    return NULL;
}

/* A word of Protocol or State. What we never carry is ignored already. */
static gboolean
take_member(Parser *p, Block block, GError **error)
{
    gboolean is_state = block == IN_STATES;
    const Word *word = is_state ? find_word(states, G_N_ELEMENTS(states), p->token) : find_word(protocols, G_N_ELEMENTS(protocols), p->token);
    if (is_state && is_token(p, "for"))
        return take_word(p, "for", error) && (!g_ascii_strcasecmp(p->token, "TCP") || fail(p, error, "State: for is followed by TCP"));
    if (!word && is_state) {
        g_autofree gchar *quoted = g_strescape(p->token, NULL);
        return fail(p, error,
                    "State: '%.80s' is no TCP state; allowed: SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, "
                    "CLOSED, LISTEN",
                    quoted);
    }
    if (!word || !word->ours)
        add_note(p, p->token_line, p->set->is_ignore ? CTL_FATE_NEEDLESS : CTL_FATE_LOST, g_strdup_printf("Protocol %s", p->token),
                 p->set->is_ignore ? "it is never replicated" : "sessions of this protocol are not replicated; SAMI carries TCP, UDP, ICMP and ICMPv6");
    else if (!has_string(p->set->words, word->ours))
        g_ptr_array_add(p->set->words, g_strdup(word->ours));
    return TRUE;
}

/* ---- blocks ---- */

static const Option *
find_option(Block block, const gchar *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        if (options[i].block == block && !strcmp(options[i].name, name))
            return &options[i];
    return NULL;
}

static gboolean
fail_unknown(const Parser *p, Block block, GError **error)
{
    g_autofree gchar *quoted = g_strescape(p->token, NULL);
    g_autoptr(GString) known = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        if (options[i].block == block)
            g_string_append_printf(known, "%s%s", known->len ? ", " : "", options[i].name);
    return fail(p, error, "unknown option '%.80s' in %s; known: %s", quoted, block_names[block], known->str);
}

static gboolean
fits(const gchar *place, const gchar *word)
{
    gboolean is_optional = *place == '[';
    g_autofree gchar *bare = g_strndup(place + is_optional, strlen(place) - 2 * is_optional);
    g_auto(GStrv) words = g_strsplit(bare, "|", -1);
    g_autofree gchar *lower = g_ascii_strdown(word, -1);
    return !strcmp(bare, "?") || g_strv_contains((const gchar *const *)words, lower);
}

/* What stands between the name of a block and its brace. (transfer full) */
static GStrv
take_head(Parser *p, const Option *option, GError **error)
{
    g_auto(GStrv) places = g_strsplit(option->head, " ", -1);
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    if (!next(p, error))
        return NULL;
    for (guint i = 0; places[i] && *places[i]; i++) {
        if (p->token && !is_brace(p) && fits(places[i], p->token)) {
            g_ptr_array_add(words, g_steal_pointer(&p->token));
            if (!next(p, error))
                return NULL;
        } else if (*places[i] != '[') {
            fail(p, error, "%s: allowed here: %s", option->name, strcmp(places[i], "?") ? places[i] : "a name");
            return NULL;
        }
    }
    if (!is_token(p, "{")) {
        fail(p, error, "%s: the opening brace is missing", option->name);
        return NULL;
    }
    g_ptr_array_add(words, NULL);
    return (GStrv)g_ptr_array_free(g_steal_pointer(&words), FALSE);
}

/* Which set of the filter a block fills. A second block of one kind adds to it. */
static gboolean
begin_set(Parser *p, const Option *option, const gchar *policy, GError **error)
{
    gboolean is_ignore = !g_ascii_strcasecmp(policy, "Ignore");
    p->set = option->child == IN_PROTOCOLS ? &p->protocols : option->child == IN_STATES ? &p->states : is_ignore ? &p->ignored : &p->accepted;
    if (p->set->is_there && p->set->is_ignore != is_ignore)
        return fail(p, error, "%s: both Accept and Ignore; allowed: one of them", option->name);
    p->set->is_there = TRUE;
    p->set->is_ignore = is_ignore;
    return TRUE;
}

static gboolean take_block(Parser *p, Block block, GError **error);

static gboolean
take_child(Parser *p, const Option *option, guint line, GError **error)
{
    g_auto(GStrv) head = take_head(p, option, error);
    if (!head || (option->block == IN_FILTER && !begin_set(p, option, head[0], error)))
        return FALSE;
    g_autofree gchar *words = g_strjoinv(" ", head);
    p->conf->is_sync |= option->child == IN_SYNC;
    p->is_default = option->child == IN_LINK && head[0];
    if (strcmp(option->why, "each option has its own line") != 0)
        add_note(p, line, option->fate, g_strconcat(option->name, *words ? " " : "", words, NULL), option->why);
    return take_block(p, option->child, error);
}

/* Up to the closing brace; the top block up to the end of the file. */
static gboolean
take_block(Parser *p, Block block, GError **error)
{
    guint begin = p->token_line;
    while (next(p, error)) {
        if (!p->token && block == IN_TOP)
            return TRUE;
        if (!p->token)
            return fail(p, error, "%s, which begins in line %u, has no closing brace", block_names[block], begin);
        if (is_token(p, "}"))
            return block != IN_TOP || fail(p, error, "a closing brace without an opening one");
        if (is_token(p, "{"))
            return fail(p, error, "%s: an opening brace without a name", block_names[block]);
        guint line = p->token_line;
        const Option *option = find_option(block, p->token);
        gboolean is_good = block == IN_PROTOCOLS || block == IN_STATES ? take_member(p, block, error)
                           : !option                                   ? fail_unknown(p, block, error)
                           : option->value == VALUE_BLOCK              ? take_child(p, option, line, error)
                                                                       : take_value(p, option, line, error);
        if (!is_good)
            return FALSE;
    }
    return FALSE;
}

/* ---- results ---- */

/* The wanted words in the order of `all`; NULL: all of them, or the filter does not say. "": none. (transfer full) */
static gchar *
choose(const Set *set, const gchar *const *all)
{
    g_autoptr(GString) text = g_string_new(NULL);
    gboolean is_all = TRUE;
    for (guint i = 0; all[i]; i++) {
        gboolean is_wanted = has_string(set->words, all[i]) != set->is_ignore;
        is_all &= is_wanted;
        if (is_wanted)
            g_string_append_printf(text, "%s%s", text->len ? "," : "", all[i]);
    }
    return !set->is_there || is_all ? NULL : g_strdup(text->str);
}

static gchar *
join(const GPtrArray *list)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < list->len; i++)
        g_string_append_printf(text, "%s%s", i ? "," : "", (const gchar *)list->pdata[i]);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* A key without words means all, so a filter that lets nothing through cannot be written. */
static gboolean
drop_empty(Parser *p, gchar **value, const gchar *option)
{
    if (!*value || **value)
        return FALSE;
    g_clear_pointer(value, g_free);
    add_note(p, p->line, CTL_FATE_LOST, g_strdup(option), "it lets nothing through that SAMI carries: do not replicate, so replicate=true is left out");
    return TRUE;
}

/* States are TCP's: a filter that lets none of them pass lets everything else pass. */
static void
drop_tcp(Parser *p)
{
    GPtrArray *words = p->protocols.words;
    if (!p->protocols.is_there)
        p->protocols.is_there = p->protocols.is_ignore = TRUE;
    for (guint i = words->len; i-- > 0;)
        if (!strcmp(words->pdata[i], "tcp"))
            g_ptr_array_remove_index(words, i);
    if (p->protocols.is_ignore)
        g_ptr_array_add(words, g_strdup("tcp"));
    add_note(p, p->line, CTL_FATE_KEY, g_strdup("Filter State"), "it lets no state of TCP pass: replicate-protocols leaves tcp out");
}

static void
finish(Parser *p)
{
    CtlConntrackd *conf = p->conf;
    conf->states = choose(&p->states, all_states);
    if (conf->states && !*conf->states) {
        g_clear_pointer(&conf->states, g_free);
        drop_tcp(p);
    }
    conf->protocols = choose(&p->protocols, all_protocols);
    conf->ignore = p->ignored.words->len ? join(p->ignored.words) : NULL;
    conf->addresses = p->accepted.words->len ? join(p->accepted.words) : p->accepted.is_there ? g_strdup("") : NULL;
    gboolean is_empty = drop_empty(p, &conf->protocols, "Filter Protocol");
    is_empty |= drop_empty(p, &conf->addresses, "Filter Address Accept");
    conf->is_sync &= !is_empty;
}

CtlConntrackd *
ctl_conntrackd_parse(const gchar *name, const gchar *text, gsize length, GError **error)
{
    g_autoptr(CtlConntrackd) conf = g_new0(CtlConntrackd, 1);
    Parser p = { .name = name, .at = text, .end = text + length, .line = 1, .token_line = 1, .conf = conf };
    Set *sets[] = { &p.protocols, &p.accepted, &p.ignored, &p.states };
    conf->notes = g_ptr_array_new_with_free_func(note_free);
    conf->own = g_ptr_array_new_with_free_func(g_free);
    conf->peer = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < G_N_ELEMENTS(sets); i++)
        sets[i]->words = g_ptr_array_new_with_free_func(g_free);
    gboolean is_good = length <= TEXT_MAX ? take_block(&p, IN_TOP, error) : fail(&p, error, "longer than 1 MiB");
    if (is_good)
        finish(&p);
    g_free(p.token);
    for (guint i = 0; i < G_N_ELEMENTS(sets); i++)
        g_ptr_array_unref(sets[i]->words);
    return is_good ? g_steal_pointer(&conf) : NULL;
}

void
ctl_conntrackd_free(CtlConntrackd *conf)
{
    if (!conf)
        return;
    g_ptr_array_unref(conf->notes);
    g_ptr_array_unref(conf->own);
    g_ptr_array_unref(conf->peer);
    g_free(conf->protocols);
    g_free(conf->addresses);
    g_free(conf->ignore);
    g_free(conf->states);
    g_free(conf);
}

gchar *
ctl_conntrackd_keys(const CtlConntrackd *conf)
{
    g_autofree gchar *address = join(conf->peer);
    const struct {
        const gchar *key, *value;
    } keys[] = {
        { "address", *address ? address : NULL },
        { "replicate", conf->is_sync ? "true" : NULL },
        { "replicate-protocols", conf->protocols },
        { "replicate-addresses", conf->addresses },
        { "replicate-ignore", conf->ignore },
        { "replicate-states", conf->states },
    };
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (keys[i].value)
            g_string_append_printf(text, "%s=%s\n", keys[i].key, keys[i].value);
    return g_string_free(text, FALSE);
}

gchar *
ctl_conntrackd_print(const CtlConntrackd *conf, const gchar *peer)
{
    static const gchar *const words[CTL_N_FATES] = { "carried over", "not needed", "NOT CARRIED OVER" };
    g_autofree gchar *keys = ctl_conntrackd_keys(conf), *own = join(conf->own);
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "# peers.d/%s.conf, beside what samictl peer add wrote there:\n[peer]\n%s\n", peer, keys);
    if (conf->is_sync)
        g_string_append_printf(text, "# signers.d of the other firewall has to allow it: unscoped=true and allow-prefixes= (sami.conf(5))\n"
                                     "# sami.conf here: vm-prefixes= with the addresses behind this firewall\n");
    if (*own)
        g_string_append_printf(text, "# this firewall: samictl setup --address %s\n", own);
    g_string_append(text, "#\n");
    for (guint i = 0; i < conf->notes->len; i++) {
        const CtlNote *note = conf->notes->pdata[i];
        g_string_append_printf(text, "# line %u: %s: %s: %s\n", note->line, note->option, words[note->fate], note->why);
    }
    return g_string_free(text, FALSE);
}

gchar *
ctl_conntrackd_table(void)
{
    static const gchar *const words[CTL_N_FATES] = { "carried over: ", "not needed: ", "not carried over: " };
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        const Option *o = &options[i];
        if (i == 0 || options[i - 1].block != o->block)
            g_string_append_printf(text, ".SS %s\n", o->block == IN_TOP ? "Sections" : block_names[o->block]);
        g_string_append_printf(text, ".TP\n.B %s\n%s%s%s\n", o->name, o->is_for_on ? "when it is on, " : "", words[o->fate], o->why);
    }
    return g_string_free(text, FALSE);
}
