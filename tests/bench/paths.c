/* One run of one path, timed: for bench.sh, which repeats and compares.
 *
 *   bench-paths dump NETNS                            a bare netlink dump
 *   bench-paths export DIR NETNS N SAMICTL PEER-DIR   the exporter's state process as it is: dumped, encoded, signed and sent to a
 *                                                     socket that only receives, which is what the connector is to it
 *   bench-paths inject DIR NETNS SOURCE PEER-DIR      the collector's state process as it is, with its two threads: what an exporter
 *                                                     in the namespace SOURCE would send is signed first, then received, verified,
 *                                                     decoded, validated and injected, up to the receipt
 * DIR and PEER-DIR are configuration directories of samictl setup. Prints the seconds and the number of sessions. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/state.h"
#include "common/config.h"
#include "exporter/state.h"
#include "firewall/firewall.h"
#include "templates/stream.h"
#include "tests/tools/kernel-table.h"
#include "transport/session.h"

#define WAIT_MS 60000 /* for an answer: longer means broken */
#define IDLE_MS 1500  /* nothing for so long: the snapshot has ended */

static void G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN
die(const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_printerr("bench-paths: %s\n", text);
    exit(1);
}

/* A macro: the error is looked at after the call that sets it. */
#define check(call, error)                                                                                                     \
    do {                                                                                                                       \
        if (!(call))                                                                                                           \
            die("line %d: %s", __LINE__, (error) ? (error)->message : g_strerror(errno));                                      \
    } while (0)

static guint64
now_ms(void)
{
    return (guint64) (g_get_monotonic_time() / 1000);
}

static void
wait_for(int fd, short events, int timeout_ms, const gchar *what)
{
    struct pollfd p = { .fd = fd, .events = events };
    if (poll(&p, 1, timeout_ms) != 1)
        die("nothing within %d ms: %s", timeout_ms, what);
}

static SamiConfig *
load(const gchar *dir)
{
    GError *error = NULL;
    g_autofree gchar *path = g_build_filename(dir, "sami.conf", NULL);
    SamiConfig *config = sami_config_load(path, &error);
    check(config != NULL, error);
    return config;
}

static SamiKey *
load_key(const SamiConfig *config)
{
    GError *error = NULL;
    SamiKey *key = sami_key_load_private(config->signing_key, config->key_passphrase_file, &error);
    check(key != NULL, error);
    return key;
}

static SamiKey *
public_of(const SamiKey *key)
{
    guint8 raw[32];
    sami_key_public(key, raw);
    return sami_key_from_public(raw);
}

/* A state process of the product, and the network process's end of its channel. */
typedef struct {
    pid_t pid;
    int channel;
} State;

static State
start(const gchar *netns, const SamiConfig *config, int (*run)(const SamiConfig *, int))
{
    int pair[2];
    State state;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 || (state.pid = fork()) < 0)
        die("cannot start a process");
    if (state.pid == 0) {
        close(pair[0]);
        table_enter(netns);
        if (!freopen("/dev/null", "we", stderr))
            _exit(1);
        _exit(run(config, pair[1]));
    }
    close(pair[1]);
    state.channel = pair[0];
    return state;
}

static void
stop(State *state)
{
    kill(state->pid, SIGTERM);
    waitpid(state->pid, NULL, 0);
    close(state->channel);
}

static SamiFrameOpen
opening(const gchar *name)
{
    SamiFrameOpen open = { .version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX };
    g_strlcpy(open.name, name, sizeof open.name);
    g_strlcpy(open.address, "192.0.2.1:4740", sizeof open.address);
    memset(open.ekm, 7, sizeof open.ekm);
    return open;
}

static void
send_frame(SamiSessionSocket *socket, const guint8 *message, gsize length)
{
    GError *error = NULL;
    while (!sami_session_socket_send(socket, SAMI_FRAME_MESSAGE, message, length, &error)) {
        check(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL), error);
        g_clear_error(&error);
        wait_for(sami_session_socket_fd(socket), POLLOUT, WAIT_MS, "the state process does not read");
    }
}

