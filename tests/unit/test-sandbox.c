/* What each process may do in its sandbox, and what happens to one that tries more: each attempt in each sandbox, in a process of its own. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "tests/unit/harness.h"
#include "transport/reload.h"
#include "transport/sandbox.h"

static const gchar *const names[SAMI_N_SANDBOXES] = { "listener", "connector", "collector", "exporter", "supervisor" };

static gchar *directory;       /* conf, journal and other in it */
static int tcp[3], server = -1; /* sockets from before the sandbox, the last one made anew for each attempt; one that listens */
static int control = -1, handover = -1; /* others, at other/socket and other/handover */
static int passed = -1;         /* a local one from before the sandbox, as another process could pass it; made anew for each attempt */
static struct sockaddr_in address;
static gboolean has_ports;

static const gchar *
in(const gchar *name)
{
    static gchar path[512];
    g_snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

/* ---- attempts: 0, or why not ---- */

/* What is opened stays open until the process of the attempt ends. */
static int
keep(int fd)
{
    return fd;
}

#define CALL(name, expression) \
    static int try_##name(void) { return (expression) < 0 ? errno : 0; }
#define SOCKET(name, family, type, protocol) CALL(name, keep(socket(family, type, protocol)))
#define OPEN(name, ...) CALL(name, keep(open(__VA_ARGS__)))
#define SYSTEM(name, ...) CALL(name, syscall(SYS_##name, __VA_ARGS__))

SOCKET(inet_stream, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
SOCKET(inet_dgram, AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)
SOCKET(inet6_stream, AF_INET6, SOCK_STREAM, 0)
SOCKET(inet6_dgram, AF_INET6, SOCK_DGRAM, 0)
SOCKET(inet_raw, AF_INET, SOCK_RAW, IPPROTO_ICMP)
SOCKET(packet, AF_PACKET, SOCK_RAW, 0)
SOCKET(vsock, AF_VSOCK, SOCK_STREAM, 0)
SOCKET(netfilter, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)
SOCKET(route, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
SOCKET(audit, AF_NETLINK, SOCK_RAW, NETLINK_AUDIT)
SOCKET(unix_dgram, AF_UNIX, SOCK_DGRAM, 0)
SOCKET(unix_stream, AF_UNIX, SOCK_STREAM, 0)
CALL(connect_tcp, connect(tcp[0], (const struct sockaddr *) &address, sizeof address))
CALL(bind_tcp, bind(tcp[1], (const struct sockaddr *) &(struct sockaddr_in){ .sin_family = AF_INET }, sizeof(struct sockaddr_in)))

SYSTEM(execve, "/bin/true", NULL, NULL)
SYSTEM(execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0)
SYSTEM(ptrace, 0, 0, 0, 0)
SYSTEM(process_vm_readv, getppid(), NULL, 0, NULL, 0, 0)
SYSTEM(process_vm_writev, getppid(), NULL, 0, NULL, 0, 0)
SYSTEM(bpf, 0, NULL, 0)
SYSTEM(perf_event_open, NULL, 0, 0, 0, 0)
SYSTEM(userfaultfd, 0)
SYSTEM(io_uring_setup, 1, NULL)
SYSTEM(keyctl, 0, 0, 0, 0)
SYSTEM(add_key, "user", "x", "x", 1, -1)
SYSTEM(mount, "none", "/", NULL, 0, NULL)
SYSTEM(umount2, "/", 0)
SYSTEM(chroot, "/")
SYSTEM(unshare, CLONE_NEWUSER)
SYSTEM(setns, 0, 0)
SYSTEM(init_module, NULL, 0, "")
SYSTEM(finit_module, 0, "", 0)
SYSTEM(kexec_load, 0, 0, NULL, 0)
SYSTEM(open_by_handle_at, 0, NULL, 0)
SYSTEM(setuid, 0)
SYSTEM(setgid, 0)
SYSTEM(capset, NULL, NULL)
SYSTEM(mknodat, AT_FDCWD, "x", S_IFREG, 0)
SYSTEM(personality, 0)
SYSTEM(clone3, NULL, 0)
SYSTEM(fchmodat, AT_FDCWD, in("journal/file"), 0777)
SYSTEM(symlinkat, "/etc/shadow", AT_FDCWD, in("journal/link"))
SYSTEM(linkat, AT_FDCWD, in("conf/signing.key"), AT_FDCWD, in("other/hard"), 0)
SYSTEM(memfd_create, "x", 0)
SYSTEM(truncate, in("conf/sami.conf"), 0)
CALL(set_name, prctl(PR_SET_NAME, "x"))
CALL(set_dumpable, prctl(PR_SET_DUMPABLE, 1))
CALL(signal_parent, kill(getppid(), 0))
CALL(signal_self, syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0))
CALL(unknown, syscall(2000))

OPEN(read_key, in("conf/signing.key"), O_RDONLY)
OPEN(read_config, in("conf/sami.conf"), O_RDONLY)
OPEN(write_config, in("conf/sami.conf"), O_WRONLY)
OPEN(make_config, in("conf/new"), O_WRONLY | O_CREAT, 0600)
CALL(remove_config, unlink(in("conf/sami.conf")))
OPEN(read_journal, in("journal/file"), O_RDONLY)
OPEN(write_journal, in("journal/file"), O_WRONLY | O_APPEND)
OPEN(make_journal, in("journal/new"), O_WRONLY | O_CREAT | O_EXCL, 0600)
CALL(rename_journal, rename(in("journal/file"), in("journal/file"))) /* the same name: nothing changes, and it is asked for */
CALL(take_config, renameat(AT_FDCWD, in("journal/file"), AT_FDCWD, "/stolen"))
OPEN(list_conf, in("conf"), O_RDONLY | O_DIRECTORY)
OPEN(list_other, in("other"), O_RDONLY | O_DIRECTORY)
OPEN(read_other, in("other/file"), O_RDONLY)
OPEN(read_shadow, "/etc/shadow", O_RDONLY)
OPEN(read_passwd, "/etc/passwd", O_RDONLY)
OPEN(read_hosts, "/etc/hosts", O_RDONLY)
OPEN(write_hosts, "/etc/hosts", O_WRONLY)
OPEN(write_null, "/dev/null", O_WRONLY)

static int
try_make_process(void)
{
    pid_t pid = fork(); /* clone() */
    if (pid == 0)
        _exit(0);
    return pid < 0 ? errno : 0;
}

static gpointer
nothing(gpointer data)
{
    return data;
}

static int
try_make_thread(void)
{
    pthread_t thread;
    int code = pthread_create(&thread, NULL, nothing, NULL);
    return code ? code : pthread_join(thread, NULL);
}

static int
try_make_pair(void)
{
    int fds[2];
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0 ? errno : 0;
}

static struct sockaddr_un
place_of(const gchar *name)
{
    struct sockaddr_un place = { .sun_family = AF_UNIX };
    g_strlcpy(place.sun_path, in(name), sizeof place.sun_path);
    return place;
}

static int
connect_file(int fd)
{
    const struct sockaddr_un place = place_of("other/socket");
    return fd < 0 || connect(fd, (const struct sockaddr *) &place, sizeof place) != 0 ? errno : 0;
}

/* Landlock does not ask who connects to a file's socket. The control sockets do (test-control, 67-control-classes), but others believe root. */
static int
try_connect_file(void)
{
    return connect_file(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int
try_connect_packets(void)
{
    return connect_file(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
}

static int
try_connect_passed(void)
{
    return connect_file(passed);
}

/* As sami_control_call_handed() does it. */
static int
try_hand_over(void)
{
    struct sockaddr_un place = place_of("other/handover");
    int ends[2], fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return errno;
    struct {
        struct cmsghdr header;
        int end;
    } control = { { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS }, ends[1] };
    struct iovec part = { (void *) "", 1 };
    const struct msghdr message = { .msg_name = &place, .msg_namelen = sizeof place, .msg_iov = &part, .msg_iovlen = 1,
                                    .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int)) };
    return sendmsg(fd, &message, MSG_DONTWAIT) < 0 ? errno : 0;
}

/* What closes a socket with this set waits, and that may be another process, to which it was passed. */
static int
try_set_linger(void)
{
    const struct linger hour = { .l_onoff = 1, .l_linger = 3600 };
    return setsockopt(tcp[2], SOL_SOCKET, SO_LINGER, &hour, sizeof hour) < 0 ? errno : 0;
}

/* The level with more than 32 bits, of which the kernel takes 32. */
static int
try_set_linger_wide(void)
{
    const struct linger hour = { .l_onoff = 1, .l_linger = 3600 };
    return syscall(SYS_setsockopt, tcp[2], 0x100000000l + SOL_SOCKET, 0x100000000l + SO_LINGER, &hour, sizeof hour) < 0 ? errno : 0;
}

/* A connection without connect(). */
static int
try_send_connect(void)
{
    return sendto(tcp[2], "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (const struct sockaddr *) &address, sizeof address) < 0 ? errno : 0;
}

static int
try_send_connect_message(void)
{
    struct iovec part = { (void *) "x", 1 };
    const struct msghdr message = { .msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &part, .msg_iovlen = 1 };
    return sendmsg(tcp[2], &message, MSG_FASTOPEN | MSG_NOSIGNAL) < 0 ? errno : 0;
}

static int
map(int protection, int flags, int fd)
{
    const void *page = mmap(NULL, 4096, protection, flags, fd, 0);
    return page == MAP_FAILED ? errno : 0;
}

static int
try_map_data(void)
{
    return map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int
try_map_code(void)
{
    return map(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int
try_map_both(void)
{
    return map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, server); /* not even looked at what it is of */
}

static int
try_map_library(void)
{
    int fd = open("/usr/lib", O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return errno;
    close(fd);
    fd = open("/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY);
    if (fd < 0)
        fd = open("/proc/self/exe", O_RDONLY);
    return fd < 0 ? errno : map(PROT_READ | PROT_EXEC, MAP_PRIVATE, fd);
}

static int
try_make_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0 ? errno : 0;
}

static int
try_allow_core(void)
{
    const struct rlimit all = { 0, RLIM_INFINITY };
    return setrlimit(RLIMIT_CORE, &all) < 0 ? errno : 0;
}

static int
try_replace_file(void)
{
    g_autoptr(GError) error = NULL;
    return g_file_set_contents_full(in("journal/set"), "x", 1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error) ? 0 : EPERM;
}

static int
try_look_up(void)
{
    struct addrinfo *list = NULL;
    int code = getaddrinfo("localhost", "4740", NULL, &list);
    if (list)
        freeaddrinfo(list);
    return code ? EPERM : 0;
}

/* A letter for each sandbox, in the order of SamiSandbox. + works, - is refused, ! kills, e is ENOSYS; p is as - where Landlock has ports. */
typedef struct {
    const gchar *name;
    int (*attempt)(void);
    const gchar *expected;
} Attempt;

#define A(name, expected) { #name, try_##name, expected }

static const Attempt attempts[] = {
    A(inet_stream, "-+---"),   A(inet_dgram, "++---"),    A(inet6_stream, "-+---"),  A(inet6_dgram, "++---"),  A(inet_raw, "-----"),
    A(packet, "-----"),        A(vsock, "-----"),         A(netfilter, "--++-"),     A(route, "++++-"),        A(audit, "-----"),
    A(unix_dgram, "+++++"),    A(unix_stream, "-+---"),   A(make_pair, "+++--"),     A(connect_tcp, "p+---"),  A(bind_tcp, "pppp-"),
    A(execve, "!!!!!"),        A(execveat, "!!!!!"),         A(ptrace, "!!!!!"),       A(process_vm_readv, "!!!!!"),
    A(process_vm_writev, "!!!!!"), A(bpf, "!!!!!"),       A(perf_event_open, "!!!!!"), A(userfaultfd, "!!!!!"), A(io_uring_setup, "!!!!!"),
    A(keyctl, "!!!!!"),        A(add_key, "!!!!!"),       A(mount, "!!!!!"),         A(umount2, "!!!!!"),      A(chroot, "!!!!!"),
    A(unshare, "!!!!!"),       A(setns, "!!!!!"),         A(init_module, "!!!!!"),   A(finit_module, "!!!!!"), A(kexec_load, "!!!!!"),
    A(open_by_handle_at, "!!!!!"), A(setuid, "!!!!!"),    A(setgid, "!!!!!"),        A(capset, "!!!!!"),       A(mknodat, "!!!!!"),
    A(personality, "!!!!!"),   A(clone3, "eeeee"),        A(make_process, "-----"),  A(make_thread, "++++-"),
    A(fchmodat, "-----"),         A(symlinkat, "-----"),       A(linkat, "-----"),          A(truncate, "-----"),     A(memfd_create, "--++-"),
    A(set_name, "++++-"),      A(set_dumpable, "-----"),  A(allow_core, "-----"),    A(signal_parent, "----+"), A(signal_self, "+++++"),
    A(unknown, "-----"),       A(map_data, "+++++"),      A(map_code, "-----"),      A(map_both, "-----"),     A(make_code, "-----"),
    A(map_library, "-+---"),   A(read_key, "--++-"),      A(read_config, "--++-"),   A(write_config, "-----"), A(make_config, "-----"),
    A(remove_config, "-----"), A(read_journal, "--++-"),  A(write_journal, "--++-"), A(make_journal, "--++-"), A(rename_journal, "--++-"),
    A(take_config, "-----"),   A(list_conf, "--++-"),     A(list_other, "-----"),    A(read_other, "-----"),   A(read_shadow, "-----"),
    A(read_passwd, "-----"),   A(read_hosts, "-+---"),    A(write_hosts, "-----"),   A(write_null, "--++-"),
    A(replace_file, "--++-"),  A(look_up, "-+---"),       A(set_linger, "-----"),    A(set_linger_wide, "-----"),
    A(connect_file, "-+---"),  A(connect_packets, "-----"), A(connect_passed, "++---"), A(hand_over, "+++--"), A(send_connect, "-----"),  A(send_connect_message, "-----"),
};

static pid_t
fork_attempt(void)
{
    pid_t pid;
    tcp[2] = socket(AF_INET, SOCK_STREAM, 0);
    passed = socket(AF_UNIX, SOCK_STREAM, 0);
    pid = fork();
    if (pid != 0) {
        close(tcp[2]);
        close(passed);
    }
    return pid;
}

/* As the daemons enter it. */
static gboolean
enter(SamiSandbox sandbox)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *conf = g_build_filename(directory, "conf", NULL), *journal = g_build_filename(directory, "journal", NULL);
    const SamiSandboxPath of_state[] = { { journal, TRUE }, { conf, FALSE }, { "/nonexistent", FALSE } };
    const SamiSandboxPath of_connector[] = { { "/etc/hosts", FALSE }, { "/etc/nsswitch.conf", FALSE }, { "/usr/lib", FALSE }, { "/lib", FALSE } };
    gboolean is_state = sandbox == SAMI_SANDBOX_COLLECTOR || sandbox == SAMI_SANDBOX_EXPORTER;
    const SamiSandboxPath *paths = is_state ? of_state : sandbox == SAMI_SANDBOX_CONNECTOR ? of_connector : NULL;
    guint n = is_state ? G_N_ELEMENTS(of_state) : sandbox == SAMI_SANDBOX_CONNECTOR ? G_N_ELEMENTS(of_connector) : 0;
    gboolean is_in = sami_sandbox_enter(sandbox, paths, n, &error);
    if (!is_in)
        fprintf(stderr, "%s: %s\n", names[sandbox], error->message);
    return is_in;
}

static gchar
run(const Attempt *attempt, SamiSandbox sandbox)
{
    int status = 0;
    pid_t pid = fork_attempt();
    if (pid == 0) {
        prctl(PR_SET_DUMPABLE, 0);
        if (!enter(sandbox))
            _exit(255);
        _exit(attempt->attempt());
    }
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? '!' : '?';
    switch (WEXITSTATUS(status)) {
    case 0:
        return '+';
    case EPERM:
    case EACCES:
    case EXDEV: /* Landlock's word for a rename to elsewhere */
        return '-';
    case ENOSYS:
        return 'e';
    default:
        return '?';
    }
}

static void
test_attempts(void)
{
    guint n_wrong = 0;
    for (guint i = 0; i < G_N_ELEMENTS(attempts); i++) {
        gchar found[SAMI_N_SANDBOXES + 1] = "", expected[SAMI_N_SANDBOXES + 1];
        g_strlcpy(expected, attempts[i].expected, sizeof expected);
        for (guint s = 0; s < SAMI_N_SANDBOXES; s++) {
            found[s] = run(&attempts[i], (SamiSandbox) s);
            if (expected[s] == 'p')
                expected[s] = has_ports ? '-' : found[s];
            unlink(in("journal/new"));
        }
        if (strcmp(found, expected) != 0 && ++n_wrong)
            g_printerr("%s: %s, not %s\n", attempts[i].name, found, expected);
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
}

/* The same attempts without a sandbox: those that it refuses are no accidents of this machine. */
static void
test_without(void)
{
    static const gchar *const work[] = { "inet_stream", "unix_stream", "netfilter", "make_process", "fchmodat", "map_code", "read_key",
                                         "read_other", "read_passwd", "bind_tcp", "signal_parent", "set_dumpable", "memfd_create", "execve",
                                         "set_linger", "set_linger_wide", "send_connect", "send_connect_message", "connect_file",
                                         "connect_passed", "hand_over" };
    for (guint i = 0; i < G_N_ELEMENTS(attempts); i++) {
        int status = 0;
        if (!g_strv_contains(work, attempts[i].name))
            continue;
        pid_t pid = fork_attempt();
        if (pid == 0)
            _exit(attempts[i].attempt());
        waitpid(pid, &status, 0);
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        if (status)
            g_printerr("%s does not work here without a sandbox: %d\n", attempts[i].name, WEXITSTATUS(status));
    }
}

static void
test_names(void)
{
    const gchar *unknown = sami_sandbox_unknown_call();
    CU_ASSERT_PTR_NULL(unknown);
    if (unknown)
        g_printerr("no system call: %s\n", unknown);
}

/* A thread that is there before would stay outside of Landlock. */
static gpointer
enter_beside(gpointer data)
{
    g_autoptr(GError) error = NULL;
    gboolean is_in = sami_sandbox_enter(SAMI_SANDBOX_COLLECTOR, NULL, 0, &error);
    return GINT_TO_POINTER(!is_in && strstr(error->message, "2 threads already") ? 0 : 1);
}

static void
test_threads(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(GPOINTER_TO_INT(g_thread_join(g_thread_new("test", enter_beside, NULL))));
    waitpid(pid, &status, 0);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- what a reload brings ---- */

static void
put(const gchar *name, const gchar *text)
{
    CU_ASSERT_TRUE(g_file_set_contents(in(name), text, -1, NULL));
}

static void
test_reload(void)
{
    g_autofree gchar *certificate = g_strdup(in("conf/fw2.crt")), *ca = g_strdup(in("conf/ca.pem")), *chain = g_strdup(in("conf/tls.crt"));
    gchar *addresses[] = { (gchar *) "192.0.2.2:4740", (gchar *) "[2001:db8::2]:4740", NULL };
    SamiPeer pinned = { .name = (gchar *) "fw2.example", .addresses = addresses, .certificate_file = certificate };
    SamiPeer by_ca = { .name = (gchar *) "fw3.example" };
    g_autoptr(GPtrArray) peers = g_ptr_array_new(), list = NULL;
    SamiNetworkConfig config = { .peers = peers, .ca_file = ca, .certificate_file = chain, .limits = { .sessions = 9, .max_delay_ms = 1234 } };
    SamiNetworkLimits limits = { 0 };
    g_autoptr(GError) error = NULL;
    g_autofree gchar *text = NULL, *own = NULL;
    g_ptr_array_add(peers, &pinned);
    g_ptr_array_add(peers, &by_ca);
    put("conf/fw2.crt", "a certificate\xff\n");
    put("conf/ca.pem", "a bundle\n");
    put("conf/tls.crt", "our own\n");
    int fd = sami_reload_write(&config, &error);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT(pwrite(fd, "x", 1, 0) == -1 && errno == EPERM); /* whoever gets it can put nothing in */
    CU_ASSERT(ftruncate(fd, 0) == -1 && errno == EPERM);
    CU_ASSERT_TRUE_FATAL(sami_reload_read(fd, &list, &limits, &text, &own, &error));
    CU_ASSERT_EQUAL_FATAL(list->len, 2);
    CU_ASSERT_EQUAL(limits.sessions, 9);
    CU_ASSERT_EQUAL(limits.max_delay_ms, 1234);
    const SamiPeer *first = list->pdata[0], *second = list->pdata[1];
    CU_ASSERT_STRING_EQUAL(first->name, "fw2.example");
    CU_ASSERT_STRING_EQUAL(first->addresses[1], "[2001:db8::2]:4740");
    CU_ASSERT_STRING_EQUAL(first->certificate, "a certificate\xff\n");
    CU_ASSERT_PTR_NULL(second->addresses);
    CU_ASSERT_PTR_NULL(second->certificate);
    CU_ASSERT_STRING_EQUAL(text, "a bundle\n");
    CU_ASSERT_STRING_EQUAL(own, "our own\n");

    /* Every truncation, and every octet changed: refused, or a list; never more than that. */
    gchar octets[512];
    ssize_t n = pread(fd, octets, sizeof octets, 0);
    for (ssize_t i = 0; i < 2 * n; i++) {
        g_autoptr(GPtrArray) other = NULL;
        g_autofree gchar *other_ca = NULL, *other_own = NULL;
        int changed = memfd_create("changed", MFD_CLOEXEC);
        octets[i % n] ^= i < n ? 0x55 : 0;
        CU_ASSERT_EQUAL(write(changed, octets, (size_t) (i < n ? n : i - n)), i < n ? n : i - n);
        octets[i % n] ^= i < n ? 0x55 : 0;
        sami_reload_read(changed, &other, &limits, &other_ca, &other_own, NULL);
        close(changed);
    }
    close(fd);
    int pipes[2];
    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    CU_ASSERT_FALSE(sami_reload_read(pipes[0], &list, &limits, &text, &own, &error) && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
    close(pipes[0]);
    close(pipes[1]);
    g_clear_error(&error);
    CU_ASSERT_EQUAL(unlink(certificate), 0);
    CU_ASSERT(sami_reload_write(&config, &error) < 0 && strstr(error->message, "fw2.example") && strstr(error->message, "fw2.crt"));
}

/* ---- */

static int
set_up(void)
{
    static const gchar *const made[] = { "conf", "journal", "other" };
    socklen_t length = sizeof address;
    directory = g_dir_make_tmp("sami-sandbox-XXXXXX", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(made); i++)
        if (mkdir(in(made[i]), 0755) != 0)
            return 1;
    g_file_set_contents(in("conf/signing.key"), "a key that everybody could read\n", -1, NULL);
    g_file_set_contents(in("conf/sami.conf"), "[sami]\n", -1, NULL);
    g_file_set_contents(in("journal/file"), "x", -1, NULL);
    g_file_set_contents(in("other/file"), "x", -1, NULL);
    const struct sockaddr_un at = place_of("other/socket"), beside = place_of("other/handover");
    control = socket(AF_UNIX, SOCK_STREAM, 0);
    handover = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (bind(control, (const struct sockaddr *) &at, sizeof at) != 0 || listen(control, 16) != 0 ||
        bind(handover, (const struct sockaddr *) &beside, sizeof beside) != 0)
        return 1;
    server = socket(AF_INET, SOCK_STREAM, 0);
    tcp[0] = socket(AF_INET, SOCK_STREAM, 0);
    tcp[1] = socket(AF_INET, SOCK_STREAM, 0);
    address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return bind(server, (const struct sockaddr *) &address, sizeof address) != 0 || listen(server, 128) != 0 ||
           getsockname(server, (struct sockaddr *) &address, &length) != 0;
}

static int
tear_down(void)
{
    static const gchar *const files[] = { "conf/signing.key", "conf/sami.conf", "conf/ca.pem", "conf/tls.crt", "journal/file", "journal/set", "other/file", "other/socket",
                                          "other/handover",
                                          "conf", "journal", "other", "" };
    for (guint i = 0; i < G_N_ELEMENTS(files); i++)
        remove(in(files[i]));
    g_free(directory);
    return 0;
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "names of calls", test_names },
        { "each attempt in each sandbox", test_attempts },
        { "without a sandbox they work", test_without },
        { "threads that are there", test_threads },
        { "what a reload brings", test_reload },
    };
    g_autofree gchar *lacks = sami_sandbox_lacks();
    has_ports = !lacks || !strstr(lacks, "TCP ports");
#ifdef SAMI_SANITIZERS
    g_print("SKIP: with sanitizers the sandbox lets more through\n");
    return 77;
#endif
    if (lacks && (strstr(lacks, "coverage") || strstr(lacks, "seccomp") || strstr(lacks, "Landlock:"))) {
        g_print("SKIP: missing is %s\n", lacks);
        return 77;
    }
    return sami_test_main("sandbox", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
