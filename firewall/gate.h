/* The nft gate: addresses that the user's own rule drops packets from and to.
 *
 * A gate is a pair of sets in the user's ruleset, NAME with keys of type ipv4_addr and NAME6 with keys of type ipv6_addr, both
 * with `flags timeout`; a set for one family is enough where VMs have only that one. Closing it for an address adds an element with
 * a timeout, so it opens by itself whatever becomes of the process (fails open); opening it deletes the element. A prefix that is
 * no single address needs `flags interval` too.
 *
 * It has a socket of its own in the network namespace of the caller, and belongs to one thread. Calls block while the kernel works
 * (about 50 us an address). The set is looked up in each call: rulesets are loaded anew while daemons run. Nothing here logs.
 * Sources: net/netfilter/nf_tables_api.c of Linux 6.18. */
#pragma once

#include "common/error.h"
#include "templates/session.h"

typedef struct SamiGate SamiGate;

/* `set` is "FAMILY TABLE NAME" as nft names it; families inet, ip, ip6, bridge, netdev. Does not look at the ruleset.
 * SAMI_ERROR_CONFIG with what is allowed, SAMI_ERROR_KERNEL, SAMI_ERROR_PERMISSION. */
SamiGate *sami_gate_new(const gchar *set, GError **error);
void sami_gate_free(SamiGate *gate);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiGate, sami_gate_free)

/* Is one of the two sets there and fit for use? SAMI_ERROR_KERNEL with the command that makes it. */
gboolean sami_gate_check(SamiGate *gate, GError **error);

/* Holds packets of n addresses for timeout_ms (at least 1) from now, also of those that it held already. Every address is tried;
 * FALSE, SAMI_ERROR_KERNEL: some are not held, and the message names the first of them. */
gboolean sami_gate_close(SamiGate *gate, const SamiPrefix *prefixes, guint n, guint timeout_ms, GError **error);

/* Lets them through. That an element is gone already, or never was there, is no error. */
gboolean sami_gate_open(SamiGate *gate, const SamiPrefix *prefixes, guint n, GError **error);
