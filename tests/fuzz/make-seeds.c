/* Writes the generated seeds: seeds DIRECTORY. What it writes is what the encoder, the netlink builder and the frames make of
 * sample records; journals of real migrations and hand-written texts lie beside them. */
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "collector/ledger-file.h"
#include "firewall/attributes.h"
#include "templates/stream.h"
#include "tests/unit/capture-frames.h"
#include "transport/session.h"

/* Counters of the exporter's Messages that say so in a move without trouble. */
enum { ANSWER_SNAPSHOT = 5, ANSWER_FREEZE = 6, ANSWER_SETTLE = 7 };

static void
save(const gchar *directory, const gchar *target, const gchar *name, gconstpointer data, gsize size)
{
    g_autofree gchar *parent = g_build_filename(directory, target, NULL);
    g_autofree gchar *path = g_build_filename(parent, name, NULL);
    g_mkdir_with_parents(parent, 0755);
    if (!g_file_set_contents_full(path, data, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0644, NULL))
        g_error("cannot write %s", path);
}

static void
add_related(SamiSession *s)
{
    s->has |= SAMI_HAS_HELPER | SAMI_HAS_HELPER_INFO | SAMI_HAS_MASTER | SAMI_HAS_SECCTX | SAMI_HAS_REPLY_ZONE;
    g_strlcpy(s->helper, "ftp", sizeof s->helper);
    g_strlcpy(s->secctx, "system_u:object_r:packet_t:s0", sizeof s->secctx);
    s->helper_info[0] = 1;
    s->reply_zone = 7;
    s->master = s->key;
    s->master.protocol = IPPROTO_TCP;
    if (s->key.protocol != IPPROTO_TCP)
        return;
    s->has |= SAMI_HAS_SEQADJ | SAMI_HAS_SYNPROXY;
    s->seqadj[0] = (SamiSeqAdj){1000, -5, 7};
    s->seqadj[1] = (SamiSeqAdj){2000, 0, -1};
    s->synproxy_isn = 1, s->synproxy_its = 2, s->synproxy_tsoff = 3;
}

/* Every protocol, family and translation, and all optional fields with bit 3 of n. */
static SamiSession
sample(guint n)
{
    static const guint8 protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_SCTP, IPPROTO_GRE, IPPROTO_UDPLITE, IPPROTO_ESP, IPPROTO_DCCP};
    SamiSession s = {.key = {.family = n & 1 ? 6 : 4}, .action = SAMI_ACTION_CREATED, .status = 14, .timeout_s = 100,
                     .has = SAMI_HAS_REPLY | SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT};
    const guint8 vm6[16] = {0x20, 1, 0xd, 0xb8, 0, 0xa, [15] = 13}, peer6[16] = {0x20, 1, 0xd, 0xb8, 0, 0xc, [15] = 10};
    memcpy(s.key.orig.src.octets, s.key.family == 4 ? (guint8[16]){10, 0, 0, 13} : vm6, 16);
    memcpy(s.key.orig.dst.octets, s.key.family == 4 ? (guint8[16]){198, 51, 100, 10} : peer6, 16);
    s.key.protocol = protocols[n / 2 % G_N_ELEMENTS(protocols)];
    if (s.key.protocol == IPPROTO_ICMP && s.key.family == 6)
        s.key.protocol = IPPROTO_ICMPV6;
    s.key.orig.src_port = (guint16)(40000 + n);
    s.key.orig.dst_port = s.key.protocol == IPPROTO_ICMP ? 8 << 8 : s.key.protocol == IPPROTO_ICMPV6 ? 128 << 8 : 443;
    if (sami_protocol_selector(s.key.protocol) == SAMI_SELECTOR_NONE)
        s.key.orig.src_port = s.key.orig.dst_port = 0;
    sami_flow_key_mirror(&s.key, &s.reply);
    if (n & 2)
        s.reply.dst.octets[3] ^= 1, s.status |= SAMI_IPS_SRC_NAT;
    if (s.key.protocol == IPPROTO_TCP)
        s.has |= SAMI_HAS_TCP | SAMI_HAS_WSCALE, s.tcp_state = SAMI_TCP_STATE_ESTABLISHED, s.tcp_wscale[0] = 7;
    if (n & 8) {
        s.has |= SAMI_HAS_MARK | SAMI_HAS_LABELS | SAMI_HAS_ID | SAMI_HAS_START | SAMI_HAS_COUNTERS | SAMI_HAS_VLAN;
        s.mark = 7, s.labels[3] = 1, s.flow_id = 99, s.start_ns = 1700000000000000000u, s.flags = SAMI_SESSION_LATE;
        add_related(&s);
    }
    if (s.key.protocol == IPPROTO_SCTP)
        s.has |= SAMI_HAS_SCTP, s.sctp_state = 4, s.sctp_vtag[0] = 0x12345678, s.sctp_vtag[1] = 1;
    if (s.key.protocol == IPPROTO_DCCP)
        s.has |= SAMI_HAS_DCCP, s.dccp_state = 4, s.dccp_role = 1, s.dccp_handshake_seq = 0x123456789abc;
    return s;
}

