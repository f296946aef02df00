/* Prints the tables of sami-protocol(7) as roff, from the tables that the code runs on; with --rules those of sami-collector(8), with --xml the registry of
 * our elements. */
#include <stdlib.h>
#include <string.h>

#include "collector/machine.h"
#include "common/limits.h"
#include "exporter/machine.h"
#include "templates/rules.h"
#include "templates/template.h"
#include "templates/validate.h"

/* What stands for a group of fields that a session record does not have; by the bit of SamiGroup. */
static const struct {
    SamiGroups group;
    const gchar *name;
    const gchar *when;
} groups[] = {
    { SAMI_GROUP_BASE, "base", "always" },
    { SAMI_GROUP_V4, "v4", "IPv4; exactly one of v4 and v6" },
    { SAMI_GROUP_V6, "v6", "IPv6" },
    { SAMI_GROUP_PORTS, "ports", "TCP, UDP, UDP-Lite, SCTP, DCCP; a protocol has exactly the selectors named here, all others have none" },
    { SAMI_GROUP_ICMP4, "icmp4", "ICMP over IPv4" },
    { SAMI_GROUP_ICMP6, "icmp6", "ICMPv6 over IPv6" },
    { SAMI_GROUP_REPLY4, "reply4", "IPv4, where the reply tuple does not mirror the original; absent: it does" },
    { SAMI_GROUP_REPLY6, "reply6", "the same for IPv6" },
    { SAMI_GROUP_REPLY_PORTS, "reply-ports", "with reply4 or reply6, protocols with ports" },
    { SAMI_GROUP_REPLY_ICMP, "reply-icmp", "with reply4 or reply6, ICMP and ICMPv6" },
    { SAMI_GROUP_ZONE, "zone", "zone not 0; absent: 0" },
    { SAMI_GROUP_FLAGS, "flags", "flags not 0; absent: 0" },
    { SAMI_GROUP_STATUS, "status", "absent: no bits" },
    { SAMI_GROUP_TIMEOUT, "timeout", "needed in created and update" },
    { SAMI_GROUP_TCP, "tcp", "needed for TCP in created and update, refused for others" },
    { SAMI_GROUP_WSCALE, "wscale", "TCP with window scale known both ways; absent: unknown" },
    { SAMI_GROUP_MARK, "mark", "absent: 0" },
    { SAMI_GROUP_LABELS, "labels", "absent: none set" },
    { SAMI_GROUP_ID, "id", "a hint; absent: unknown" },
    { SAMI_GROUP_START, "start", "absent: unknown" },
    { SAMI_GROUP_COUNTERS, "counters", "informational; absent: unknown" },
    { SAMI_GROUP_VLAN, "vlan", "absent: none" },
    { SAMI_GROUP_GRE, "gre", "GRE" },
    { SAMI_GROUP_REPLY_GRE, "reply-gre", "with reply4 or reply6, GRE" },
    { SAMI_GROUP_REPLY_ZONE, "reply-zone", "absent: the zone is one for both directions" },
    { SAMI_GROUP_SCTP, "sctp", "needed for SCTP in created and update, refused for others" },
    { SAMI_GROUP_DCCP, "dccp", "DCCP, which our collector refuses: the kernel has no tracker for it since 6.17" },
    { SAMI_GROUP_SEQADJ, "seqadj", "TCP whose payload a NAT helper has changed in length; absent: none" },
    { SAMI_GROUP_SYNPROXY, "synproxy", "TCP behind SYNPROXY; absent: none" },
    { SAMI_GROUP_HELPER, "helper", "absent: none" },
    { SAMI_GROUP_HELPER_INFO, "helper-info", "with helper; absent: none" },
    { SAMI_GROUP_MASTER4, "master4", "IPv4, a child of another flow; absent: none" },
    { SAMI_GROUP_MASTER6, "master6", "the same for IPv6" },
    { SAMI_GROUP_SECCTX, "secctx", "informational; absent: unknown" },
    { SAMI_GROUP_KEY16, "key16", "keys of 1 to 16 octets; exactly one of key16 and key64" },
    { SAMI_GROUP_KEY64, "key64", "keys of 17 to 64 octets" },
    { SAMI_GROUP_SOURCE4, "source4", "the first address of the key is one of IPv4; informational" },
    { SAMI_GROUP_SOURCE6, "source6", "the same for IPv6" },
    { SAMI_GROUP_COUNTER, "counter", "absent: the element has none" },
    { SAMI_GROUP_QUOTA, "quota", "absent: the element has none" },
    { SAMI_GROUP_EXPIRY, "expiry", "absent: the element stays" },
    { SAMI_GROUP_EXPECT_NAT4, "expect-nat4", "IPv4, the expected flow is translated; absent: it is not" },
    { SAMI_GROUP_EXPECT_NAT6, "expect-nat6", "the same for IPv6" },
    { SAMI_GROUP_EXPECT_FUNCTION, "expect-function", "the kernel calls a function by this name when the flow comes; absent: none" },
    { SAMI_GROUP_EXPECT_HELPER, "expect-helper", "informational: the master's record has its helper" },
};

