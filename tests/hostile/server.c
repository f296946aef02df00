#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "tests/hostile/collector.h"

/* What has not come within this time is a failure; nothing here waits for it otherwise. */
#define PATIENCE_S 20

static guint64
now_ms(void)
{
    return (guint64) (g_get_monotonic_time() / 1000);
}

/* ---- samictl ---- */

void
lab_say(const gchar *text)
{
    g_print("%s\n", text);
    fflush(stdout);
}

pid_t
lab_run(Lab *lab, const gchar *output, const gchar *const *arguments)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, lab->samictl);
    g_ptr_array_add(argv, (gpointer) "--config-dir");
    g_ptr_array_add(argv, (gpointer) lab->exporter_dir);
    for (; *arguments; arguments++)
        g_ptr_array_add(argv, (gpointer) *arguments);
    g_ptr_array_add(argv, NULL);
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", g_strerror(errno));
    if (pid > 0)
        return pid;
    int fd = open(output ? output : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(126);
    execv(lab->samictl, (char **) argv->pdata);
    _exit(127);
}

gint
lab_finish(const gchar *what, pid_t pid)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
    int status;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (g_get_monotonic_time() > deadline)
            die("samictl %s does not end", what);
        g_usleep(2000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* (transfer full) (nullable): no such migration */
static JsonObject *
read_status(Lab *lab, const gchar *id)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "status");
    json_object_set_string_member(request, "id", id);
    g_autoptr(JsonObject) answer = sami_control_call(lab->watch.socket, request, NULL, NULL, &error);
    if (!answer)
        die("%s", error->message);
    JsonArray *list = json_object_get_array_member(answer, "migrations");
    return json_array_get_length(list) > 0 ? json_object_ref(json_array_get_object_element(list, 0)) : NULL;
}

gchar *
lab_phase(Lab *lab, const gchar *id)
{
    g_autoptr(JsonObject) status = read_status(lab, id);
    return g_strdup(status ? json_object_get_string_member(status, "phase") : "none");
}

static void
wait_confirmed(Server *s)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
    for (gboolean is_confirmed = FALSE; !is_confirmed; g_usleep(2000)) {
        g_autoptr(JsonObject) status = read_status(s->lab, s->id);
        is_confirmed = status && json_object_get_boolean_member(status, "confirmed_snapshot");
        if (g_get_monotonic_time() > deadline)
            die("the snapshot is not confirmed");
    }
}

void
lab_wait_phase(Lab *lab, const gchar *id, const gchar *phase)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
    for (;; g_usleep(2000)) {
        g_autofree gchar *now = lab_phase(lab, id);
        if (g_str_equal(now, phase))
            return;
        if (g_get_monotonic_time() > deadline)
            die("the exporter is in %s, not %s", now, phase);
    }
}

/* ---- the session ---- */

Server *
server_new(Lab *lab, const Case *what)
{
    Server *s = g_new0(Server, 1);
    const gchar *arguments[] = { "migrate",    "--json", "--vm", lab->vm,
                                 "--to",       lab->config->name, "--deadline", what->end == END_ABORT || what->end == END_HELD ? "100ms" : "15s",
                                 what->is_purging ? "--purge" : NULL, NULL };
    const gchar *other[] = { what->verb, "--vm", lab->vm, "--to", lab->config->name, NULL };
    s->lab = lab;
    s->what = what;
    s->fd = -1;
    s->key = lab->signing_key;
    s->in = g_byte_array_new();
    s->body = g_byte_array_new();
    s->heard = g_byte_array_new();
    s->flows = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    s->migrate = lab_run(lab, lab->output, what->verb ? other : arguments);
    return s;
}

void
server_close(Server *s, Close how)
{
    if (s->fd < 0)
        return;
    if (how == CLOSE_ORDERLY)
        SSL_shutdown(s->ssl);
    if (how == CLOSE_RESET) {
        const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    } else {
        /* What was not read would make the kernel send a reset. */
        guint8 octets[4096];
        shutdown(s->fd, SHUT_WR);
        while (recv(s->fd, octets, sizeof octets, MSG_DONTWAIT) > 0)
            ;
    }
    close(s->fd);
    s->fd = -1;
    SSL_free(s->ssl);
    s->ssl = NULL;
    sami_tls_verdict_clear(&s->verdict);
    s->verdict = (SamiTlsVerdict){ 0 };
    g_clear_pointer(&s->stream, sami_stream_free);
    s->is_bound = FALSE;
    g_byte_array_set_size(s->in, 0);
}

