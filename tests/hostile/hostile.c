/* hostile CONFIG TO CASE [CERTIFICATE KEY | none]: misbehaves in one way and says what the collector answered.
 * hostile CONFIG TO resume:ID | claim:ID: wants to go on with the migration of somebody else, or to begin it as its own.
 * hostile CONFIG TO stream: one migration with everything that a record case would like to have, between honest records; says what was answered.
 * hostile CONFIG TO aimed: one migration with expectations that would let somebody in to where the policy lets nobody in; each has to be refused.
 * hostile CONFIG TO behind-an-abort: sessions behind the abort of their migration; they must not be there afterwards.
 * hostile CONFIG TO begin-after:FILE: hello and address, and begin when there is such a file: the VM must not be allowed any more.
 * hostile CONFIG TO octets:REASON:FILE: sends what is in a file, as it is.
 * hostile CONFIG TO elsewhere:PEER: what one collector has taken is sent to another, as it was.
 * hostile CONFIG TO export-time:SECONDS: a clock that is off by as much, which is no offence.
 * hostile --all CONFIG TO SOCKET NETNS: every case but those of max-delay, each on its own and by its name. Around each one it reads the
 * collector's counters at its control SOCKET, and the connection table in NETNS.
 *
 * Exit status 0: refused for its reason (or, for the case "honest", whatever was answered). 1: anything else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cursor.h"
#include "templates/rules.h"
#include "tests/hostile/hostile.h"
#include "tests/tools/changes.h"

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
    record.hello.opening = (guint8) self->argument;
    client_add(c, &record);
    client_send(c);
    return c;
}

static const Case of_others[] = {
    { "resume:", STAGE_CONNECTED, run_resume, "not-owner", SAMI_OPENING_RESUME, NULL, NULL },
    { "claim:", STAGE_CONNECTED, run_resume, "replayed-migration", SAMI_OPENING_NEW, NULL, NULL },
};

#define STREAM_PORT 2000u  /* of the honest ones, one more each */
#define STREAM_REFUSED 3000u

static void
add_marker(Client *c, guint8 marker, guint64 n_records)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { .marker = marker, .freeze_mode = SAMI_FREEZE_EVENTS, .n_records = n_records } };
    client_add(c, &record);
    client_send(c);
    client_answer(c);
}

/* A compromised source with both keys: what the record cases try one by one, in one stream. */
static Client *
run_stream(Client *c, const Case *self)
{
    guint n = 0, n_honest = 0;
    c->may_accept = TRUE;
    for (const Case *at = record_cases; at->name; at++) {
        SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = honest_session_of((guint16) (STREAM_PORT + n_honest)) };
        if (!at->change && !at->change_expected)
            continue;
        client_add(c, &record);
        n_honest++;
        record = (SamiRecord){ .kind = at->change ? SAMI_RECORD_SESSION : SAMI_RECORD_EXPECTATION };
        if (at->change) {
            record.session = honest_session_of((guint16) (STREAM_REFUSED + n++));
            at->change(&record.session);
        } else {
            record.expectation = honest_expectation();
            at->change_expected(&record.expectation);
        }
        client_add(c, &record);
    }
    /* Honest but for what a policy takes out of it. */
    SamiRecord greedy = { .kind = SAMI_RECORD_SESSION, .session = honest_session_of((guint16) (STREAM_PORT + n_honest++)) };
    greedy.session.has |= SAMI_HAS_MARK;
    greedy.session.mark = 0xffffffff;
    greedy.session.timeout_s = 100000000;
    client_add(c, &greedy);
    add_marker(c, SAMI_MARKER_SNAPSHOT, n + n_honest);
    add_marker(c, SAMI_MARKER_FREEZE, n + n_honest);
    add_marker(c, SAMI_MARKER_SETTLE, n + n_honest);
    g_string_append_printf(c->answers, "sent %u honest ones and %u others\n", n_honest, n);
    return c;
}

static const Case stream = { "stream", STAGE_BEGUN, run_stream, NULL, 0, NULL, NULL };

#define AIMED_PORT 5000u

/* Each of a flow of its own: the helper of FTP gives one flow one expectation. */
static Client *
run_aimed(Client *c, const Case *self)
{
    guint n = 0;
    c->may_accept = TRUE;
    for (const Case *at = aimed_cases; at->name; at++, n++) {
        SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = honest_session_of((guint16) (AIMED_PORT + n)) };
        SamiSession *master = &record.session;
        master->key.orig.dst_port = 21;
        sami_flow_key_mirror(&master->key, &master->reply);
        master->reply.dst = record_address("192.0.2.9");
        master->has |= SAMI_HAS_HELPER;
        memcpy(master->helper, "ftp", 4);
        client_add(c, &record);
        SamiExpectation expectation = honest_expectation();
        expectation.master = master->key;
        expectation.key.orig.dst_port = (guint16) (AIMED_PORT + n);
        at->change_expected(&expectation);
        record = (SamiRecord){ .kind = SAMI_RECORD_EXPECTATION, .expectation = expectation };
        client_add(c, &record);
        c->may_expect += !at->reason;
    }
    add_marker(c, SAMI_MARKER_FREEZE, n);
    gboolean is_right = TRUE;
    for (const Case *at = aimed_cases; at->name; at++)
        is_right &= at->reason == NULL || strstr(c->answers->str, at->reason) != NULL;
    if (!is_right)
        die("not all of them were refused for their reason: %s", c->answers->str);
    return c;
}

