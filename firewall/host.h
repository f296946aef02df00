/* What of this host decides whether sessions that move through it live on: settings, ruleset, room in the table, addresses, helpers.
 *
 * Facts are read first (sami_host_read(), some milliseconds), then judged against what the sessions of a VM need; judging is pure. Both
 * daemons do it, each for its role. Reading leaves no trace: no entry, no counter and no rule changes. Nothing here logs. */
#pragma once

#include "firewall/firewall.h"
#include "firewall/ruleset.h"
#include "templates/records.h"
#include "templates/validate.h"

typedef enum { SAMI_HOST_SOURCE, SAMI_HOST_DESTINATION, SAMI_N_HOST_ROLES } SamiHostRole;

typedef enum {
    SAMI_SYSCTL_EVENTS,
    SAMI_SYSCTL_TIMESTAMP,
    SAMI_SYSCTL_ACCT,
    SAMI_SYSCTL_TCP_LOOSE,
    SAMI_SYSCTL_TCP_BE_LIBERAL,
    SAMI_N_SYSCTLS
} SamiHostSysctl;

/* Not of the host, but of the daemon that asks. */
typedef struct {
    gboolean is_key_log_on;      /* key-log= */
    gboolean is_sandbox_off;     /* sandbox= */
    gboolean is_network_root;    /* user= is empty */
    gboolean is_sandbox_partial; /* this kernel cannot do all of it */
} SamiHostDaemon;

typedef struct {
    gint64 sysctls[SAMI_N_SYSCTLS]; /* -1: cannot be read */
    SamiRuleset *ruleset;           /* (nullable) cannot be read; why is in ruleset_error */
    gchar *ruleset_error;
    GArray *addresses;              /* of SamiPrefix: those of the interfaces */
    guint64 n_entries, n_max;       /* of the table; 0 and 0: unknown */
    gint64 n_buckets;               /* -1: unknown */
    SamiHostDaemon daemon;
} SamiHostFacts;

/* An address that sessions use as a translated one, and which of them. */
typedef struct {
    SamiPrefix address;
    guint64 n;
} SamiHostAddress;

/* Of a helper, by name. `family` and `protocol` are those of the flows. */
typedef struct {
    gchar name[16];
    guint8 family, protocol;
    gboolean is_missing; /* here, by sami_host_has_helper() */
    guint64 n;
} SamiHostHelper;

/* What sessions need of a host, summed up. */
typedef struct {
    guint64 n[2];             /* sessions, of IPv4 and of IPv6 */
    guint64 n_nat[2];         /* translated ones */
    guint64 n_labels;         /* with labels */
    guint64 n_new, room;      /* entries that would be created, those without room too, and how many there may be; of a destination */
    GArray *nat_addresses;    /* of SamiHostAddress; the first SAMI_HOST_LIST_MAX different ones */
    GArray *helpers;          /* of SamiHostHelper; the same */
    gboolean is_probing;      /* each helper is looked for at its first session */
} SamiHostNeeds;
#define SAMI_HOST_LIST_MAX 256u

SamiHostFacts *sami_host_read(SamiFirewall *firewall, const SamiHostDaemon *daemon);
void sami_host_facts_free(SamiHostFacts *facts); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiHostFacts, sami_host_facts_free)

void sami_host_needs_init(SamiHostNeeds *needs);
void sami_host_needs_clear(SamiHostNeeds *needs);
/* One session more. */
void sami_host_needs_add(SamiHostNeeds *needs, const SamiSession *session);

/* The reason for which an entry of this session would be in the kernel of this host, but not as it was sent, as the read-back of a migration would
 * find it; NONE. `stripped` (SamiHas) is what a policy has taken from it. */
SamiReason sami_host_degrades(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *session, guint32 stripped);

/* `finding` is valid during the call. Says only what is wrong, in the order of the table of checks. */
typedef void (*SamiFindingFunc)(const SamiFinding *finding, gpointer user_data);
void sami_host_judge(const SamiHostFacts *facts, const SamiHostNeeds *needs, SamiHostRole role, SamiFindingFunc func, gpointer user_data);
/* The table of checks, for documentation and tests: NULL at its end. */
const gchar *sami_host_check_id(guint i);

/* Addresses of the interfaces of this network namespace, and those that it has with others: broadcast and anycast; of SamiPrefix. SAMI_ERROR_FAILED. (transfer full) */
GArray *sami_host_addresses(GError **error);

/* The settings nf_conntrack_*_timeout_* of this namespace; what cannot be read is 0. */
void sami_host_timeouts(SamiTimeouts *ret);
/* A socket that becomes readable when addresses of the interfaces come or go. Not blocking. -1 with SAMI_ERROR_FAILED. */
int sami_host_watch(GError **error);
/* Takes what it has, and what it says does not matter: more may have been lost. FALSE: it says nothing any more. */
gboolean sami_host_watch_drain(int fd);

/* Has this kernel a connection tracking helper of that name for flows of this family and protocol? Asked by the creation of an entry that
 * names the helper and, in its status, a bit that the kernel refuses, in this order (ctnetlink_create_conntrack(), Linux 6.18): so what it refuses
 * tells, and no entry is ever made. A helper that is a module is loaded by it, as it would be by the session that needs it.
 * -1: the kernel gave another answer. */
gint sami_host_has_helper(const gchar *name, guint8 family, guint8 protocol);