static void
flush(SamiStream *stream, GByteArray *out)
{
    const guint8 *message;
    gsize length;
    if (!sami_stream_take(stream, 1, 1700000000, FALSE, &message, &length, NULL))
        g_error("take");
    g_byte_array_append(out, message, (guint)length);
}

static void
add(SamiStream *stream, const SamiRecord *record, GByteArray *out)
{
    g_autoptr(GError) error = NULL;
    if (sami_encoder_add(stream->encoder, record, &error))
        return;
    flush(stream, out);
    if (!sami_encoder_add(stream->encoder, record, NULL))
        g_error("%s", error->message);
}

/* A whole direction: control records of every kind, then sessions `from` up to `to`. */
static void
save_stream(const gchar *directory, const gchar *target, const gchar *name, guint8 role, guint from, guint to)
{
    const guint8 ekm[32] = {0};
    g_autoptr(SamiKey) key = sami_key_generate();
    g_autoptr(SamiStream) stream = sami_stream_new(role, key, ekm, SAMI_MESSAGE_MAX, 0, 30000);
    g_autoptr(GByteArray) out = g_byte_array_new();
    for (guint kind = SAMI_RECORD_HELLO; kind < SAMI_N_RECORD_KINDS; kind++) {
        SamiRecord record = {.kind = kind};
        gboolean is_reverse = kind == SAMI_RECORD_HELLO_REPLY || kind == SAMI_RECORD_FINDING || kind == SAMI_RECORD_KIND_COUNT ||
                              (kind >= SAMI_RECORD_RECEIPT && kind <= SAMI_RECORD_REFUSAL);
        if (!sami_kinds[kind].name)
            continue;
        if (kind == SAMI_RECORD_CUMULATIVE)
            record.cumulative = (SamiCumulative){.set = "syn4", .key_type = 7, .key_length = 4, .key = {192, 0, 2, 1}, .family = 4, .has = 7};
        if (kind == SAMI_RECORD_REFUSAL)
            g_strlcpy(record.refusal.detail, "a \"detail\"", sizeof record.refusal.detail);
        if (kind == SAMI_RECORD_HELLO || kind == SAMI_RECORD_BEGIN)
            g_strlcpy(kind == SAMI_RECORD_HELLO ? record.hello.destination : record.begin.destination, "fw2.example", 32);
        if (is_reverse == (role == SAMI_ROLE_COLLECTOR))
            add(stream, &record, out);
    }
    for (guint i = from; i < to; i++) {
        SamiRecord record = {.kind = SAMI_RECORD_SESSION, .session = sample(i)};
        add(stream, &record, out);
    }
    flush(stream, out);
    save(directory, target, name, out->data, out->len);
    if (from == 0) /* the first Message alone */
        save(directory, "signature", name, out->data, (gsize)out->data[2] << 8 | out->data[3]);
}

static void
save_sample(const gchar *directory, guint n)
{
    guint8 buffer[SAMI_CT_MESSAGE_MAX] = {0}, packed[1024] = {0};
    g_autofree gchar *name = g_strdup_printf("sample-%02u", n);
    SamiTemplate tmpl;
    SamiRecord record = {.kind = SAMI_RECORD_SESSION, .session = sample(n)};
    SamiGroups groups = sami_record_groups(&record);
    struct nlmsghdr *nlh = sami_ct_message(buffer, 0, 0, record.session.key.family, 1);
    sami_ct_put(nlh, &record.session, SAMI_OP_CREATE);
    save(directory, "netlink", name, buffer, nlh->nlmsg_len);
    sami_template_make(SAMI_RECORD_SESSION, groups, 256, &tmpl);
    memcpy(packed, &groups, sizeof groups);
    sami_template_pack(&tmpl, &record, packed + sizeof groups);
    save(directory, "session", name, packed, sizeof groups + tmpl.length);
}