static const Case aimed = { "aimed", STAGE_BEGUN, run_aimed, NULL, 0, NULL, NULL };

#define BEHIND_PORT 6000u
#define BEHIND_MESSAGES 4u

/* All in one piece, so that the collector has read it before anything of the abort is done. */
static Client *
run_behind_an_abort(Client *c, const Case *self)
{
    g_autoptr(GByteArray) octets = g_byte_array_new();
    SamiRecord abort = { .kind = SAMI_RECORD_ABORT, .abort = { .reason = SAMI_ABORT_OPERATOR } };
    c->may_accept = TRUE;
    client_add(c, &abort);
    for (guint i = 0; i < BEHIND_MESSAGES; i++) {
        for (guint k = 0; k < 10; k++) {
            SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = honest_session_of((guint16) (BEHIND_PORT + 10 * i + k)) };
            client_add(c, &record);
        }
        client_prepare(c);
        client_seal(c);
        g_byte_array_append(octets, c->body->data, c->body->len);
        c->sequence += c->n_next;
    }
    client_transmit_octets(c, octets->data, octets->len);
    client_answer(c);
    return c;
}

static const Case behind_an_abort = { "behind-an-abort", STAGE_BEGUN, run_behind_an_abort, NULL, 0, NULL, NULL };

static const Case *const lists[] = { message_cases, template_cases, record_cases };

static const Case *
find_case(const gchar *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++)
        for (const Case *at = lists[i]; at->name; at++)
            if (g_str_equal(at->name, name))
                return at;
    for (gsize i = 0; i < G_N_ELEMENTS(of_others); i++)
        if (g_str_has_prefix(name, of_others[i].name))
            return &of_others[i];
    if (g_str_equal(name, "stream"))
        return &stream;
    if (g_str_equal(name, "aimed"))
        return &aimed;
    if (g_str_equal(name, "behind-an-abort"))
        return &behind_an_abort;
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
    gboolean has_read = what == &stream || what == &aimed || what == &behind_an_abort;
    if (!has_read)
        client_answer(answered);
    const gchar *reason = answered->reason ? answered->reason : "-";
    gchar *answers = g_strdup(answered->answers->str);
    *ret_is_right = what == &honest || has_read || g_str_equal(reason, what->reason);
    if (answered != c)
        client_free(answered);
    client_free(c);
    return answers;
}

/* ---- what needs more than a Client ---- */

static Client *
connect_or_die(const Identity *identity, const guint8 *migration_id)
{
    g_autofree gchar *alert = NULL;
    Client *c = client_new(identity, migration_id, &alert);
    if (!c)
        die("%s: %s", identity->peer->name, alert);
    return c;
}

static int
judge(Client *c, const gchar *reason)
{
    client_answer(c);
    g_print("%s", c->answers->str);
    gboolean is_right = g_strcmp0(c->reason, reason) == 0;
    client_free(c);
    return is_right ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* REASON:FILE */
static int
play_octets(const Identity *identity, const gchar *operand)
{
    g_auto(GStrv) parts = g_strsplit(operand, ":", 2);
    g_autofree gchar *octets = NULL;
    g_autoptr(GError) error = NULL;
    SamiSignature first;
    gsize length;
    if (!parts[0] || !parts[1] || !g_file_get_contents(parts[1], &octets, &length, &error))
        die("%s", error ? error->message : "REASON:FILE");
    gsize first_length = length < 4 ? 0 : (gsize) (guint8) octets[2] << 8 | (guint8) octets[3];
    if (first_length > length || !sami_signature_read((const guint8 *) octets, first_length, &first, &error))
        die("%s has no signed Message: %s", parts[1], error ? error->message : "it is cut");
    Client *c = connect_or_die(identity, first.migration_id); /* so that the answer is understood */
    client_transmit_octets(c, (const guint8 *) octets, length);
    return judge(c, parts[0]);
}

/* Everything that makes the collector answer a snapshot. */
static void
migrate_nothing(Client *c, gint seconds_off)
{
    SamiRecord marker = { .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_SNAPSHOT, .freeze_mode = SAMI_FREEZE_EVENTS } };
    client_hello(c);
    client_add_begin(c, 1);
    client_add(c, &marker);
    client_prepare(c);
    SamiWriter w;
    sami_writer_init(&w, c->body->data + 4, 4);
    sami_writer_uint(&w, (guint32) (g_get_real_time() / G_USEC_PER_SEC + seconds_off), 4);
    client_seal(c);
    client_transmit(c);
    client_answer(c);
    if (c->reason || !strstr(c->answers->str, "receipt"))
        die("no receipt: %s", c->answers->str);
}

