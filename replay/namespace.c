#include "replay/namespace.h"

#include <errno.h>
#include <sys/stat.h>

gboolean
replay_namespace_is_apart(const gchar *self, const gchar *initial, GError **error)
{
    struct stat ours, theirs;
    const gchar *failed = stat(self, &ours) != 0 ? self : stat(initial, &theirs) != 0 ? initial : NULL;
    if (failed) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION, "%s: %s; so this may be the initial network namespace", failed, g_strerror(errno));
        return FALSE;
    }
    if (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION, "this is the initial network namespace (%s and %s are one)", self, initial);
        return FALSE;
    }
    return TRUE;
}
