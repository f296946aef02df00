/* A signed session on virtual time: the order of verification, bindings, and the transit age (PROTOCOL §2, §3). */
#include <string.h>

#include "templates/stream.h"
#include "tests/unit/harness.h"

#define MAX_DELAY 30000u
#define DESTINATION "fw2.example"

/* Both ends of one session. The two clocks have nothing in common but their speed. */
typedef struct {
    SamiKey *exporter_key, *collector_key;
    SamiStream *exporter, *collector;
    guint64 exporter_clock, collector_clock;
    guint8 message[1024];
    gsize length;
    SamiReason reason;
} Pair;

static Pair *pair;

static int
set_up(void)
{
    static const guint8 ekm[32] = { 7 };
    pair = g_new0(Pair, 1);
    pair->exporter_key = sami_key_generate();
    pair->collector_key = sami_key_generate();
    pair->exporter_clock = 5000000;
    pair->collector_clock = 90;
    pair->exporter = sami_stream_new(SAMI_ROLE_EXPORTER, pair->exporter_key, ekm, SAMI_MESSAGE_MAX, pair->exporter_clock, MAX_DELAY);
    pair->collector = sami_stream_new(SAMI_ROLE_COLLECTOR, pair->collector_key, ekm, SAMI_MESSAGE_MAX, pair->collector_clock, MAX_DELAY);
    pair->exporter->peer_key = pair->collector_key;
    pair->collector->peer_key = pair->exporter_key;
    memset(pair->exporter->migration_id, 1, 16);
    memset(pair->collector->migration_id, 1, 16);
    return 0;
}

static int
tear_down(void)
{
    sami_stream_free(pair->exporter);
    sami_stream_free(pair->collector);
    sami_key_free(pair->exporter_key);
    sami_key_free(pair->collector_key);
    g_free(pair);
    return 0;
}

static void
pass(guint64 ms)
{
    pair->exporter_clock += ms;
    pair->collector_clock += ms;
}

static void
take(SamiStream *stream, guint64 clock)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { SAMI_MARKER_SNAPSHOT, 1, SAMI_FREEZE_EVENTS } };
    const guint8 *message;
    CU_ASSERT_TRUE_FATAL(sami_encoder_add(stream->encoder, &record, NULL));
    CU_ASSERT_TRUE_FATAL(sami_stream_take(stream, clock, 1, FALSE, &message, &pair->length, NULL));
    memcpy(pair->message, message, pair->length);
}

static gboolean
verify(SamiStream *stream, guint64 clock)
{
    gboolean is_last;
    pair->reason = SAMI_REASON_NONE;
    return sami_stream_verify(stream, pair->message, pair->length, clock, &pair->reason, &is_last, NULL);
}

static void
send_forward(void)
{
    take(pair->exporter, pair->exporter_clock);
}

static gboolean
receive_forward(void)
{
    return verify(pair->collector, pair->collector_clock);
}

/* PROTOCOL §3, with the hello and its answer each held for so long. */
static gboolean
open_pair(guint64 hello_ms, guint64 reply_ms)
{
    send_forward();
    pass(hello_ms);
    if (!receive_forward())
        return FALSE;
    take(pair->collector, pair->collector_clock);
    sami_stream_bind(pair->collector, DESTINATION);
    pass(reply_ms);
    if (!verify(pair->exporter, pair->exporter_clock))
        return FALSE;
    sami_stream_bind(pair->exporter, DESTINATION);
    return TRUE;
}

/* A fresh pair for each scenario of one test. */
static void
restart(void)
{
    tear_down();
    set_up();
}

static void
test_age(void)
{
    restart();
    CU_ASSERT_TRUE_FATAL(open_pair(1, 1));
    send_forward();
    pass(2);
    CU_ASSERT_TRUE(receive_forward());
    CU_ASSERT_EQUAL(pair->collector->age_ms, 2 + 1); /* the second 1 is the reply's, which is not told apart */
    pass(3600000); /* an idle hour makes nothing older */
    send_forward();
    pass(MAX_DELAY - 10);
    CU_ASSERT_TRUE(receive_forward());
    CU_ASSERT_TRUE(pair->collector->age_ms >= MAX_DELAY - 10);
    send_forward();
    pass(MAX_DELAY + 1);
    CU_ASSERT_FALSE(receive_forward());
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
}

