/* What a process of a daemon may ask of the kernel once it runs: its system calls by seccomp, its files, TCP ports, abstract sockets and signals
 * by Landlock. Both only take away and cannot be undone; threads and children inherit them. Private to transport/; daemons come here by
 * sami_daemon_confine().
 *
 * A call that is not in the table fails with EPERM, or with ENOSYS where the C library tries a new call first and has an old one to fall back to:
 * a daemon beside the path of packets must not die of a call that nobody foresaw. What only an intruder would try (another program, another
 * process's memory, a mount, a module) kills the process, and so ends the daemon. Every refused call is in the kernel's log (audit, type 1326). */
#pragma once

#include "common/error.h"

typedef enum {
    SAMI_SANDBOX_LISTENER,   /* network process of the collector */
    SAMI_SANDBOX_CONNECTOR,  /* network process of the exporter */
    SAMI_SANDBOX_COLLECTOR,  /* its state process */
    SAMI_SANDBOX_EXPORTER,   /* its state process */
    SAMI_SANDBOX_SUPERVISOR, /* of either */
    SAMI_N_SANDBOXES
} SamiSandbox;

/* A file, or a directory with all below it. One that is not there is left out. */
typedef struct {
    const gchar *path;
    gboolean is_writable; /* files in it may be made, written, renamed and removed */
} SamiSandboxPath;

/* What of it this kernel, or this build, cannot do, in words for the operator; NULL: nothing. Before sami_sandbox_enter(), which hides it.
 * (transfer full) (nullable) */
gchar *sami_sandbox_lacks(void);

/* For good. The process has one thread, so far, and opens nothing but `paths` afterwards; what is open stays. What the kernel lacks is left out:
 * sami_sandbox_lacks() has said it. SAMI_ERROR_PERMISSION; then the process must end. */
gboolean sami_sandbox_enter(SamiSandbox sandbox, const SamiSandboxPath *paths, guint n_paths, GError **error);

/* For sandbox.c and its test: the system calls of a process as a filter that is in force when this returns. */
gboolean sami_sandbox_filter(SamiSandbox sandbox, GError **error);
/* The first name in the tables that libseccomp does not know; NULL. */
const gchar *sami_sandbox_unknown_call(void);
