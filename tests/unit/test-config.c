/* Configuration: defaults, values, and for every way to be wrong the file, the line, the key and
 * what is allowed. */
#include <string.h>

#include <glib/gstdio.h>

#include "common/config-keys.h"
#include "common/value.h"
#include "tests/unit/harness.h"

static gchar *directory;

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-config-XXXXXX", NULL);
    return directory ? 0 : 1;
}

static void
remove_tree(const gchar *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    for (const gchar *name = dir ? g_dir_read_name(dir) : NULL; name; name = g_dir_read_name(dir)) {
        g_autofree gchar *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    if (dir)
        g_dir_close(dir);
    g_remove(path);
}

static int
tear_down(void)
{
    remove_tree(directory);
    g_clear_pointer(&directory, g_free);
    return 0;
}

static void
start_over(void)
{
    remove_tree(directory);
    g_mkdir(directory, 0700);
}

static void
put(const gchar *name, const gchar *text)
{
    g_autofree gchar *path = g_build_filename(directory, name, NULL);
    g_autofree gchar *parent = g_path_get_dirname(path);
    g_mkdir_with_parents(parent, 0700);
    CU_ASSERT_TRUE(g_file_set_contents(path, text, -1, NULL));
}

static void
drop(const gchar *name)
{
    g_autofree gchar *path = g_build_filename(directory, name, NULL);
    CU_ASSERT_EQUAL(g_unlink(path), 0);
}

static SamiConfig *
load(GError **error)
{
    g_autofree gchar *path = g_build_filename(directory, "sami.conf", NULL);
    return sami_config_load(path, error);
}

static gboolean
is_path(const gchar *path, const gchar *name)
{
    g_autofree gchar *wanted = g_build_filename(directory, name, NULL);
    return !g_strcmp0(path, wanted);
}

static void
test_defaults(void)
{
    g_autoptr(GError) error = NULL;
    start_over();
    put("sami.conf", "[sami]\nname=fw1.example\n");
    g_autoptr(SamiConfig) config = load(&error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->name, "fw1.example");
    CU_ASSERT_STRING_EQUAL(config->listen, "[::]:4740");
    CU_ASSERT_STRING_EQUAL(config->transport, "tcp");
    CU_ASSERT_STRING_EQUAL(config->user, "sami");
    CU_ASSERT_TRUE(is_path(config->certificate, "tls.crt"));
    CU_ASSERT_TRUE(is_path(config->signing_key, "signing.key"));
    CU_ASSERT_PTR_NULL(config->tls_ca);
    CU_ASSERT_EQUAL(config->deadline_ms, 2000);
    CU_ASSERT_EQUAL(config->lease_s, 120);
    CU_ASSERT_EQUAL(config->max_delay_ms, 30000);
    CU_ASSERT_EQUAL(config->grace_ms, 5000);
    CU_ASSERT_EQUAL(config->max_migrations, 32);
    CU_ASSERT_EQUAL(config->peer_sessions, 96);
    CU_ASSERT_EQUAL(config->max_sessions, 0);
    CU_ASSERT_TRUE(config->journal);
    CU_ASSERT_STRING_EQUAL(config->journal_sync, "ready");
    CU_ASSERT_EQUAL(g_strv_length(config->vm_prefixes), 0);
    CU_ASSERT_EQUAL(config->peers->len + config->signers->len + config->vms->len, 0);
    CU_ASSERT_PTR_NULL(sami_config_peer(config, "nobody"));
}

/* Who is removed while something else is broken. */
static void
test_without_gone(void)
{
    gchar *names = NULL;
    start_over();
    put("sami.conf", "[sami]\nname=fw1.example\ntls-ca=ca.pem\n");
    put("peers.d/fw2.example.conf", "[peer]\n");
    put("peers.d/fw3.example.conf", "[peer]\n");
    put("signers.d/fw2.example.conf", "[signer]\nkeys=a.pub\n");
    put("signers.d/fw3.example.conf", "[signer]\nkeys=b.pub\n");
    put("signers.d/other.conf", "[signer]\nname=fw4.example\nkeys=c.pub\n");
    g_autoptr(SamiConfig) old = load(NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(old);
    const SamiConfigSigner *held = sami_config_signer(old, "fw3.example");
    CU_ASSERT_PTR_NULL(sami_config_without_gone(old, &names));
    drop("peers.d/fw3.example.conf");
    drop("signers.d/fw3.example.conf");
    drop("signers.d/other.conf");
    g_autoptr(SamiConfig) left = sami_config_without_gone(old, &names);
    CU_ASSERT_PTR_NOT_NULL_FATAL(left);
    CU_ASSERT_STRING_EQUAL(names, "fw3.example, fw4.example");
    CU_ASSERT_TRUE(left->peers->len == 1 && sami_config_peer(left, "fw2.example") == sami_config_peer(old, "fw2.example"));
    CU_ASSERT_TRUE(left->signers->len == 1 && sami_config_signer(left, "fw2.example") == sami_config_signer(old, "fw2.example"));
    g_clear_pointer(&names, g_free);
    sami_config_free(g_steal_pointer(&old));
    CU_ASSERT_STRING_EQUAL(left->name, "fw1.example");
    CU_ASSERT_STRING_EQUAL(held->name, "fw3.example"); /* as long as anything that was made of it */
    CU_ASSERT_PTR_NULL(sami_config_without_gone(left, &names));
    /* Once more, of what is left; and not where the whole directory is somewhere else. */
    drop("signers.d/fw2.example.conf");
    g_autoptr(SamiConfig) less = sami_config_without_gone(left, &names);
    sami_config_free(g_steal_pointer(&left));
    CU_ASSERT_TRUE_FATAL(less != NULL);
    CU_ASSERT_STRING_EQUAL(names, "fw2.example");
    CU_ASSERT_TRUE(less->peers->len == 1 && less->signers->len == 0);
    g_clear_pointer(&names, g_free);
    drop("peers.d/fw2.example.conf");
    drop("sami.conf");
    CU_ASSERT_PTR_NULL(sami_config_without_gone(less, &names));
}

/* What a reload may change, and what stays until the next start. */
static void
test_reload(void)
{
    start_over();
    put("sami.conf", "[sami]\nname=fw1.example\nlisten=192.0.2.1:4741\nlease=60s\n");
    g_autoptr(SamiConfig) old = load(NULL);
    put("sami.conf", "[sami]\nname=fw1.example\nlease=90s\ntls-ca=ca.pem\nkey-log=k\nmax-sessions=7\nsigning-key=new.key\n");
    g_autoptr(SamiConfig) fresh = load(NULL);
    CU_ASSERT_TRUE_FATAL(old && fresh);
    g_autofree gchar *kept = sami_config_keep_fixed(fresh, old);
    CU_ASSERT_STRING_EQUAL(kept, "listen, tls-ca, key-log");
    CU_ASSERT_STRING_EQUAL(fresh->listen, "192.0.2.1:4741");
    CU_ASSERT_PTR_NULL(fresh->tls_ca);
    CU_ASSERT_PTR_NULL(fresh->key_log);
    CU_ASSERT_EQUAL(fresh->lease_s, 90);
    CU_ASSERT_EQUAL(fresh->max_sessions, 7);
    CU_ASSERT_TRUE(is_path(fresh->signing_key, "new.key"));
    CU_ASSERT_PTR_NULL(sami_config_keep_fixed(fresh, old));
    /* A second owner keeps it. */
    const SamiConfig *held = sami_config_ref(fresh);
    sami_config_free(g_steal_pointer(&fresh));
    CU_ASSERT_STRING_EQUAL(held->name, "fw1.example");
    sami_config_unref(held);
    /* Another file is broken: sami.conf alone can still be read. */
    g_autofree gchar *path = g_build_filename(directory, "sami.conf", NULL);
    put("signers.d/x.conf", "[signer]\nnonsense=1\n");
    SamiConfig *whole = load(NULL);
    CU_ASSERT_PTR_NULL(whole);
    sami_config_free(whole);
    g_autoptr(SamiConfig) main_only = sami_config_load_main(path, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(main_only);
    CU_ASSERT_EQUAL(main_only->lease_s, 90);
    CU_ASSERT_EQUAL(main_only->signers->len, 0);
}

static void
test_everything(void)
{
    g_autoptr(GError) error = NULL;
    start_over();
    put("sami.conf", "# comment\n\n[sami]\n name = fw1.example "
                     "\nlisten=192.0.2.1:4741\nuser=\njournal=false\nrun-dir=run\n"
                     "vm-prefixes=10.0.0.0/24, "
                     "2001:db8::/64\ndeadline=500ms\nlease=2m\ngrace=0\nmax-sessions=4294967295\n"
                     "[cumulative syn]\nset=syn4\n[cumulative black-6]\ntable = ip6 raw\nset=b\nkind=blacklist\nselect=all\n"
                     "max-elements=7\n");
    put("peers.d/fw2.example.conf",
        "[peer]\naddress=fw2.example:4740, [2001:db8::2]:4740\ncertificate=fw2.crt\nsigning-key=/keys/fw2.pub\n");
    put("peers.d/b.conf", "[peer]\nname=plain.example\naddress=[2001:db8::1]:4739\ncertificate=p."
                          "crt\nreceipts=false\n");
    put("peers.d/.hidden.conf", "nonsense");
    put("peers.d/README", "nonsense");
    put("signers.d/fw2.example.conf", "[signer]\nkeys=a.pub,b.pub\nallow-prefixes=10.0.0.0/"
                                      "24\nzones=0,0x10,65535\nunscoped=true\nvlans=10,20\n"
                                      "map-addresses=10.0.0.0/24:10.1.0.0/24, 2001:db8:a::/64:2001:db8:b::/64\nmap-labels=3:7\n"
                                      "ports=443, 8000-8999\nmark-mask=0xff\nvalid-until=2026-12-31T23:59:59Z\n");
    put("vms.d/web 1.conf", "[vm]\naddresses=10.0.0.13,2001:db8::13\nvlan=10\n");
    g_autoptr(SamiConfig) config = load(&error);
    CU_ASSERT_PTR_NULL(error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->user, "");
    CU_ASSERT_FALSE(config->journal);
    CU_ASSERT_TRUE(is_path(config->run_dir, "run"));
    CU_ASSERT_STRING_EQUAL(config->vm_prefixes[1], "2001:db8::/64");
    CU_ASSERT_EQUAL(config->deadline_ms, 500);
    CU_ASSERT_EQUAL(config->lease_s, 120);
    CU_ASSERT_EQUAL(config->grace_ms, 0);
    CU_ASSERT_EQUAL(config->max_sessions, 4294967295u);
    CU_ASSERT_EQUAL_FATAL(config->cumulatives->len, 2);
    const SamiConfigCumulative *syn = config->cumulatives->pdata[0], *black = config->cumulatives->pdata[1];
    CU_ASSERT_STRING_EQUAL(syn->name, "syn");
    CU_ASSERT_STRING_EQUAL(syn->table, "inet filter");
    CU_ASSERT_STRING_EQUAL(syn->kind, "counter");
    CU_ASSERT_STRING_EQUAL(syn->select, "vm");
    CU_ASSERT_STRING_EQUAL(black->name, "black-6");
    CU_ASSERT_STRING_EQUAL(black->table, "ip6 raw");
    CU_ASSERT_STRING_EQUAL(black->kind, "blacklist");
    CU_ASSERT_EQUAL(black->max_elements, 7);
    CU_ASSERT_EQUAL(config->peers->len, 2);
    const SamiConfigPeer *peer = sami_config_peer(config, "fw2.example");
    CU_ASSERT_PTR_NOT_NULL_FATAL(peer);
    CU_ASSERT_TRUE(g_strv_equal((const gchar *const *)peer->addresses, (const gchar *[]){"fw2.example:4740", "[2001:db8::2]:4740", NULL}));
    CU_ASSERT_TRUE(is_path(peer->certificate_file, "peers.d/fw2.crt"));
    CU_ASSERT_STRING_EQUAL(peer->signing_key_file, "/keys/fw2.pub");
    CU_ASSERT_TRUE(peer->receipts);
    CU_ASSERT_FALSE(sami_config_peer(config, "plain.example")->receipts);
    const SamiConfigSigner *signer = config->signers->pdata[0];
    CU_ASSERT_TRUE(is_path(signer->key_files[1], "signers.d/b.pub"));
    CU_ASSERT_STRING_EQUAL(signer->tls_names[0], "fw2.example");
    CU_ASSERT_EQUAL(g_strv_length(signer->nat_addresses), 0);
    CU_ASSERT_STRING_EQUAL(signer->kinds[0], "session");
    CU_ASSERT_TRUE(signer->unscoped && signer->require_expect);
    CU_ASSERT_STRING_EQUAL(signer->protocols[0], "any");
    CU_ASSERT_STRING_EQUAL(signer->ports[0], "443");
    CU_ASSERT_STRING_EQUAL(signer->ports[1], "8000-8999");
    CU_ASSERT_STRING_EQUAL(signer->remote_ports[0], "0-65535");
    CU_ASSERT_EQUAL(signer->mark_mask, 0xff);
    CU_ASSERT_STRING_EQUAL(signer->labels[0], "0-127");
    CU_ASSERT_EQUAL(signer->valid_from_s, 0);
    CU_ASSERT_EQUAL(signer->valid_until_s, 1798761599);
    CU_ASSERT_FALSE(signer->long_timeouts);
    CU_ASSERT_STRING_EQUAL(signer->vlans[1], "20");
    CU_ASSERT_STRING_EQUAL(signer->map_addresses[1], "2001:db8:a::/64:2001:db8:b::/64");
    CU_ASSERT_EQUAL(g_strv_length(signer->map_marks), 0);
    CU_ASSERT_EQUAL(config->mark_mask, 0xffffffffu);
    const SamiConfigVm *vm = sami_config_vm(config, "web 1");
    CU_ASSERT_PTR_NOT_NULL_FATAL(vm);
    CU_ASSERT_STRING_EQUAL(vm->addresses[1], "2001:db8::13");
    CU_ASSERT_EQUAL(vm->vlan, 10);
}

#define HEAD "[sami]\nname=fw1.example\n"
#define PEER_HEAD "[peer]\ncertificate=c.crt\nsigning-key=k.pub\n"
#define SIGNER_HEAD "[signer]\nkeys=k.pub\n"

/* One broken rule each. `where` is FILE:LINE or FILE, `key` what is named, `allowed` part of what
 * is said to be allowed. */
typedef struct {
    const gchar *file;
    const gchar *text;
    const gchar *where;
    const gchar *key;
    const gchar *allowed;
} Bad;

static const Bad bad[] = {
    {"sami.conf", "", "sami.conf", "[sami]", "missing"},
    {"sami.conf", "name=a\n", "sami.conf:1", "name", "[sami] first"},
    {"sami.conf", "[sami]\nnonsense\n", "sami.conf:2", "nonsense", "key=value"},
    {"sami.conf", "[sami]\n=1\n", "sami.conf:2", "key=value", "allowed"},
    {"sami.conf", "[sami]\n\n[sami]\n", "sami.conf:3", "[sami]", "once"},
    {"sami.conf", "[peer]\n", "sami.conf:1", "[peer]", "[sami]"},
    {"sami.conf", HEAD "[cumulative foo]\n", "sami.conf", "set", "name of an nft set"},
    {"sami.conf", HEAD "[cumulative foo bar]\nset=s\n", "sami.conf:3", "cumulative", "letters"},
    {"sami.conf", HEAD "[cumulative ]\nset=s\n", "sami.conf:3", "cumulative", "letters"},
    {"sami.conf", HEAD "[cumulative]\nset=s\n", "sami.conf:3", "cumulative", "[cumulative NAME]"},
    {"sami.conf", HEAD "[cumulative a]\nset=s\n[cumulative a]\n", "sami.conf:5", "cumulative a", "once"},
    {"sami.conf", HEAD "[cumulative a]\nset=s\nset=t\n", "sami.conf:5", "set", "first in line 4"},
    {"sami.conf", HEAD "[cumulative a]\nset=s\ntable=filter\n", "sami.conf:5", "table", "inet filter"},
    {"sami.conf", HEAD "[cumulative a]\nset=s t\n", "sami.conf:4", "set", "name of an nft set"},
    {"sami.conf", HEAD "[cumulative a]\nset=s\nkind=set\n", "sami.conf:5", "kind", "counter,blacklist"},
    {"sami.conf", HEAD "[cumulative a]\nset=s\nselect=some\n", "sami.conf:5", "select", "vm,all"},
    {"sami.conf", HEAD "[cumulative a]\nset=s\nmax-elements=0\n", "sami.conf:5", "max-elements", "1 to"},
    {"sami.conf", HEAD "[cumulative a]\nset=s\nlease=2s\n", "sami.conf:5", "lease", "max-elements"},
    {"sami.conf", "[cumulative a]\nset=s\n", "sami.conf", "[sami]", "missing"},
    {"peers.d/a.conf", "[cumulative a]\nset=s\n", "peers.d/a.conf:1", "cumulative", "[peer]"},
    {"sami.conf", HEAD "name=b\n", "sami.conf:3", "name", "first in line 2"},
    {"sami.conf", HEAD "color=red\n", "sami.conf:3", "color", "max-sessions"},
    {"sami.conf", HEAD "name[de]=b\n", "sami.conf:3", "name[de]", "allowed"},
    {"sami.conf", "[sami]\nname=FW1.example\n", "sami.conf:2", "name", "lower-case"},
    {"sami.conf", "[sami]\nname=fw1..example\n", "sami.conf:2", "name", "lower-case"},
    {"sami.conf", "[sami]\nname=\n", "sami.conf:2", "name", "DNS name"},
    {"sami.conf", HEAD "listen=4740\n", "sami.conf:3", "listen", "host:port"},
    {"sami.conf", HEAD "listen=[::1]\n", "sami.conf:3", "listen", "host:port"},
    {"sami.conf", HEAD "listen=::1:4740\n", "sami.conf:3", "listen", "host:port"},
    {"sami.conf", HEAD "listen=[::]:0\n", "sami.conf:3", "listen", "host:port"},
    {"sami.conf", HEAD "listen=[::]:65536\n", "sami.conf:3", "listen", "host:port"},
    {"sami.conf", HEAD "transport=udp\n", "sami.conf:3", "transport", "allowed: tcp"},
    {"sami.conf", HEAD "transport=udp\n", "sami.conf:3", "transport", "allowed: tcp,sctp"},
    {"sami.conf", HEAD "sctp-backend=both\n", "sami.conf:3", "sctp-backend", "allowed: auto,userland,kernel"},
    {"sami.conf", HEAD "sctp-udp-port=65536\n", "sami.conf:3", "sctp-udp-port", "65535"},
    {"sami.conf", HEAD "certificate=\n", "sami.conf:3", "certificate", "leave the key out"},
    {"sami.conf", HEAD "journal=yes\n", "sami.conf:3", "journal", "true or false"},
    {"sami.conf", HEAD "journal-sync=always\n", "sami.conf:3", "journal-sync", "allowed: ready,none"},
    {"sami.conf", HEAD "journal=1\n", "sami.conf:3", "journal", "true or false"},
    {"sami.conf", HEAD "vm-prefixes=10.0.0.0/33\n", "sami.conf:3", "vm-prefixes", "10.0.0.0/24"},
    {"sami.conf", HEAD "vm-prefixes=10.0.0.1,,10.0.0.2\n", "sami.conf:3", "vm-prefixes",
     "single commas"},
    {"sami.conf", HEAD "vm-prefixes=10.0.0.1;10.0.0.2\n", "sami.conf:3", "vm-prefixes",
     "10.0.0.0/24"},
    {"sami.conf", HEAD "local-prefixes=web\n", "sami.conf:3", "local-prefixes", "10.0.0.0/24"},
    {"sami.conf", HEAD "ignore-addresses=10.0.0.0/24\n", "sami.conf:3", "ignore-addresses",
     "10.0.0.13"},
    {"sami.conf", HEAD "vlans=10\n", "sami.conf:3", "vlans", "10:1"},
    {"sami.conf", HEAD "vlans=10:1,20:1\n", "sami.conf:3", "vlans: '10:1' and '20:1'", "inverse"},
    {"sami.conf", HEAD "mark-mask=0x100000000\n", "sami.conf:3", "mark-mask", "0 to 4294967295"},
    {"sami.conf", HEAD "deadline=2\n", "sami.conf:3", "deadline", "10ms to 1h"},
    {"sami.conf", HEAD "deadline=9ms\n", "sami.conf:3", "deadline", "10ms to 1h"},
    {"sami.conf", HEAD "deadline=2 s\n", "sami.conf:3", "deadline", "10ms to 1h"},
    {"sami.conf", HEAD "deadline=2s # slow\n", "sami.conf:3", "deadline", "10ms to 1h"},
    {"sami.conf", HEAD "deadline=-2s\n", "sami.conf:3", "deadline", "10ms to 1h"},
    {"sami.conf", HEAD "deadline=99999999999d\n", "sami.conf:3", "deadline", "10ms to 1h"},
    {"sami.conf", HEAD "deadline=999999999999d\n", "sami.conf:3", "deadline", "10ms to 1h"},
    {"sami.conf", HEAD "lease=4s\n", "sami.conf:3", "lease", "5s to 1d"},
    {"sami.conf", HEAD "lease=5500ms\n", "sami.conf:3", "lease", "5s or 2m"},
    {"sami.conf", HEAD "max-delay=2h\n", "sami.conf:3", "max-delay", "1s to 1h"},
    {"sami.conf", HEAD "grace=-1\n", "sami.conf:3", "grace", "0s to 1h"},
    {"sami.conf", HEAD "max-migrations=0\n", "sami.conf:3", "max-migrations", "1 to 1024"},
    {"sami.conf", HEAD "max-migrations=many\n", "sami.conf:3", "max-migrations", "1 to 1024"},
    {"sami.conf", HEAD "max-sessions=4294967296\n", "sami.conf:3", "max-sessions",
     "0 to 4294967295"},
    {"sami.conf", HEAD "user=a\\q\n", "sami.conf:3", "user", ""},
    {"sami.conf", HEAD "user=\xff\n", "sami.conf:3", "UTF-8", ""},
    {"peers.d/a.conf", "[signer]\n", "peers.d/a.conf:1", "[signer]", "[peer]"},
    {"peers.d/a.conf", "[peer]\nsigning-key=k.pub\n", "peers.d/a.conf", "certificate", "tls-ca"},
    {"peers.d/a.conf", "[peer]\ncertificate=c\naddress=a:1\n", "peers.d/a.conf:3", "signing-key",
     "receipts=false"},
    {"peers.d/a.conf", PEER_HEAD "address=a\n", "peers.d/a.conf:4", "address", "host:port"},
    {"peers.d/a.conf", PEER_HEAD "name=good.example\n", "peers.d/a.conf:4", "name", "once"},
    {"peers.d/A B.conf", PEER_HEAD, "peers.d/A B.conf", "name", "lower-case"},
    {"peers.d/.conf", "", NULL, NULL, NULL}, /* hidden: not read */
    {"signers.d/a.conf", "[signer]\n", "signers.d/a.conf", "keys", "one to four"},
    {"signers.d/a.conf", "[signer]\nkeys=\n", "signers.d/a.conf:2", "keys", "1 to 4"},
    {"signers.d/a.conf", "[signer]\nkeys=1,2,3,4,5\n", "signers.d/a.conf:2", "keys", "1 to 4"},
    {"signers.d/a.conf", SIGNER_HEAD "name=good.example\n", "signers.d/a.conf:3", "name", "once"},
    {"signers.d/a.conf", SIGNER_HEAD "tls-names=A\n", "signers.d/a.conf:3", "tls-names",
     "lower-case"},
    {"signers.d/a.conf", SIGNER_HEAD "allow-prefixes=all\n", "signers.d/a.conf:3", "allow-prefixes",
     "10.0.0.0/24"},
    {"signers.d/a.conf", SIGNER_HEAD "nat-addresses=192.0.2.1:80\n", "signers.d/a.conf:3",
     "nat-addresses", "10.0.0.0/24"},
    {"signers.d/a.conf", SIGNER_HEAD "zones=65536\n", "signers.d/a.conf:3", "zones", "0 to 65535"},
    {"signers.d/a.conf", SIGNER_HEAD "zones=\n", "signers.d/a.conf:3", "zones", "1 to"},
    {"signers.d/a.conf", SIGNER_HEAD "vlans=0\n", "signers.d/a.conf:3", "vlans", "1 to 4094"},
    {"signers.d/a.conf", SIGNER_HEAD "map-addresses=10.0.0.0/24:10.1.0.0/23\n", "signers.d/a.conf:3", "map-addresses", "same length"},
    {"signers.d/a.conf", SIGNER_HEAD "map-addresses=10.0.0.0/24:10.1.0.0/24,10.0.0.9:10.2.0.9\n", "signers.d/a.conf:3", "map-addresses",
     "inverse"},
    {"signers.d/a.conf", SIGNER_HEAD "map-marks=1:1,0x1/0xff:2\n", "signers.d/a.conf:3", "map-marks", "inverse"},
    {"signers.d/a.conf", SIGNER_HEAD "map-labels=1:200\n", "signers.d/a.conf:3", "map-labels", "0 to 127"},
    {"signers.d/a.conf", SIGNER_HEAD "kinds=flows\n", "signers.d/a.conf:3", "kinds",
     "allowed: session"},
    {"signers.d/a.conf", SIGNER_HEAD "protocols=tpc\n", "signers.d/a.conf:3", "protocols", "or a number from 1 to 255"},
    {"signers.d/a.conf", SIGNER_HEAD "protocols=0\n", "signers.d/a.conf:3", "protocols", "1 to 255"},
    {"signers.d/a.conf", SIGNER_HEAD "protocols=tcp,any\n", "signers.d/a.conf:3", "protocols", "it alone"},
    {"signers.d/a.conf", SIGNER_HEAD "protocols=\n", "signers.d/a.conf:3", "protocols", "1 to"},
    {"signers.d/a.conf", SIGNER_HEAD "ports=80-\n", "signers.d/a.conf:3", "ports", "0 to 65535"},
    {"signers.d/a.conf", SIGNER_HEAD "ports=90-80\n", "signers.d/a.conf:3", "ports", "8000-8999"},
    {"signers.d/a.conf", SIGNER_HEAD "remote-ports=65536\n", "signers.d/a.conf:3", "remote-ports", "0 to 65535"},
    {"signers.d/a.conf", SIGNER_HEAD "helpers=f/tp\n", "signers.d/a.conf:3", "helpers", "letters"},
    {"signers.d/a.conf", SIGNER_HEAD "helpers=a-name-of-sixteen\n", "signers.d/a.conf:3", "helpers", "at most 15"},
    {"signers.d/a.conf", SIGNER_HEAD "allow-special=broadcast\n", "signers.d/a.conf:3", "allow-special", "allowed: own"},
    {"signers.d/a.conf", SIGNER_HEAD "mark-mask=0x100000000\n", "signers.d/a.conf:3", "mark-mask", "0 to 4294967295"},
    {"signers.d/a.conf", SIGNER_HEAD "labels=128\n", "signers.d/a.conf:3", "labels", "0 to 127"},
    {"signers.d/a.conf", SIGNER_HEAD "labels=0-3,9-7\n", "signers.d/a.conf:3", "9-7", "0 to 127"},
    {"signers.d/a.conf", SIGNER_HEAD "allow-prefixes=10.0.0.13/24\n", "signers.d/a.conf:3", "allow-prefixes", "beyond its length"},
    {"signers.d/a.conf", SIGNER_HEAD "nat-addresses=2001:db8::1/64\n", "signers.d/a.conf:3", "nat-addresses", "beyond its length"},
    {"signers.d/a.conf", SIGNER_HEAD "valid-from=2026-12-31\nvalid-until=2026-12-31\n", "signers.d/a.conf:4", "valid-until", "never valid"},
    {"signers.d/a.conf", SIGNER_HEAD "valid-until=tomorrow\n", "signers.d/a.conf:3", "valid-until", "2026-12-31"},
    {"signers.d/a.conf", SIGNER_HEAD "valid-from=2026-02-30\n", "signers.d/a.conf:3", "valid-from", "UTC"},
    {"signers.d/a.conf", SIGNER_HEAD "valid-from=2026-12-31T23:59:59\n", "signers.d/a.conf:3", "valid-from", "UTC"},
    {"signers.d/a.conf", SIGNER_HEAD "max-rate=fast\n", "signers.d/a.conf:3", "max-rate", "0 to"},
    {"signers.d/a.conf", SIGNER_HEAD "max-sessions=-1\n", "signers.d/a.conf:3", "max-sessions",
     "0 to"},
    {"signers.d/a.conf", SIGNER_HEAD "require-expect=maybe\n", "signers.d/a.conf:3",
     "require-expect", "true or false"},
    {"signers.d/a.conf", SIGNER_HEAD "unscoped=True\n", "signers.d/a.conf:3", "unscoped",
     "true or false"},
    {"signers.d/a.conf", SIGNER_HEAD "[signer]\n", "signers.d/a.conf:3", "[signer]", "once"},
    {"vms.d/web1.conf", "[vm]\n", "vms.d/web1.conf", "addresses", "1 to 64"},
    {"vms.d/web1.conf", "[vm]\naddresses=\n", "vms.d/web1.conf:2", "addresses", "1 to 64"},
    {"vms.d/web1.conf", "[vm]\naddresses=10.0.0.1\nvlan=4095\n", "vms.d/web1.conf:3", "vlan", "0 to 4094"},
    {"vms.d/10.0.0.9.conf", "[vm]\naddresses=10.0.0.10\n", "vms.d/10.0.0.9.conf", "--vm", "any other name"},
    {"vms.d/$(id).conf", "[vm]\naddresses=10.0.0.10\n", "vms.d", "$(id).conf", "not allowed"},
    {"vms.d/a`id`.conf", "[vm]\naddresses=10.0.0.10\n", "vms.d", "a`id`.conf", "not allowed"},
    {"vms.d/a;id.conf", "[vm]\naddresses=10.0.0.10\n", "vms.d", "a;id.conf", "not allowed"},
    {"vms.d/a\\.conf", "[vm]\naddresses=10.0.0.10\n", "vms.d", "a\\\\.conf", "not allowed"},
    {"vms.d/a\033[2J.conf", "[vm]\naddresses=10.0.0.10\n", "vms.d", "a\\033[2J.conf", "control characters"},
    {"vms.d/a\n.conf", "[vm]\naddresses=10.0.0.10\n", "vms.d", "a\\n.conf", "control characters"},
    {"vms.d/a,b.conf", "[vm]\naddresses=10.0.0.10\n", "vms.d/a,b.conf", "--vm", "any other name"},
    {"vms.d/web1.conf", "[vm]\naddresses=10.0.0.0/24\n", "vms.d/web1.conf:2", "addresses",
     "10.0.0.13"},
};

static void
test_bad(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        start_over();
        put("sami.conf", HEAD);
        put("peers.d/good.example.conf", "[peer]\ncertificate=c.crt\n");
        put("signers.d/good.example.conf", SIGNER_HEAD);
        /* Files are read in the order of their names; the good ones come first by being copied
         * below a name that sorts so. */
        if (strstr(bad[i].text, "name=good.example")) {
            put("peers.d/0.conf", "[peer]\nname=good.example\ncertificate=c.crt\n");
            put("signers.d/0.conf", "[signer]\nname=good.example\nkeys=k\n");
            g_autofree gchar *peer = g_build_filename(directory, "peers.d/good.example.conf", NULL);
            g_autofree gchar *signer =
                g_build_filename(directory, "signers.d/good.example.conf", NULL);
            g_remove(peer);
            g_remove(signer);
        }
        put(bad[i].file, bad[i].text);
        g_autoptr(SamiConfig) config = load(&error);
        if (!bad[i].where) {
            CU_ASSERT_PTR_NOT_NULL(config);
            continue;
        }
        g_autofree gchar *where = g_strdup_printf("%s/%s: ", directory, bad[i].where);
        gboolean is_told = !config && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG) &&
                           g_str_has_prefix(error->message, where) &&
                           strstr(error->message, bad[i].key) &&
                           strstr(error->message, bad[i].allowed);
        if (!is_told)
            g_printerr("row %u: %s\n", i, error ? error->message : "no error");
        CU_ASSERT_TRUE(is_told);
    }
}

static void
test_missing(void)
{
    g_autoptr(GError) error = NULL;
    start_over();
    CU_ASSERT_PTR_NULL(load(&error));
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG));
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "samictl setup"));
}

