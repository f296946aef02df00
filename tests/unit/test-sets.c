/* nftables sets against the kernel, in a network namespace of this process; and the layout of their keys. */
#define _GNU_SOURCE 1 /* unshare */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "firewall/sets.h"
#include "tests/unit/harness.h"

#define EXIT_SKIP 77
#define TABLE "add table inet f; "

/* Output of nft, or NULL if it failed. (transfer full) */
static gchar *
run_nft(const gchar *rules)
{
    const gchar *argv[] = { "nft", rules, NULL };
    g_autofree gchar *output = NULL;
    int status = -1;
    return g_spawn_sync(NULL, (gchar **) argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &output, NULL, &status,
                        NULL) && status == 0 ? g_steal_pointer(&output) : NULL;
}

static void
load(const gchar *rules)
{
    g_autofree gchar *flushed = run_nft("flush ruleset");
    g_autofree gchar *loaded = run_nft(rules);
    CU_ASSERT_PTR_NOT_NULL_FATAL(loaded);
}

static gboolean
lists(const gchar *text)
{
    g_autofree gchar *output = run_nft("list set inet f s");
    gboolean is_there = output && strstr(output, text);
    if (!is_there)
        g_print("no \"%s\" in %s", text, output);
    return is_there;
}

static SamiSet *set;
static SamiSetInfo info;

static void
look(void)
{
    g_autoptr(GError) error = NULL;
    CU_ASSERT_EQUAL_FATAL(sami_set_look(set, &info, &error), SAMI_SET_FINE);
}

static void
gather(const SamiSetElement *element, gpointer user_data)
{
    g_array_append_vals(user_data, element, 1);
}

static GArray *
dump(void)
{
    GArray *elements = g_array_new(FALSE, FALSE, sizeof(SamiSetElement));
    SamiSetDumpStatus status;
    g_autoptr(GError) error = NULL;
    look();
    CU_ASSERT_TRUE_FATAL(sami_set_dump_start(set, &info, NULL));
    while ((status = sami_set_dump_next(set, gather, elements, &error)) == SAMI_SET_DUMP_MORE)
        ;
    CU_ASSERT_EQUAL(status, SAMI_SET_DUMP_END);
    return elements;
}

static SamiSetElement
element(guint8 last)
{
    SamiSetElement e = { .key = { 192, 0, 2, last }, .key_length = 4 };
    return e;
}

static void
test_names(void)
{
    static const gchar *const bad[][2] = { { "", "s" }, { "inet", "s" }, { "inet f g", "s" }, { "internet f", "s" }, { "inet f", "" }, { "inet f", "a b" } };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        CU_ASSERT_PTR_NULL(sami_set_new(bad[i][0], bad[i][1], &error));
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG));
    }
}

static void
test_look(void)
{
    static const struct {
        const gchar *rules, *why;
    } unfit[] = {
        { TABLE "add set inet f s { type ipv4_addr; flags interval; }", "intervals" },
        { TABLE "add map inet f s { type ipv4_addr : mark; }", "map" },
        { TABLE "add set inet f s { type ipv4_addr; flags constant; elements = { 192.0.2.1 }; }", "constant" },
    };
    g_autoptr(GError) error = NULL;
    load(TABLE);
    CU_ASSERT_EQUAL(sami_set_look(set, &info, &error), SAMI_SET_MISSING);
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "inet f s"));
    for (guint i = 0; i < G_N_ELEMENTS(unfit); i++) {
        g_autoptr(GError) why = NULL;
        load(unfit[i].rules);
        CU_ASSERT_EQUAL(sami_set_look(set, &info, &why), SAMI_SET_UNFIT);
        CU_ASSERT_PTR_NOT_NULL(strstr(why->message, unfit[i].why));
    }
    load(TABLE "add set inet f s { type ipv4_addr . inet_service; size 77; flags dynamic,timeout; timeout 90s; counter; }");
    look();
    CU_ASSERT_EQUAL(info.key_length, 8);
    CU_ASSERT_EQUAL(info.size, 77);
    CU_ASSERT_EQUAL(info.timeout_ms, 90000);
    CU_ASSERT_EQUAL(info.has, SAMI_SET_HAS_COUNTER);
    CU_ASSERT_TRUE(info.has_timeouts);
}

