/* Maps between firewalls: pairs and their inverse, VLANs and zones, and what a record and a refusal become. */
#include <netinet/in.h>
#include <string.h>

#include "collector/apply.h"
#include "collector/map.h"
#include "common/pairs.h"
#include "common/vlans.h"
#include "exporter/exporter.h"
#include "firewall/fake.h"
#include "tests/unit/harness.h"

static GArray *
pairs_of(SamiPairsKind kind, const gchar *text)
{
    g_auto(GStrv) list = g_strsplit(text, ",", -1);
    return sami_pairs_parse(kind, list, NULL);
}

static void
test_refused(void)
{
    static const struct {
        SamiPairsKind kind;
        const gchar *text, *named, *allowed;
    } bad[] = {
        { SAMI_PAIRS_VLANS, "10", "'10'", "10:1" },
        { SAMI_PAIRS_VLANS, "0:1", "'0:1'", "1 to 4094" },
        { SAMI_PAIRS_VLANS, "4095:1", "'4095:1'", "1 to 4094" },
        { SAMI_PAIRS_VLANS, "10:65536", "'10:65536'", "0 to 65535" },
        { SAMI_PAIRS_VLANS, "10:1:2", "'10:1:2'", "10:1" },
        { SAMI_PAIRS_VLANS, "10:1,10:2", "'10:1' and '10:2'", "left" },
        { SAMI_PAIRS_VLANS, "10:1,20:2,30:1", "'10:1' and '30:1'", "right" },
        { SAMI_PAIRS_ADDRESSES, "10.0.0.0/24", "'10.0.0.0/24'", "same length" },
        { SAMI_PAIRS_ADDRESSES, "10.0.0.0/24:10.1.0.0/25", "'10.0.0.0/24:10.1.0.0/25'", "same length" },
        { SAMI_PAIRS_ADDRESSES, "10.0.0.1/24:10.1.0.0/24", "'10.0.0.1/24:10.1.0.0/24'", "bits beyond" },
        { SAMI_PAIRS_ADDRESSES, "10.0.0.0/24:10.1.0.1/24", "'10.0.0.0/24:10.1.0.1/24'", "bits beyond" },
        { SAMI_PAIRS_ADDRESSES, "10.0.0.0/33:10.1.0.0/33", "'10.0.0.0/33:10.1.0.0/33'", "same length" },
        { SAMI_PAIRS_ADDRESSES, "10.0.0.1:2001:db8::1", "'10.0.0.1:2001:db8::1'", "same length" },
        { SAMI_PAIRS_ADDRESSES, "2001:db8::1:2001:db8::2", "'2001:db8::1:2001:db8::2'", "always with its length" },
        { SAMI_PAIRS_ADDRESSES, "10.0.0.0/24:10.1.0.0/24,10.0.0.128/25:10.2.0.0/25", "overlap", "left" },
        { SAMI_PAIRS_ADDRESSES, "10.0.0.0/24:10.1.0.0/24,10.9.0.0/16:10.1.0.0/16", "overlap", "right" },
        { SAMI_PAIRS_MARKS, "1", "'1'", "0x1/0xff" },
        { SAMI_PAIRS_MARKS, "0x100/0xff:1", "'0x100/0xff:1'", "beyond their mask" },
        { SAMI_PAIRS_MARKS, "1/0:1", "'1/0:1'", "0x1/0xff" },
        { SAMI_PAIRS_MARKS, "0x1/0xf:1,0x11/0xff:2", "overlap", "left" },
        { SAMI_PAIRS_LABELS, "3:128", "'3:128'", "0 to 127" },
        { SAMI_PAIRS_LABELS, "3:7,4:7", "'3:7' and '4:7'", "right" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) list = g_strsplit(bad[i].text, ",", -1);
        CU_ASSERT_PTR_NULL(sami_pairs_parse(bad[i].kind, list, &error));
        CU_ASSERT_TRUE_FATAL(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_USAGE));
        CU_ASSERT_PTR_NOT_NULL(strstr(error->message, bad[i].named));
        CU_ASSERT_PTR_NOT_NULL(strstr(error->message, bad[i].allowed));
    }
}