/* The next Message, or NULL after timeout_ms without one. */
static guint8 *
receive(SamiSessionSocket *socket, int timeout_ms, gsize *ret_length)
{
    for (;;) {
        SamiFrameType type;
        guint8 *payload;
        GError *error = NULL;
        SamiReceive result = sami_session_socket_receive(socket, &type, &payload, ret_length, &error);
        if (result == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_MESSAGE)
            return payload;
        if (result != SAMI_RECEIVE_AGAIN)
            die("the state process ended the session: %s", error ? error->message : "closed");
        struct pollfd p = { .fd = sami_session_socket_fd(socket), .events = POLLIN };
        if (poll(&p, 1, timeout_ms) == 0)
            return NULL;
    }
}

static void
believe(SamiStream *stream, guint8 *message, gsize length, SamiRecordFunc func, gpointer user_data)
{
    GError *error = NULL;
    SamiReason reason;
    gboolean is_last;
    check(sami_stream_verify(stream, message, length, now_ms(), &reason, &is_last, &error), error);
    check(sami_stream_decode(stream, message, length, func, user_data, &error), error);
}

static void
keep(const SamiRecord *record, gpointer user_data)
{
    *(SamiRecord *) user_data = *record;
}

static void
count(const SamiRecord *record, gpointer user_data)
{
    *(guint *) user_data += record->kind == SAMI_RECORD_SESSION;
}

static void
flush(SamiStream *stream, SamiSessionSocket *socket)
{
    const guint8 *message;
    gsize length;
    GError *error = NULL;
    check(sami_stream_take(stream, now_ms(), 0, FALSE, &message, &length, &error), error);
    send_frame(socket, message, length);
}

static void
add(SamiStream *stream, SamiSessionSocket *socket, const SamiRecord *record)
{
    GError *error = NULL;
    if (sami_encoder_add(stream->encoder, record, &error))
        return;
    check(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL), error);
    g_clear_error(&error);
    flush(stream, socket);
    check(sami_encoder_add(stream->encoder, record, &error), error);
}

/* ---- export: this process is the connector and the collector, as far as the opening needs one ---- */

static pid_t
ask(const gchar *samictl, const gchar *dir, const gchar *netns)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    table_enter(netns);
    if (!freopen("/dev/null", "we", stdout) || !freopen("/dev/null", "we", stderr))
        _exit(1);
    execl(samictl, samictl, "--config-dir", dir, "migrate", "--vm", "10.0.0.13,2001:db8:a::13", "--to", "fw2.example", NULL);
    _exit(1);
}

static void
run_export(const gchar *dir, const gchar *netns, guint n, const gchar *samictl, const gchar *peer_dir)
{
    SamiConfig *config = load(dir), *peer = load(peer_dir);
    SamiKey *key = load_key(peer), *exporter = load_key(config);
    g_autofree gchar *control = g_build_filename(config->run_dir, "exporter.sock", NULL);
    unlink(control);
    State state = start(netns, config, sami_exporter_run);
    for (guint i = 0; i < 1000 && access(control, F_OK) != 0; i++)
        g_usleep(5000);
    pid_t client = ask(samictl, dir, netns);
    SamiChannelType type;
    guint32 request;
    gchar *text = NULL;
    int fd;
    GError *error = NULL;
    wait_for(state.channel, POLLIN, WAIT_MS, "the exporter does not connect");
    check(sami_channel_receive(state.channel, &type, &request, &text, &fd, &error) == SAMI_RECEIVE_FRAME, error);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        die("socketpair");
    check(sami_channel_send(state.channel, SAMI_CHANNEL_SESSION, request, "", pair[1], &error), error);
    close(pair[1]);
    SamiSessionSocket *socket = sami_session_socket_new(pair[0]);
    SamiFrameOpen open = opening("fw2.example");
    check(sami_session_socket_send_open(socket, &open, &error), error);
    SamiStream *stream = sami_stream_new(SAMI_ROLE_COLLECTOR, key, open.ekm, SAMI_MESSAGE_MAX, now_ms(), 30000);
    stream->peer_key = public_of(exporter);
    gsize length;
    guint8 *message = receive(socket, WAIT_MS, &length);
    SamiSignature signature;
    SamiRecord hello;
    if (!message)
        die("no hello");
    check(sami_signature_read(message, length, &signature, &error), error);
    memcpy(stream->migration_id, signature.migration_id, 16);
    believe(stream, message, length, keep, &hello);
    SamiRecord reply = { .kind = SAMI_RECORD_HELLO_REPLY, .hello_reply = { .version = 1, .next_counter = 1, .lease_s = 60,
                         .message_max = SAMI_MESSAGE_MAX } };
    memcpy(reply.hello_reply.nonce_e, hello.hello.nonce, 32);
    memcpy(stream->nonce_e, hello.hello.nonce, 32);
    sami_key_public(key, reply.hello_reply.public_key);
    add(stream, socket, &reply);
    double began = table_now(), last = began;
    flush(stream, socket);
    sami_stream_bind(stream, "fw2.example");
    /* Kept as they come, looked at afterwards. */
    GByteArray *octets = g_byte_array_sized_new(n * 100);
    GArray *lengths = g_array_new(FALSE, FALSE, sizeof(gsize));
    while ((message = receive(socket, octets->len ? IDLE_MS : WAIT_MS, &length))) {
        last = table_now();
        g_byte_array_append(octets, message, (guint) length);
        g_array_append_val(lengths, length);
    }
    guint n_received = 0;
    guint8 *at = octets->data;
    for (guint i = 0; i < lengths->len; i++) {
        believe(stream, at, g_array_index(lengths, gsize, i), count, &n_received);
        at += g_array_index(lengths, gsize, i);
    }
    printf("%.6f %u\n", last - began, n_received);
    kill(client, SIGKILL); /* SIGTERM would have it abort and wait for an answer */
    waitpid(client, NULL, 0);
    stop(&state);
    if (n_received < n)
        die("%u of %u sessions came", n_received, n);
}