void
server_free(Server *s)
{
    server_close(s, CLOSE_TCP);
    g_byte_array_unref(s->in);
    g_byte_array_unref(s->body);
    g_byte_array_unref(s->heard);
    g_hash_table_unref(s->flows);
    g_free(s);
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    Server *s = user_data;
    switch (record->kind) {
    case SAMI_RECORD_HELLO: s->hello = record->hello; return;
    case SAMI_RECORD_BEGIN: s->n_begun++; return;
    case SAMI_RECORD_EPOCH: s->n_epochs += record->epoch.phase == 1; return;
    case SAMI_RECORD_ABORT: s->n_aborts++; return;
    case SAMI_RECORD_END: return;
    case SAMI_RECORD_MARKER:
        if (record->marker.n_records != s->n_records && !s->has_gap)
            die("the marker announces %" G_GUINT64_FORMAT " records, %" G_GUINT64_FORMAT " came", record->marker.n_records, s->n_records);
        s->markers[record->marker.marker] = s->counter;
        s->marked[record->marker.marker] = s->n_records;
        s->n_markers++;
        return;
    case SAMI_RECORD_SESSION:
        s->n_records++;
        if (record->session.action == SAMI_ACTION_DELETED)
            g_hash_table_remove(s->flows, &record->session.key);
        else
            g_hash_table_add(s->flows, g_memdup2(&record->session.key, sizeof record->session.key));
        return;
    default: return;
    }
}

/* FALSE: the connection has ended. */
static gboolean
read_message(Server *s)
{
    for (;;) {
        gsize n = 0, length = s->in->len < 4 ? 0 : (gsize) s->in->data[2] << 8 | s->in->data[3];
        guint8 octets[8192];
        if (s->in->len >= 4 && s->in->len >= length) {
            g_byte_array_set_size(s->heard, 0);
            g_byte_array_append(s->heard, s->in->data, (guint) length);
            g_byte_array_remove_range(s->in, 0, (guint) length);
            return TRUE;
        }
        ERR_clear_error();
        if (SSL_read_ex(s->ssl, octets, sizeof octets, &n) != 1)
            return FALSE;
        g_byte_array_append(s->in, octets, (guint) n);
    }
}

/* The exporter is honest, and whatever it says is looked at as a collector does. */
static void
take_message(Server *s)
{
    SamiReason reason;
    gboolean is_last;
    g_autoptr(GError) error = NULL;
    if (!read_message(s))
        die("the exporter has ended the session");
    s->counter = s->stream->counter_in;
    if (!sami_stream_verify(s->stream, s->heard->data, s->heard->len, now_ms(), &reason, &is_last, &error) ||
        !sami_stream_decode(s->stream, s->heard->data, s->heard->len, on_record, s, &error))
        die("the exporter's Message %" G_GUINT64_FORMAT ": %s", s->counter, error->message);
}

void
server_wait(Server *s, const guint64 *what, guint64 was)
{
    while (*what == was)
        take_message(s);
}