static SamiAddress
address(const gchar *text)
{
    SamiPrefix prefix = { 0 };
    CU_ASSERT_TRUE(sami_prefix_parse(text, &prefix, NULL));
    return prefix.address;
}

static gboolean
becomes(const GArray *pairs, const gchar *from, const gchar *to)
{
    SamiAddress wanted = address(to), got = address(from), back = wanted;
    guint8 family = strchr(from, ':') ? 6 : 4;
    return sami_pairs_apply(pairs, family, got.octets) && memcmp(&got, &wanted, sizeof got) == 0 &&
           sami_pairs_apply_back(pairs, family, back.octets) && (got = address(from), memcmp(&back, &got, sizeof back) == 0);
}

static void
test_addresses(void)
{
    g_autoptr(GArray) pairs = pairs_of(SAMI_PAIRS_ADDRESSES, "10.0.0.0/25:10.1.0.128/25,10.0.1.1:10.0.0.1/32,2001:db8:a::/64:2001:db8:b::/64,"
                                                             "2001:db8:c::1/128:2001:db8:d::2/128");
    CU_ASSERT_PTR_NOT_NULL_FATAL(pairs);
    CU_ASSERT_TRUE(becomes(pairs, "10.0.0.13", "10.1.0.141")); /* host bits stay */
    CU_ASSERT_TRUE(becomes(pairs, "10.0.0.0", "10.1.0.128"));
    CU_ASSERT_TRUE(becomes(pairs, "10.0.0.127", "10.1.0.255"));
    CU_ASSERT_TRUE(becomes(pairs, "10.0.1.1", "10.0.0.1")); /* not mapped a second time */
    CU_ASSERT_TRUE(becomes(pairs, "2001:db8:a::ffff:13", "2001:db8:b::ffff:13"));
    CU_ASSERT_TRUE(becomes(pairs, "2001:db8:c::1", "2001:db8:d::2"));
    SamiAddress other = address("10.0.0.128"), same = other;
    CU_ASSERT_FALSE(sami_pairs_apply(pairs, 4, other.octets));
    CU_ASSERT_EQUAL(memcmp(&other, &same, sizeof same), 0);
    other = address("10.0.0.13");
    CU_ASSERT_FALSE(sami_pairs_apply(pairs, 6, other.octets)); /* the same octets, of another family */
}

static void
test_vlans(void)
{
    g_auto(GStrv) list = g_strsplit("10:1,20:0,4094:65535", ",", -1), none = g_new0(gchar *, 1);
    SamiVlans *vlans = NULL, *empty = NULL;
    guint16 zone = 7;
    CU_ASSERT_TRUE_FATAL(sami_vlans_load(list, &vlans, NULL) && sami_vlans_load(none, &empty, NULL));
    CU_ASSERT_PTR_NULL(empty);
    CU_ASSERT_EQUAL(sami_vlans_of_zone(vlans, 1), 10);
    CU_ASSERT_EQUAL(sami_vlans_of_zone(vlans, 0), 20);
    CU_ASSERT_EQUAL(sami_vlans_of_zone(vlans, 65535), 4094);
    CU_ASSERT_EQUAL(sami_vlans_of_zone(vlans, 2), 0);
    CU_ASSERT_EQUAL(sami_vlans_of_zone(NULL, 0), 0);
    CU_ASSERT_FALSE(sami_vlans_zone(vlans, 30, &zone) || sami_vlans_zone(vlans, 65535, &zone) || sami_vlans_zone(NULL, 10, &zone));
    CU_ASSERT_EQUAL(zone, 7);
    CU_ASSERT_TRUE(sami_vlans_zone(vlans, 20, &zone));
    CU_ASSERT_EQUAL(zone, 0);
    g_autofree gchar *text = sami_vlans_to_string(vlans);
    CU_ASSERT_STRING_EQUAL(text, "10, 20, 4094");
    sami_vlans_unref(vlans);
}

/* vlans=, mark-mask= and the three maps of a signer. */
static SamiMap *
make(const gchar *vlans, guint32 mark_mask, const gchar *addresses, const gchar *marks, const gchar *labels)
{
    g_auto(GStrv) vlan_list = g_strsplit(vlans, ",", -1), address_list = g_strsplit(addresses, ",", -1);
    g_auto(GStrv) mark_list = g_strsplit(marks, ",", -1), label_list = g_strsplit(labels, ",", -1);
    SamiConfig config = { .vlans = vlan_list, .mark_mask = mark_mask };
    SamiConfigSigner signer = { .map_addresses = address_list, .map_marks = mark_list, .map_labels = label_list };
    SamiMap *map = NULL;
    CU_ASSERT_TRUE(sami_map_load(&config, &signer, &map, NULL));
    return map;
}

