#include "transport/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"

/* Debian 12's header ends at version 2 of Landlock. The numbers are the same on all architectures. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#define FS_FIRST ((1ull << 13) - 1)  /* everything of version 1 */
#define FS_REFER (1ull << 13)        /* version 2, Linux 5.19 */
#define FS_TRUNCATE (1ull << 14)     /* version 3, Linux 6.2 */
#define FS_IOCTL_DEV (1ull << 15)    /* version 5, Linux 6.10 */
#define NET_BIND_TCP (1ull << 0)     /* version 4, Linux 6.7 */
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT (1ull << 0)   /* version 6, Linux 6.12 */
#define SCOPE_SIGNAL (1ull << 1)

/* As in linux/landlock.h of Linux 6.18; a kernel takes as much of it as it knows, and zeros. */
typedef struct {
    guint64 fs, net, scoped;
} RulesetAttr;

typedef struct {
    gint abi;
    const gchar *what;
} Lack;

static const Lack lacks[] = {
    { 1, "Landlock: files outside of its own directories are kept from a process by their modes alone (Linux 5.13, lsm=landlock)" },
    { 3, "Landlock's rule for truncation (Linux 6.2)" },
    { 4, "Landlock's rules for TCP ports (Linux 6.7)" },
    { 5, "Landlock's rule for ioctl of devices (Linux 6.10)" },
    { 6, "Landlock's scopes for signals and abstract sockets (Linux 6.12)" },
};

static const RulesetAttr rulesets[SAMI_N_SANDBOXES] = {
    [SAMI_SANDBOX_LISTENER] = { 0, NET_BIND_TCP | NET_CONNECT_TCP, SCOPE_ABSTRACT | SCOPE_SIGNAL }, /* it has its socket */
    [SAMI_SANDBOX_CONNECTOR] = { 0, NET_BIND_TCP, SCOPE_ABSTRACT | SCOPE_SIGNAL },
    [SAMI_SANDBOX_COLLECTOR] = { 0, NET_BIND_TCP | NET_CONNECT_TCP, SCOPE_ABSTRACT | SCOPE_SIGNAL },
    [SAMI_SANDBOX_EXPORTER] = { 0, NET_BIND_TCP | NET_CONNECT_TCP, SCOPE_ABSTRACT | SCOPE_SIGNAL },
    [SAMI_SANDBOX_SUPERVISOR] = { 0, NET_BIND_TCP | NET_CONNECT_TCP, SCOPE_ABSTRACT }, /* its children are in no scope of its own */
};

#ifdef SAMI_COVERAGE
static const gboolean is_built_in = FALSE; /* counts are written to files beside the objects when a process ends */
#else
static const gboolean is_built_in = TRUE;
#endif
#ifdef SAMI_SANITIZERS
static const gboolean is_reporting = TRUE; /* a report reads program and maps, and is a file of its own */
#else
static const gboolean is_reporting = FALSE;
#endif
static const SamiSandboxPath always[] = { { "/dev/null", TRUE }, { "/dev/urandom", FALSE } };

static gboolean
fail(const gchar *what, const gchar *path, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION, "sandbox: %s%s: %s", what, path, g_strerror(errno));
    return FALSE;
}

/* 0: it has none. */
static gint
read_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi > 0 ? (gint) abi : 0;
}

static gboolean
has_seccomp(void)
{
    const guint32 action = SECCOMP_RET_KILL_PROCESS;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

gchar *
sami_sandbox_lacks(void)
{
    GString *text = g_string_new(NULL);
    gint abi = read_abi();
    if (!is_built_in)
        g_string_append(text, "the sandbox: this is a build that measures coverage");
    if (is_built_in && !has_seccomp())
        g_string_append(text, "seccomp: no system call is refused (CONFIG_SECCOMP_FILTER)");
    for (guint i = 0; is_built_in && i < G_N_ELEMENTS(lacks); i++)
        if (abi < lacks[i].abi && (abi > 0 || i == 0))
            g_string_append_printf(text, "%s%s", text->len ? "; " : "", lacks[i].what);
    return g_string_free(text, text->len == 0);
}

static guint64
fs_rights(gint abi)
{
    return FS_FIRST | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0);
}

static gboolean
add_path(int ruleset, const SamiSandboxPath *path, gint abi, GError **error)
{
    const guint64 of_file = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
    struct stat status;
    int fd = open(path->path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? TRUE : fail("", path->path, error);
    struct landlock_path_beneath_attr rule = {
        .parent_fd = fd,
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    };
    if (path->is_writable)
        rule.allowed_access |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                               LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | FS_TRUNCATE;
    if (fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode))
        rule.allowed_access &= of_file;
    rule.allowed_access &= fs_rights(abi);
    gboolean is_added = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    int saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return is_added || fail("Landlock: ", path->path, error);
}

static gboolean
restrict_files(SamiSandbox sandbox, const SamiSandboxPath *paths, guint n_paths, gint abi, GError **error)
{
    RulesetAttr attr = rulesets[sandbox];
    attr.fs = fs_rights(abi);
    attr.net = abi >= 4 ? attr.net : 0;
    attr.scoped = abi >= 6 ? attr.scoped : 0;
    int ruleset = (int) syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0)
        return fail("Landlock", "", error);
    gboolean is_done = TRUE;
    for (guint i = 0; is_done && i < n_paths; i++)
        is_done = add_path(ruleset, &paths[i], abi, error);
    for (guint i = 0; is_done && i < G_N_ELEMENTS(always); i++)
        is_done = add_path(ruleset, &always[i], abi, error);
    if (is_done && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        is_done = fail("Landlock", "", error);
    close(ruleset);
    return is_done;
}

/* Landlock is a thread's own: one that is there already would stay outside. */
static gboolean
is_alone(GError **error)
{
    struct stat status;
    /* a directory for each thread, and its own two entries */
    if (stat("/proc/self/task", &status) != 0 || status.st_nlink == 3)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION, "sandbox: the process has %u threads already", (guint) status.st_nlink - 2);
    return FALSE;
}

gboolean
sami_sandbox_enter(SamiSandbox sandbox, const SamiSandboxPath *paths, guint n_paths, GError **error)
{
    gint abi = read_abi();
    gboolean is_filtered = has_seccomp();
    if (!is_built_in)
        return TRUE;
    if (!is_alone(error))
        return FALSE;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail("PR_SET_NO_NEW_PRIVS", "", error);
    return (abi == 0 || is_reporting || restrict_files(sandbox, paths, n_paths, abi, error)) && (!is_filtered || sami_sandbox_filter(sandbox, error));
}
