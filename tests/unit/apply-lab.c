#include "tests/unit/apply-lab.h"

#include <netinet/in.h>
#include <string.h>

#include <CUnit/Basic.h>

SamiFirewall *world;
SamiApply *apply;

static GPtrArray *others;
static const SamiPrefix vm[] = { { .address = { { 10, 0, 0, 13 } }, .family = 4, .length = 32 } };

static void
add_migration(SamiApplyBatch *batch)
{
    SamiBudget *all = sami_budget_new(), *signer = sami_budget_new();
    apply = sami_apply_new(60, all, signer);
    sami_apply_set_vm(apply, vm, G_N_ELEMENTS(vm));
    sami_budget_unref(all);
    sami_budget_unref(signer);
    g_ptr_array_add(others, apply);
    apply->firewall = world;
    apply->batch = batch;
    apply->others = others;
}

void
apply_begin(void)
{
    world = sami_firewall_fake_new(0);
    others = g_ptr_array_new();
    add_migration(sami_apply_batch_new());
}

SamiApply *
apply_begin_another(void)
{
    SamiApply *before = apply;
    add_migration(before->batch);
    return before;
}

void
apply_end(void)
{
    sami_apply_batch_free(apply->batch);
    for (guint i = 0; i < others->len; i++)
        sami_apply_free(g_ptr_array_index(others, i));
    g_ptr_array_unref(others);
    sami_firewall_free(world);
}

SamiSession
apply_flow(guint8 protocol, guint32 status)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED, .status = SAMI_IPS_CONFIRMED | status,
                      .timeout_s = 30 };
    s.key.family = 4;
    s.key.protocol = protocol;
    s.key.orig = (SamiTuple){ .src = { { 10, 0, 0, 13 } }, .dst = { { 198, 51, 100, 1 } }, .src_port = 1000, .dst_port = 53 };
    sami_flow_key_mirror(&s.key, &s.reply);
    if (protocol == IPPROTO_TCP) {
        s.has |= SAMI_HAS_TCP;
        s.tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    }
    return s;
}

void
apply_say_while(SamiSession s, SamiAction action, gboolean is_redumping)
{
    SamiApplyItem item = { .session = s };
    item.session.action = (guint8) action;
    g_autofree guint8 *messages = sami_apply_build(&item, 1, 60, is_redumping);
    CU_ASSERT_TRUE(sami_apply_records(apply, &item, 1, 1, 0, NULL));
}

void
apply_say(SamiSession s, SamiAction action)
{
    apply_say_while(s, action, FALSE);
}

gboolean
apply_get(const SamiSession *s, SamiSession *ret)
{
    gboolean is_found = FALSE;
    CU_ASSERT_TRUE(sami_firewall_get(world, &s->key, 1, ret, &is_found, NULL));
    return is_found;
}

SamiSession
apply_master(void)
{
    SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED);
    s.has |= SAMI_HAS_HELPER;
    memcpy(s.helper, "ftp", 4);
    return s;
}

void
apply_add_foreign(SamiSession s)
{
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &s };
    CU_ASSERT_TRUE(sami_firewall_apply(world, &op, 1, NULL));
    CU_ASSERT_EQUAL(op.result, 0);
}

void
apply_read_back(void)
{
    SamiReadBack reading = { 0 };
    for (guint at = 0, i = 0; at < sami_ledger_size(apply->ledger) && i < 10; i++)
        CU_ASSERT_TRUE(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
}
