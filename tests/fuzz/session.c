/* A decoded session record: packing, record rules, and the netlink message that becomes of it. Eight octets of groups, then the
 * record's octets. */
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>
#include <string.h>

#include "firewall/attributes.h"
#include "templates/validate.h"

/* The template of these groups as the wire would bring it, so that groups which exclude each other are refused here too. */
static gboolean
make_template(SamiGroups groups, SamiTemplate *ret)
{
    SamiTemplate made;
    SamiSpecifier specifiers[SAMI_TEMPLATE_FIELDS_MAX];
    if (!sami_template_make(SAMI_RECORD_SESSION, groups, 256, &made))
        return FALSE;
    for (guint i = 0; i < made.n_fields; i++) {
        const SamiElement *e = &sami_elements[made.fields[i]->element];
        specifiers[i] = (SamiSpecifier){e->pen, e->number, e->length};
    }
    return sami_template_match(specifiers, made.n_fields, 0, 256, ret, NULL);
}

/* What the encoder makes of a decoded record decodes to the same. */
static void
check_round_trip(const SamiRecord *record)
{
    guint8 packed[1024] = {0};
    SamiTemplate tmpl;
    SamiRecord once, twice;
    g_assert(sami_template_make(SAMI_RECORD_SESSION, sami_record_groups(record), 256, &tmpl));
    sami_template_pack(&tmpl, record, packed);
    g_assert(sami_template_unpack(&tmpl, packed, &once, NULL));
    sami_template_pack(&tmpl, &once, packed);
    g_assert(sami_template_unpack(&tmpl, packed, &twice, NULL));
    once.session.start_ns = twice.session.start_ns = 0; /* milliseconds on the wire, and those of the year 2554 wrap */
    g_assert(sami_session_equal(&once.session, &twice.session));
    g_assert(sami_flow_key_equal(&record->session.key, &once.session.key));
}

static void
check_netlink(const SamiSession *s)
{
    SamiSession back;
    guint32 timeout_s = s->key.protocol == IPPROTO_GRE ? MAX(s->timeout_s, SAMI_FIREWALL_GRE_S) : s->timeout_s;
    for (SamiOpKind kind = SAMI_OP_CREATE; kind <= SAMI_OP_DELETE; kind++) {
        g_autofree guint8 *buffer = g_malloc0(SAMI_CT_MESSAGE_MAX);
        struct nlmsghdr *nlh = sami_ct_message(buffer, 0, 0, s->key.family, 1);
        sami_ct_put(nlh, s, kind);
        g_assert(nlh->nlmsg_len <= SAMI_CT_MESSAGE_MAX && sami_ct_parse(nlh, &back));
        g_assert(sami_flow_key_equal(&s->key, &back.key));
        if (kind == SAMI_OP_CREATE)
            g_assert((back.has & SAMI_HAS_REPLY) && back.timeout_s == timeout_s && back.mark == s->mark);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SamiGroups groups;
    guint8 packed[1024] = {0};
    SamiTemplate tmpl;
    SamiRecord record;
    SamiPrefix all[] = {{.family = 4}, {.family = 6}};
    if (size < sizeof groups)
        return 0;
    memcpy(&groups, data, sizeof groups);
    memcpy(packed, data + sizeof groups, MIN(size - sizeof groups, sizeof packed));
    if (!make_template(groups, &tmpl) || !sami_template_unpack(&tmpl, packed, &record, NULL))
        return 0;
    SamiPolicy policy = {all, 2, all, 2, &record.session.key.zone, 1, &record.session.vlan, 1, TRUE};
    check_round_trip(&record);
    if (sami_validate_session(&record.session, &policy) == SAMI_REASON_NONE && record.session.action != SAMI_ACTION_DELETED)
        check_netlink(&record.session);
    return 0;
}