void
server_accept(Server *s)
{
    const struct timeval timeout = { .tv_sec = PATIENCE_S };
    guint8 ekm[32];
    SamiSignature signature;
    g_autoptr(GError) error = NULL;
    struct pollfd ready = { .fd = s->lab->listener, .events = POLLIN };
    if (poll(&ready, 1, PATIENCE_S * 1000) != 1 || (s->fd = accept4(s->lab->listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        die("the exporter does not come");
    setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (!(s->ssl = sami_tls_open(s->lab->tls, &s->verdict, s->fd, &error)))
        die("%s", error->message);
    if (SSL_accept(s->ssl) != 1 || !sami_tls_export(s->ssl, ekm))
        die("no TLS with the exporter");
    s->stream = sami_stream_new(SAMI_ROLE_COLLECTOR, s->lab->signing_key, ekm, SAMI_MESSAGE_MAX, now_ms(), 60000);
    s->stream->peer_key = s->lab->exporter_key;
    if (!read_message(s) || !sami_signature_read(s->heard->data, s->heard->len, &signature, &error))
        die("no hello");
    memcpy(s->stream->migration_id, signature.migration_id, 16);
    for (guint i = 0; i < 16; i++)
        g_snprintf(s->id + 2 * i, 3, "%02x", signature.migration_id[i]);
    g_byte_array_prepend(s->in, s->heard->data, s->heard->len);
    take_message(s);
    memcpy(s->stream->nonce_e, s->hello.nonce, 32);
    sami_random(s->stream->nonce_c, 32);
}

/* ---- Messages out ---- */

void
server_add(Server *s, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (sami_encoder_add(s->stream->encoder, record, &error))
        return;
    if (!g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL))
        die("cannot encode: %s", error->message);
    server_send(s, FALSE);
    g_clear_error(&error);
    if (!sami_encoder_add(s->stream->encoder, record, &error))
        die("cannot encode: %s", error->message);
}

void
server_prepare(Server *s, gboolean is_last)
{
    const guint8 *message;
    gsize length;
    g_autoptr(GError) error = NULL;
    if (!sami_stream_take(s->stream, now_ms(), (guint32) (g_get_real_time() / G_USEC_PER_SEC), is_last, &message, &length, &error) ||
        !sami_signature_read(message, length, &s->fields, &error))
        die("%s", error->message);
    g_byte_array_set_size(s->body, 0);
    g_byte_array_append(s->body, message, (guint) (length - SAMI_SIGNATURE_SET));
}

void
server_seal(Server *s)
{
    guint length = s->body->len;
    g_byte_array_set_size(s->body, length + SAMI_SIGNATURE_SET);
    sami_signature_seal(s->key, &s->fields, s->body->data, length);
}

void
server_transmit_octets(Server *s, const guint8 *octets, gsize length)
{
    for (gsize n = 0; length > 0; octets += n, length -= n) { /* the context allows partial writes */
        ERR_clear_error();
        if (SSL_write_ex(s->ssl, octets, length, &n) != 1)
            return; /* the exporter has had enough */
    }
}

void
server_transmit(Server *s)
{
    server_transmit_octets(s, s->body->data, s->body->len);
}

void
server_send(Server *s, gboolean is_last)
{
    server_prepare(s, is_last);
    server_seal(s);
    server_transmit(s);
}

void
server_say(Server *s, const SamiRecord *record)
{
    server_add(s, record);
    server_send(s, FALSE);
}

SamiRecord
server_hello_reply(Server *s)
{
    SamiRecord record = { .kind = SAMI_RECORD_HELLO_REPLY,
                          .hello_reply = { .version = 1, .next_counter = 1, .lease_s = 30, .message_max = SAMI_MESSAGE_MAX, .sessions_max = 100000 } };
    memcpy(record.hello_reply.nonce_e, s->hello.nonce, 32);
    memcpy(record.hello_reply.nonce_c, s->stream->nonce_c, 32);
    sami_key_public(s->lab->signing_key, record.hello_reply.public_key);
    return record;
}

/* Of what has come; its marker is the last one of its kind. */
SamiRecord
server_receipt(Server *s, guint8 phase)
{
    static const guint8 marker_of[] = { [SAMI_RECEIPT_SNAPSHOT] = SAMI_MARKER_SNAPSHOT, [SAMI_RECEIPT_READY] = SAMI_MARKER_FREEZE,
                                        [SAMI_RECEIPT_FINAL] = SAMI_MARKER_SETTLE, [SAMI_RECEIPT_ABORTED] = 0 };
    guint8 marker = phase < G_N_ELEMENTS(marker_of) ? marker_of[phase] : 0;
    SamiRecord record = { .kind = SAMI_RECORD_RECEIPT, .receipt = { .phase = phase, .freeze_mode = SAMI_FREEZE_EVENTS } };
    record.receipt.marker_counter = s->markers[marker];
    record.receipt.n_records = s->marked[marker];
    record.receipt.n_accepted = record.receipt.n_present = g_hash_table_size(s->flows);
    record.receipt.n_exact = phase == SAMI_RECEIPT_FINAL ? g_hash_table_size(s->flows) : 0;
    return record;
}

static void
bind_session(Server *s)
{
    sami_stream_bind(s->stream, s->lab->config->name);
    s->is_bound = TRUE;
}

void
server_resume(Server *s, guint64 next)
{
    SamiRecord reply = server_hello_reply(s);
    if (s->hello.opening != SAMI_OPENING_RESUME)
        die("the exporter does not resume");
    reply.hello_reply.next_counter = next;
    server_say(s, &reply);
    bind_session(s);
    s->stream->counter_in = next;
}

static void
reach_next(Server *s, Stage stage)
{
    SamiRecord record;
    gint status;
    switch (stage) {
    case STAGE_HELLO: server_accept(s); break;
    case STAGE_BOUND:
        if (!s->is_bound) { /* not by the case itself */
            record = server_hello_reply(s);
            server_say(s, &record);
            bind_session(s);
        }
        server_wait(s, &s->n_begun, 0);
        break;
    case STAGE_SNAPSHOT: server_wait(s, &s->markers[SAMI_MARKER_SNAPSHOT], 0); break;
    case STAGE_FOLLOW:
        record = server_receipt(s, SAMI_RECEIPT_SNAPSHOT);
        server_say(s, &record);
        wait_confirmed(s);
        break;
    case STAGE_FREEZE: {
        guint64 before = s->markers[SAMI_MARKER_FREEZE];
        const gchar *arguments[] = { "freeze", s->id, NULL };
        s->freeze = lab_run(s->lab, NULL, arguments);
        server_wait(s, &s->markers[SAMI_MARKER_FREEZE], before);
        break;
    }
    case STAGE_READY:
        record = server_receipt(s, SAMI_RECEIPT_READY);
        server_say(s, &record);
        if ((status = lab_finish("freeze", s->freeze)) != SAMI_EXIT_DONE)
            die("samictl freeze ended with %d after READY", status);
        s->freeze = 0;
        break;
    case STAGE_SETTLE: server_wait(s, &s->markers[SAMI_MARKER_SETTLE], 0); break;
    case STAGE_DONE:
        record = server_receipt(s, SAMI_RECEIPT_FINAL);
        server_add(s, &record);
        server_send(s, TRUE);
        break;
    default: break;
    }
    s->stage = stage;
}

void
server_reach(Server *s, Stage stage)
{
    while (s->stage < stage)
        reach_next(s, s->stage + 1);
}
