/* `samictl check`: what would not survive a move, before it. The daemons find out; here it is put into words, with what to do. */
#include "ctl/ctl.h"

#include <string.h>

#include "common/control-json.h"
#include "common/value.h"

/* (transfer full) */
static JsonObject *
make_request(const Ctl *ctl, GError **error)
{
    const CtlArgs *args = &ctl->args;
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "check");
    if (args->to)
        json_object_set_string_member(request, "to", args->to);
    if (args->vm || args->to) {
        JsonArray *vm = ctl_vm(ctl, "check --to", error);
        if (!vm)
            return NULL;
        json_object_set_array_member(request, "vm", vm);
    }
    if (!ctl_add_segment(ctl, request, error))
        return NULL;
    return g_steal_pointer(&request);
}

/* A refusal or a degradation is known by its reason here; the daemons say of everything else what to do. */
static void
add_remedy(JsonObject *finding)
{
    const gchar *consequence = NULL, *remedy = ctl_remedy(ctl_string(finding, "subject"), &consequence);
    gboolean is_reason = g_str_has_prefix(ctl_string(finding, "id"), "refused-") || g_str_has_prefix(ctl_string(finding, "id"), "degraded-");
    if (!is_reason || !remedy)
        return;
    g_autofree gchar *text = g_strdup_printf("%s: %s", ctl_string(finding, "text"), consequence);
    json_object_set_string_member(finding, "text", text);
    if (!*ctl_string(finding, "fix"))
        json_object_set_string_member(finding, "fix", remedy);
}

static const struct {
    const gchar *severity, *label;
    gboolean is_error;
} labels[] = {
    {"loss", "FAIL", TRUE},
    {"warning", "WARN", FALSE},
    {"note", "NOTE", FALSE},
};

static void
print_finding(JsonObject *finding, const gchar *label)
{
    gint64 count = ctl_int(finding, "count");
    g_autofree gchar *sessions = count > 0 ? g_strdup_printf("%" G_GINT64_FORMAT " session%s: ", count, count == 1 ? "" : "s") : g_strdup("");
    ctl_say(stdout, "%-5s %s: %s%s\n", label, ctl_string(finding, "host"), sessions, ctl_string(finding, "text"));
    if (*ctl_string(finding, "fix") && *ctl_string(finding, "fix_said_by")) /* the peer's words, not our advice */
        ctl_say(stdout, "      fix (says %s): %s\n", ctl_string(finding, "fix_said_by"), ctl_string(finding, "fix"));
    else if (*ctl_string(finding, "fix"))
        ctl_say(stdout, "      fix: %s\n", ctl_string(finding, "fix"));
}

/* The worst first. */
static void
print_findings(JsonArray *findings, gboolean is_quiet)
{
    for (guint k = 0; k < G_N_ELEMENTS(labels); k++)
        for (guint i = 0; findings && i < json_array_get_length(findings) && (!is_quiet || labels[k].is_error); i++) {
            JsonObject *finding = json_array_get_object_element(findings, i);
            if (!strcmp(ctl_string(finding, "severity"), labels[k].severity))
                print_finding(finding, labels[k].label);
        }
}

static gint64
sum(JsonObject *counts, const gchar *member)
{
    JsonObject *reasons = ctl_object(counts, member);
    g_autoptr(GList) names = reasons ? json_object_get_members(reasons) : NULL;
    gint64 n = 0;
    for (GList *at = names; at; at = at->next)
        n += ctl_int(reasons, at->data);
    return n;
}

static void
print_summary(JsonObject *answer)
{
    JsonObject *counts = ctl_object(answer, "counts");
    gint64 n = ctl_int(counts, "sessions"), n_survive = ctl_int(counts, "survive");
    if (!counts || (!json_object_has_member(counts, "survive") && n == 0))
        return;
    if (!json_object_has_member(counts, "survive"))
        ctl_say(stdout, "%-5s %" G_GINT64_FORMAT " session%s here%s\n", "OK", n, n == 1 ? "" : "s",
                *ctl_string(answer, "peer") ? "; the destination says nothing" : "");
    else
        ctl_say(stdout,
                "%-5s %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " sessions would survive: %" G_GINT64_FORMAT " exact, %" G_GINT64_FORMAT
                " merged, %" G_GINT64_FORMAT " degraded\n",
                n_survive < n ? "FAIL" : "OK", n_survive, n, ctl_int(counts, "exact"), ctl_int(counts, "merged"), sum(counts, "degraded"));
}