/* PEER: another collector that knows us */
static int
play_elsewhere(const Identity *identity, const gchar *operand)
{
    g_autoptr(GError) error = NULL;
    Identity other = *identity;
    other.peer = sami_config_peer(identity->config, operand);
    if (!other.peer || !(other.peer_key = sami_key_load_public(other.peer->signing_key_file, &error)))
        die("%s: %s", operand, error ? error->message : "is no peer");
    Client *here = connect_or_die(identity, NULL);
    migrate_nothing(here, 0);
    Client *there = connect_or_die(&other, here->stream->migration_id);
    for (guint i = 0; i < here->sent->len; i++) {
        gsize length;
        const guint8 *octets = g_bytes_get_data(g_ptr_array_index(here->sent, i), &length);
        client_transmit_octets(there, octets, length);
    }
    int status = judge(there, "wrong-session");
    client_free(here);
    sami_key_free(other.peer_key);
    return status;
}

/* SECONDS */
static int
play_export_time(const Identity *identity, const gchar *operand)
{
    Client *c = connect_or_die(identity, NULL);
    migrate_nothing(c, (gint) g_ascii_strtoll(operand, NULL, 10));
    g_print("%s", c->answers->str);
    client_free(c);
    return EXIT_SUCCESS;
}

/* FILE */
static int
play_begin_after(const Identity *identity, const gchar *operand)
{
    Client *c = connect_or_die(identity, NULL);
    SamiRecord record = { .kind = SAMI_RECORD_VM_ADDRESS4, .vm_address = { .address = { { 10, 0, 0, 13 } }, .family = 4, .length = 32 } };
    client_hello(c);
    client_add(c, &record);
    client_send(c);
    g_print("waits\n");
    fflush(stdout);
    while (!g_file_test(operand, G_FILE_TEST_EXISTS))
        g_usleep(20000);
    record = (SamiRecord){ .kind = SAMI_RECORD_BEGIN, .begin = { .n_addresses = 1, .lease_s = 30, .kinds = SAMI_KIND_SESSION } };
    g_strlcpy(record.begin.destination, identity->peer->name, sizeof record.begin.destination);
    client_add(c, &record);
    record = (SamiRecord){ .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_SNAPSHOT } }; /* which is answered, if begin is not refused */
    client_add(c, &record);
    client_send(c);
    return judge(c, "vm-not-allowed");
}

static const struct {
    const gchar *word;
    int (*play)(const Identity *identity, const gchar *operand);
} plays[] = { { "octets:", play_octets }, { "elsewhere:", play_elsewhere }, { "export-time:", play_export_time },
             { "begin-after:", play_begin_after } };

/* ---- every case ---- */

static gboolean
is_refusal(const gchar *name)
{
    return g_str_has_prefix(name, "refused_") || g_str_has_prefix(name, "session_errors_");
}

/* Which Message rule was broken is in the refusal. */
static gboolean
names_rule(const Case *what, const gchar *answers)
{
    const gchar *detail = strstr(answers, "refused malformed: ");
    return !g_str_equal(what->reason, "malformed") || (detail && sami_rule_find(detail + strlen("refused malformed: ")) != SAMI_RULE_NONE);
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
    gboolean is_named = names_rule(what, answers);
    gboolean is_passed = is_right && is_named && !wrong && watch->written->len == 0;
    g_print("%s %s: %s\n", is_passed ? "ok  " : "FAIL", what->name, answers);
    if (!is_right)
        g_print("     the sender had to be told %s\n", what->reason);
    if (!is_named)
        g_print("     the refusal names no Message rule\n");
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

static int
run_named(const Identity *identity, const gchar *name)
{
    guint8 id[16] = { 0 };
    gboolean is_right;
    const Case *what = find_case(name);
    gboolean is_of_others = what >= of_others && what < of_others + G_N_ELEMENTS(of_others);
    const gchar *hex = name + strlen(what->name);
    if (is_of_others && strspn(hex, "0123456789abcdef") != 2 * sizeof id)
        die("an id has 32 digits");
    for (guint i = 0; is_of_others && i < sizeof id; i++)
        id[i] = (guint8) (g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]));
    g_autofree gchar *answers = play(what, identity, is_of_others ? id : NULL, &is_right);
    g_print("%s", answers);
    return is_right ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    gboolean is_all = argc > 1 && g_str_equal(argv[1], "--all");
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
    int status = -1;
    for (gsize i = 0; !is_all && i < G_N_ELEMENTS(plays); i++)
        if (g_str_has_prefix(argv[3], plays[i].word))
            status = plays[i].play(&identity, argv[3] + strlen(plays[i].word));
    if (is_all)
        status = run_all(&identity, argv[3], argv[4]);
    else if (status < 0)
        status = run_named(&identity, argv[3]);
    sami_key_free(identity.signing_key);
    sami_key_free(identity.peer_key);
    sami_key_free(identity.stranger);
    return status;
}