/* The age that is measured is never less than the true one, whatever was held back before. */
static void
test_held_hello_gives_no_slack(void)
{
    static const struct {
        guint64 hello, reply, first;
    } cases[] = { { 0, 0, 0 }, { 20000, 0, 0 }, { 0, 20000, 0 }, { 0, 0, 20000 }, { 10000, 10000, 9000 } };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        restart();
        pair->collector->opened_ms = pair->collector_clock;
        CU_ASSERT_TRUE_FATAL(open_pair(cases[i].hello, cases[i].reply));
        send_forward();
        pass(cases[i].first);
        CU_ASSERT_TRUE(receive_forward());
        CU_ASSERT_TRUE(pair->collector->age_ms >= cases[i].first);
        send_forward();
        pass(MAX_DELAY + 1);
        CU_ASSERT_FALSE(receive_forward());
        CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
    }
}

/* A hello that lay with an honest listener shows at once; with one that says OPEN late it shows in the next Message. */
static void
test_held_hello(void)
{
    restart();
    CU_ASSERT_FALSE(open_pair(MAX_DELAY + 1, 0));
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
    restart();
    send_forward();
    pass(MAX_DELAY + 1);
    pair->collector->opened_ms = pair->collector_clock;
    CU_ASSERT_TRUE_FATAL(receive_forward());
    take(pair->collector, pair->collector_clock);
    sami_stream_bind(pair->collector, DESTINATION);
    memcpy(pair->exporter->nonce_c, pair->collector->nonce_c, 32);
    pair->exporter->counter_in = 1; /* the exporter's own check is another test's */
    sami_stream_bind(pair->exporter, DESTINATION);
    send_forward();
    CU_ASSERT_FALSE(receive_forward());
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
}

static void
test_late_answer(void)
{
    restart();
    CU_ASSERT_FALSE(open_pair(0, MAX_DELAY + 1));
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
    restart();
    CU_ASSERT_TRUE(open_pair(1, 1));
    take(pair->collector, pair->collector_clock);
    pass(MAX_DELAY + 1);
    CU_ASSERT_FALSE(verify(pair->exporter, pair->exporter_clock));
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
}

/* A clock that runs fast never makes an age negative, and gives no slack afterwards. */
static void
test_fast_peer(void)
{
    restart();
    CU_ASSERT_TRUE_FATAL(open_pair(1, 1));
    send_forward(); /* as the exporter does: begin follows at once, and is what the anchor is made of */
    CU_ASSERT_TRUE_FATAL(receive_forward());
    for (guint i = 0; i < 100; i++) {
        pass(1000);
        pair->exporter_clock += 5;
        send_forward();
        CU_ASSERT_TRUE_FATAL(receive_forward());
    }
    CU_ASSERT_EQUAL(pair->collector->age_ms, 0);
    send_forward();
    pass(MAX_DELAY + 1);
    CU_ASSERT_FALSE(receive_forward());
    restart();
    CU_ASSERT_TRUE_FATAL(open_pair(1, 1));
    pair->exporter_clock += G_MAXUINT64 / 2 + 7; /* anything may be in the field */
    send_forward();
    CU_ASSERT_FALSE(receive_forward());
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
}

static void
test_order(void)
{
    restart();
    send_forward();
    CU_ASSERT_TRUE_FATAL(receive_forward());
    CU_ASSERT_FALSE(receive_forward()); /* again */
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_WRONG_COUNTER);
    restart();
    CU_ASSERT_TRUE_FATAL(open_pair(1, 1));
    take(pair->collector, pair->collector_clock); /* our own role, sent back to us */
    CU_ASSERT_FALSE(receive_forward());
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_WRONG_ROLE);
    pair->exporter->binding[0] ^= 1;
    send_forward();
    CU_ASSERT_FALSE(receive_forward());
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_WRONG_SESSION);
    pair->exporter->binding[0] ^= 1;
    pair->exporter->counter_out--; /* a refused Message was not counted */
    send_forward();
    pair->message[SAMI_MESSAGE_HEADER] ^= 1;
    CU_ASSERT_FALSE(receive_forward());
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_BAD_SIGNATURE);
}