/* Any other status says that there was no check. */
static gboolean
is_checked(gint64 code)
{
    return code == SAMI_EXIT_DONE || code == SAMI_EXIT_WARNINGS || code == SAMI_EXIT_LOSS;
}

static SamiExit
show(Ctl *ctl, JsonObject *answer)
{
    gint64 code = ctl_int(answer, "exit");
    JsonArray *findings = ctl_array(answer, "findings"), *refusals = ctl_array(answer, "refusals");
    if (!is_checked(code)) {
        ctl_say(stderr, "samictl: %s\n", *ctl_string(answer, "error") ? ctl_string(answer, "error") : "the daemon gave no reason");
        return (SamiExit)code;
    }
    for (guint i = 0; findings && i < json_array_get_length(findings); i++)
        add_remedy(json_array_get_object_element(findings, i));
    if (ctl->args.is_json)
        return (SamiExit)code;
    if (!ctl->args.is_quiet)
        print_summary(answer);
    print_findings(findings, ctl->args.is_quiet);
    for (guint i = 0; refusals && i < json_array_get_length(refusals) && !ctl->args.is_quiet; i++)
        ctl_say(stdout, "      %s\n", json_array_get_string_element(refusals, i));
    return (SamiExit)code;
}

static void
append(JsonArray *to, JsonArray *from)
{
    for (guint i = 0; from && i < json_array_get_length(from); i++)
        json_array_add_element(to, json_node_copy(json_array_get_element(from, i)));
}

/* One object whatever was asked: the exporter's, with the findings of all. */
static void
print_json(JsonObject *const *answers, guint n, SamiExit code)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonArray *findings = json_array_new();
    static const gchar *const members[] = {"host", "vm", "peer", "answered", "counts", "refusals"};
    json_object_set_int_member(object, "v", 1);
    for (guint i = 0; i < n; i++) {
        for (guint k = 0; answers[i] && k < G_N_ELEMENTS(members); k++)
            if (json_object_has_member(answers[i], members[k]) && !json_object_has_member(object, members[k]))
                json_object_set_member(object, members[k], json_node_copy(json_object_get_member(answers[i], members[k])));
        append(findings, answers[i] ? ctl_array(answers[i], "findings") : NULL);
    }
    json_object_set_string_member(object, "verdict", code == SAMI_EXIT_DONE ? "ok" : code == SAMI_EXIT_WARNINGS ? "warnings" : "loss");
    json_object_set_array_member(object, "findings", findings);
    json_object_set_int_member(object, "exit", code);
    g_autofree gchar *text = sami_control_json_print(object);
    printf("%s\n", text);
}

SamiExit
ctl_check(Ctl *ctl, GError **error)
{
    SamiExit worst = SAMI_EXIT_DONE;
    if (!ctl_load_config(ctl, error))
        return SAMI_EXIT_FAILED;
    g_autoptr(JsonObject) request = make_request(ctl, error);
    g_auto(CtlAnswers) answers = {0};
    guint n_findings = 0;
    if (!request)
        return SAMI_EXIT_USAGE;
    if (!ctl->args.to) { /* this host, in every role that it has */
        if (!ctl_ask_all_with(ctl, request, &answers, error))
            return SAMI_EXIT_FAILED;
    } else {
        g_autofree gchar *path = ctl_socket(ctl, CTL_EXPORTER);
        answers.answers[CTL_EXPORTER] = ctl_call(path, request, error);
        if (!answers.answers[CTL_EXPORTER])
            return SAMI_EXIT_FAILED;
    }
    for (guint i = 0; i < CTL_N_ROLES; i++) {
        SamiExit code = answers.answers[i] ? show(ctl, answers.answers[i]) : SAMI_EXIT_DONE;
        JsonArray *findings = answers.answers[i] ? ctl_array(answers.answers[i], "findings") : NULL;
        n_findings += findings ? json_array_get_length(findings) : 0;
        if (!is_checked(code))
            return code;
        worst = MAX(worst, code);
    }
    if (ctl->args.is_json)
        print_json(answers.answers, CTL_N_ROLES, worst);
    else if (n_findings == 0 && !ctl->args.is_quiet)
        ctl_say(stdout, "OK    nothing was found\n");
    return worst;
}
