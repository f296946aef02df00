/* Refusals for which a kernel has to fail: each in a process of its own, whose system call NAME answers what a seccomp filter says, from when the case
 * begins. An answer of 0 is a call that claims to have been done. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "tests/unit/harness.h"
#include "transport/input.h"
#include "transport/network-process.h"
#include "transport/pki.h"
#include "transport/privileges.h"
#include "transport/reload.h"
#include "transport/sandbox.h"
#include "transport/session.h"

static gchar *directory, *certificate, *key;
static SamiInput *kept; /* of a process that ends */

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-faults-XXXXXX", NULL);
    certificate = g_build_filename(directory, "tls.crt", NULL);
    key = g_build_filename(directory, "tls.key", NULL);
    return sami_pki_make_identity("fw1.example", certificate, key, NULL, NULL) ? 0 : 1;
}

static int
tear_down(void)
{
    gboolean is_gone = unlink(certificate) == 0 && unlink(key) == 0 && rmdir(directory) == 0; /* and nothing else has been left */
    g_free(certificate);
    g_free(key);
    g_free(directory);
    return is_gone ? 0 : 1;
}

/* From now on; of calls with this first argument only, unless it is negative. */
static gboolean
fail_call(const gchar *name, guint answer, gint first)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int call = seccomp_syscall_resolve_name(name);
    const struct scmp_arg_cmp is_first = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) first);
    gboolean is_loaded = filter && seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(answer), call, first >= 0, &is_first) == 0 && seccomp_load(filter) == 0;
    seccomp_release(filter);
    return is_loaded;
}

/* What fails, and the error that it is told by. */
typedef struct {
    const gchar *call;
    guint answer;
    gint first;
    gboolean (*run)(GError **error);
    SamiErrorCode code;
    const gchar *word;
    gboolean needs_root;
} Case;

static gboolean keep_nothing(GError **error) { return sami_privileges_keep(-1, error); }
static gboolean become_nobody(GError **error) { return sami_privileges_drop("nobody", error); }
static gboolean follow_another(GError **error) { return sami_privileges_follow_parent(getpid(), error); }
static gboolean follow(GError **error) { return sami_privileges_follow_parent(getppid(), error); }
static gboolean confine(GError **error) { return sami_sandbox_filter(SAMI_SANDBOX_LISTENER, error); }

static gboolean
write_peers(GError **error)
{
    SamiNetworkConfig config = { .peers = NULL };
    return sami_reload_write(&config, error) >= 0;
}

static gboolean
make_pair(GError **error)
{
    SamiSessionSocket *own;
    int other;
    return sami_session_pair(&own, &other, error);
}

static gboolean
start_network(GError **error)
{
    SamiNetworkConfig config = { .certificate_file = certificate, .key_file = key };
    SamiNetworkProcess process = { .channel = -1 };
    return sami_network_process_init(&process, &config, TRUE, -1, NULL, error);
}

/* Neither half of a key stays. */
static gboolean
make_key(GError **error)
{
    g_autofree gchar *secret = g_build_filename(directory, "s.key", NULL), *public = g_build_filename(directory, "s.pub", NULL);
    return sami_pki_make_signing_key(secret, public, NULL, error) || access(secret, F_OK) == 0 || access(public, F_OK) == 0;
}

/* A host without IPv6, and a peer that has nothing else. */
static gboolean
connect_over_ipv6(GError **error)
{
    const SamiSctpConfig config = { .backend = SAMI_SCTP_USERLAND, .udp_port = 9899 };
    const struct sockaddr_in6 peer = { .sin6_family = AF_INET6, .sin6_port = 4740, .sin6_addr = { { { [15] = 1 } } } };
    SamiSctp *stack = sami_sctp_new(&config, -1, 0, NULL, error);
    if (!stack)
        return TRUE; /* that is another matter */
    gboolean is_connected = sami_sctp_connect(stack, (const struct sockaddr *) (const void *) &peer, error) != NULL;
    sami_sctp_free(stack);
    return is_connected;
}

/* The disk of a capture goes bad behind its first octets: the fault is told where it is, after what was read. */
static gboolean
read_on(GError **error)
{
    static const guint8 octets[] = { 0, 10, 0, 32 };
    const SamiInputOptions options = { 0 };
    g_autofree gchar *path = g_build_filename(directory, "a.ipfix", NULL);
    gboolean is_written = g_file_set_contents(path, (const gchar *) octets, sizeof octets, NULL);
    int next = STDERR_FILENO + 1; /* what the input will have */
    while (fcntl(next, F_GETFD) >= 0)
        next++;
    g_autoptr(SamiInput) input = is_written ? sami_input_open(path, &options, error) : NULL;
    unlink(path);
    SamiInputMessage message;
    gboolean is_done = !input || !fail_call("read", EIO, next) || sami_input_next(input, &message, error) != SAMI_INPUT_END;
    kept = g_steal_pointer(&input); /* with the number that fails: coverage would get it for the files that it adds to, and lose what is in them */
    return is_done;
}