static SamiSession
session(guint16 vlan, guint16 zone)
{
    SamiSession s = { .has = SAMI_HAS_REPLY | SAMI_HAS_TIMEOUT | SAMI_HAS_TCP, .action = SAMI_ACTION_CREATED, .timeout_s = 30,
                      .tcp_state = SAMI_TCP_STATE_ESTABLISHED, .vlan = vlan };
    s.has |= vlan ? SAMI_HAS_VLAN : 0;
    s.key = (SamiFlowKey){ .zone = zone, .family = 4, .protocol = IPPROTO_TCP };
    s.key.orig = (SamiTuple){ .src = address("10.0.0.13"), .dst = address("198.51.100.10"), .src_port = 1000, .dst_port = 443 };
    sami_flow_key_mirror(&s.key, &s.reply);
    s.reply.dst = address("192.0.2.1"); /* translated */
    return s;
}

static void
test_nothing(void)
{
    SamiSession s = session(0, 5), same = s, named = session(10, 0);
    SamiMap *map = make("", G_MAXUINT32, "", "", "");
    CU_ASSERT_PTR_NULL(map);
    CU_ASSERT_EQUAL(sami_map_session(NULL, &s, NULL), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(memcmp(&s, &same, sizeof s), 0);
    CU_ASSERT_EQUAL(sami_map_session(NULL, &named, NULL), SAMI_REASON_VLAN_UNKNOWN);
}

static void
test_segments(void)
{
    SamiMap *map = make("10:7,20:8", G_MAXUINT32, "", "", "");
    SamiSession ten = session(10, 0), twenty = session(20, 0), bare = session(0, 5), taken = session(0, 7), other = session(30, 0), both = session(10, 8);
    SamiSession gone = { .key = ten.key, .action = SAMI_ACTION_DELETED, .has = SAMI_HAS_VLAN, .vlan = 10 }, untouched = other;
    SamiFlowKey key;
    CU_ASSERT_EQUAL(sami_map_session(map, &ten, NULL), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(ten.key.zone, 7);
    CU_ASSERT_EQUAL(sami_map_session(map, &twenty, NULL), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(twenty.key.zone, 8);
    CU_ASSERT_EQUAL(sami_map_session(map, &bare, NULL), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(bare.key.zone, 5);
    CU_ASSERT_EQUAL(sami_map_session(map, &both, NULL), SAMI_REASON_NONE); /* the VLAN is what counts */
    CU_ASSERT_EQUAL(both.key.zone, 7);
    CU_ASSERT_EQUAL(sami_map_session(map, &gone, NULL), SAMI_REASON_NONE); /* finds the entry */
    CU_ASSERT_TRUE(sami_flow_key_equal(&gone.key, &ten.key));
    CU_ASSERT_EQUAL(sami_map_session(map, &taken, NULL), SAMI_REASON_ZONE_OF_VLAN);
    CU_ASSERT_EQUAL(sami_map_session(map, &other, NULL), SAMI_REASON_VLAN_UNKNOWN);
    CU_ASSERT_EQUAL(memcmp(&other, &untouched, sizeof other), 0);
    SamiSession original = session(10, 0), reply = session(0, 0), child = session(20, 0);
    original.has |= SAMI_HAS_REPLY_ZONE; /* of the original direction only: replies are in zone 0 */
    CU_ASSERT_EQUAL(sami_map_session(map, &original, NULL), SAMI_REASON_NONE);
    CU_ASSERT_TRUE(original.key.zone == 7 && original.reply_zone == 0 && (original.has & SAMI_HAS_REPLY_ZONE));
    reply.has |= SAMI_HAS_REPLY_ZONE;
    reply.reply_zone = 7;
    CU_ASSERT_EQUAL(sami_map_session(map, &reply, NULL), SAMI_REASON_ZONE_OF_VLAN);
    SamiMap *flat = make("10:0,20:8", G_MAXUINT32, "", "", "");
    SamiSession between = session(10, 0); /* a VLAN that is no zone here, and another VLAN's zone for the replies */
    between.has |= SAMI_HAS_REPLY_ZONE;
    between.reply_zone = 8;
    CU_ASSERT_EQUAL(sami_map_session(flat, &between, NULL), SAMI_REASON_ZONE_OF_VLAN);
    sami_map_unref(flat);
    child.has |= SAMI_HAS_MASTER;
    child.master = session(0, 0).key;
    CU_ASSERT_EQUAL(sami_map_session(map, &child, NULL), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(child.master.zone, 8);
    key = ten.key;
    sami_map_key_back(map, &key);
    CU_ASSERT_EQUAL(key.zone, 10);
    CU_ASSERT_EQUAL(key.family, 4 | SAMI_FLOW_KEY_VLAN);
    g_autofree gchar *text = sami_flow_key_to_string(&key);
    CU_ASSERT_STRING_EQUAL(text, "tcp 10.0.0.13:1000 -> 198.51.100.10:443 vlan 10");
    key = bare.key;
    sami_map_key_back(map, &key);
    CU_ASSERT_TRUE(sami_flow_key_equal(&key, &bare.key));
    key = sami_map_key_told(NULL, SAMI_REASON_VLAN_UNKNOWN, &other.key, (other.has & SAMI_HAS_VLAN) ? other.vlan : 0);
    CU_ASSERT_TRUE(key.zone == 30 && key.family == (4 | SAMI_FLOW_KEY_VLAN));
    sami_map_unref(map);
}

static void
test_tuples(void)
{
    SamiMap *map = make("", G_MAXUINT32, "10.0.0.0/24:10.1.0.0/24,192.0.2.0/24:203.0.113.0/24", "", "");
    SamiSession s = session(0, 0), clash = session(0, 0), half = session(0, 0);
    SamiAddress vm = address("10.1.0.13"), peer = address("198.51.100.10"), public = address("203.0.113.1");
    SamiFlowKey key = s.key;
    CU_ASSERT_EQUAL(sami_map_session(map, &s, NULL), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(memcmp(&s.key.orig.src, &vm, 16) | memcmp(&s.key.orig.dst, &peer, 16), 0);
    CU_ASSERT_EQUAL(memcmp(&s.reply.src, &peer, 16) | memcmp(&s.reply.dst, &public, 16), 0);
    sami_map_key_back(map, &s.key);
    CU_ASSERT_TRUE(sami_flow_key_equal(&s.key, &key));
    clash.key.orig.dst = address("10.1.0.9"); /* is where 10.0.0.9 has its place */
    half.reply.dst = address("203.0.113.9");
    CU_ASSERT_EQUAL(sami_map_session(map, &clash, NULL), SAMI_REASON_MAP_CLASH);
    CU_ASSERT_EQUAL(sami_map_session(map, &half, NULL), SAMI_REASON_MAP_CLASH);
    CU_ASSERT_TRUE(sami_flow_key_equal(&half.key, &key)); /* untouched as a whole */
    sami_map_unref(map);
    map = make("", G_MAXUINT32, "10.0.0.0/24:10.1.0.0/24,10.1.0.0/24:10.0.0.0/24", "", ""); /* exchanged */
    clash.key.orig.src = address("10.0.0.13");
    CU_ASSERT_EQUAL(sami_map_session(map, &clash, NULL), SAMI_REASON_NONE);
    peer = address("10.0.0.9");
    CU_ASSERT_EQUAL(memcmp(&clash.key.orig.src, &vm, 16) | memcmp(&clash.key.orig.dst, &peer, 16), 0);
    sami_map_unref(map);
}

/* Whatever is mapped comes back as it was, and no two keys become one. */
static void
test_inverse(void)
{
    SamiMap *map = make("10:0,20:7,30:5", G_MAXUINT32, "10.0.0.0/28:10.0.0.16/28,10.0.0.16/28:10.0.0.32/28,10.0.0.64/30:10.0.0.0/30", "", "");
    g_autoptr(GHashTable) seen = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, g_free);
    g_autoptr(GRand) rand = g_rand_new_with_seed(4);
    static const guint16 vlans[] = { 0, 10, 20, 30, 40 }, zones[] = { 0, 5, 7, 9 };
    guint n_mapped = 0;
    for (guint i = 0; i < 50000; i++) {
        guint16 vlan = vlans[g_rand_int_range(rand, 0, G_N_ELEMENTS(vlans))], zone = vlan ? 0 : zones[g_rand_int_range(rand, 0, G_N_ELEMENTS(zones))];
        SamiSession s = session(vlan, zone);
        SamiFlowKey sent, back;
        s.key.orig.src.octets[3] = (guint8) g_rand_int_range(rand, 0, 96);
        s.key.orig.dst = s.key.orig.src;
        s.key.orig.dst.octets[3] = (guint8) g_rand_int_range(rand, 0, 96);
        sent = sami_map_key_told(NULL, SAMI_REASON_VLAN_UNKNOWN, &s.key, (s.has & SAMI_HAS_VLAN) ? s.vlan : 0);
        if (sami_map_session(map, &s, NULL) != SAMI_REASON_NONE)
            continue;
        n_mapped++;
        back = s.key;
        sami_map_key_back(map, &back);
        CU_ASSERT_TRUE(sami_flow_key_equal(&back, &sent));
        const SamiFlowKey *other = g_hash_table_lookup(seen, &s.key);
        CU_ASSERT_TRUE(!other || sami_flow_key_equal(other, &sent));
        if (!other)
            g_hash_table_insert(seen, g_memdup2(&s.key, sizeof s.key), g_memdup2(&sent, sizeof sent));
    }
    CU_ASSERT_TRUE(n_mapped > 10000);
    sami_map_unref(map);
}

static gchar *
prefix_becomes(const SamiMap *map, const gchar *text)
{
    SamiPrefix prefix;
    CU_ASSERT_TRUE(sami_prefix_parse(text, &prefix, NULL));
    return sami_map_prefix(map, &prefix) == SAMI_REASON_NONE ? sami_prefix_to_string(&prefix) : g_strdup("clash");
}

static void
test_prefixes(void)
{
    SamiMap *map = make("", G_MAXUINT32, "10.0.0.0/24:10.1.0.0/24,2001:db8:a::/64:2001:db8:b::/64", "", "");
    static const struct {
        const gchar *from, *to;
    } cases[] = {
        { "10.0.0.13", "10.1.0.13" },     { "10.0.0.0/24", "10.1.0.0/24" },       { "10.0.0.128/25", "10.1.0.128/25" },
        { "10.0.0.0/16", "clash" },       { "10.1.0.7", "clash" },                { "10.0.0.0/8", "clash" },
        { "10.2.0.0/16", "10.2.0.0/16" }, { "2001:db8:a::13", "2001:db8:b::13" }, { "2001:db8::/32", "clash" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree gchar *to = prefix_becomes(map, cases[i].from);
        CU_ASSERT_STRING_EQUAL(to, cases[i].to);
    }
    sami_map_unref(map);
}

static void
test_marks(void)
{
    SamiMap *map = make("", 0x0fff, "", "0x1/0xff:0x10/0xff,0x2/0xff:0x320/0xfff", "");
    static const guint32 cases[][3] = { { 0x1, 0x10, 0 }, { 0x701, 0x710, 0 }, { 0x502, 0x320, 0 }, { 0x3, 0x3, 0 }, { 0x1003, 0x3, 1 } };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        SamiSession s = session(0, 0);
        guint64 n_cut = 0;
        s.has |= SAMI_HAS_MARK;
        s.mark = cases[i][0];
        CU_ASSERT_EQUAL(sami_map_session(map, &s, &n_cut), SAMI_REASON_NONE);
        CU_ASSERT_EQUAL(s.mark, cases[i][1]);
        CU_ASSERT_EQUAL(n_cut, cases[i][2]);
    }
    sami_map_unref(map);
}

static void
set_label(guint8 labels[16], guint bit)
{
    gulong words[16 / sizeof(gulong)];
    memcpy(words, labels, sizeof words);
    words[bit / (8 * sizeof(gulong))] |= 1ul << (bit % (8 * sizeof(gulong)));
    memcpy(labels, words, sizeof words);
}

static void
test_labels(void)
{
    SamiMap *map = make("", G_MAXUINT32, "", "", "3:7,7:3,0:127,64:1");
    SamiSession s = session(0, 0);
    guint8 wanted[16] = { 0 };
    s.has |= SAMI_HAS_LABELS;
    set_label(s.labels, 3);
    set_label(s.labels, 0);
    set_label(s.labels, 64);
    set_label(s.labels, 100);
    set_label(wanted, 7);
    set_label(wanted, 127);
    set_label(wanted, 1);
    set_label(wanted, 100); /* no pair names it */
    CU_ASSERT_EQUAL(sami_map_session(map, &s, NULL), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(memcmp(s.labels, wanted, sizeof wanted), 0);
    sami_map_unref(map);
}

static void
test_policy(void)
{
    SamiPrefix vm, nat;
    const guint16 zones[] = { 0 }, vlans[] = { 10 };
    CU_ASSERT_TRUE(sami_prefix_parse("10.0.0.13", &vm, NULL) && sami_prefix_parse("192.0.2.1", &nat, NULL));
    SamiPolicy policy = { .vm = &vm, .n_vm = 1, .nat_addresses = &nat, .n_nat_addresses = 1, .zones = zones, .n_zones = 1, .vlans = vlans, .n_vlans = 1 };
    SamiSession bare = session(0, 0), zone = session(0, 7), ten = session(10, 7), twenty = session(20, 0);
    CU_ASSERT_EQUAL(sami_validate_session(&bare, &policy), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(sami_validate_session(&zone, &policy), SAMI_REASON_ZONE_NOT_ALLOWED);
    CU_ASSERT_EQUAL(sami_validate_session(&ten, &policy), SAMI_REASON_NONE); /* zone 7 is ours to choose */
    CU_ASSERT_EQUAL(sami_validate_session(&twenty, &policy), SAMI_REASON_VLAN_NOT_ALLOWED);
}

/* What the source reads of a refusal is what it has in its own table. */
static void
test_refusals(void)
{
    SamiBudget *all = sami_budget_new(), *signer = sami_budget_new();
    SamiFirewall *world = sami_firewall_fake_new(0);
    SamiApply *apply = sami_apply_new(60, all, signer);
    g_autoptr(GPtrArray) others = g_ptr_array_new();
    SamiMap *map = make("10:7", G_MAXUINT32, "10.0.0.0/24:10.1.0.0/24,192.0.2.0/24:203.0.113.0/24", "", "");
    g_auto(GStrv) list = g_strsplit("10:1,30:3", ",", -1);
    SamiVlans *own = NULL;
    SamiSession sent[3] = { session(10, 0), session(10, 0), session(30, 0) }, blocking;
    SamiApplyItem items[3] = { 0 };
    sami_budget_unref(all);
    sami_budget_unref(signer);
    g_ptr_array_add(others, apply);
    apply->firewall = world;
    apply->batch = sami_apply_batch_new();
    apply->others = others;
    sami_apply_set_map(apply, map);
    CU_ASSERT_TRUE(sami_vlans_load(list, &own, NULL));
    sent[1].key.orig.src_port = 1001;
    sent[1].reply.dst_port = 1001;
    for (guint i = 0; i < G_N_ELEMENTS(items); i++) {
        items[i].session = sent[i];
        items[i].reason = (guint16) sami_map_session(map, &items[i].session, NULL);
    }
    items[0].reason = SAMI_REASON_NAT_ADDRESS; /* by the record rules, behind the map */
    blocking = items[1].session;
    blocking.has &= ~(guint32) SAMI_HAS_VLAN;
    blocking.reply.dst_port = 9;
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &blocking }; /* in the kernel, with another translation */
    CU_ASSERT_TRUE(sami_firewall_apply(world, &op, 1, NULL) && op.result == 0);
    g_autofree guint8 *messages = sami_apply_build(items, G_N_ELEMENTS(items), 60, FALSE);
    CU_ASSERT_TRUE(sami_apply_records(apply, items, G_N_ELEMENTS(items), 1, 0, NULL));
    CU_ASSERT_EQUAL_FATAL(apply->refusals->len, 3);
    for (guint i = 0, n_found = 0; i < 3; i++) {
        const SamiRefusal *refusal = &g_array_index(apply->refusals, SamiRefusal, i);
        guint which = refusal->reason == SAMI_REASON_NAT_ADDRESS ? 0 : refusal->reason == SAMI_REASON_NAT_MISMATCH ? 1 : 2;
        SamiFlowKey key;
        CU_ASSERT_TRUE(which < 2 || refusal->reason == SAMI_REASON_VLAN_UNKNOWN);
        sami_flow_key_unpack(refusal->key, &key);
        CU_ASSERT_TRUE(key.family & SAMI_FLOW_KEY_VLAN);
        sami_vlan_own_key(own, &key);
        sent[which].key.zone = which == 2 ? 3 : 1;
        CU_ASSERT_TRUE(sami_flow_key_equal(&key, &sent[which].key));
        CU_ASSERT_PTR_NOT_NULL(strstr(refusal->detail, which == 2 ? "vlan 30" : "tcp 10.0.0.13:"));
        n_found |= 1u << which;
        CU_ASSERT_TRUE(i < 2 || n_found == 7);
    }
    SamiFlowKey unknown = { .zone = 99, .family = 4 | SAMI_FLOW_KEY_VLAN };
    sami_vlan_own_key(own, &unknown);
    CU_ASSERT_EQUAL(unknown.family, 4 | SAMI_FLOW_KEY_VLAN); /* no flow of ours has such a key */
    sami_vlans_unref(own);
    sami_map_unref(map);
    sami_apply_batch_free(apply->batch);
    sami_apply_free(apply);
    sami_firewall_free(world);
}

/* As records of flows: by a VLAN that is none here, by the number of a zone that is a VLAN's, by an address that another one has. */
static void
test_expectations(void)
{
    SamiConfigSigner signer = { .map_addresses = (gchar *[]){ (gchar *) "10.0.0.0/24:10.1.0.0/24", NULL } };
    const SamiConfig config = { .vlans = (gchar *[]){ (gchar *) "10:1", NULL }, .mark_mask = G_MAXUINT32 };
    SamiExpectation honest = { .key = { .family = 4, .orig = { .dst = { { 10, 0, 0, 13 } } } } }, e = honest;
    g_autoptr(GError) error = NULL;
    SamiMap *map = NULL, *none = NULL;
    CU_ASSERT_TRUE_FATAL(sami_map_load(&config, &signer, &map, NULL));
    CU_ASSERT_EQUAL(sami_map_expectation(map, &e), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(e.key.orig.dst.octets[1], 1);
    e = honest;
    e.key.zone = 1;
    CU_ASSERT_EQUAL(sami_map_expectation(map, &e), SAMI_REASON_ZONE_OF_VLAN);
    e = honest;
    e.key.orig.dst.octets[1] = 1;
    CU_ASSERT_EQUAL(sami_map_expectation(map, &e), SAMI_REASON_MAP_CLASH);
    e = honest;
    e.has = SAMI_EXPECT_HAS_VLAN;
    e.vlan = 20;
    CU_ASSERT_EQUAL(sami_map_expectation(map, &e), SAMI_REASON_VLAN_UNKNOWN);
    CU_ASSERT_EQUAL(sami_map_expectation(NULL, &e), SAMI_REASON_VLAN_UNKNOWN);
    CU_ASSERT_EQUAL(e.key.orig.dst.octets[1], 0); /* as it was */
    e.vlan = 10;
    CU_ASSERT_EQUAL(sami_map_expectation(map, &e), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(e.key.zone, 1);
    sami_map_unref(map);
    signer.map_addresses = (gchar *[]){ (gchar *) "10.0.0.0/24", NULL }; /* a configuration's file says so of its own */
    CU_ASSERT_FALSE(sami_map_load(&config, &signer, &none, &error));
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG) && strstr(error->message, "map-addresses: "));
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "pairs that are refused", test_refused }, { "addresses", test_addresses }, { "VLANs and zones", test_vlans },
        { "nothing mapped", test_nothing },         { "segments", test_segments },   { "tuples", test_tuples },
        { "prefixes of a VM", test_prefixes },      { "marks", test_marks },         { "labels", test_labels },
        { "policy", test_policy },                  { "refusals", test_refusals },   { "inverse", test_inverse },
        { "expectations", test_expectations },
    };
    return sami_test_main("map", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
