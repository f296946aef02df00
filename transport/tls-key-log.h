/* The file to which a daemon writes the secrets of its TLS sessions (key-log=), in the form that sami_key_log_load(), Wireshark and others read.
 * Private to transport/. */
#pragma once

#include "common/error.h"

typedef struct SamiTlsKeyLog SamiTlsKeyLog;

/* Opens `path` to append, and makes it with mode 0600. Refused is what somebody else can read: another owner, any right of group or others; and
 * what is no plain file, a symbolic link too. To be called while the process still has its privileges. SAMI_ERROR_CONFIG. */
SamiTlsKeyLog *sami_tls_key_log_open(const gchar *path, GError **error);
void sami_tls_key_log_free(SamiTlsKeyLog *log); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiTlsKeyLog, sami_tls_key_log_free)
/* One line, without its end, in one write(2): both daemons may have the same file. The first failure is logged and ends the log, so that half a line
 * stays the last one; sessions go on. */
void sami_tls_key_log_write(SamiTlsKeyLog *log, const gchar *line);
