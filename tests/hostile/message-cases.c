/* Who says it, when and to whom: signature, session, order of records, framing. */
#include <string.h>

#include "common/cursor.h"
#include "tests/hostile/hostile.h"

static void
add_session(Client *c)
{
    SamiRecord record = { .session = honest_session() };
    client_add(c, &record);
}

static void
add_marker(Client *c, guint8 marker)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { .marker = marker, .freeze_mode = SAMI_FREEZE_EVENTS } };
    client_add(c, &record);
}

static void
add_hello(Client *c)
{
    SamiRecord record;
    client_fill_hello(c, &record);
    client_add(c, &record);
}

/* The Message of the case: hello where nothing was said before, else a session that must not come into the kernel. */
static void
prepare_next(Client *c, const Case *self)
{
    if (self->stage == STAGE_CONNECTED)
        add_hello(c);
    else
        add_session(c);
    client_prepare(c);
}

static Client *
another(Client *c, gboolean is_same_migration)
{
    g_autofree gchar *alert = NULL;
    Client *other = client_new(c->identity, is_same_migration ? c->stream->migration_id : NULL, &alert);
    if (!other)
        die("a second session: %s", alert);
    return other;
}

/* Returns when the collector has taken everything. */
static void
wait_for_receipt(Client *c)
{
    add_marker(c, SAMI_MARKER_SNAPSHOT);
    client_send(c);
    client_answer(c);
    if (c->reason || !c->is_answered)
        die("no receipt: %s", c->answers->str);
}

static Client *
run_unsigned(Client *c, const Case *self)
{
    prepare_next(c, self);
    client_transmit(c);
    return c;
}

/* argument: octet from the beginning, or from the end if negative. */
static Client *
run_bit(Client *c, const Case *self)
{
    prepare_next(c, self);
    client_seal(c);
    c->body->data[self->argument < 0 ? (gint) c->body->len + self->argument : self->argument] ^= 0x01;
    client_transmit(c);
    return c;
}

static Client *
run_stranger(Client *c, const Case *self)
{
    c->key = c->identity->stranger;
    prepare_next(c, self);
    client_seal(c);
    client_transmit(c);
    return c;
}

static Client *
run_role(Client *c, const Case *self)
{
    prepare_next(c, self);
    c->fields.role = (guint8) self->argument;
    client_seal(c);
    client_transmit(c);
    return c;
}

/* argument: how far the counter is off. */
static Client *
run_counter(Client *c, const Case *self)
{
    prepare_next(c, self);
    c->fields.counter += (guint64) self->argument;
    client_seal(c);
    client_transmit(c);
    return c;
}

static Client *
run_same_message(Client *c, const Case *self)
{
    client_transmit(c);
    return c;
}

static Client *
run_same_stream(Client *c, const Case *self)
{
    if (self->stage == STAGE_BEGUN)
        wait_for_receipt(c);
    client_close(c, TRUE);
    Client *other = another(c, TRUE);
    for (guint i = 0; i < c->sent->len; i++) {
        gsize length;
        const guint8 *octets = g_bytes_get_data(g_ptr_array_index(c->sent, i), &length);
        client_transmit_octets(other, octets, length);
    }
    return other;
}

/* What the collector said last comes back to it. */
static Client *
run_reflected(Client *c, const Case *self)
{
    if (self->stage == STAGE_BEGUN)
        wait_for_receipt(c);
    client_transmit_octets(c, c->heard->data, c->heard->len);
    return c;
}

/* argument: markers in one Message */
static Client *
run_markers(Client *c, const Case *self)
{
    for (gint i = 0; i < self->argument; i++)
        add_marker(c, i % 2 ? SAMI_MARKER_THAW : SAMI_MARKER_FREEZE);
    client_send(c);
    return c;
}

/* argument: the other session carries the same migration id. */
static Client *
run_other_session(Client *c, const Case *self)
{
    Client *other = another(c, self->argument);
    client_hello(other);
    if (self->stage == STAGE_BEGUN) {
        client_begin(other);
        add_session(c);
    } else {
        client_add_begin(c, 0);
    }
    client_prepare(c);
    client_seal(c);
    client_transmit_octets(other, c->body->data, c->body->len);
    return other;
}