/* Each row of the table is in the help and, for sami.conf, in the sample; the sample is a
 * configuration with the defaults. */
static void
test_table(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *help = sami_config_help();
    g_autofree gchar *sample = sami_config_sample("fw1.example");
    for (guint i = 0; i < sami_n_keys; i++) {
        g_autofree gchar *in_help = g_strdup_printf("\n%s\t", sami_keys[i].name);
        g_autofree gchar *in_sample = g_strdup_printf("%s=", sami_keys[i].name);
        CU_ASSERT_PTR_NOT_NULL(strstr(help, in_help));
        CU_ASSERT_TRUE(strcmp(sami_keys[i].group, "sami") != 0 || strstr(sample, in_sample));
        CU_ASSERT_PTR_EQUAL(sami_key_find(sami_keys[i].group, sami_keys[i].name),
                            &sami_keys[i]); /* no row twice */
    }
    start_over();
    put("sami.conf", sample);
    g_autoptr(SamiConfig) config = load(&error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->name, "fw1.example");
    /* With every comment sign before a default gone, it still is. */
    g_autoptr(GString) full = g_string_new(sample);
    g_string_replace(full, "\n#", "\n", 0);
    g_string_replace(full, "\n ", "\n# ", 0);
    g_string_replace(full, "tls-ca=\n", "", 0);
    g_string_replace(full, "key-log=\n", "", 0);
    g_string_replace(full, "key-passphrase-file=\n", "", 0);
    put("sami.conf", full->str);
    g_autoptr(SamiConfig) second = load(&error);
    CU_ASSERT_PTR_NULL(error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    CU_ASSERT_EQUAL(second->deadline_ms, config->deadline_ms);
    CU_ASSERT_STRING_EQUAL(second->certificate, config->certificate);
}

/* Where a key is need not be a file. */
static void
test_places(void)
{
    static const struct {
        const gchar *value, *wanted; /* NULL: beside sami.conf */
    } cases[] = {{"a.key", NULL}, {"/k/a.key", "/k/a.key"}, {"a:b", NULL}, {"pkcs11:token=x;object=y", "pkcs11:token=x;object=y"}, {"file:/k", "file:/k"},
                 {"d/pkcs11:x", NULL}, {"$CREDENTIALS_DIRECTORY/p", "/run/credentials/u/p"}, {"$OTHER/p", NULL}};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree gchar *text = g_strdup_printf("[sami]\nname=fw1.example\nkey=%s\nkey-passphrase-file=%s\nrun-dir=%s\n", cases[i].value, cases[i].value,
                                                 cases[i].value);
        g_setenv("CREDENTIALS_DIRECTORY", "/run/credentials/u", TRUE);
        start_over();
        put("sami.conf", text);
        g_autoptr(SamiConfig) config = load(NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(config);
        CU_ASSERT_TRUE(cases[i].wanted ? !strcmp(config->key, cases[i].wanted) : is_path(config->key, cases[i].value));
        CU_ASSERT_STRING_EQUAL(config->key_passphrase_file, config->key);
        CU_ASSERT_TRUE(g_path_is_absolute(config->run_dir)); /* which is a file all the same */
        g_unsetenv("CREDENTIALS_DIRECTORY");
        g_autoptr(SamiConfig) without = load(NULL);
        CU_ASSERT_TRUE(*cases[i].value != '$' || i == 7 || !strcmp(without->key, cases[i].value));
    }
}

/* The manual page lists each key with its default. Run by hand without srcdir, the source tree is
 * the working directory. */
static void
test_manual(void)
{
    const gchar *top = g_getenv("srcdir");
    g_autofree gchar *file = g_build_filename(top ? top : ".", "man", "sami.conf.5", NULL);
    g_autofree gchar *page = NULL;
    CU_ASSERT_TRUE_FATAL(g_file_get_contents(file, &page, NULL, NULL));
    for (guint i = 0; i < sami_n_keys; i++) {
        g_autofree gchar *item = g_strdup_printf("\n.It Cm %s Ns = ", sami_keys[i].name);
        g_autofree gchar *value = g_strdup_printf("default %s\n", sami_keys[i].value);
        const gchar *at = strstr(page, item);
        CU_ASSERT_PTR_NOT_NULL(at);
        CU_ASSERT_TRUE(!sami_keys[i].value || !*sami_keys[i].value ||
                       g_str_has_prefix(sami_keys[i].value, "/") || (at && strstr(at, value)));
    }
}

static void
test_values(void)
{
    guint64 value = 7;
    static const struct {
        guint64 ms;
        const gchar *text;
    } durations[] = {{0, "0s"},      {1, "1ms"},      {1500, "1500ms"}, {2000, "2s"},
                     {90000, "90s"}, {600000, "10m"}, {604800000, "7d"}};
    for (guint i = 0; i < G_N_ELEMENTS(durations); i++) {
        g_autofree gchar *text = sami_value_duration_print(durations[i].ms);
        CU_ASSERT_STRING_EQUAL(text, durations[i].text);
        CU_ASSERT_TRUE(sami_value_duration(text, 0, G_MAXUINT64, &value, NULL));
        CU_ASSERT_EQUAL(value, durations[i].ms);
    }
    value = 7;
    CU_ASSERT_FALSE(sami_value_duration("", 0, 10, &value, NULL));
    gchar said[] = "a\033[2J\tb\x7f\n\xc2\x9b" "31m\xc2\x80\xc2\xa0\xc3\xa9\xc2";
    sami_value_mask_controls(said);
    CU_ASSERT_STRING_EQUAL(said, "a?[2J?b?\n??31m??\xc2\xa0\xc3\xa9\xc2");
    CU_ASSERT_FALSE(sami_value_uint("0x", 0, 10, &value, NULL));
    CU_ASSERT_EQUAL(value, 7); /* untouched */
    CU_ASSERT_TRUE(sami_value_uint("0xff", 0, 255, &value, NULL));
    CU_ASSERT_EQUAL(value, 255);
    g_autofree gchar *long_label = g_strnfill(64, 'a');
    g_autofree gchar *label = g_strnfill(63, 'a');
    CU_ASSERT_FALSE(sami_value_name(long_label, NULL));
    CU_ASSERT_TRUE(sami_value_name(label, NULL));
    CU_ASSERT_FALSE(sami_value_name("-a", NULL));
    CU_ASSERT_FALSE(sami_value_name("a.", NULL));
    g_autofree gchar *long_name = g_strjoin(".", label, label, label, label, NULL);
    CU_ASSERT_FALSE(sami_value_name(long_name, NULL));
}

int
main(void)
{
    static const SamiTest tests[] = {
        {"defaults", test_defaults},  {"all keys", test_everything}, {"bad files", test_bad},
        {"no file", test_missing},    {"table of keys", test_table}, {"values", test_values},
    {"places of keys", test_places},
        {"manual page", test_manual}, {"reload", test_reload}, {"who is removed", test_without_gone},
    };
    return sami_test_main("config", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
