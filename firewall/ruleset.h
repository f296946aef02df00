/* What the nftables ruleset of this network namespace means for flows that move here.
 *
 * Only nftables is seen: rules of iptables-legacy are not (those of iptables-nft are), but whether it has a table nat. What a rule really does to a packet would need an
 * evaluation of everything; this looks for what has to be there, and errs on the side of silence: a rule that may be the one that is
 * looked for counts as it. Reads with dumps of chains and rules, some 2 us a rule; changes nothing. Nothing here logs.
 * Sources: net/netfilter/nf_tables_api.c, nft_ct.c of Linux 6.18. */
#pragma once

#include "common/error.h"
#include "templates/validate.h"

typedef struct {
    gchar *name;         /* "inet filter" */
    gboolean is_ipv4, is_ipv6;
    gboolean is_dropping;   /* its forward chains, and what they jump to, can drop a packet */
    gboolean has_established; /* … and have a rule that can let established traffic through */
} SamiRulesetTable;

typedef struct {
    gboolean is_ipv4_nat, is_ipv6_nat; /* a base chain of type nat is there, or iptables-legacy's table: translations are carried out */
    gboolean has_label_rule;           /* a rule sets or reads labels, so the kernel keeps them */
    guint n_rules;
    GArray *tables;                    /* of SamiRulesetTable: those that have a filter chain at hook forward */
} SamiRuleset;

/* SAMI_ERROR_KERNEL, SAMI_ERROR_PERMISSION. */
SamiRuleset *sami_ruleset_read(GError **error);
/* The same of translations alone, without its rules. */
gboolean sami_ruleset_translations(SamiTranslations *ret, GError **error);
void sami_ruleset_free(SamiRuleset *ruleset); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiRuleset, sami_ruleset_free)