static Client *
run_id_twice(Client *c, const Case *self)
{
    Client *other = another(c, TRUE);
    client_hello(other);
    client_begin(c);
    wait_for_receipt(c);
    client_begin(other);
    return other;
}

static Client *
run_opening_binding(Client *c, const Case *self)
{
    client_add_begin(c, 0);
    client_prepare(c);
    sami_binding_opening(c->stream->ekm, c->fields.binding);
    client_seal(c);
    client_transmit(c);
    return c;
}

/* argument: milliseconds; the hello, begin or a record, whichever comes next */
static Client *
run_held_back(Client *c, const Case *self)
{
    if (self->stage == STAGE_GREETED) {
        client_add_begin(c, 0);
        client_prepare(c);
    } else {
        prepare_next(c, self);
    }
    client_seal(c);
    g_usleep((gulong) self->argument * 1000);
    client_transmit(c);
    return c;
}

/* ---- hello and begin ---- */

enum { HELLO_VERSION, HELLO_PEN, HELLO_KEY, HELLO_DESTINATION, HELLO_RESUME, HELLO_OPENING };

static Client *
run_hello(Client *c, const Case *self)
{
    SamiRecord record;
    client_fill_hello(c, &record);
    switch (self->argument) {
    case HELLO_VERSION: record.hello.version = 2; break;
    case HELLO_PEN: record.hello.pen = SAMI_PEN + 1; break;
    case HELLO_KEY: sami_key_public(c->identity->stranger, record.hello.public_key); break;
    case HELLO_DESTINATION: g_strlcpy(record.hello.destination, "fw9.example", sizeof record.hello.destination); break;
    case HELLO_RESUME: record.hello.opening = 2; break;
    case HELLO_OPENING: record.hello.opening = 4; break;
    default: die("no such hello");
    }
    client_add(c, &record);
    client_send(c);
    return c;
}

/* What begin does not say does not come. */
static Client *
run_unannounced(Client *c, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_VM_ADDRESS4 };
    if (!sami_prefix_parse("10.0.0.13", &record.vm_address, NULL))
        die("no address");
    client_add(c, &record);
    record = (SamiRecord){ .kind = SAMI_RECORD_BEGIN, .begin = { .n_addresses = 1, .lease_s = 30, .kinds = SAMI_KIND_SESSION } };
    g_strlcpy(record.begin.destination, c->identity->peer->name, sizeof record.begin.destination);
    client_add(c, &record);
    record = (SamiRecord){ .kind = SAMI_RECORD_EXPECTATION, .expectation = honest_expectation() };
    client_add(c, &record);
    client_send(c);
    return c;
}

/* Hello and one more record in one Message, under the opening's binding, which no nonce of the collector is in. argument: an address of a new migration, or
 * the freeze of one that is resumed */
static Client *
run_more_than_hello(Client *c, const Case *self)
{
    g_autoptr(GByteArray) sets = g_byte_array_new();
    SamiRecord records[2] = { { 0 }, { .kind = SAMI_RECORD_VM_ADDRESS4, .vm_address = { .address = { { 10, 0, 0, 13 } }, .family = 4, .length = 32 } } };
    gboolean is_resume = self->argument == SAMI_OPENING_RESUME;
    SamiSignature fields = { 0 };
    if (is_resume)
        wait_for_receipt(c);
    Client *other = is_resume ? another(c, TRUE) : c;
    client_fill_hello(other, &records[0]);
    records[0].hello.opening = (guint8) self->argument;
    if (is_resume)
        records[1] = (SamiRecord){ .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_FREEZE, .freeze_mode = SAMI_FREEZE_EVENTS } };
    for (guint i = 0; i < G_N_ELEMENTS(records); i++) {
        client_add(other, &records[i]);
        client_prepare(other);
        if (i == 0)
            fields = other->fields;
        g_byte_array_append(sets, other->body->data + SAMI_MESSAGE_HEADER, other->body->len - SAMI_MESSAGE_HEADER);
    }
    client_set_body(other, sets->data, sets->len, G_N_ELEMENTS(records));
    other->fields = fields;
    client_seal(other);
    client_transmit(other);
    for (gint i = 0; i < (is_resume ? 2 : 1); i++) /* what the hello is answered by, before what is behind it is read */
        client_answer(other);
    return other;
}

