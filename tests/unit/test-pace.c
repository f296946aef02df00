/* When a recorded Message is due, by clocks that are parameters. */
#include "replay/pace.h"
#include "tests/unit/harness.h"

static guint8 octets[16] = { 0, 10, 0, 16 };

static SamiInputMessage
message(guint32 export_time, gint64 time_ns)
{
    for (guint i = 0; i < 4; i++)
        octets[4 + i] = (guint8) (export_time >> (24 - 8 * i));
    return (SamiInputMessage){ .octets = octets, .length = 16, .time_ns = time_ns };
}

static ReplayPace
parse(const gchar *text)
{
    ReplayPace pace = { 0 };
    g_autoptr(GError) error = NULL;
    CU_ASSERT_TRUE(replay_pace_parse(text, &pace, &error));
    return pace;
}

static gint64
due(ReplayPace *pace, guint32 export_time, gint64 time_ns, gint64 now_us)
{
    SamiInputMessage m = message(export_time, time_ns);
    return replay_pace_due(pace, &m, now_us);
}

static void
test_words(void)
{
    static const gchar *const bad[] = { "", "fast", "x", "-1", "0", "1y", "1 x", "nan", "inf", "1e9", "0.0001", "2xx", "+2" };
    ReplayPace pace = { .factor = 42 };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        CU_ASSERT_FALSE(replay_pace_parse(bad[i], &pace, &error));
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_USAGE));
    }
    CU_ASSERT_EQUAL(pace.factor, 42);
    CU_ASSERT_EQUAL(parse(NULL).kind, REPLAY_PACE_FULL);
    CU_ASSERT_EQUAL(parse("full").kind, REPLAY_PACE_FULL);
    CU_ASSERT_EQUAL(parse("recorded").kind, REPLAY_PACE_RECORDED);
    CU_ASSERT_EQUAL(parse("0.5x").kind, REPLAY_PACE_RECORDED);
    CU_ASSERT_EQUAL(parse("0.5x").factor, 0.5);
    CU_ASSERT_EQUAL(parse("100").kind, REPLAY_PACE_RATE);
    CU_ASSERT_EQUAL(parse("100").factor, 100);
}

static void
test_full(void)
{
    ReplayPace pace = parse("full");
    CU_ASSERT_EQUAL(due(&pace, 100, 0, 5), 5);
    CU_ASSERT_EQUAL(due(&pace, 900, 0, 7), 7);
}

static void
test_rate(void)
{
    ReplayPace pace = parse("4");
    for (guint i = 0; i < 10; i++) /* however late we are: the next ones come as they would have */
        CU_ASSERT_EQUAL(due(&pace, 100, 0, 1000 + (i ? 99999999 : 0)), 1000 + i * 250000);
}

static void
test_recorded(void)
{
    ReplayPace pace = parse("recorded"), twice = parse("2x"), captured = parse("recorded");
    CU_ASSERT_EQUAL(due(&pace, 100, 0, 1000), 1000);
    CU_ASSERT_EQUAL(due(&pace, 103, 0, 2000), 1000 + 3000000);
    CU_ASSERT_EQUAL(due(&pace, 101, 0, 2000), 1000 + 3000000); /* a clock that was set back */
    CU_ASSERT_EQUAL(due(&pace, 104, 0, 2000), 1000 + 4000000);
    CU_ASSERT_EQUAL(due(&twice, 100, 0, 1000), 1000);
    CU_ASSERT_EQUAL(due(&twice, 103, 0, 1000), 1000 + 1500000);
    CU_ASSERT_EQUAL(due(&captured, 100, 1000000000, 1000), 1000);
    CU_ASSERT_EQUAL(due(&captured, 100, 1000500000, 1000), 1000 + 500);
}

/* A capture may say any time: nothing overflows. */
static void
test_absurd(void)
{
    ReplayPace pace = parse("0.001x");
    CU_ASSERT_EQUAL(due(&pace, 0, G_MININT64 / 4, 1000), 1000);
    CU_ASSERT_TRUE(due(&pace, 0, G_MAXINT64, 1000) > 1000);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "words", test_words }, { "full", test_full }, { "rate", test_rate }, { "recorded", test_recorded }, { "absurd times", test_absurd },
    };
    return sami_test_main("pace", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