static void
save_templates(const gchar *directory)
{
    guint8 set[SAMI_TEMPLATE_SET_MAX];
    SamiTemplate tmpl;
    for (guint kind = 0; kind < SAMI_N_RECORD_KINDS; kind++) {
        SamiRecord record = {.kind = (SamiRecordKind)kind};
        g_autofree gchar *name = g_strdup_printf("kind-%02u", kind);
        if (!sami_kinds[kind].name) /* a number without a record */
            continue;
        if (kind == SAMI_RECORD_SESSION)
            record.session = sample(9);
        sami_template_make(record.kind, sami_record_groups(&record), 256, &tmpl);
        gsize length = sami_template_write(&tmpl, set, sizeof set);
        set[3] = tmpl.n_scope ? 3 : 2; /* the target's first octet is the Set's id, where the header ended */
        save(directory, "template", name, set + 3, length - 3);
    }
}

static void
save_frames(const gchar *directory)
{
    int fds[2];
    guint8 frame[2048];
    SamiFrameOpen open = {.version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX,
                          .name = "fw1.example", .address = "[2001:db8::1]:4740"};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) != 0)
        g_error("socketpair");
    g_autoptr(SamiSessionSocket) session = sami_session_socket_new(fds[0]);
    for (guint i = 0; i < 4; i++) {
        g_autofree gchar *name = g_strdup_printf("frame-%u", i);
        gboolean is_sent = i == 0   ? sami_session_socket_send_open(session, &open, NULL)
                           : i == 1 ? sami_session_socket_send(session, SAMI_FRAME_CLOSE, NULL, 0, NULL)
                           : i == 2 ? sami_session_socket_send(session, SAMI_FRAME_ERROR, (const guint8 *)"no", 2, NULL)
                                    : sami_channel_send(fds[0], SAMI_CHANNEL_CONNECT, 5, "fw2.example", -1, NULL);
        gssize n = is_sent ? recv(fds[1], frame, sizeof frame, 0) : -1;
        if (n <= 0)
            g_error("frame %u", i);
        save(directory, "frame", name, frame, (gsize)n);
    }
}

static void
save_captures(const gchar *directory)
{
    const Ends ends = {4, 1, 2, 40000, 4739}, back = {4, 2, 1, 4739, 40000}, ends6 = {6, 1, 2, 40000, 9899};
    Frames frames[5];
    for (guint i = 0; i < 2; i++) {
        frames_begin(&frames[i], DLT_EN10MB, i == 1);
        frames_add_all(&frames[i]);
    }
    frames_begin(&frames[2], DLT_RAW, FALSE); /* begins inside, loses octets, and is acknowledged */
    for (guint i = 0; i < 4; i++) {
        frames_add(&frames[2], frames_ip(&ends, IPPROTO_TCP, frames_tcp(&ends, ACK, 1000 + i * 80, 0, frames_message(i, 60))), 0);
        frames_add(&frames[2], frames_ip(&back, IPPROTO_TCP, frames_tcp(&back, i == 3 ? RST : ACK, 1, 1060 + i * 80, NULL)), 0);
    }
    frames_begin(&frames[3], DLT_RAW, FALSE);
    for (guint i = 0; i < 4; i++) {
        GByteArray *chunk = frames_data(DATA_B | DATA_E, 8 - i * 2, 0, (guint16)(4 - i), frames_message(i, 40));
        frames_add(&frames[3], frames_ip(&ends, IPPROTO_SCTP, frames_sctp(&ends, 7, chunk)), 0);
    }
    frames_begin(&frames[4], DLT_RAW, TRUE);
    frames_add(&frames[4], frames_ip(&ends6, IPPROTO_UDP, frames_udp(&ends6, frames_sctp(&ends6, 0, frames_init(FALSE, 7, 1)))), 0);
    frames_add(&frames[4], frames_fragment(&ends6, IPPROTO_UDP, 7, 0, TRUE, frames_udp(&ends6, frames_message(1, 40))), 0);
    frames_add(&frames[4], frames_fragment(&ends6, IPPROTO_UDP, 7, 40, FALSE, frames_octets("overlapping", 11)), 0);
    for (guint i = 0; i < G_N_ELEMENTS(frames); i++) {
        g_autofree gchar *name = g_strdup_printf("frames-%u", i);
        save(directory, "capture", name, frames[i].file->data, frames[i].file->len);
        frames_clear(&frames[i]);
    }
}