/* ---- a dry run ---- */

enum { CHECK_NO_BEGIN, CHECK_REPLICATION, CHECK_BEGIN_TWICE, CHECK_ABORT, CHECK_FREEZE, CHECK_MISCOUNTED, CHECK_MORE, CHECK_ADDRESS };

static Client *
run_check(Client *c, const Case *self)
{
    SamiRecord session = { .kind = SAMI_RECORD_SESSION, .session = honest_session() };
    SamiRecord marker = { .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_SNAPSHOT, .n_records = 1 } }, record;
    client_fill_hello(c, &record);
    record.hello.opening = SAMI_OPENING_CHECK;
    client_add(c, &record);
    client_send(c);
    client_answer(c);
    if (!c->is_bound)
        die("no hello-reply: %s", c->answers->str);
    g_string_truncate(c->answers, 0);
    if (self->argument != CHECK_NO_BEGIN && self->argument != CHECK_REPLICATION)
        client_add_begin(c, 1);
    switch (self->argument) {
    case CHECK_REPLICATION:
        record = (SamiRecord){ .kind = SAMI_RECORD_BEGIN, .begin = { .lease_s = 30, .kinds = SAMI_KIND_SESSION | SAMI_KIND_REPLICATION } };
        g_strlcpy(record.begin.destination, c->identity->peer->name, sizeof record.begin.destination);
        client_add(c, &record);
        break;
    case CHECK_BEGIN_TWICE: client_add_begin(c, 0); break;
    case CHECK_ADDRESS:
        record = (SamiRecord){ .kind = SAMI_RECORD_VM_ADDRESS4, .vm_address = { .address = { { 10, 0, 0, 14 } }, .family = 4, .length = 32 } };
        client_add(c, &record);
        break;
    case CHECK_ABORT:
        record = (SamiRecord){ .kind = SAMI_RECORD_ABORT, .abort = { .reason = SAMI_ABORT_OPERATOR } };
        client_add(c, &record);
        break;
    case CHECK_FREEZE: marker.marker.marker = SAMI_MARKER_FREEZE; break;
    case CHECK_MISCOUNTED: marker.marker.n_records = 2; break;
    default: break;
    }
    client_add(c, &session);
    client_add(c, &marker);
    if (self->argument == CHECK_MORE)
        client_add(c, &session);
    client_send(c);
    return c;
}

/* What a build --with-pen=N writes: another number in every template and in the hello. */
static Client *
run_other_build(Client *c, const Case *self)
{
    guint8 ours[4], other[4];
    SamiWriter w;
    sami_writer_init(&w, ours, 4);
    sami_writer_uint(&w, SAMI_PEN, 4);
    sami_writer_init(&w, other, 4);
    sami_writer_uint(&w, SAMI_PEN + 1, 4);
    add_hello(c);
    client_prepare(c);
    for (guint i = SAMI_MESSAGE_HEADER; i + 4 <= c->body->len; i++)
        if (memcmp(c->body->data + i, ours, 4) == 0)
            memcpy(c->body->data + i, other, 4);
    client_seal(c);
    client_transmit(c);
    return c;
}

static Client *
run_hello_again(Client *c, const Case *self)
{
    add_hello(c);
    client_send(c);
    return c;
}

static Client *
run_session_now(Client *c, const Case *self)
{
    add_session(c);
    client_send(c);
    return c;
}

static Client *
run_begin_again(Client *c, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_BEGIN, .begin = { .n_addresses = 2, .lease_s = 30, .kinds = 1 } };
    g_strlcpy(record.begin.destination, c->identity->peer->name, sizeof record.begin.destination);
    client_add(c, &record);
    client_send(c);
    return c;
}

enum { BEGIN_MISCOUNTED, BEGIN_DESTINATION, BEGIN_BARE };