static const gchar *
registry(guint32 pen, gchar buffer[16])
{
    if (pen == 0)
        return "IANA";
    g_snprintf(buffer, 16, "%u", pen);
    return buffer;
}

static const gchar *
type_name(SamiElementType type)
{
    static const gchar *const names[] = {
        [SAMI_TYPE_OCTETS] = "octetArray", [SAMI_TYPE_U8] = "unsigned8",   [SAMI_TYPE_U16] = "unsigned16",
        [SAMI_TYPE_U32] = "unsigned32",    [SAMI_TYPE_U64] = "unsigned64", [SAMI_TYPE_S32] = "signed32", [SAMI_TYPE_STRING] = "string",
        [SAMI_TYPE_MILLISECONDS] = "dateTimeMilliseconds", [SAMI_TYPE_IPV4] = "ipv4Address", [SAMI_TYPE_IPV6] = "ipv6Address",
    };
    g_assert(type < G_N_ELEMENTS(names) && names[type]);
    return names[type];
}

static void
print_states(void)
{
    g_print(".SS Exporter\n.nf\n");
    for (guint state = 0; state < SAMI_N_STATES; state++)
        for (guint event = 0; event < SAMI_N_EVENTS; event++) {
            SamiExporterState next;
            if (sami_exporter_next((SamiExporterState) state, (SamiExporterEvent) event, &next))
                g_print("%-9s %-18s -> %s\n", sami_exporter_state_name((SamiExporterState) state),
                        sami_exporter_event_name((SamiExporterEvent) event), sami_exporter_state_name(next));
        }
    g_print(".fi\n.SS Collector\n.nf\n");
    for (guint phase = 0; phase < SAMI_N_PHASES; phase++)
        for (guint event = 0; event < SAMI_N_ON; event++) {
            SamiCollectorPhase next;
            if (sami_collector_next((SamiCollectorPhase) phase, (SamiCollectorEvent) event, &next))
                g_print("%-9s %-18s -> %s\n", sami_collector_phase_name((SamiCollectorPhase) phase),
                        sami_collector_event_name((SamiCollectorEvent) event), sami_collector_phase_name(next));
        }
    g_print(".fi\n");
}

static void
print_elements(void)
{
    gchar buffer[16];
    g_print(".SH INFORMATION ELEMENTS\nRegistry, number, octets on the wire, type, name, meaning. 29305 is the reverse direction (RFC 5103); a number of "
            "ours with bit 0x4000 is that of the reply direction. An element has this length everywhere, also where its type allows more.\n.nf\n");
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        const SamiElement *e = &sami_elements[i];
        g_print("%5s %5u %4u  %-20s  %-32s %s\n", registry(e->pen, buffer), e->number, e->length, type_name(e->type), e->name, e->description);
    }
    g_print(".fi\n");
}

/* Two bits for the identifier of ICMP: it is in either group. */
static void
print_group_names(SamiGroups mask)
{
    const gchar *separator = "";
    SamiGroups known = 0;
    for (guint i = 0; i < G_N_ELEMENTS(groups); i++)
        if (groups[i].group & mask) {
            g_print("%s%s", separator, groups[i].name);
            separator = ", ";
            known |= groups[i].group;
        }
    if (known != mask) {
        g_printerr("protocol-tables: a group of session fields has no row\n");
        exit(1);
    }
}

static void
print_data_kind(const SamiKind *kind)
{
    g_print(".SS %s\n.nf\n", kind->name);
    for (guint i = 0; i < kind->n_fields; i++) {
        const SamiElement *e = &sami_elements[kind->fields[i].element];
        g_print("%2u  %-32s %2u  ", i + 1, e->name, e->length);
        if (kind->groups)
            print_group_names(kind->fields[i].group);
        g_print("\n");
    }
    g_print(".fi\n");
}

static void
print_data(void)
{
    g_print(".SH FIELDS OF THE DATA RECORDS\nIn this order; a template has the fields of its groups, and no others. Fields without a group are in every "
            "template of the kind.\n");
    for (guint k = 0; k < SAMI_N_RECORD_KINDS; k++)
        if (sami_kinds[k].fields && sami_kinds[k].n_scope == 0)
            print_data_kind(&sami_kinds[k]);
    g_print(".SS Groups\n.nf\n");
    for (guint i = 0; i < G_N_ELEMENTS(groups); i++)
        g_print("%-12s %s\n", groups[i].name, groups[i].when);
    g_print(".fi\n");
}

static void
print_records(void)
{
    g_print(".SH FIELDS OF THE CONTROL RECORDS\nEach kind has one Options Template, with exactly these fields in this order. The number in parentheses is "
            "the value of samiRecordKind where the record has that field.\n");
    for (guint k = 1; k < SAMI_N_RECORD_KINDS; k++) {
        const SamiKind *kind = &sami_kinds[k];
        guint length = 0;
        if (kind->n_scope == 0) /* a Data Record, or a number without a record */
            continue;
        for (guint i = 0; i < kind->n_fields; i++)
            length += sami_elements[kind->fields[i].element].length;
        g_print(".TP\n.B %s (%u)\n%u scope field%s, %u octets: ", kind->name, k, kind->n_scope, kind->n_scope == 1 ? "" : "s", length);
        for (guint i = 0; i < kind->n_fields; i++) {
            const SamiElement *e = &sami_elements[kind->fields[i].element];
            g_print("%s %u%s", e->name, e->length, i + 1 < kind->n_fields ? ", " : ".\n");
        }
    }
}