/* ---- inject: this process is the listener and the exporter; everything is signed before the clock starts ---- */

typedef struct {
    SamiStream *stream;
    GByteArray *octets;
    GArray *ends; /* of gsize */
    guint n;
} Prepared;

static void
take(Prepared *p)
{
    const guint8 *message;
    gsize length;
    GError *error = NULL;
    check(sami_stream_take(p->stream, now_ms(), 0, FALSE, &message, &length, &error), error);
    g_byte_array_append(p->octets, message, (guint) length);
    gsize end = p->octets->len;
    g_array_append_val(p->ends, end);
}

static void
prepare_record(Prepared *p, const SamiRecord *record)
{
    GError *error = NULL;
    if (sami_encoder_add(p->stream->encoder, record, &error))
        return;
    check(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL), error);
    g_clear_error(&error);
    take(p);
    check(sami_encoder_add(p->stream->encoder, record, &error), error);
}

static void
prepare(const SamiSession *session, gpointer user_data)
{
    Prepared *p = user_data;
    SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = *session };
    record.session.has &= ~(guint32) (SAMI_HAS_COUNTERS | SAMI_HAS_ID);
    prepare_record(p, &record);
    p->n++;
}

/* What an exporter in the namespace would send. */
static void
prepare_all(Prepared *p, const gchar *netns)
{
    GError *error = NULL;
    SamiDumpStatus status;
    SamiDumpFilter filter = { 0 };
    table_enter(netns);
    g_autoptr(SamiFirewall) firewall = sami_firewall_linux_new(&error);
    check(firewall != NULL, error);
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(firewall, &filter, &error);
    check(dump != NULL, error);
    do {
        wait_for(sami_firewall_dump_fd(dump), POLLIN, WAIT_MS, "dump");
        status = sami_firewall_dump_next(dump, prepare, p, &error);
        check(status != SAMI_DUMP_BAD, error);
    } while (status != SAMI_DUMP_END);
}

