/* The system calls of each process: what traces of every kind of move, replication and check showed, and what the C library, GLib and OpenSSL may
 * need besides. libseccomp, not a filter of our own: it knows the numbers of every architecture, refuses foreign ones, and sorts the filter into a
 * tree. Arguments are compared in their lower 32 bits where the kernel takes an int. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "transport/sandbox.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#define L (1u << SAMI_SANDBOX_LISTENER)
#define C (1u << SAMI_SANDBOX_CONNECTOR)
#define S (1u << SAMI_SANDBOX_COLLECTOR)
#define E (1u << SAMI_SANDBOX_EXPORTER)
#define V (1u << SAMI_SANDBOX_SUPERVISOR)
#define NETWORK (L | C)
#define STATE (S | E)
#define BOTH (NETWORK | STATE)
#define ALL (BOTH | V)

typedef struct {
    const gchar *name;
    guint sandboxes;
    guint n;
    struct scmp_arg_cmp arguments[2];
} Call;

#define IS(i, value) 1, { SCMP_CMP(i, SCMP_CMP_MASKED_EQ, 0xffffffffu, (guint32) (value)) }
#define IS2(i, a, j, b) \
    2, { SCMP_CMP(i, SCMP_CMP_MASKED_EQ, 0xffffffffu, (guint32) (a)), SCMP_CMP(j, SCMP_CMP_MASKED_EQ, 0xffffffffu, (guint32) (b)) }
#define BITS(i, mask, value) 1, { SCMP_CMP(i, SCMP_CMP_MASKED_EQ, (mask), (value)) }
#define SOCKET(family, type) 2, { SCMP_CMP(0, SCMP_CMP_MASKED_EQ, 0xffffffffu, (family)), SCMP_CMP(1, SCMP_CMP_MASKED_EQ, 0xfu, (type)) }
#define READ_ONLY(i) BITS(i, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY)

static const Call allowed[] = {
    /* memory; no page is both written and run, and none becomes executable: no process loads code after its start, but for the connector,
     * whose look-ups load the modules that nsswitch.conf names */
    { "mmap", ALL, BITS(2, PROT_EXEC, 0) },
    { "mmap", C, 2, { SCMP_CMP(2, SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC), SCMP_CMP(3, SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, 0) } },
    { "mprotect", ALL, BITS(2, PROT_EXEC, 0) },
    { "munmap", ALL },
    { "mremap", ALL },
    { "madvise", ALL },
    { "brk", ALL },
    { "membarrier", BOTH },
    /* threads; no process is made */
    { "clone", BOTH, BITS(0, CLONE_THREAD, CLONE_THREAD) },
    { "set_robust_list", BOTH },
    { "rseq", BOTH },
    { "set_tid_address", BOTH },
    { "futex", ALL },
    { "sched_yield", BOTH },
    { "sched_getaffinity", BOTH },
    { "sched_getparam", BOTH },
    { "sched_getscheduler", BOTH },
    { "gettid", ALL },
    { "getpid", ALL },
    { "getppid", ALL },
    { "getuid", ALL },
    { "geteuid", ALL },
    { "getgid", ALL },
    { "getegid", ALL },
    { "prctl", BOTH, IS(0, PR_SET_NAME) },
    { "prctl", BOTH, IS(0, PR_SET_VMA) },
    { "exit", ALL },
    { "exit_group", ALL },
    /* signals; only the supervisor sends any, but for abort() */
    { "rt_sigaction", ALL },
    { "rt_sigprocmask", ALL },
    { "rt_sigreturn", ALL },
    { "rt_sigtimedwait", ALL },
    { "sigaltstack", ALL },
    { "restart_syscall", ALL },
    { "signalfd4", NETWORK },
    { "kill", V },
    { "wait4", V },
    { "waitid", V },
    /* time and the machine */
    { "clock_gettime", ALL },
    { "clock_getres", ALL },
    { "clock_nanosleep", ALL },
    { "nanosleep", ALL },
    { "gettimeofday", ALL },
    { "time", ALL },
    { "getrandom", ALL },
    { "getcpu", BOTH },
    { "uname", BOTH },
    { "sysinfo", BOTH },
    { "prlimit64", BOTH, 2, { SCMP_CMP(0, SCMP_CMP_EQ, 0), SCMP_CMP(2, SCMP_CMP_EQ, 0) } },
    { "getrlimit", BOTH },
    { "getrusage", BOTH },
    /* descriptors */
    { "read", ALL },
    { "readv", BOTH },
    { "pread64", BOTH },
    { "write", ALL },
    { "writev", ALL },
    { "close", ALL },
    { "lseek", BOTH },
    { "fstat", ALL },
    { "dup", BOTH },
    { "eventfd2", BOTH },
    { "pipe2", BOTH },
    { "poll", BOTH },
    { "ppoll", BOTH },
    { "select", BOTH },
    { "pselect6", BOTH },
    { "fcntl", ALL, IS(1, F_GETFL) },
    { "fcntl", ALL, IS(1, F_SETFL) },
    { "fcntl", ALL, IS(1, F_GETFD) },
    { "fcntl", ALL, IS(1, F_SETFD) },
    { "fcntl", BOTH, IS(1, F_DUPFD_CLOEXEC) },
    { "fcntl", STATE, IS(1, F_ADD_SEALS) },
    { "ioctl", ALL, IS(1, TCGETS) },
    { "ioctl", BOTH, IS(1, FIONREAD) },
    { "ioctl", BOTH, IS(1, FIONBIO) },
    { "ioctl", NETWORK, IS(1, SIOCGIFINDEX) }, /* these three: libusrsctp */
    { "ioctl", NETWORK, IS(1, SIOCGIFNAME) },
    { "ioctl", NETWORK, IS(1, SIOCGIFMTU) },
    /* files: which, Landlock says. A network process writes none */
    { "openat", NETWORK | V, READ_ONLY(2) },
    { "open", NETWORK | V, READ_ONLY(1) },
    { "openat", STATE },
    { "open", STATE },
    { "newfstatat", ALL },
    { "fstatat64", ALL },
    { "stat", ALL },
    { "lstat", ALL },
    { "statx", ALL },
    { "statfs", BOTH },
    { "fstatfs", BOTH },
    { "access", BOTH },
    { "faccessat", BOTH },
    { "faccessat2", BOTH },
    { "readlink", BOTH },
    { "readlinkat", BOTH },
    { "getcwd", BOTH },
    { "getdents64", STATE | C },
    { "fadvise64", BOTH },
    { "pwrite64", STATE },
    { "unlink", STATE },
    { "unlinkat", STATE },
    { "rename", STATE },
    { "renameat", STATE },
    { "renameat2", STATE },
    { "mkdir", STATE },
    { "mkdirat", STATE },
    { "ftruncate", STATE },
    { "fallocate", STATE },
    { "fsync", STATE },
    { "fdatasync", STATE },
    { "flock", STATE },
    { "umask", STATE },
    { "msync", STATE },
    { "memfd_create", STATE }, /* what a reload gives to the network process */
    /* sockets. Everybody: the system's log. The network process: what listener and connector are for, the interfaces, and for the connector name
     * servers, directly or through a local service. The state process is root to whoever asks, service managers and buses among them, and Landlock is not
     * asked about sockets that are files: so it has no connect() at all, whoever passes it a socket. What the collector's asks its exporter goes over a pair
     * of its own making, one end of which it hands over by a datagram (sami_control_call_handed()) */
    { "socket", ALL, SOCKET(AF_UNIX, SOCK_DGRAM) },
    { "socket", NETWORK, SOCKET(AF_INET, SOCK_DGRAM) },
    { "socket", NETWORK, SOCKET(AF_INET6, SOCK_DGRAM) },
    { "socket", C, SOCKET(AF_INET, SOCK_STREAM) },
    { "socket", C, SOCKET(AF_INET6, SOCK_STREAM) },
    { "socket", C, SOCKET(AF_UNIX, SOCK_STREAM) },
    { "socket", BOTH, IS2(0, AF_NETLINK, 2, NETLINK_ROUTE) },
    { "socket", STATE, IS2(0, AF_NETLINK, 2, NETLINK_NETFILTER) },
    { "socketpair", NETWORK | S, IS(0, AF_UNIX) },
    { "bind", BOTH },
    { "connect", NETWORK },
    { "listen", L },
    { "accept", L | STATE },
    { "accept4", L | STATE },
    { "shutdown", BOTH },
    { "getsockname", BOTH },
    { "getpeername", BOTH },
    { "getsockopt", BOTH },
    { "setsockopt", BOTH },
    { "sendto", BOTH },
    { "sendmsg", ALL },
    { "sendmmsg", BOTH },
    { "recvfrom", BOTH },
    { "recvmsg", BOTH },
    { "recvmmsg", BOTH },
