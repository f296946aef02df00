/* Whom the policy that is loaded lets go on, now and when a signer's time begins or ends; and what it says, for `samictl show policy`. */
#include "collector/collector.h"
#include "common/value.h"

#define LOOK_AGAIN_S 60 /* the wall clock may be set */

static gint64
now_s(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

SamiReason
sami_collector_policy_of_time(const SamiSigner *signer, gchar **ret_detail)
{
    const SamiConfigSigner *config = signer->config;
    if (sami_signer_is_valid(signer, now_s()))
        return SAMI_REASON_NONE;
    gboolean is_early = now_s() < config->valid_from_s;
    g_autofree gchar *moment = sami_value_time_print(is_early ? config->valid_from_s : config->valid_until_s);
    *ret_detail = g_strdup_printf("the signer is %s %s", is_early ? "valid from" : "not valid any more since", moment);
    return SAMI_REASON_SIGNER_NOT_VALID;
}

SamiReason
sami_collector_policy_of(const SamiCollectorMigration *m, const SamiSigner *now, gchar **ret_detail)
{
    if (!now) {
        *ret_detail = g_strdup("the signer has been revoked");
        return SAMI_REASON_UNKNOWN_SIGNER;
    }
    if (m && m->marker_counter)
        return SAMI_REASON_NONE;
    SamiReason reason = sami_collector_policy_of_time(now, ret_detail);
    if (reason != SAMI_REASON_NONE || !m)
        return reason;
    gboolean is_unscoped = sami_collector_replication_is_unscoped(m);
    if (is_unscoped ? now->config->unscoped : sami_signer_allows(now, (const SamiPrefix *) (const void *) m->vm->data, m->vm->len))
        return SAMI_REASON_NONE;
    *ret_detail = g_strdup(is_unscoped ? "unscoped was taken from the signer" : "its VM was taken from the signer's allow-prefixes");
    return SAMI_REASON_VM_NOT_ALLOWED;
}

/* What has not begun yet begins by the signer's policy that is loaded. A dry run, which changes nothing, has borrowed from the one that it began with. */
static void
renew_signer(SamiCollectorSession *session, SamiSigner *now, SamiKey *key)
{
    SamiSigner *old = session->signer;
    if (session->check)
        return;
    session->stream->peer_key = key; /* the same one, as the new signer has it */
    session->signer = sami_signer_ref(now);
    sami_signer_unref(old);
}

void
sami_collector_policy_review_session(SamiCollectorSession *session)
{
    SamiCollectorMigration *m = session->migration;
    SamiKey *key = NULL;
    g_autofree gchar *detail = NULL;
    if (!session->source || !session->signer || session->refusal != SAMI_REASON_NONE)
        return;
    SamiSigner *now = sami_signers_find(session->collector->signers, sami_key_id(session->stream->peer_key), &key);
    gboolean is_same = now && g_str_equal(now->config->name, session->signer->config->name) && sami_signer_may_use(now, session->open.name);
    SamiReason reason = sami_collector_policy_of(m, is_same ? now : NULL, &detail);
    if (reason == SAMI_REASON_NONE) {
        renew_signer(session, now, key);
        return;
    }
    sami_collector_session_refuse(session, reason, detail);
    if (m && !m->marker_counter)
        sami_collector_migration_undo(m, SAMI_ON_ABORT);
}

/* One without a session; and what still comes of any is judged by what is loaded now. */
static void
review_migration(SamiCollectorMigration *m)
{
    SamiSigner *now = sami_signers_by_name(m->collector->signers, m->signer_name);
    g_autofree gchar *detail = NULL;
    if (sami_collector_is_over(m->phase))
        return;
    if (now)
        sami_collector_migration_set_policy(m, now);
    if (m->session || m->marker_counter || sami_collector_policy_of(m, now, &detail) == SAMI_REASON_NONE)
        return;
    if (sami_collector_migration_undo(m, SAMI_ON_ABORT))
        g_warning("%.8s: rolling back: %s: %s", m->hex, m->signer_name, detail);
}

static gboolean
on_time(gpointer user_data)
{
    SamiCollector *collector = user_data;
    collector->validity_timer = 0;
    sami_collector_policy_review(collector);
    return G_SOURCE_REMOVE;
}

void
sami_collector_policy_review(SamiCollector *collector)
{
    for (guint i = 0; i < collector->sessions->len; i++)
        sami_collector_policy_review_session(g_ptr_array_index(collector->sessions, i));
    for (guint i = 0; i < collector->migrations->len; i++)
        review_migration(g_ptr_array_index(collector->migrations, i));
    g_clear_handle_id(&collector->validity_timer, g_source_remove);
    gint64 next_s = sami_signers_next_change(collector->signers, now_s());
    if (next_s == G_MAXINT64)
        return;
    gint64 left_ms = next_s * 1000 - g_get_real_time() / 1000 + 1;
    collector->validity_timer = g_timeout_add((guint) CLAMP(left_ms, 1, LOOK_AGAIN_S * 1000), on_time, collector);
}

/* What is loaded, as JSON. */

static JsonArray *
list_words(GStrv words)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; words && words[i]; i++)
        json_array_add_string_element(list, words[i]);
    return list;
}

