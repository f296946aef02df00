#include "tests/unit/collector-lab.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "firewall/fake.h"
#include "tests/fuzz/collector.h"
#include "tests/fuzz/fuzz.h"

#define WAIT_US (10 * G_USEC_PER_SEC)

static guint64
now_ms(void)
{
    return (guint64) g_get_monotonic_time() / 1000;
}

static GLogWriterOutput
write_log(GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer user_data)
{
    GString **log = user_data;
    if (level & G_LOG_LEVEL_ERROR)
        return g_log_writer_standard_streams(level, fields, n_fields, NULL);
    for (gsize i = 0; *log && (level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING)) && i < n_fields; i++)
        if (g_str_equal(fields[i].key, "MESSAGE"))
            g_string_append_printf(*log, "%s\n", (const gchar *) fields[i].value);
    return G_LOG_WRITER_HANDLED;
}

/* An error that the operator has to act on is what is tested here, and no end of the program. */
static GString **
listen_to_log(void)
{
    static GString *log;
    static gboolean is_listening;
    if (!is_listening)
        g_log_set_writer_func(write_log, &log, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_FLAG_RECURSION);
    is_listening = TRUE;
    return &log;
}

static void
put(const Lab *lab, const gchar *name, const gchar *text)
{
    g_autofree gchar *path = g_build_filename(lab->directory, name, NULL);
    g_assert(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

static void
peer_free(gpointer data)
{
    LabPeer *peer = data;
    sami_session_socket_free(peer->socket);
    sami_stream_free(peer->stream);
    g_array_unref(peer->answers);
    g_free(peer);
}

Lab *
lab_new(void)
{
    Lab *lab = g_new0(Lab, 1);
    g_autoptr(GError) error = NULL;
    lab->directory = g_dir_make_tmp("sami-lab-XXXXXX", NULL);
    lab->journal = g_build_filename(lab->directory, "journal", NULL);
    g_autofree gchar *signers = g_build_filename(lab->directory, "signers.d", NULL), *path = g_build_filename(lab->directory, "sami.conf", NULL);
    g_autofree gchar *text = g_strdup_printf("[sami]\nname=fw2.example\nrun-dir=%s\njournal-dir=%s\ngrace=0\nnat-elsewhere=true\nmax-sessions=10000\n", lab->directory,
                                             lab->journal);
    g_autofree gchar *signer = g_strdup_printf("[signer]\nkeys=%s/fw1.pem\nallow-prefixes=10.0.0.0/24\nkinds=session,expectation\nrequire-expect=false\n"
                                               "unscoped=true\n", lab->directory);
    g_assert(g_mkdir(signers, 0700) == 0 && g_mkdir(lab->journal, 0700) == 0);
    put(lab, "sami.conf", text);
    put(lab, "fw1.pem", SAMI_FUZZ_PUBLIC_PEM);
    put(lab, "signers.d/fw1.example.conf", signer);
    if (!(lab->config = sami_config_load(path, &error)) || !(lab->signers = sami_signers_load(lab->config, NULL, &error)))
        g_error("%s", error->message);
    sami_signers_enforce(lab->signers);
    lab->collector = sami_fuzz_collector_of(lab->config, lab->signers, sami_firewall_fake_new(0));
    lab->peers = g_ptr_array_new_with_free_func(peer_free);
    *listen_to_log() = lab->log = g_string_new(NULL);
    return lab;
}

static void
remove_all(const gchar *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const gchar *name;
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree gchar *child = g_build_filename(path, name, NULL);
        remove_all(child);
    }
    g_assert(g_remove(path) == 0);
}

static gboolean
is_idle(gpointer user_data)
{
    const Lab *lab = user_data;
    guint n_jobs = 0;
    for (guint i = 0; i < lab->collector->migrations->len; i++)
        n_jobs += ((const SamiCollectorMigration *) g_ptr_array_index(lab->collector->migrations, i))->n_jobs;
    return n_jobs == 0;
}

/* A daemon ends with its main loop; here that goes on, and nothing that runs may report to it later. */
void
lab_free(Lab *lab)
{
    g_assert(lab_wait(lab, is_idle, lab));
    sami_fuzz_collector_free(lab->collector);
    g_ptr_array_unref(lab->peers);
    g_ptr_array_unref(lab->signers);
    sami_config_unref(lab->config);
    remove_all(lab->directory);
    *listen_to_log() = NULL;
    g_string_free(lab->log, TRUE);
    g_free(lab->journal);
    g_free(lab->directory);
    g_free(lab);
}

static void
on_answer(const SamiRecord *record, gpointer user_data)
{
    LabPeer *peer = user_data;
    g_array_append_val(peer->answers, *record);
    if (record->kind != SAMI_RECORD_HELLO_REPLY)
        return;
    memcpy(peer->stream->nonce_c, record->hello_reply.nonce_c, sizeof peer->stream->nonce_c);
    sami_stream_bind(peer->stream, "fw2.example");
    peer->stream->counter_out = record->hello_reply.next_counter; /* of a resumed one */
}

/* As an exporter does, which believes nothing else. */
static void
take_answer(LabPeer *peer, guint8 *message, gsize length)
{
    SamiReason reason = SAMI_REASON_NONE;
    gboolean is_last = FALSE;
    g_autoptr(GError) error = NULL;
    if (!sami_stream_verify(peer->stream, message, length, now_ms(), &reason, &is_last, &error) ||
        !sami_stream_decode(peer->stream, message, length, on_answer, peer, &error))
        g_error("an answer is not believed: %s", error->message);
    peer->n_last += is_last;
}

static void
hear(LabPeer *peer)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    SamiReceive receive = SAMI_RECEIVE_FRAME;
    while (!peer->is_closed && !peer->is_deaf &&
           (receive = sami_session_socket_receive(peer->socket, &type, &payload, &length, NULL)) == SAMI_RECEIVE_FRAME) {
        if (type == SAMI_FRAME_MESSAGE)
            take_answer(peer, payload, length);
        peer->is_closed = type == SAMI_FRAME_CLOSE;
    }
    peer->is_closed |= receive == SAMI_RECEIVE_END || receive == SAMI_RECEIVE_BAD;
}