/* Of fuzz-packets: a stream in pieces, an association, and fragments. */
static void
save_packets(const gchar *directory)
{
    g_autoptr(GByteArray) message = frames_message(1, 60);
    for (guint kind = 0; kind < 4; kind++) {
        g_autofree gchar *name = g_strdup_printf("kind-%u", kind);
        g_autoptr(GByteArray) out = g_byte_array_new();
        for (guint i = 0; i < 4; i++) {
            guint at = kind == 0 || kind == 3 ? (i ^ 1) * 16 : 0, n = at == 48 ? 12 : kind == 0 || kind == 3 ? 16 : 60;
            guint8 flags[] = {0, 3, 0, at < 48 ? 4 : 0}, number[] = {(guint8)at, (guint8)i, 0, (guint8)(at / 8)};
            const guint8 header[] = {(guint8)(32 | kind), flags[kind], kind == 1 ? (guint8)i : 0, number[kind], kind == 3 ? 17 : 0, (guint8)n};
            g_byte_array_append(out, header, sizeof header);
            g_byte_array_append(out, message->data + at, n);
        }
        save(directory, "packets", name, out->data, out->len);
    }
}

static void
add_piece(GByteArray *out, guint flags, const gchar *octets, gsize n)
{
    g_byte_array_append(out, (const guint8[]){(guint8)flags, (guint8)(n >> 8), (guint8)n}, 3);
    g_byte_array_append(out, (const guint8 *)octets, (guint)n);
}

/* Of fuzz-tls-decrypt: the hellos are of random 0 and TLS_AES_128_GCM_SHA256. */
static void
save_tls(const gchar *directory)
{
    static const gchar client[] = {22, 3, 1, 0, 54, 1, 0, 0, 50, 3, 3, [45] = 2, 0x13, 1, 1, 0, 0, 7, 0, 43, 0, 3, 2, 3, 4};
    static const gchar ccs[] = {20, 3, 3, 0, 1, 1}, finished[] = {8, 0, 0, 1, 0, 20, 0, 0, 2, 1, 2, 22}, data[] = "data\x17\0\0";
    static const gchar update[] = {24, 0, 0, 1, 1, 22}, close_notify[] = {1, 0, 21}, retry_random[] =
        "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c";
    gchar server[] = {22, 3, 3, 0, 50, 2, 0, 0, 46, 3, 3, [44] = 0x13, 1, 0, 0, 6, 0, 43, 0, 2, 3, 4}, retry[sizeof server];
    memcpy(retry, server, sizeof server);
    memcpy(retry + 11, retry_random, 32);
    for (guint i = 0; i < 4; i++) { /* bit 0: retried, bit 1: the client first */
        g_autoptr(GByteArray) out = g_byte_array_new();
        g_autofree gchar *name = g_strdup_printf("session-%u", i);
        guint first = i & 2 ? 0 : 1;
        add_piece(out, 0, client, sizeof client);
        if (i & 1) {
            add_piece(out, 1, retry, sizeof retry);
            add_piece(out, 0, client, sizeof client);
        }
        if (first == 1)
            add_piece(out, 1, server, sizeof server);
        for (guint j = 0; j < 2; j++) {
            guint who = first ^ j;
            if (who == 1 && first == 0)
                add_piece(out, 1, server, sizeof server);
            add_piece(out, who, ccs, sizeof ccs);
            add_piece(out, who | 2, finished, sizeof finished);
            add_piece(out, who | 6, data, sizeof data - 1);
            add_piece(out, who | 6, update, sizeof update);
            add_piece(out, who | 10, data, sizeof data - 1);
            add_piece(out, who | 10, close_notify, sizeof close_notify);
        }
        add_piece(out, 0, "", 0);
        save(directory, "tls-decrypt", name, out->data, out->len);
    }
    server[sizeof server - 1] = 3;
    g_autoptr(GByteArray) older = g_byte_array_new();
    add_piece(older, 0, client, sizeof client);
    add_piece(older, 1, server, sizeof server);
    add_piece(older, 0, ccs, sizeof ccs);
    save(directory, "tls-decrypt", "older", older->data, older->len);
}

