/* What an implementation of firewall/firewall.h gives the tests that run against all of them. */
#pragma once

#include "firewall/firewall.h"
#include "tests/unit/harness.h"

/* A handle to an empty table. (transfer full) */
SamiFirewall *backend_new(void);
/* Another handle to the same table. (transfer full) */
SamiFirewall *backend_share(SamiFirewall *firewall);
/* Is there what the kernel needs for them (a nat base chain, a rule with labels)? */
gboolean backend_has_nat(void);
gboolean backend_has_labels(void);

/* The shared cases, then the implementation's own. */
int test_firewall_main(const gchar *suite, const SamiTest *own, guint n_own);

/* "10.0.0.1" or "fd00::1". */
SamiAddress test_address(const gchar *text);
/* A flow without translation; ESTABLISHED, assured, with window scale if TCP. For ICMP the ports
 * are identifier and type << 8 | code. */
SamiSession test_session(guint8 protocol, const gchar *src, guint16 sport, const gchar *dst,
                         guint16 dport);
/* One operation; its result. */
int test_apply(SamiFirewall *firewall, SamiOpKind kind, const SamiSession *session);
gboolean test_get(SamiFirewall *firewall, const SamiFlowKey *key, SamiSession *ret);
/* Dumps to the end; keys (of SamiFlowKey) in the order handed out. ret_not_vm_end may be NULL.
 * (transfer full) */
GArray *test_dump(SamiFirewall *firewall, const SamiDumpFilter *filter, guint64 *ret_not_vm_end);
