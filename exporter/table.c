/* The connection table as text, for `samictl diff`: dumped once, handed out in slices, since an answer of the control protocol is one line. */
#include "exporter/exporter.h"

#include <netinet/in.h>

#include "firewall/origin.h"

#define SLICE 4096u
#define KEPT_S 60u /* a client that does not come back */

struct SamiTable {
    SamiExporter *exporter;
    guint32 id;
    SamiFirewall *firewall;
    SamiFirewallDump *dump;   /* (nullable) runs */
    GSource *source;
    GPtrArray *lines;         /* of gchar * */
    SamiControlClient *client; /* (nullable) waits for the first slice */
    guint timer;
};

static void
clear_source(SamiTable *table)
{
    if (table->source)
        g_source_destroy(table->source);
    g_clear_pointer(&table->source, g_source_unref);
}

void
sami_table_free(SamiTable *table)
{
    if (!table)
        return;
    clear_source(table);
    if (table->timer)
        g_source_remove(table->timer);
    if (table->client)
        sami_control_client_unref(table->client);
    g_clear_pointer(&table->dump, sami_firewall_dump_free);
    sami_firewall_free(table->firewall);
    g_ptr_array_unref(table->lines);
    g_free(table);
}

/* Two firewalls have zones of their own for one VLAN, so flows of a zone that has a VLAN go by that. */
static gchar *
name_flow(const SamiTable *table, SamiFlowKey key)
{
    guint16 vlan = sami_vlans_of_zone(table->exporter->vlans, key.zone);
    if (vlan) {
        key.zone = vlan;
        key.family |= SAMI_FLOW_KEY_VLAN;
    }
    return sami_flow_key_to_string(&key);
}

/* Flow, TAB, then fields NAME=VALUE with TABs. What grows stale by itself, timeouts and counters, is not in it. */
static void
on_entry(const SamiSession *s, gpointer user_data)
{
    SamiTable *table = user_data;
    SamiFlowKey reply = s->key;
    reply.orig = s->reply;
    g_autofree gchar *flow = name_flow(table, s->key), *answer = name_flow(table, reply);
    GString *line = g_string_new(flow);
    g_string_append_printf(line, "\treply=%s\tstatus=%s%s%s%s", answer, (s->status & SAMI_IPS_SEEN_REPLY) ? "seen-reply," : "",
                           (s->status & SAMI_IPS_ASSURED) ? "assured," : "", (s->status & SAMI_IPS_SRC_NAT) ? "snat," : "",
                           (s->status & SAMI_IPS_DST_NAT) ? "dnat," : "");
    if (s->has & SAMI_HAS_TCP)
        g_string_append_printf(line, "\ttcp-state=%u", s->tcp_state);
    if (s->has & SAMI_HAS_WSCALE)
        g_string_append_printf(line, "\twscale=%u/%u", s->tcp_wscale[0], s->tcp_wscale[1]);
    if (s->has & SAMI_HAS_SCTP)
        g_string_append_printf(line, "\tsctp-state=%u\ttags=%08x/%08x", s->sctp_state, s->sctp_vtag[0], s->sctp_vtag[1]);
    if (s->has & SAMI_HAS_REPLY_ZONE)
        g_string_append_printf(line, "\treply-zone=%u", s->reply_zone);
    if (s->has & SAMI_HAS_HELPER) /* the kernel takes what it has been given by root; a name of its own has nothing to escape */
        g_string_append_printf(line, "\thelper=%s", s->helper);
    g_string_append_printf(line, "\tmark=%u", (s->has & SAMI_HAS_MARK) ? s->mark : 0);
    if (s->has & SAMI_HAS_LABELS) {
        g_string_append(line, "\tlabels=");
        for (guint i = 0; i < sizeof s->labels; i++)
            g_string_append_printf(line, "%02x", s->labels[i]);
    }
    g_string_append_printf(line, "\towner=%s", sami_origin_is_ours(table->exporter->origin, s) ? "this" : "peer");
    g_ptr_array_add(table->lines, g_string_free(line, FALSE));
}

static gboolean
on_kept(gpointer user_data)
{
    SamiTable *table = user_data;
    table->timer = 0;
    table->exporter->table = NULL;
    sami_table_free(table);
    return G_SOURCE_REMOVE;
}

static void
hand_out(SamiTable *table, SamiControlClient *client, guint from)
{
    JsonObject *object = json_object_new();
    JsonArray *array = json_array_new();
    for (guint i = from; i < table->lines->len && i < from + SLICE; i++)
        json_array_add_string_element(array, g_ptr_array_index(table->lines, i));
    json_object_set_int_member(object, "table", table->id);
    json_object_set_string_member(object, "host", table->exporter->config->name);
    json_object_set_int_member(object, "total", table->lines->len);
    json_object_set_array_member(object, "flows", array);
    sami_control_finish(client, SAMI_EXIT_DONE, object, NULL);
    if (table->timer)
        g_source_remove(table->timer);
    table->timer = g_timeout_add_seconds(KEPT_S, on_kept, table);
}

static gboolean
on_dump(GIOCondition condition, gpointer user_data)
{
    SamiTable *table = user_data;
    g_autoptr(GError) error = NULL;
    SamiDumpStatus status = sami_firewall_dump_next(table->dump, on_entry, table, &error);
    if (status == SAMI_DUMP_MORE)
        return G_SOURCE_CONTINUE;
    g_clear_pointer(&table->dump, sami_firewall_dump_free);
    clear_source(table);
    if (status == SAMI_DUMP_END) {
        hand_out(table, table->client, 0);
        g_clear_pointer(&table->client, sami_control_client_unref);
    } else {
        sami_control_finish(table->client, SAMI_EXIT_FAILED, NULL, error->message);
        table->exporter->table = NULL;
        sami_table_free(table);
    }
    return G_SOURCE_REMOVE;
}

/* {}: a new table, {"table", "at"}: more of it */
void
sami_table_control(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    gint64 id = json_object_get_int_member_with_default(request, "table", 0);
    gint64 at = json_object_get_int_member_with_default(request, "at", 0);
    const SamiDumpFilter everything = { 0 };
    g_autoptr(GError) error = NULL;
    if (id != 0) {
        if (exporter->table && !exporter->table->dump && exporter->table->id == id)
            hand_out(exporter->table, client, (guint) at);
        else
            sami_control_finish(client, SAMI_EXIT_FAILED, NULL, "that table is not kept any more; ask again");
        return;
    }
    if (exporter->table && exporter->table->client) {
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, "the table is being read for somebody else; ask again");
        return;
    }
    sami_table_free(g_steal_pointer(&exporter->table));
    SamiTable *table = g_new0(SamiTable, 1);
    table->exporter = exporter;
    table->id = ++exporter->last_request;
    table->lines = g_ptr_array_new_with_free_func(g_free);
    table->firewall = sami_firewall_linux_new(&error);
    table->dump = table->firewall ? sami_firewall_dump_new(table->firewall, &everything, &error) : NULL;
    if (!table->dump) {
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, error->message);
        sami_table_free(table);
        return;
    }
    exporter->table = table;
    table->client = sami_control_client_ref(client);
    table->source = sami_fd_source_new(sami_firewall_dump_fd(table->dump), G_IO_IN, on_dump, table, NULL);
}