static void
hear_all(Lab *lab)
{
    for (guint i = 0; i < lab->peers->len; i++)
        hear(g_ptr_array_index(lab->peers, i));
}

void
lab_settle(Lab *lab)
{
    do
        hear_all(lab);
    while (g_main_context_iteration(NULL, sami_collector_pending(lab->collector) > 0) || sami_collector_pending(lab->collector) > 0);
    hear_all(lab);
}

static gboolean
on_tick(gpointer user_data)
{
    return G_SOURCE_CONTINUE;
}

gboolean
lab_wait(Lab *lab, gboolean (*is_so)(gpointer user_data), gpointer user_data)
{
    gint64 end_us = g_get_monotonic_time() + WAIT_US;
    guint tick = g_timeout_add(10, on_tick, NULL);
    lab_settle(lab);
    while (!is_so(user_data) && g_get_monotonic_time() < end_us) {
        g_main_context_iteration(NULL, TRUE);
        lab_settle(lab);
    }
    g_source_remove(tick);
    return is_so(user_data);
}

void
lab_restart(Lab *lab)
{
    SamiFirewall *world = sami_firewall_fake_share(lab->collector->firewall);
    g_assert(lab_wait(lab, is_idle, lab));
    sami_fuzz_collector_free(lab->collector);
    g_ptr_array_set_size(lab->peers, 0);
    lab->collector = sami_fuzz_collector_of(lab->config, lab->signers, world);
    sami_collector_recover(lab->collector);
    lab_settle(lab);
}

void
lab_hurry(guint timer)
{
    GSource *source = g_main_context_find_source_by_id(NULL, timer);
    g_assert(source);
    g_source_set_ready_time(source, 0);
}

static void
count_one(const SamiSession *session, gpointer user_data)
{
    ++*(guint *) user_data;
}

guint
lab_count_entries(Lab *lab)
{
    SamiDumpFilter filter = { 0 };
    SamiDumpStatus status = SAMI_DUMP_MORE;
    guint n = 0;
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(lab->collector->firewall, &filter, NULL);
    while (dump && status == SAMI_DUMP_MORE)
        status = sami_firewall_dump_next(dump, count_one, &n, NULL);
    g_assert(status == SAMI_DUMP_END);
    return n;
}

guint
lab_count_files(const Lab *lab, const gchar *suffix)
{
    g_autoptr(GDir) dir = g_dir_open(lab->journal, 0, NULL);
    const gchar *name;
    guint n = 0;
    while (dir && (name = g_dir_read_name(dir)))
        n += g_str_has_suffix(name, suffix);
    return n;
}

gboolean
lab_was_told(Lab *lab, const gchar *text)
{
    gboolean is_there = strstr(lab->log->str, text) != NULL;
    if (!is_there)
        g_printerr("'%s' is not in the log:\n%s", text, lab->log->str);
    g_string_truncate(lab->log, 0);
    return is_there;
}

LabPeer *
lab_connect(Lab *lab, guint8 id, guint8 opening)
{
    int fds[2];
    SamiFrameOpen open = { .version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX, .name = "fw1.example", .address = "192.0.2.1:4740" };
    SamiRecord hello = { .kind = SAMI_RECORD_HELLO, .hello = { .version = 1, .pen = SAMI_PEN, .destination = "fw2.example", .opening = opening } };
    LabPeer *peer = g_new0(LabPeer, 1);
    g_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
    peer->lab = lab;
    peer->socket = sami_session_socket_new(fds[0]);
    peer->answers = g_array_new(FALSE, FALSE, sizeof(SamiRecord));
    peer->stream = sami_stream_new(SAMI_ROLE_EXPORTER, sami_fuzz_key(), open.ekm, SAMI_MESSAGE_MAX, now_ms(), lab->config->max_delay_ms);
    peer->stream->peer_key = sami_fuzz_key(); /* one key for both ends */
    peer->stream->migration_id[0] = id;
    g_ptr_array_add(lab->peers, peer);
    sami_collector_session_new(lab->collector, fds[1]);
    g_assert(sami_session_socket_send_open(peer->socket, &open, NULL));
    sami_random(peer->stream->nonce_e, sizeof peer->stream->nonce_e);
    memcpy(hello.hello.nonce, peer->stream->nonce_e, sizeof hello.hello.nonce);
    sami_key_public(sami_fuzz_key(), hello.hello.public_key);
    lab_add(peer, &hello);
    lab_send(peer);
    lab_settle(lab);
    return peer;
}