/* What waited for us, because we did not read, is not late by that; what was held back besides is. */
static void
test_unread(void)
{
    restart();
    CU_ASSERT_TRUE_FATAL(open_pair(1, 1));
    send_forward();
    for (guint i = 0; i < 2 * MAX_DELAY / 1000; i++) { /* one pause after the other */
        guint64 from = pair->collector_clock;
        pass(1000);
        sami_stream_unread(pair->collector, from, pair->collector_clock);
    }
    CU_ASSERT_TRUE(receive_forward());
    CU_ASSERT_TRUE(pair->collector->age_ms >= 2 * MAX_DELAY); /* its timeouts have run on all the same */
    send_forward();
    pass(MAX_DELAY - 10);
    CU_ASSERT_TRUE(receive_forward());
    send_forward();
    pass(MAX_DELAY + 10); /* pauses of before it was signed give it nothing */
    CU_ASSERT_FALSE(receive_forward());
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
    /* We read half of the time, and it was held back besides. */
    restart();
    CU_ASSERT_TRUE_FATAL(open_pair(1, 1));
    send_forward();
    for (guint i = 0; i < 3 * MAX_DELAY / 1000; i++) {
        guint64 from = pair->collector_clock;
        pass(500);
        sami_stream_unread(pair->collector, from, pair->collector_clock);
        pass(500);
    }
    CU_ASSERT_FALSE(receive_forward());
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_TOO_LATE);
}

/* A peer's key changes: which one it signs with is its choice at the beginning of a session, and not again before the next. */
static void
test_several_keys(void)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func((GDestroyNotify) sami_key_free);
    g_autoptr(SamiKey) stranger = sami_key_generate();
    tear_down();
    set_up();
    SamiStream *to = pair->exporter, *from = pair->collector;
    g_ptr_array_add(keys, sami_key_generate());
    g_ptr_array_add(keys, sami_key_ref(pair->collector_key));
    to->peer_key = NULL;
    to->peer_keys = keys;
    send_forward(); /* the hello */
    from->key = stranger;
    take(from, pair->collector_clock);
    CU_ASSERT_FALSE(verify(to, pair->exporter_clock));
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_UNKNOWN_SIGNER);
    from->counter_out = 0;
    from->key = keys->pdata[1];
    take(from, pair->collector_clock);
    CU_ASSERT_TRUE(verify(to, pair->exporter_clock));
    CU_ASSERT_PTR_EQUAL(to->peer_key, keys->pdata[1]);
    from->key = keys->pdata[0];
    take(from, pair->collector_clock);
    CU_ASSERT_FALSE(verify(to, pair->exporter_clock));
    CU_ASSERT_EQUAL(pair->reason, SAMI_REASON_UNKNOWN_SIGNER);
    /* The next session. */
    sami_stream_reopen(to, pair->exporter_key, to->ekm, pair->exporter_clock);
    send_forward();
    from->counter_out = 0;
    take(from, pair->collector_clock);
    CU_ASSERT_TRUE(verify(to, pair->exporter_clock));
    CU_ASSERT_PTR_EQUAL(to->peer_key, keys->pdata[0]);
    from->key = pair->collector_key;
    to->peer_keys = NULL;
    to->peer_key = pair->collector_key;
}

static const SamiTest tests[] = {
    { "the age of a Message", test_age },
    { "what waited for us", test_unread },
    { "what was held back gives no slack", test_held_hello_gives_no_slack },
    { "a hello that was held back", test_held_hello },
    { "an answer that was held back", test_late_answer },
    { "a peer whose clock runs fast, or lies", test_fast_peer },
    { "order of verification", test_order },
    { "a peer with several keys", test_several_keys },
};

int
main(void)
{
    return sami_test_main("stream", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
