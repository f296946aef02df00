#include "transport/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"

static gboolean
fail(const gchar *what, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION, "dropping privileges: %s: %s", what,
                g_strerror(errno));
    return FALSE;
}

static gboolean
find_user(const gchar *user, struct passwd *ret_entry, gchar *buffer, gsize size, GError **error)
{
    struct passwd *found = NULL;
    int code = getpwnam_r(user, ret_entry, buffer, size, &found);
    const gchar *rule = !found ? (code ? g_strerror(code) : "there is no such user")
                        : found->pw_uid == 0 || found->pw_gid == 0
                            ? "is root; an unprivileged user is needed"
                            : NULL;
    if (rule)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "user %s: %s", user, rule);
    return !rule;
}

/* Must precede the change of user: dropping from the bounding set needs CAP_SETPCAP. */
static gboolean
drop_bounding_set(gint kept, GError **error)
{
    for (gint cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (cap != kept && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
            return fail("bounding set", error);
    return TRUE;
}

/* -1: none. */
static gboolean
set_capability(gint kept, GError **error)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (kept >= 0 && prctl(PR_CAPBSET_READ, kept, 0, 0, 0) == 1) /* a service manager may not have given it */
        data[CAP_TO_INDEX(kept)].effective = data[CAP_TO_INDEX(kept)].permitted = CAP_TO_MASK(kept);
    return syscall(SYS_capset, &header, data) == 0 ? TRUE : fail("capset", error);
}

static gboolean
verify(const struct passwd *entry, GError **error)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    uid_t u[3];
    gid_t g[3];
    gboolean is_lost = getresuid(&u[0], &u[1], &u[2]) == 0 && getresgid(&g[0], &g[1], &g[2]) == 0 &&
                       syscall(SYS_capget, &header, data) == 0;
    for (guint i = 0; is_lost && i < 3; i++)
        is_lost = u[i] == entry->pw_uid && g[i] == entry->pw_gid;
    for (guint i = 0; is_lost && i < _LINUX_CAPABILITY_U32S_3; i++)
        is_lost = !data[i].effective && !data[i].permitted && !data[i].inheritable;
    if (is_lost && (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0))
        is_lost = FALSE;
    if (!is_lost)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION,
                    "dropping privileges: some are still there afterwards");
    return is_lost;
}

static gboolean
become_user(const gchar *user, GError **error)
{
    struct passwd entry;
    gchar buffer[16384];
    if (!find_user(user, &entry, buffer, sizeof(buffer), error) || !drop_bounding_set(-1, error))
        return FALSE;
    if (initgroups(entry.pw_name, entry.pw_gid) != 0)
        return fail("initgroups", error);
    if (setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid) != 0)
        return fail("setresgid", error);
    if (setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid) != 0)
        return fail("setresuid", error);
    return set_capability(-1, error) && verify(&entry, error);
}

gboolean
sami_privileges_check_user(const gchar *user, GError **error)
{
    struct passwd entry;
    gchar buffer[16384];
    return find_user(user, &entry, buffer, sizeof(buffer), error);
}

/* No core file, and no process of the same user may look in: keys stay in memory. After a change of user, which undoes it. */
static gboolean
hide_memory(GError **error)
{
    const struct rlimit none = { 0, 0 };
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return fail("RLIMIT_CORE", error);
#ifndef SAMI_SANITIZERS /* which look for leaks with ptrace() */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return fail("PR_SET_DUMPABLE", error);
#endif
    return TRUE;
}

gboolean
sami_privileges_keep(gint kept, GError **error)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail("PR_SET_NO_NEW_PRIVS", error);
    if (geteuid() == 0 && (!drop_bounding_set(kept, error) || !set_capability(kept, error)))
        return FALSE;
    return hide_memory(error);
}

gboolean
sami_privileges_drop(const gchar *user, GError **error)
{
    return (!user || geteuid() != 0 || become_user(user, error)) && sami_privileges_keep(-1, error);
}

gboolean
sami_privileges_follow_parent(pid_t parent, GError **error)
{
    if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) != 0)
        return fail("PR_SET_PDEATHSIG", error);
    if (getppid() == parent)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "the parent process is gone");
    return FALSE;
}