static Client *
run_begin(Client *c, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_VM_ADDRESS4 };
    if (!sami_prefix_parse("10.0.0.13", &record.vm_address, NULL))
        die("no prefix");
    if (self->argument != BEGIN_BARE)
        client_add(c, &record);
    record = (SamiRecord){ .kind = SAMI_RECORD_BEGIN, .begin = { .n_addresses = 1, .lease_s = 30, .kinds = 1 } };
    if (self->argument == BEGIN_MISCOUNTED)
        record.begin.n_addresses = 2;
    g_strlcpy(record.begin.destination, self->argument == BEGIN_DESTINATION ? "fw9.example" : c->identity->peer->name,
              sizeof record.begin.destination);
    client_add(c, &record);
    client_send(c);
    return c;
}

static Client *
run_addresses(Client *c, const Case *self)
{
    client_add_begin(c, (guint) self->argument);
    client_send(c);
    return c;
}

static const gchar *const vm_addresses[] = { "10.9.0.1/32", "10.0.0.0/16", "127.0.0.1/32", "10.0.0.13/24", "10.0.0.254/32" };

/* argument: of vm_addresses. */
static Client *
run_vm_address(Client *c, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_VM_ADDRESS4 };
    g_auto(GStrv) parts = g_strsplit(vm_addresses[self->argument], "/", 2);
    if (!sami_prefix_parse(parts[0], &record.vm_address, NULL))
        die("no prefix");
    record.vm_address.length = (guint8) g_ascii_strtoull(parts[1], NULL, 10);
    client_add(c, &record);
    client_send(c);
    return c;
}

/* argument: SamiRecordKind of the other direction. */
static Client *
run_reverse(Client *c, const Case *self)
{
    SamiRecord record = { .kind = (SamiRecordKind) self->argument };
    client_add(c, &record);
    client_send(c);
    return c;
}

/* One Message: a session and a marker that are right, then a record that is not. Refused as a whole, or not at all. */
static Client *
run_whole(Client *c, const Case *self)
{
    g_autoptr(GByteArray) sets = g_byte_array_new();
    SamiRecord receipt = { .kind = SAMI_RECORD_RECEIPT };
    SamiSignature fields = { 0 };
    for (guint i = 0; i < 3; i++) {
        if (i == 0)
            add_session(c);
        else if (i == 1)
            add_marker(c, SAMI_MARKER_SNAPSHOT);
        else
            client_add(c, &receipt);
        client_prepare(c);
        if (i == 0)
            fields = c->fields;
        g_byte_array_append(sets, c->body->data + SAMI_MESSAGE_HEADER, c->body->len - SAMI_MESSAGE_HEADER);
    }
    client_set_body(c, sets->data, sets->len, 3);
    c->fields = fields;
    client_seal(c);
    client_transmit(c);
    return c;
}

static void
add_abort(Client *c)
{
    SamiRecord record = { .kind = SAMI_RECORD_ABORT, .abort = { .reason = SAMI_ABORT_OPERATOR } };
    client_add(c, &record);
}

static void
await_receipt(Client *c)
{
    client_answer(c);
    if (c->reason || !c->is_answered)
        die("no receipt: %s", c->answers->str);
    g_string_truncate(c->answers, 0);
}

/* READY, of a VM without sessions; then as if it were not. */
static Client *
run_late_abort(Client *c, const Case *self)
{
    add_marker(c, SAMI_MARKER_FREEZE);
    client_send(c);
    await_receipt(c);
    add_abort(c);
    client_send(c);
    return c;
}

/* Goes on with what was rolled back. */
static Client *
run_resume_aborted(Client *c, const Case *self)
{
    SamiRecord record;
    add_abort(c);
    client_send(c);
    await_receipt(c);
    Client *other = another(c, TRUE);
    client_fill_hello(other, &record);
    record.hello.opening = SAMI_OPENING_RESUME;
    client_add(other, &record);
    client_send(other);
    return other;
}

/* ---- framing ---- */

enum { FRAME_VERSION, FRAME_SHORT, FRAME_LONGER, FRAME_SHORTER, FRAME_CUT, FRAME_BROKEN };