static JsonObject *
describe(const SamiCollector *collector, const SamiSigner *signer)
{
    const SamiConfigSigner *c = signer->config;
    const struct {
        const gchar *key;
        GStrv words;
    } lists[] = { { "allow-prefixes", c->allow_prefixes }, { "nat-addresses", c->nat_addresses }, { "zones", c->zones }, { "vlans", c->vlans },
                  { "kinds", c->kinds }, { "protocols", c->protocols }, { "ports", c->ports }, { "remote-ports", c->remote_ports },
                  { "map-addresses", c->map_addresses }, { "map-marks", c->map_marks },
                  { "map-labels", c->map_labels }, { "labels", c->labels }, { "helpers", c->helpers }, { "allow-special", c->allow_special }, { "tls-names", c->tls_names } };
    const struct {
        const gchar *key;
        guint64 value;
    } numbers[] = { { "mark-mask", c->mark_mask }, { "max-migrations", c->max_migrations }, { "max-sessions", c->max_sessions },
                    { "max-expectations", c->max_expectations }, { "max-elements", c->max_elements }, { "max-rate", c->max_rate } };
    const struct {
        const gchar *key;
        gboolean value;
    } switches[] = { { "require-expect", c->require_expect }, { "unscoped", c->unscoped }, { "long-timeouts", c->long_timeouts },
                     { "valid", sami_signer_is_valid(signer, now_s()) } };
    const struct {
        const gchar *name;
        guint64 value;
    } used[] = { { "migrations", sami_collector_count_active(collector, c->name) }, { "sessions", sami_budget_used(signer->budget) },
                 { "expectations", sami_budget_used(signer->expectations) }, { "rate_waits", sami_rate_n_waits(signer->rate) },
                 { "rate_waited_ms", sami_rate_waited_ms(signer->rate) } };
    JsonObject *object = json_object_new(), *now = json_object_new();
    JsonArray *keys = json_array_new();
    json_object_set_string_member(object, "name", c->name);
    for (guint i = 0; i < signer->keys->len; i++) {
        gchar hex[SAMI_KEY_ID_TEXT];
        json_array_add_string_element(keys, sami_key_id_text(sami_key_id(g_ptr_array_index(signer->keys, i)), hex));
    }
    json_object_set_array_member(object, "keys", keys);
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++)
        json_object_set_array_member(object, lists[i].key, list_words(lists[i].words));
    for (guint i = 0; i < G_N_ELEMENTS(numbers); i++)
        json_object_set_int_member(object, numbers[i].key, (gint64) numbers[i].value);
    for (guint i = 0; i < G_N_ELEMENTS(switches); i++)
        json_object_set_boolean_member(object, switches[i].key, switches[i].value);
    json_object_set_string_member(object, "on-conflict", c->on_conflict);
    const gint64 moments[] = { c->valid_from_s, c->valid_until_s };
    for (guint i = 0; i < G_N_ELEMENTS(moments); i++) {
        g_autofree gchar *text = moments[i] ? sami_value_time_print(moments[i]) : NULL;
        json_object_set_string_member(object, i == 0 ? "valid-from" : "valid-until", text ? text : "");
    }
    for (guint i = 0; i < G_N_ELEMENTS(used); i++)
        json_object_set_int_member(now, used[i].name, (gint64) used[i].value);
    json_object_set_object_member(object, "now", now);
    return object;
}

static JsonArray *
list_own(const SamiAddressSet *own)
{
    JsonArray *list = json_array_new();
    for (guint slot = 0; slot < sami_address_set_slots(own); slot++) {
        SamiPrefix address;
        if (!sami_address_set_at(own, slot, &address))
            continue;
        g_autofree gchar *text = sami_prefix_to_string(&address);
        json_array_add_string_element(list, text);
    }
    return list;
}

void
sami_collector_policy_control(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    const gchar *name = json_object_get_string_member_with_default(request, "signer", "");
    JsonObject *answer = json_object_new();
    JsonArray *list = json_array_new();
    for (guint i = 0; i < collector->signers->len; i++) {
        const SamiSigner *signer = g_ptr_array_index(collector->signers, i);
        if (!*name || g_str_equal(signer->config->name, name))
            json_array_add_object_element(list, describe(collector, signer));
    }
    gboolean is_missing = *name && json_array_get_length(list) == 0;
    json_object_set_int_member(answer, "v", 1);
    json_object_set_string_member(answer, "host", collector->config->name);
    json_object_set_array_member(answer, "signers", list);
    json_object_set_array_member(answer, "own-addresses", list_own(collector->host.own));
    sami_control_finish(client, is_missing ? SAMI_EXIT_USAGE : SAMI_EXIT_DONE, answer,
                        is_missing ? "no signer of that name is loaded" : NULL);
}