static const Case cases[] = {
    { "prctl", EPERM, -1, keep_nothing, SAMI_ERROR_PERMISSION, "PR_SET_NO_NEW_PRIVS: Operation not permitted", FALSE },
    { "prctl", EPERM, PR_SET_DUMPABLE, keep_nothing, SAMI_ERROR_PERMISSION, "PR_SET_DUMPABLE", FALSE },
    { "prctl", EPERM, PR_SET_PDEATHSIG, follow, SAMI_ERROR_PERMISSION, "PR_SET_PDEATHSIG", FALSE },
    { "prlimit64", EPERM, -1, keep_nothing, SAMI_ERROR_PERMISSION, "RLIMIT_CORE", FALSE },
    { "capset", EPERM, -1, keep_nothing, SAMI_ERROR_PERMISSION, "capset", TRUE },
    { "prctl", EPERM, PR_CAPBSET_DROP, become_nobody, SAMI_ERROR_PERMISSION, "bounding set", TRUE },
    { "setgroups", EPERM, -1, become_nobody, SAMI_ERROR_PERMISSION, "initgroups", TRUE },
    { "setresgid", EPERM, -1, become_nobody, SAMI_ERROR_PERMISSION, "setresgid", TRUE },
    { "setresuid", EPERM, -1, become_nobody, SAMI_ERROR_PERMISSION, "setresuid", TRUE },
    { "setresgid", 0, -1, become_nobody, SAMI_ERROR_PERMISSION, "some are still there", TRUE },
    { "setresuid", 0, -1, become_nobody, SAMI_ERROR_PERMISSION, "some are still there", TRUE },
    { NULL, 0, -1, follow_another, SAMI_ERROR_FAILED, "the parent process is gone", FALSE },
    { "seccomp", EINVAL, -1, confine, SAMI_ERROR_PERMISSION, "sandbox: seccomp", FALSE },
    { "memfd_create", EMFILE, -1, write_peers, SAMI_ERROR_FAILED, "Too many open files", FALSE },
    { "socketpair", EMFILE, -1, make_pair, SAMI_ERROR_FAILED, "socketpair for a session: Too many open files", FALSE },
    { "signalfd4", EMFILE, -1, start_network, SAMI_ERROR_FAILED, "signalfd: Too many open files", FALSE },
    { "fsync", EIO, -1, make_key, SAMI_ERROR_FAILED, "s.key: Input/output error", FALSE },
    { "socket", EAFNOSUPPORT, AF_INET6, connect_over_ipv6, SAMI_ERROR_FAILED, "no UDP socket for this family", FALSE },
    { NULL, 0, -1, read_on, SAMI_ERROR_FAILED, "at octet 4: Input/output error", FALSE },
};

/* In the child; exit() writes what coverage has counted, but a sanitizer's look for leaks needs calls that fail here. */
static void G_GNUC_NORETURN
run_case(const Case *one)
{
    g_autoptr(GError) error = NULL;
    gboolean is_failing = !one->call || fail_call(one->call, one->answer, one->first);
    gboolean is_done = is_failing && one->run(&error);
    gboolean is_told = is_failing && !is_done && g_error_matches(error, SAMI_ERROR, one->code) && strstr(error->message, one->word);
    if (!is_told)
        g_printerr("%s: %s, not %s\n", one->call ? one->call : "no call", error ? error->message : is_failing ? "no error" : "no filter", one->word);
#ifdef SAMI_SANITIZERS
    _exit(is_told ? 0 : 1);
#else
    exit(is_told ? 0 : 1);
#endif
}

static void
test_faults(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        int status = -1;
        if (cases[i].needs_root && geteuid() != 0)
            continue;
        fflush(NULL);
        pid_t child = fork();
        if (child == 0)
            run_case(&cases[i]);
        CU_ASSERT_TRUE(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        if (status != 0)
            g_printerr("case %u: status %x\n", i, (guint) status);
    }
}

int
main(void)
{
    static const SamiTest tests[] = { { "each is told", test_faults } };
#ifdef SAMI_SANITIZERS
    puts("SKIP: the calls that fail here are those that the sanitizers need");
    return 77;
#endif
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0) {
        puts("SKIP: there is no seccomp, or a filter already");
        return 77;
    }
    return sami_test_main("faults", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