static void
print_reasons(void)
{
    g_print(".SH REASONS\n1 to 19 and 30 refuse a Message and end the session; 20 to 29, 34 to 59 and 70 to 74 refuse a record (scope 2), but 46; 46, found "
            "when reading back, 60 to 69 and 88 to 90 say that a record is not in the kernel as it was sent (scope 3); 61 may refuse one, too. 34, 35 and 70 to 74 are of "
            "expectations, for which 46 is a refusal, too.\nWhere each comes from, and the rules that malformed stands for, is in\n.BR sami-collector (8).\n.nf\n");
    for (guint i = 1; i < SAMI_N_REASONS; i++)
        if (sami_reason_is_known(i))
            g_print("%3u  %-22s %s\n", i, sami_reason_id(i), sami_reason_text(i));
    g_print(".fi\n");
}

static void
print_sources(void)
{
    g_print(".SH REASONS\nId and number, what it says, and where it comes from: a section of an RFC or of\n.BR sami-protocol (7),\na key of\n"
            ".BR sami.conf (5),\nor a file and function of Linux 6.18, below net/netfilter, and what that does. Which numbers refuse a Message and which a "
            "record is in\n.BR sami-protocol (7).\nThe counters of a reason are refused_ID_total of\n.B samictl stats\nand "
            "sami_refusals_total{reason=\"ID\"} of\n.BR \"samictl metrics\" .\n");
    for (guint i = 1; i < SAMI_N_REASONS; i++)
        if (sami_reason_is_known(i))
            g_print(".TP\n.BR %s \" (%u)\"\n%s.\n.br\n%s\n", sami_reason_id(i), i, sami_reason_text(i), sami_reason_source(i));
}

static void
print_rules(void)
{
    static const gchar *const where[] = {
        [SAMI_RULE_IN_STREAM] = "", [SAMI_RULE_IN_FILE] = " In recorded files of other exporters.", [SAMI_RULE_IN_BOTH] = " In files, too.",
    };
    g_print(".SH MESSAGE RULES\nWhat\n.I malformed\nstands for. The text of a refusal, and of what\n.B sami-replay validate\nfinds, is the rule's id, what was "
            "found, and the section that has the rule. Their counters are malformed_ID_total of\n.B samictl stats\nand "
            "sami_malformed_total{role=\"collector\",rule=\"ID\"} of\n.BR \"samictl metrics\" ;\nan exporter has the same of answers.\n");
    for (guint i = 1; i < SAMI_N_RULES; i++)
        g_print(".TP\n.B %s\n%s.%s\n.br\n%s\n", sami_rule_id(i), sami_rule_text(i), where[sami_rule_where(i)], sami_rule_source(i));
}

static void
print_limits(void)
{
    const struct {
        guint value;
        const gchar *what;
    } limits[] = {
        { SAMI_MESSAGE_MAX, "octets of a Message on TCP and in files, signature Set included" },
        { SAMI_MESSAGE_MAX_SCTP, "octets of a Message on DTLS over SCTP" },
        { SAMI_SIGNATURE_SET, "octets of the signature Set" },
        { SAMI_TEMPLATES_MAX, "templates a direction, besides 300" },
        { SAMI_TEMPLATE_FIELDS_MAX, "fields of a template" },
        { SAMI_TEMPLATE_FIRST, "first template id" },
        { SAMI_TEMPLATE_FIRST + SAMI_TEMPLATES_MAX, "last template id" },
        { SAMI_VM_ADDRESSES_MAX, "vm-address records before a begin" },
        { SAMI_REFUSALS_PER_RULE, "refusal records a reason and migration; further ones are only counted" },
        { SAMI_FINDINGS_MAX, "records in the answer to a dry run" },
        { SAMI_NAME_MAX, "octets of a name" },
        { SAMI_CHILDREN_MAX, "sessions of a migration that wait for their master; further ones go in without it" },
        { SAMI_EXPECTATIONS_MAX, "expectations of a migration" },
        { SAMI_EXPECT_TIMEOUT_MAX_S, "seconds that an expectation may have left" },
    };
    g_print(".SH LIMITS\n.nf\n");
    for (gsize i = 0; i < G_N_ELEMENTS(limits); i++)
        g_print("%6u  %s\n", limits[i].value, limits[i].what);
    g_print(".fi\n");
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--xml") == 0) {
        g_autofree gchar *xml = sami_elements_to_xml();
        g_print("%s", xml);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "--rules") == 0) {
        print_sources();
        print_rules();
        return 0;
    }
    print_states();
    print_data();
    print_records();
    print_elements();
    print_reasons();
    print_limits();
    return 0;
}