void
lab_add(LabPeer *peer, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (sami_encoder_add(peer->stream->encoder, record, NULL))
        return;
    lab_send(peer);
    if (!sami_encoder_add(peer->stream->encoder, record, &error))
        g_error("%s", error->message);
}

void
lab_send(LabPeer *peer)
{
    const guint8 *message;
    gsize length;
    g_assert(sami_stream_take(peer->stream, now_ms(), 1700000000, FALSE, &message, &length, NULL));
    g_assert(sami_session_socket_send(peer->socket, SAMI_FRAME_MESSAGE, message, length, NULL));
}

void
lab_close(LabPeer *peer)
{
    sami_session_socket_send(peer->socket, SAMI_FRAME_CLOSE, NULL, 0, NULL);
    lab_settle(peer->lab);
}

void
lab_add_begin(LabPeer *peer, guint32 kinds)
{
    SamiRecord vm = { .kind = SAMI_RECORD_VM_ADDRESS4, .vm_address = { .family = 4, .length = 32, .address = { { 10, 0, 0, 13 } } } };
    SamiRecord begin = { .kind = SAMI_RECORD_BEGIN, .begin = { 1, 60, kinds, "fw2.example" } };
    lab_add(peer, &vm);
    lab_add(peer, &begin);
}

SamiSession
lab_flow(guint number)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY | SAMI_HAS_MARK | SAMI_HAS_TCP, .timeout_s = 50,
                      .status = SAMI_IPS_CONFIRMED | SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED, .tcp_state = SAMI_TCP_STATE_ESTABLISHED };
    s.key = (SamiFlowKey){ .family = 4, .protocol = IPPROTO_TCP, .orig = { .src = { { 10, 0, 0, 13 } }, .dst = { { 198, 51, 100, 1 } } } };
    s.key.orig.src_port = (guint16) (1000 + number);
    s.key.orig.dst_port = 443;
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

void
lab_add_flows(LabPeer *peer, guint from, guint n, guint8 action, guint32 mark)
{
    for (guint i = from; i < from + n; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = lab_flow(i) };
        record.session.action = action;
        record.session.mark = mark;
        lab_add(peer, &record);
    }
}

void
lab_mark(LabPeer *peer, guint8 marker, guint64 n_records)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { marker, n_records, SAMI_FREEZE_EVENTS } };
    lab_add(peer, &record);
    lab_send(peer);
}

LabPeer *
lab_begin(Lab *lab, guint8 id, guint n)
{
    LabPeer *peer = lab_connect(lab, id, SAMI_OPENING_NEW);
    lab_add_begin(peer, SAMI_KIND_SESSION | SAMI_KIND_EXPECTATION);
    lab_add_flows(peer, 0, n, SAMI_ACTION_CREATED, 1);
    lab_mark(peer, SAMI_MARKER_SNAPSHOT, n);
    g_assert(lab_receipt(peer, SAMI_RECEIPT_SNAPSHOT));
    return peer;
}

typedef struct {
    LabPeer *peer;
    SamiRecordKind kind;
    guint8 wanted; /* phase or scope */
    const SamiRecord *found;
} Wanted;

static gboolean
has_answer(gpointer user_data)
{
    Wanted *wanted = user_data;
    for (guint i = 0; !wanted->found && i < wanted->peer->answers->len; i++) {
        const SamiRecord *record = &g_array_index(wanted->peer->answers, SamiRecord, i);
        guint8 is = wanted->kind == SAMI_RECORD_RECEIPT ? record->receipt.phase : record->refusal.scope;
        if (record->kind == wanted->kind && is == wanted->wanted)
            wanted->found = record;
    }
    return wanted->found != NULL;
}

const SamiReceipt *
lab_receipt(LabPeer *peer, guint8 phase)
{
    Wanted wanted = { peer, SAMI_RECORD_RECEIPT, phase, NULL };
    return lab_wait(peer->lab, has_answer, &wanted) ? &wanted.found->receipt : NULL;
}

const SamiRefusal *
lab_refusal(LabPeer *peer)
{
    Wanted wanted = { peer, SAMI_RECORD_REFUSAL, SAMI_SCOPE_MESSAGE, NULL };
    return lab_wait(peer->lab, has_answer, &wanted) ? &wanted.found->refusal : NULL;
}

void
lab_fill_disk(int fd)
{
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    g_assert(full >= 0 && dup3(full, fd, O_CLOEXEC) == fd);
    close(full);
}
