/* What a collector can do to the exporter's state process that sends it a VM: answers in any order, to a migration that its operator freezes, thaws
 * and aborts meanwhile (the last octet of a Message's Export Time says so). What it is told never makes more of the move than was sent. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/socket.h>

#include "tests/fuzz/exporter.h"

static void
settle(SamiSessionSocket *peer)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    do
        while (sami_session_socket_receive(peer, &type, &payload, &length, NULL) == SAMI_RECEIVE_FRAME)
            ;
    while (g_main_context_iteration(NULL, FALSE));
}

static void
act(SamiMigration *m, guint8 what)
{
    if (what & 1)
        sami_migration_freeze(m, 1000, what & 16 ? 1000 : 0, NULL);
    if (what & 2)
        sami_migration_thaw(m, NULL);
    if (what & 4)
        sami_migration_settle(m, NULL);
    if (what & 8)
        sami_migration_abort(m, SAMI_ABORT_OPERATOR, NULL);
}

static void
check_state(const SamiMigration *m)
{
    gboolean is_ready = m->state == SAMI_STATE_READY || m->state == SAMI_STATE_SETTLE || m->state == SAMI_STATE_DONE;
    g_assert(!is_ready || (m->is_snapshot_confirmed && m->marker_counter && m->freeze_us));
    g_assert(m->state != SAMI_STATE_DONE || m->has_final);
    g_assert(m->accepted <= m->n_sent && m->merged <= m->n_sent && m->exact <= m->n_sent && m->degraded <= m->n_sent && m->refused <= m->n_sent);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SamiFrameOpen open = {.version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX, .name = "fw2.example", .address = "192.0.2.2:4740"};
    int fds[2];
    guint32 sequence = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return 0;
    SamiExporter *exporter = sami_fuzz_exporter_new();
    SamiMigration *m = g_ptr_array_index(exporter->migrations, 0);
    g_autoptr(SamiSessionSocket) peer = sami_session_socket_new(fds[0]);
    SamiShim *shim = sami_shim_new(SAMI_DOMAIN_REVERSE);
    sami_migration_attach(m, fds[1]);
    gboolean is_alive = sami_session_socket_send_open(peer, &open, NULL);
    settle(peer);
    while (is_alive && m->socket && m->stream && size >= SAMI_MESSAGE_HEADER) {
        guint8 message[SAMI_MESSAGE_MAX];
        SamiSignature fields = {.role = SAMI_ROLE_COLLECTOR, .counter = m->stream->counter_in};
        gsize length, taken = sami_fuzz_cut(data, size, message, &length);
        memcpy(fields.migration_id, m->stream->migration_id, sizeof fields.migration_id);
        memcpy(fields.binding, m->stream->binding, sizeof fields.binding);
        length = sami_fuzz_sign(&fields, shim, &sequence, message, length);
        is_alive = sami_session_socket_send(peer, SAMI_FRAME_MESSAGE, message, length, NULL);
        settle(peer);
        check_state(m);
        act(m, message[7]);
        settle(peer);
        check_state(m);
        data += taken, size -= taken;
    }
    sami_shim_free(shim);
    sami_fuzz_exporter_free(exporter);
    return 0;
}
