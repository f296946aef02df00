#include <string.h>

#include "packaging/qemu/token.h"
#include "tests/unit/harness.h"

#define ID "0123456789abcdef0123456789abcdef"

static gboolean
parse(const gchar *text, SamiToken *ret)
{
    return sami_token_parse((const guint8 *)text, strlen(text), ret, NULL);
}

static void
test_round(void)
{
    static const SamiToken tokens[] = {{SAMI_TOKEN_READY, ID, 1990}, {SAMI_TOKEN_LATE, ID, 0}, {SAMI_TOKEN_NONE, "", 2000}};
    for (guint i = 0; i < G_N_ELEMENTS(tokens); i++) {
        SamiToken token = {0};
        g_autofree gchar *text = sami_token_print(&tokens[i]);
        CU_ASSERT_TRUE(*text && strlen(text) <= SAMI_TOKEN_MAX);
        CU_ASSERT_TRUE_FATAL(parse(text, &token));
        CU_ASSERT_EQUAL(token.state, tokens[i].state);
        CU_ASSERT_STRING_EQUAL(token.id, tokens[i].id);
        CU_ASSERT_EQUAL(token.left_ms, tokens[i].left_ms);
    }
}

static void
test_bad(void)
{
    static const gchar *const bad[] = {
        "",
        " ",
        "SAMI1",
        "SAMI2 ready " ID " 1",
        "SAMI1 ready " ID,
        "SAMI1 ready " ID " 1 ",
        "SAMI1 ready " ID " -1",
        "SAMI1 ready " ID " 99999999999",
        "SAMI1 ready " ID " 1\n",
        "SAMI1 ready - 1",
        "SAMI1 none " ID " 1",
        "SAMI1 gone " ID " 1",
        "SAMI1 late 0123456789ABCDEF0123456789abcdef 1",
        "SAMI1 late " ID "0 1",
        "SAMI1  late " ID " 1",
    };
    SamiToken token = {.left_ms = 7};
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++)
        CU_ASSERT_FALSE(parse(bad[i], &token));
    g_autofree gchar *long_text = g_strnfill(SAMI_TOKEN_MAX + 1, 'S');
    CU_ASSERT_FALSE(parse(long_text, &token));
    CU_ASSERT_FALSE(sami_token_parse((const guint8 *)"SAMI1 none - 1\0", 15, &token, NULL));
    CU_ASSERT_EQUAL(token.left_ms, 7); /* untouched */
    /* Every octet of a good one changed, every length cut. */
    const gchar good[] = "SAMI1 ready " ID " 1990";
    for (gsize i = 0; i + 1 < sizeof good; i++)
        for (guint bit = 0; bit < 8; bit++) {
            gchar changed[sizeof good];
            memcpy(changed, good, sizeof good);
            changed[i] = (gchar)(changed[i] ^ (1 << bit));
            if (sami_token_parse((const guint8 *)changed, sizeof good - 1, &token, NULL))
                CU_ASSERT_TRUE(token.state == SAMI_TOKEN_READY && strlen(token.id) == 32);
        }
}

int
main(void)
{
    static const SamiTest tests[] = {{"round trip", test_round}, {"bad tokens", test_bad}};
    return sami_test_main("vmstate-token", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