static void
test_round_trip(void)
{
    load(TABLE "add set inet f s { type ipv4_addr; flags dynamic,timeout; timeout 1h; }");
    look();
    SamiSetElement a = element(1), b = element(2), c = element(3);
    a.has = SAMI_SET_HAS_COUNTER | SAMI_SET_HAS_TIMEOUT;
    a.packets = 5, a.octets = 300, a.timeout_ms = 3600000, a.remaining_ms = 599000;
    b.has = SAMI_SET_HAS_QUOTA | SAMI_SET_HAS_TIMEOUT | SAMI_SET_QUOTA_OVER;
    b.quota_used = 896, b.quota_limit = 5000, b.timeout_ms = 60000, b.remaining_ms = 90000; /* longer than a packet would give */
    c.has = SAMI_SET_HAS_COUNTER | SAMI_SET_HAS_QUOTA | SAMI_SET_HAS_TIMEOUT;
    c.packets = 1, c.octets = 2, c.quota_used = 3, c.quota_limit = 4000, c.timeout_ms = 3600000, c.remaining_ms = 30000;
    SamiSetWrite writes[] = { { &a, FALSE, FALSE }, { &b, FALSE, FALSE }, { &c, FALSE, FALSE } };
    CU_ASSERT_EQUAL(sami_set_write(set, &info, writes, 3, NULL), 0);
    CU_ASSERT_TRUE(lists("192.0.2.1 counter packets 5 bytes 300 expires 9m"));
    g_autoptr(GArray) got = dump();
    CU_ASSERT_EQUAL_FATAL(got->len, 3);
    for (guint i = 0; i < 3; i++) {
        const SamiSetElement *e = &g_array_index(got, SamiSetElement, i), *is = e->key[3] == 1 ? &a : e->key[3] == 2 ? &b : &c;
        CU_ASSERT_EQUAL(e->has, is->has);
        CU_ASSERT_EQUAL(e->packets, is->packets);
        CU_ASSERT_EQUAL(e->octets, is->octets);
        CU_ASSERT_EQUAL(e->quota_used, is->quota_used);
        CU_ASSERT_EQUAL(e->quota_limit, is->quota_limit);
        CU_ASSERT_TRUE(e->remaining_ms <= is->remaining_ms && e->remaining_ms + 10000 > is->remaining_ms);
    }
    /* The same keys again: not over what is there, but in its place; one goes; one is not there. */
    a.packets = 7;
    SamiSetWrite again[] = { { &a, FALSE, FALSE } };
    CU_ASSERT_EQUAL(sami_set_write(set, &info, again, 1, NULL), EEXIST);
    SamiSetElement missing = element(9);
    SamiSetWrite mixed[] = { { &a, TRUE, FALSE }, { &missing, TRUE, TRUE } };
    CU_ASSERT_EQUAL(sami_set_write(set, &info, mixed, 2, NULL), ENOENT);
    CU_ASSERT_TRUE(lists("192.0.2.1 counter packets 5 bytes 300"));
    SamiSetWrite replace[] = { { &a, TRUE, FALSE }, { &b, TRUE, TRUE } };
    CU_ASSERT_EQUAL(sami_set_write(set, &info, replace, 2, NULL), 0);
    SamiSetElement wanted[] = { element(1), element(2), element(3) };
    gboolean found[3];
    CU_ASSERT_TRUE(sami_set_get(set, &info, wanted, 3, wanted, found, NULL));
    CU_ASSERT_TRUE(found[0] && !found[1] && found[2]);
    CU_ASSERT_EQUAL(wanted[0].packets, 7);
    CU_ASSERT_EQUAL(wanted[2].quota_used, 3);
    CU_ASSERT_EQUAL(wanted[1].key[3], 2);
}

static void
test_declared(void)
{
    load(TABLE "add set inet f s { type ipv4_addr; size 3; flags dynamic; counter; }");
    look();
    SamiSetElement plain = element(1), quota = element(2), counted[] = { element(3), element(4), element(5), element(6) };
    quota.has = SAMI_SET_HAS_QUOTA, quota.quota_limit = 100;
    SamiSetWrite one[] = { { &plain, FALSE, FALSE } }, other[] = { { &quota, FALSE, FALSE } };
    CU_ASSERT_EQUAL(sami_set_write(set, &info, other, 1, NULL), EOPNOTSUPP);
    CU_ASSERT_EQUAL(sami_set_write(set, &info, one, 1, NULL), 0); /* the kernel gives it the set's counter */
    CU_ASSERT_TRUE(lists("192.0.2.1 counter packets 0"));
    SamiSetWrite many[4];
    for (guint i = 0; i < 4; i++) {
        counted[i].has = SAMI_SET_HAS_COUNTER;
        many[i] = (SamiSetWrite){ &counted[i], FALSE, FALSE };
    }
    CU_ASSERT_EQUAL(sami_set_write(set, &info, many, 4, NULL), ENFILE);
    CU_ASSERT_EQUAL(sami_set_write(set, &info, many, 2, NULL), 0);
    load(TABLE "add set inet f s { type ipv4_addr; flags dynamic; limit rate 1/second; }");
    look();
    CU_ASSERT_EQUAL(info.has, SAMI_SET_HAS_OTHER);
    g_autofree gchar *added = run_nft("add element inet f s { 192.0.2.1 }");
    g_autoptr(GArray) got = dump();
    CU_ASSERT_EQUAL_FATAL(got->len, 1);
    CU_ASSERT_EQUAL(g_array_index(got, SamiSetElement, 0).has, SAMI_SET_HAS_OTHER);
}