#ifdef SAMI_SANITIZERS
    { "mmap", ALL },
    { "mprotect", ALL },
    { "prctl", ALL },
    { "sched_getaffinity", ALL },
    { "openat", ALL },
    { "open", ALL },
    { "readlink", ALL },
    { "getrusage", ALL },
#endif
};

/* Of what is allowed. Whoever is the last to close a TCP socket waits for as long as its SO_LINGER says, even if it is non-blocking: the state process
 * would, for one that was passed to it. And of a connection that is made with the first octets sent Landlock is not asked, as it is by connect(). */
static const Call refused[] = {
    { "setsockopt", BOTH, IS2(1, SOL_SOCKET, 2, SO_LINGER) },
    { "sendto", BOTH, BITS(3, MSG_FASTOPEN, MSG_FASTOPEN) },
    { "sendmsg", ALL, BITS(2, MSG_FASTOPEN, MSG_FASTOPEN) },
    { "sendmmsg", BOTH, BITS(3, MSG_FASTOPEN, MSG_FASTOPEN) },
};

/* The C library of a later system asks for these first, and takes ENOSYS as the kernel's age. GLib's pools do the same with sched_getattr. */
static const gchar *const too_new[] = {
    "clone3",     "openat2",     "close_range", "epoll_pwait2",   "futex_waitv",      "futex_wait",  "futex_wake",
    "pidfd_open", "pidfd_getfd", "fchmodat2",   "map_shadow_stack", "set_mempolicy_home_node", "cachestat", "mseal",
    "sched_getattr",
};

