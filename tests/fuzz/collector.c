/* What a peer with both keys can do to the state process: hello, vm-address, begin, records, markers, in any order, through policy, ledger and
 * injector into the fake kernel. Nothing of it may come into the table that the signer's policy has no address for. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/socket.h>

#include "collector/collector.h"
#include "tests/fuzz/collector.h"

static void
check_entry(const SamiSession *s, gpointer user_data)
{
    const SamiSigner *signer = user_data;
    gboolean is_allowed = FALSE;
    for (guint i = 0; i < signer->allow_prefixes->len; i++) {
        const SamiPrefix *allowed = &g_array_index(signer->allow_prefixes, SamiPrefix, i);
        is_allowed |= sami_prefix_contains(allowed, s->key.family, &s->key.orig.src) || sami_prefix_contains(allowed, s->key.family, &s->reply.src);
    }
    g_assert(is_allowed && s->key.zone == 0);
}

static void
check_table(SamiCollector *collector)
{
    SamiDumpFilter filter = {0};
    SamiDumpStatus status = SAMI_DUMP_MORE;
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(collector->firewall, &filter, NULL);
    while (dump && status == SAMI_DUMP_MORE)
        status = sami_firewall_dump_next(dump, check_entry, g_ptr_array_index(collector->signers, 0), NULL);
    g_assert(status == SAMI_DUMP_END);
}

/* FALSE: the session has ended. */
static gboolean
feed(SamiCollector *collector, SamiSessionSocket *peer, SamiShim *shim, guint32 *sequence, guint8 *message, gsize length)
{
    SamiSignature fields = {.role = SAMI_ROLE_EXPORTER, .migration_id = {1}};
    SamiCollectorSession *session = collector->sessions->len ? g_ptr_array_index(collector->sessions, 0) : NULL;
    if (!session || !session->source)
        return FALSE;
    sami_binding_opening(session->open.ekm, fields.binding);
    if (session->stream) {
        memcpy(fields.binding, session->stream->binding, sizeof fields.binding);
        fields.counter = session->stream->counter_in;
    }
    length = sami_fuzz_sign(&fields, shim, sequence, message, length);
    return sami_session_socket_send(peer, SAMI_FRAME_MESSAGE, message, length, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    guint32 sequence = 0;
    SamiFrameOpen open = {.version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX, .name = "fw1.example", .address = "192.0.2.1:4740"};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return 0;
    SamiCollector *collector = sami_fuzz_collector_new();
    g_autoptr(SamiSessionSocket) peer = sami_session_socket_new(fds[0]);
    SamiShim *shim = sami_shim_new(SAMI_DOMAIN_FORWARD);
    sami_collector_session_new(collector, fds[1]);
    gboolean is_alive = sami_session_socket_send_open(peer, &open, NULL);
    sami_fuzz_collector_settle(collector, peer);
    while (is_alive && size >= SAMI_MESSAGE_HEADER) {
        guint8 message[SAMI_MESSAGE_MAX];
        gsize length, taken = sami_fuzz_cut(data, size, message, &length);
        is_alive = feed(collector, peer, shim, &sequence, message, length);
        sami_fuzz_collector_settle(collector, peer);
        check_table(collector);
        data += taken, size -= taken;
    }
    sami_shim_free(shim);
    sami_fuzz_collector_free(collector);
    return 0;
}