/* Of fuzz-collector: a move, one Message each for hello, begin, snapshot, freeze and what comes after it; a replication, a dry run. */
static void
save_moves(const gchar *directory)
{
    static const gchar *const names[] = {"move", "replication", "check", "abort"};
    static const guint8 markers[] = {SAMI_MARKER_SNAPSHOT, SAMI_MARKER_FREEZE, SAMI_MARKER_SETTLE};
    const guint8 ekm[32] = {0};
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(SamiStream) stream = sami_stream_new(SAMI_ROLE_EXPORTER, sami_fuzz_key(), ekm, SAMI_MESSAGE_MAX, 0, 30000);
        g_autoptr(GByteArray) out = g_byte_array_new();
        SamiRecord hello = {.kind = SAMI_RECORD_HELLO, .hello = {.version = 1, .pen = SAMI_PEN, .destination = "fw2.example", .opening = i == 2 ? 3 : 1}};
        SamiRecord vm = {.kind = SAMI_RECORD_VM_ADDRESS4, .vm_address = {.family = 4, .length = 32, .address = {{10, 0, 0, 13}}}};
        SamiRecord begin = {.kind = SAMI_RECORD_BEGIN, .begin = {i == 1 ? 0 : 1, 60, i == 1 ? SAMI_KIND_REPLICATION : 3, "fw2.example"}};
        SamiRecord epoch = {.kind = SAMI_RECORD_EPOCH, .epoch = {1, 1}}, end = {.kind = SAMI_RECORD_END}, stop = {.kind = SAMI_RECORD_ABORT};
        sami_key_public(sami_fuzz_key(), hello.hello.public_key);
        add(stream, &hello, out);
        flush(stream, out);
        if (i != 1)
            add(stream, &vm, out);
        add(stream, &begin, out);
        if (i != 2)
            add(stream, &epoch, out);
        for (guint j = 0; j < (i == 2 ? 1 : 3); j++) {
            SamiRecord marker = {.kind = SAMI_RECORD_MARKER, .marker = {markers[j], 4 * (j + 1), SAMI_FREEZE_EVENTS}};
            for (guint k = 0; k < 4; k++) {
                SamiRecord record = {.kind = SAMI_RECORD_SESSION, .session = sample(j == 2 ? k * 2 : j * 8 + k * 2)};
                record.session.action = j == 2 ? SAMI_ACTION_DELETED : SAMI_ACTION_CREATED;
                add(stream, &record, out);
            }
            epoch.epoch.phase = 2;
            if (j == 0 && i != 2)
                add(stream, &epoch, out);
            add(stream, i == 3 && j == 1 ? &stop : &marker, out);
            flush(stream, out);
        }
        if (i != 2) {
            add(stream, &end, out);
            flush(stream, out);
        }
        save(directory, "collector", names[i], out->data, out->len);
    }
}