/* What nobody here ever has a reason for. */
static const gchar *const deadly[] = {
    "execve",        "execveat",      "fork",           "vfork",         "ptrace",          "process_vm_readv", "process_vm_writev",
    "process_madvise", "bpf",         "perf_event_open", "userfaultfd",  "io_uring_setup",  "io_uring_enter",   "io_uring_register",
    "keyctl",        "add_key",       "request_key",    "mount",         "umount2",         "pivot_root",       "chroot",
    "move_mount",    "open_tree",     "fsopen",         "fsconfig",      "fsmount",         "fspick",           "mount_setattr",
    "setns",         "unshare",       "init_module",    "finit_module",  "delete_module",   "kexec_load",       "kexec_file_load",
    "open_by_handle_at", "name_to_handle_at", "reboot", "swapon",        "swapoff",         "iopl",             "ioperm",
    "modify_ldt",    "personality",   "setuid",         "setreuid",      "setresuid",       "setgid",           "setregid",
    "setresgid",     "setgroups",     "setfsuid",       "setfsgid",      "capset",          "acct",             "quotactl",
    "syslog",        "settimeofday",  "clock_settime",  "clock_adjtime", "adjtimex",        "sethostname",      "setdomainname",
    "mknod",         "mknodat",       "kcmp",           "lookup_dcookie",
};

static gboolean
add(scmp_filter_ctx filter, guint32 action, const gchar *name, guint n, const struct scmp_arg_cmp *arguments)
{
    int number = seccomp_syscall_resolve_name(name); /* none: newer than this libseccomp */
    int result = number == __NR_SCMP_ERROR ? 0 : seccomp_rule_add_array(filter, action, number, n, arguments);
    errno = -result;
    /* EDOM: not on this architecture */
    return result == 0 || result == -EDOM;
}

static gboolean
add_all(scmp_filter_ctx filter, guint32 action, const gchar *const *names, guint n)
{
    for (guint i = 0; i < n; i++)
        if (!add(filter, action, names[i], 0, NULL))
            return FALSE;
    return TRUE;
}

static gboolean
fill_new(scmp_filter_ctx filter, SamiSandbox sandbox)
{
    for (guint i = 0; i < G_N_ELEMENTS(refused); i++)
        if ((refused[i].sandboxes & (1u << sandbox)) && !add(filter, SCMP_ACT_ERRNO(EPERM), refused[i].name, refused[i].n, refused[i].arguments))
            return FALSE;
    return add_all(filter, SCMP_ACT_ERRNO(ENOSYS), too_new, G_N_ELEMENTS(too_new));
}

static gboolean
fill(scmp_filter_ctx filter, SamiSandbox sandbox)
{
    const struct scmp_arg_cmp own = SCMP_CMP(0, SCMP_CMP_MASKED_EQ, 0xffffffffu, (guint32) getpid());
    for (guint i = 0; i < G_N_ELEMENTS(allowed); i++)
        if ((allowed[i].sandboxes & (1u << sandbox)) && !add(filter, SCMP_ACT_ALLOW, allowed[i].name, allowed[i].n, allowed[i].arguments))
            return FALSE;
    return add(filter, SCMP_ACT_ALLOW, "tgkill", 1, &own) && add_all(filter, SCMP_ACT_ALLOW, too_new, G_N_ELEMENTS(too_new)) &&
           add_all(filter, SCMP_ACT_KILL_PROCESS, deadly, G_N_ELEMENTS(deadly));
}

static gboolean
load(SamiSandbox sandbox, guint32 rest, gboolean is_logged, gboolean (*fill_in)(scmp_filter_ctx, SamiSandbox), GError **error)
{
    scmp_filter_ctx filter = seccomp_init(rest);
    int result = filter ? 0 : -ENOMEM;
    if (filter && !fill_in(filter, sandbox))
        result = -errno;
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, is_logged);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (result == 0)
        result = seccomp_load(filter);
    if (filter)
        seccomp_release(filter);
    if (result != 0)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION, "sandbox: seccomp: %s", g_strerror(-result));
    return result == 0;
}

/* Two filters, of which the stricter answer counts: every thread that is made asks for clone3 first, which is no news for the kernel's log. And a filter
 * cannot say of a call both that it is allowed and that with some arguments it is not. */
gboolean
sami_sandbox_filter(SamiSandbox sandbox, GError **error)
{
    return load(sandbox, SCMP_ACT_ALLOW, FALSE, fill_new, error) && load(sandbox, SCMP_ACT_ERRNO(EPERM), TRUE, fill, error);
}

const gchar *
sami_sandbox_unknown_call(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(allowed); i++)
        if (seccomp_syscall_resolve_name(allowed[i].name) == __NR_SCMP_ERROR)
            return allowed[i].name;
    for (guint i = 0; i < G_N_ELEMENTS(deadly); i++)
        if (seccomp_syscall_resolve_name(deadly[i]) == __NR_SCMP_ERROR)
            return deadly[i];
    return NULL;
}