static Client *
run_frame(Client *c, const Case *self)
{
    prepare_next(c, self);
    client_seal(c);
    guint length = c->body->len;
    SamiWriter w;
    sami_writer_init(&w, c->body->data, 4);
    sami_writer_uint(&w, self->argument == FRAME_VERSION ? 9 : 10, 2);
    sami_writer_uint(&w, self->argument == FRAME_SHORT    ? SAMI_MESSAGE_HEADER - 1
                         : self->argument == FRAME_LONGER ? length + 100
                         : self->argument == FRAME_SHORTER ? length - 10
                                                           : length, 2);
    gboolean is_cut = self->argument == FRAME_CUT || self->argument == FRAME_BROKEN;
    client_transmit_octets(c, c->body->data, is_cut ? length / 2 : length);
    if (is_cut || self->argument == FRAME_LONGER)
        client_close(c, self->argument != FRAME_BROKEN);
    return c;
}

/* Octets of the signature record, counted from the end of the Message (PROTOCOL §2). */
enum {
    AT_SIGNATURE = -1, AT_ELAPSED = -65, AT_COUNTER = -73, AT_BINDING = -81, AT_MIGRATION = -113, AT_KEY_ID = -129,
    AT_FLAGS = -137, AT_ROLE = -138, AT_ALGORITHM = -139, AT_SCOPE = -140, AT_SET = -144, AT_DATA = -150,
};