/* Of fuzz-exporter: the answers to a move of its four entries, and what the operator does (1 freeze, 2 thaw, 4 settle, 8 abort) after each Message. */
static void
save_answers(const gchar *directory)
{
    static const struct {
        guint8 phase;
        guint64 marker_counter, n_records;
        guint8 action;
    } steps[] = {{SAMI_RECEIPT_SNAPSHOT, ANSWER_SNAPSHOT, 4, 1}, {SAMI_RECEIPT_READY, ANSWER_FREEZE, 4, 0}, {SAMI_RECEIPT_FINAL, ANSWER_SETTLE, 8, 0}};
    static const gchar *const names[] = {"move", "thaw", "abort", "late-abort"};
    const guint8 ekm[32] = {0};
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(SamiStream) stream = sami_stream_new(SAMI_ROLE_COLLECTOR, sami_fuzz_key(), ekm, SAMI_MESSAGE_MAX, 0, 30000);
        g_autoptr(GByteArray) out = g_byte_array_new();
        SamiRecord reply = {.kind = SAMI_RECORD_HELLO_REPLY, .hello_reply = {.version = 1, .next_counter = 1, .lease_s = 60, .message_max = 65535,
                                                                             .sessions_max = 1000}};
        SamiRecord refusal = {.kind = SAMI_RECORD_REFUSAL, .refusal = {.scope = SAMI_SCOPE_RECORD, .reason = SAMI_REASON_VM_NOT_ALLOWED}};
        SamiRecord count = {.kind = SAMI_RECORD_REASON_COUNT, .reason_count = {SAMI_SCOPE_RECORD, SAMI_REASON_VM_NOT_ALLOWED, 1}};
        memset(reply.hello_reply.nonce_e, 1, sizeof reply.hello_reply.nonce_e); /* see exporter.h */
        sami_key_public(sami_fuzz_key(), reply.hello_reply.public_key);
        add(stream, &reply, out);
        flush(stream, out);
        for (guint j = 0; j < G_N_ELEMENTS(steps); j++) {
            SamiRecord receipt = {.kind = SAMI_RECORD_RECEIPT, .receipt = {.phase = steps[j].phase, .marker_counter = steps[j].marker_counter,
                                      .n_records = steps[j].n_records, .freeze_mode = 1, .n_accepted = 3, .n_refused = 1, .n_exact = 3}};
            gsize at = out->len;
            add(stream, &refusal, out);
            add(stream, &count, out);
            add(stream, &receipt, out);
            flush(stream, out);
            while (at + ((gsize)out->data[at + 2] << 8 | out->data[at + 3]) < out->len)
                at += (gsize)out->data[at + 2] << 8 | out->data[at + 3];
            out->data[at + 7] = (guint8)(steps[j].action | (j == 1 && i == 1 ? 2 : 0) | (j == 0 && i == 2 ? 8 : 0) | (j == 1 && i == 3 ? 8 : 0));
        }
        save(directory, "exporter", names[i], out->data, out->len);
    }
}

/* Of fuzz-ledger: every type of record. */
static void
save_ledger(const gchar *directory)
{
    g_autofree gchar *top = g_dir_make_tmp("sami-seeds.XXXXXX", NULL);
    g_autofree gchar *path = g_build_filename(top, "00000000000000000000000000000000.ledger", NULL), *text = NULL;
    const SamiPrefix vm = {.family = 4, .length = 32, .address = {{10, 0, 0, 13}}};
    const SamiLedgerOpen open = {.lease_s = 60, .signer = "fw1.example", .peer = "fw1.example", .vm = &vm, .n_vm = 1};
    SamiSession s[2] = {sample(0), sample(9)};
    const SamiFlowKey keys[2] = {s[0].key, s[1].key};
    gsize n;
    SamiLedgerFile *file = sami_ledger_file_new(top, &open, NULL);
    gboolean is_written = file && sami_ledger_file_intent(file, 1, keys, 2, NULL) && sami_ledger_file_result(file, 2, (const guint8[]){0, 1}, 2, NULL) &&
        sami_ledger_file_gone(file, keys, 1, NULL) && sami_ledger_file_merged(file, &keys[1], (const guint8[]){8, 8}, NULL) &&
        sami_ledger_file_replaced(file, 3, &keys[0], &s[0], NULL) && sami_ledger_file_freeze(file, 4, NULL) &&
        sami_ledger_file_phase(file, 4, 4, 2, 5, NULL) && sami_ledger_file_intent(file, 6, keys, 1, NULL);
    sami_ledger_file_free(file);
    if (!is_written || !g_file_get_contents(path, &text, &n, NULL))
        g_error("ledger");
    save(directory, "ledger", "every-type", text, n);
    unlink(path);
    rmdir(top);
}

int
main(int argc, char **argv)
{
    if (argc != 2)
        g_error("usage: fuzz-seeds DIRECTORY");
    save_stream(argv[1], "decode", "plain", SAMI_ROLE_EXPORTER, 0, 8);
    save_stream(argv[1], "decode", "full", SAMI_ROLE_EXPORTER, 8, 16);
    save_stream(argv[1], "inject", "plain", SAMI_ROLE_EXPORTER, 0, 8);
    save_stream(argv[1], "inject", "full", SAMI_ROLE_EXPORTER, 8, 16);
    save_stream(argv[1], "receipt", "every-kind", SAMI_ROLE_COLLECTOR, 0, 0);
    for (guint i = 0; i < 16; i++)
        save_sample(argv[1], i);
    save_templates(argv[1]);
    save_frames(argv[1]);
    save_captures(argv[1]);
    save_packets(argv[1]);
    save_tls(argv[1]);
    save_moves(argv[1]);
    save_ledger(argv[1]);
    save_answers(argv[1]);
    return 0;
}