/* More than a message and than a part of a dump. */
static void
test_many(void)
{
    enum { N = 5000 };
    g_autofree SamiSetElement *elements = g_new0(SamiSetElement, N);
    g_autofree SamiSetWrite *writes = g_new0(SamiSetWrite, N);
    g_autofree gboolean *found = g_new0(gboolean, N);
    load(TABLE "add set inet f s { type ipv6_addr . ipv6_addr . inet_service; flags dynamic,timeout; }");
    look();
    CU_ASSERT_EQUAL(info.key_length, 36);
    for (guint i = 0; i < N; i++) {
        elements[i] = (SamiSetElement){ .key = { 0x20, 1, 0xd, 0xb8, [14] = (guint8) (i >> 8), [15] = (guint8) i }, .key_length = 36,
                                        .has = SAMI_SET_HAS_COUNTER | SAMI_SET_HAS_QUOTA | SAMI_SET_HAS_TIMEOUT, .packets = i, .octets = i,
                                        .quota_limit = 1u << 30, .quota_used = i, .timeout_ms = 600000, .remaining_ms = 500000 };
        writes[i] = (SamiSetWrite){ &elements[i], FALSE, FALSE };
    }
    for (guint i = 0; i < N; i += 500)
        CU_ASSERT_EQUAL(sami_set_write(set, &info, writes + i, 500, NULL), 0);
    g_autoptr(GArray) got = dump();
    CU_ASSERT_EQUAL(got->len, N);
    CU_ASSERT_TRUE(sami_set_get(set, &info, elements, N, elements, found, NULL));
    guint n_right = 0;
    for (guint i = 0; i < N; i++)
        n_right += found[i] && elements[i].packets == i && elements[i].quota_used == i;
    CU_ASSERT_EQUAL(n_right, N);
}

static void
test_keys(void)
{
    enum { V4 = 7, V6 = 8, PORT = 13, UNKNOWN = 4 };
    SamiSetPart parts[SAMI_SET_PARTS_MAX];
    SamiPrefix vm[2];
    SamiAddress address;
    guint8 family, two[8] = { 192, 0, 2, 1, 10, 0, 0, 13 }, port[8] = { 192, 0, 2, 1, 0, 53 }, six[20] = { 0x20, 1, 0xd, 0xb8, [15] = 0x13 };
    CU_ASSERT_TRUE_FATAL(sami_prefix_parse("10.0.0.13", &vm[0], NULL) && sami_prefix_parse("2001:db8::13", &vm[1], NULL));
    CU_ASSERT_EQUAL(sami_set_parts(V4, 4, parts), 1);
    CU_ASSERT_EQUAL(sami_set_parts(V4, 8, parts), 0);
    CU_ASSERT_EQUAL(sami_set_parts(UNKNOWN, 4, parts), 0);
    CU_ASSERT_EQUAL(sami_set_parts(V4 << 6 | UNKNOWN, 8, parts), 0);
    CU_ASSERT_EQUAL(sami_set_parts(V6 << 6 | PORT, 20, parts), 2);
    CU_ASSERT_EQUAL(parts[1].at, 16);
    CU_ASSERT_TRUE(sami_set_key_is_of(V4 << 6 | V4, two, 8, vm, 2));
    CU_ASSERT_FALSE(sami_set_key_is_of(V4 << 6 | PORT, port, 8, vm, 2));
    CU_ASSERT_FALSE(sami_set_key_is_of(V4, two, 4, vm, 2));
    CU_ASSERT_TRUE(sami_set_key_is_of(V6 << 6 | PORT, six, 20, vm, 2));
    CU_ASSERT_TRUE(sami_set_key_address(V4 << 6 | V4, two, 8, &family, &address));
    CU_ASSERT_EQUAL(family, 4);
    CU_ASSERT_EQUAL(address.octets[0], 192);
    g_autofree gchar *text = sami_set_key_print(V4 << 6 | PORT, port, 8);
    CU_ASSERT_STRING_EQUAL(text, "192.0.2.1 . 53");
    g_autofree gchar *hex = sami_set_key_print(UNKNOWN, port, 6);
    CU_ASSERT_STRING_EQUAL(hex, "c00002010035");
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "names", test_names },     { "what a set is like", test_look }, { "write and read", test_round_trip },
        { "expressions of the set", test_declared }, { "many", test_many }, { "keys", test_keys },
    };
    g_autoptr(GError) error = NULL;
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        puts("SKIP: needs root and a network namespace of its own");
        return EXIT_SKIP;
    }
    g_autofree gchar *output = run_nft("list ruleset");
    set = sami_set_new("inet f", "s", &error);
    if (!output || !set) {
        printf("SKIP: nftables cannot be used here%s%s\n", error ? ": " : "", error ? error->message : "");
        return EXIT_SKIP;
    }
    int status = sami_test_main("sets", tests, G_N_ELEMENTS(tests), NULL, NULL);
    sami_set_free(set);
    return status;
}