const Case message_cases[] = {
    { "unsigned-hello", STAGE_CONNECTED, run_unsigned, "not-signed", 0, NULL, NULL },
    { "unsigned-message", STAGE_BEGUN, run_unsigned, "not-signed", 0, NULL, NULL },
    { "bit-in-hello", STAGE_CONNECTED, run_bit, "bad-signature", AT_DATA, NULL, NULL },
    { "bit-in-export-time", STAGE_BEGUN, run_bit, "bad-signature", 7, NULL, NULL },
    { "bit-in-sequence-number", STAGE_BEGUN, run_bit, "bad-signature", 11, NULL, NULL },
    { "bit-in-domain", STAGE_BEGUN, run_bit, "bad-signature", 15, NULL, NULL },
    { "bit-in-template", STAGE_BEGUN, run_bit, "bad-signature", 16 + 4 + 4 + 3, NULL, NULL },
    { "bit-in-data", STAGE_BEGUN, run_bit, "bad-signature", AT_DATA, NULL, NULL },
    { "bit-in-signature-set-id", STAGE_BEGUN, run_bit, "not-signed", AT_SET, NULL, NULL },
    { "bit-in-message-scope", STAGE_BEGUN, run_bit, "bad-signature", AT_SCOPE, NULL, NULL },
    { "bit-in-algorithm", STAGE_BEGUN, run_bit, "bad-signature", AT_ALGORITHM, NULL, NULL },
    { "bit-in-role", STAGE_BEGUN, run_bit, "wrong-role", AT_ROLE, NULL, NULL },
    { "bit-in-flags", STAGE_BEGUN, run_bit, "bad-signature", AT_FLAGS, NULL, NULL },
    { "bit-in-key-id", STAGE_BEGUN, run_bit, "unknown-signer", AT_KEY_ID, NULL, NULL },
    { "bit-in-migration-id", STAGE_BEGUN, run_bit, "wrong-session", AT_MIGRATION, NULL, NULL },
    { "bit-in-binding", STAGE_BEGUN, run_bit, "wrong-session", AT_BINDING, NULL, NULL },
    { "bit-in-counter", STAGE_BEGUN, run_bit, "wrong-counter", AT_COUNTER, NULL, NULL },
    { "bit-in-elapsed", STAGE_BEGUN, run_bit, "bad-signature", AT_ELAPSED, NULL, NULL },
    { "bit-in-signature", STAGE_BEGUN, run_bit, "bad-signature", AT_SIGNATURE, NULL, NULL },
    { "unknown-signer", STAGE_CONNECTED, run_stranger, "unknown-signer", 0, NULL, NULL },
    { "unknown-signer-later", STAGE_BEGUN, run_stranger, "unknown-signer", 0, NULL, NULL },
    { "role-collector-hello", STAGE_CONNECTED, run_role, "wrong-role", SAMI_ROLE_COLLECTOR, NULL, NULL },
    { "role-collector", STAGE_BEGUN, run_role, "wrong-role", SAMI_ROLE_COLLECTOR, NULL, NULL },
    { "role-file", STAGE_BEGUN, run_role, "wrong-role", SAMI_ROLE_FILE, NULL, NULL },
    { "replayed-message", STAGE_BEGUN, run_same_message, "wrong-counter", 0, NULL, NULL },
    { "lost-message", STAGE_BEGUN, run_counter, "wrong-counter", 1, NULL, NULL },
    { "replayed-migration", STAGE_BEGUN, run_same_stream, "wrong-session", 0, NULL, NULL },
    { "replayed-hello", STAGE_GREETED, run_same_stream, "wrong-session", 0, NULL, NULL },
    { "message-of-another-session", STAGE_GREETED, run_other_session, "wrong-session", TRUE, NULL, NULL },
    { "message-of-another-migration", STAGE_BEGUN, run_other_session, "wrong-session", FALSE, NULL, NULL },
    { "migration-id-twice", STAGE_GREETED, run_id_twice, "replayed-migration", 0, NULL, NULL },
    { "opening-binding-kept", STAGE_GREETED, run_opening_binding, "wrong-session", 0, NULL, NULL },
    { "held-back", STAGE_GREETED, run_held_back, "too-late", 1300, NULL, NULL },
    { "held-back-from-the-hello", STAGE_CONNECTED, run_held_back, "too-late", 1300, NULL, NULL },
    { "held-back-record", STAGE_BEGUN, run_held_back, "too-late", 1300, NULL, NULL },
    { "reflected-hello-reply", STAGE_GREETED, run_reflected, "wrong-role", 0, NULL, NULL },
    { "reflected-receipt", STAGE_BEGUN, run_reflected, "wrong-role", 0, NULL, NULL },
    { "many-markers-at-once", STAGE_BEGUN, run_markers, "limit", SAMI_CONTROLS_MAX + 1, NULL, NULL },
    { "hello-version", STAGE_CONNECTED, run_hello, "protocol", HELLO_VERSION, NULL, NULL },
    { "hello-another-key", STAGE_CONNECTED, run_hello, "protocol", HELLO_KEY, NULL, NULL },
    { "hello-resume", STAGE_CONNECTED, run_hello, "resume-unavailable", HELLO_RESUME, NULL, NULL },
    { "hello-opening", STAGE_CONNECTED, run_hello, "protocol", HELLO_OPENING, NULL, NULL },
    { "check-without-begin", STAGE_CONNECTED, run_check, "protocol", CHECK_NO_BEGIN, NULL, NULL },
    { "check-of-a-replication", STAGE_CONNECTED, run_check, "protocol", CHECK_REPLICATION, NULL, NULL },
    { "check-begun-twice", STAGE_CONNECTED, run_check, "protocol", CHECK_BEGIN_TWICE, NULL, NULL },
    { "check-vm-address-after-begin", STAGE_CONNECTED, run_check, "protocol", CHECK_ADDRESS, NULL, NULL },
    { "check-with-abort", STAGE_CONNECTED, run_check, "protocol", CHECK_ABORT, NULL, NULL },
    { "check-with-freeze", STAGE_CONNECTED, run_check, "protocol", CHECK_FREEZE, NULL, NULL },
    { "check-miscounted", STAGE_CONNECTED, run_check, "protocol", CHECK_MISCOUNTED, NULL, NULL },
    { "check-goes-on", STAGE_CONNECTED, run_check, "protocol", CHECK_MORE, NULL, NULL },
    { "hello-to-another", STAGE_CONNECTED, run_hello, "destination-name", HELLO_DESTINATION, NULL, NULL },
    { "pen-in-hello", STAGE_CONNECTED, run_hello, "pen-mismatch", HELLO_PEN, NULL, NULL },
    { "pen-of-another-build", STAGE_CONNECTED, run_other_build, "pen-mismatch", 0, NULL, NULL },
    { "hello-and-address", STAGE_CONNECTED, run_more_than_hello, "protocol", SAMI_OPENING_NEW, NULL, NULL },
    { "hello-and-freeze", STAGE_BEGUN, run_more_than_hello, "protocol", SAMI_OPENING_RESUME, NULL, NULL },
    { "hello-twice", STAGE_GREETED, run_hello_again, "protocol", 0, NULL, NULL },
    { "session-before-hello", STAGE_CONNECTED, run_session_now, "protocol", 0, NULL, NULL },
    { "session-before-begin", STAGE_GREETED, run_session_now, "protocol", 0, NULL, NULL },
    { "begin-before-hello", STAGE_CONNECTED, run_begin, "protocol", BEGIN_BARE, NULL, NULL },
    { "begin-twice", STAGE_BEGUN, run_begin_again, "protocol", 0, NULL, NULL },
    { "begin-without-address", STAGE_GREETED, run_begin, "protocol", BEGIN_BARE, NULL, NULL },
    { "begin-miscounted", STAGE_GREETED, run_begin, "protocol", BEGIN_MISCOUNTED, NULL, NULL },
    { "begin-to-another", STAGE_GREETED, run_begin, "destination-name", BEGIN_DESTINATION, NULL, NULL },
    { "expectation-not-announced", STAGE_GREETED, run_unannounced, "protocol", 0, NULL, NULL },
    { "vm-address-after-begin", STAGE_BEGUN, run_addresses, "protocol", 1, NULL, NULL },
    { "too-many-addresses", STAGE_GREETED, run_addresses, "limit", SAMI_VM_ADDRESSES_MAX, NULL, NULL },
    { "vm-not-allowed", STAGE_GREETED, run_vm_address, "vm-not-allowed", 0, NULL, NULL },
    { "vm-prefix-too-wide", STAGE_GREETED, run_vm_address, "vm-not-allowed", 1, NULL, NULL },
    { "vm-loopback", STAGE_GREETED, run_vm_address, "vm-not-allowed", 2, NULL, NULL },
    { "vm-own-address", STAGE_GREETED, run_vm_address, "address-own", 4, NULL, NULL },
    { "vm-host-bits", STAGE_GREETED, run_vm_address, "malformed", 3, NULL, NULL },
    { "receipt-from-exporter", STAGE_BEGUN, run_reverse, "protocol", SAMI_RECORD_RECEIPT, NULL, NULL },
    { "hello-reply-from-exporter", STAGE_BEGUN, run_reverse, "protocol", SAMI_RECORD_HELLO_REPLY, NULL, NULL },
    { "refusal-from-exporter", STAGE_BEGUN, run_reverse, "protocol", SAMI_RECORD_REFUSAL, NULL, NULL },
    { "abort-after-ready", STAGE_BEGUN, run_late_abort, "already-ready", 0, NULL, NULL },
    { "resume-of-an-aborted", STAGE_BEGUN, run_resume_aborted, "aborted", 0, NULL, NULL },
    { "refused-as-a-whole", STAGE_BEGUN, run_whole, "protocol", 0, NULL, NULL },
    { "version-9", STAGE_BEGUN, run_frame, "malformed", FRAME_VERSION, NULL, NULL },
    { "version-9-hello", STAGE_CONNECTED, run_frame, "malformed", FRAME_VERSION, NULL, NULL },
    { "length-below-header", STAGE_BEGUN, run_frame, "malformed", FRAME_SHORT, NULL, NULL },
    { "length-beyond-content", STAGE_BEGUN, run_frame, "malformed", FRAME_LONGER, NULL, NULL },
    { "length-within-content", STAGE_BEGUN, run_frame, "not-signed", FRAME_SHORTER, NULL, NULL },
    { "cut-within-message", STAGE_BEGUN, run_frame, "malformed", FRAME_CUT, NULL, NULL },
    { "cut-within-hello", STAGE_CONNECTED, run_frame, "malformed", FRAME_CUT, NULL, NULL },
    { "connection-broken", STAGE_BEGUN, run_frame, "-", FRAME_BROKEN, NULL, NULL },
    { NULL, 0, NULL, NULL, 0, NULL, NULL },
};
