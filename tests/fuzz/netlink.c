/* Conntrack messages as the kernel would send them, and the record that is sent of each. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "firewall/attributes.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree guint8 *copy = g_memdup2(data, size); /* exact, and aligned */
    const struct nlmsghdr *nlh = (const struct nlmsghdr *)copy;
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(SAMI_DOMAIN_FORWARD, SAMI_MESSAGE_MAX);
    SamiRecord record = {.kind = SAMI_RECORD_SESSION};
    guint8 *message;
    gsize length;
    /* mnl_nlmsg_ok() of libmnl 1.0.4 takes lengths from 2^31 as negative, which the kernel never has. */
    for (int left = (int)size; mnl_nlmsg_ok(nlh, left) && nlh->nlmsg_len <= (guint)left; nlh = mnl_nlmsg_next(nlh, &left)) {
        if (!sami_ct_parse(nlh, &record.session))
            continue;
        g_assert(record.session.key.family == 4 || record.session.key.family == 6);
        if (!sami_encoder_add(encoder, &record, NULL))
            break;
    }
    g_assert(sami_encoder_take(encoder, 0, &message, &length, NULL) && length <= SAMI_MESSAGE_MAX);
    return 0;
}