static void
run_inject(const gchar *dir, const gchar *netns, const gchar *source_netns, const gchar *peer_dir)
{
    SamiConfig *config = load(dir), *peer = load(peer_dir);
    SamiKey *key = load_key(peer), *collector = load_key(config);
    g_autofree gchar *control = g_build_filename(config->run_dir, "collector.sock", NULL);
    unlink(control);
    State state = start(netns, config, sami_collector_run);
    GError *error = NULL;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        die("socketpair");
    for (guint i = 0; i < 1000 && access(control, F_OK) != 0; i++)
        g_usleep(5000);
    check(sami_channel_send(state.channel, SAMI_CHANNEL_SESSION, 0, "fw1.example", pair[1], &error), error);
    close(pair[1]);
    SamiSessionSocket *socket = sami_session_socket_new(pair[0]);
    SamiFrameOpen open = opening("fw1.example");
    check(sami_session_socket_send_open(socket, &open, &error), error);
    SamiStream *stream = sami_stream_new(SAMI_ROLE_EXPORTER, key, open.ekm, SAMI_MESSAGE_MAX, now_ms(), 30000);
    stream->peer_key = public_of(collector);
    sami_random(stream->migration_id, 16);
    sami_random(stream->nonce_e, 32);
    SamiRecord record = { .kind = SAMI_RECORD_HELLO, .hello = { .version = 1, .pen = SAMI_PEN, .opening = 1 } };
    memcpy(record.hello.nonce, stream->nonce_e, 32);
    sami_key_public(key, record.hello.public_key);
    g_strlcpy(record.hello.destination, "fw2.example", sizeof record.hello.destination);
    add(stream, socket, &record);
    flush(stream, socket);
    gsize length;
    guint8 *message = receive(socket, WAIT_MS, &length);
    SamiRecord reply;
    believe(stream, message, length, keep, &reply);
    if (reply.kind != SAMI_RECORD_HELLO_REPLY)
        die("the collector refused the hello");
    memcpy(stream->nonce_c, reply.hello_reply.nonce_c, 32);
    sami_stream_bind(stream, "fw2.example");
    const gchar *const vm[] = { "10.0.0.13", "2001:db8:a::13" };
    for (guint i = 0; i < 2; i++) {
        SamiRecord address = { .kind = i ? SAMI_RECORD_VM_ADDRESS6 : SAMI_RECORD_VM_ADDRESS4 };
        check(sami_prefix_parse(vm[i], &address.vm_address, &error), error);
        add(stream, socket, &address);
    }
    SamiRecord begin = { .kind = SAMI_RECORD_BEGIN, .begin = { .n_addresses = 2, .lease_s = 60, .kinds = 1 } };
    g_strlcpy(begin.begin.destination, "fw2.example", sizeof begin.begin.destination);
    add(stream, socket, &begin);
    flush(stream, socket);
    Prepared p = { stream, g_byte_array_new(), g_array_new(FALSE, FALSE, sizeof(gsize)), 0 };
    prepare_all(&p, source_netns);
    SamiRecord marker = { .kind = SAMI_RECORD_MARKER, .marker = { SAMI_MARKER_SNAPSHOT, p.n, SAMI_FREEZE_EVENTS } };
    prepare_record(&p, &marker);
    take(&p);
    double began = table_now();
    gsize at = 0;
    for (guint i = 0; i < p.ends->len; i++) {
        gsize end = g_array_index(p.ends, gsize, i);
        send_frame(socket, p.octets->data + at, end - at);
        at = end;
    }
    do { /* acknowledgements come before it */
        message = receive(socket, WAIT_MS, &length);
        if (!message)
            die("no receipt");
        believe(stream, message, length, keep, &reply);
    } while (reply.kind == SAMI_RECORD_RECEIPT && reply.receipt.phase == SAMI_RECEIPT_PROGRESS);
    double took = table_now() - began;
    stop(&state);
    if (reply.kind != SAMI_RECORD_RECEIPT || reply.receipt.n_accepted != p.n)
        die("the receipt is not for %u entries", p.n);
    printf("%.6f %u\n", took, p.n);
}

int
main(int argc, char **argv)
{
    const gchar *verb = argc > 1 ? argv[1] : "";
    signal(SIGPIPE, SIG_IGN);
    if (g_str_equal(verb, "dump") && argc == 3) {
        table_enter(argv[2]);
        double began = table_now();
        guint n = table_dump(NULL, NULL);
        printf("%.6f %u\n", table_now() - began, n);
    } else if (g_str_equal(verb, "export") && argc == 7) {
        run_export(argv[2], argv[3], (guint) atoi(argv[4]), argv[5], argv[6]);
    } else if (g_str_equal(verb, "inject") && argc == 6) {
        run_inject(argv[2], argv[3], argv[4], argv[5]);
    } else {
        g_printerr("usage: bench-paths dump NETNS | export DIR NETNS N SAMICTL PEER-DIR | inject DIR NETNS SOURCE-NETNS PEER-DIR\n");
        return 2;
    }
    return 0;
}
