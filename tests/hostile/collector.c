/* hostile-collector CONFIG ADDRESS EXPORTER-DIR EXPORTER-SOCKET EXPORTER-NETNS VM [--blind] [CASE...]: a collector that misbehaves in one way
 * at a time, to an exporter that is asked by samictl. CONFIG is that of the firewall that it pretends to be, which listens at ADDRESS. Without
 * CASE every quick one, after which it also looks at the exporter's counters; they are not looked at if CASEs are named, since others may run at
 * the same time.
 *
 * Around each case, unless it is --blind, it reads the events of the connection table in EXPORTER-NETNS: whatever a collector says, nothing of
 * the VM's may go there.
 *
 * Exit status 0: every migration ended as its case says. 1: anything else. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/control.h"
#include "tests/hostile/collector.h"
#include "transport/address.h"

#define FLOWS 300u /* more than one batch of the clean-up */

static gboolean
is_about_answers(const gchar *name)
{
    return g_str_has_prefix(name, "refused_") || g_str_has_prefix(name, "answers_");
}

/* Events of the VM since the last call; all of them are ends in *ret_is_end. */
static guint
count_events(Lab *lab, gboolean *ret_is_end)
{
    guint n = 0;
    watch_read_events(&lab->watch);
    g_auto(GStrv) lines = g_strsplit(lab->watch.written->str, "\n", 0);
    *ret_is_end = TRUE;
    for (gchar **line = lines; *line; line++) {
        g_autofree gchar *vm = g_strdup_printf(" %s:", lab->vm);
        if (!strstr(*line, vm))
            continue;
        n++;
        *ret_is_end &= strstr(*line, ": destroy ") != NULL;
    }
    return n;
}

/* The VM's flows, as far as they are not there. */
static void
fill_table(Lab *lab)
{
    g_autofree SamiSession *sessions = g_new0(SamiSession, FLOWS);
    g_autofree SamiOp *ops = g_new0(SamiOp, FLOWS);
    g_autoptr(GError) error = NULL;
    SamiPrefix vm, other;
    if (!sami_prefix_parse(lab->vm, &vm, &error) || !sami_prefix_parse("198.51.100.10", &other, &error))
        die("%s", error->message);
    for (guint i = 0; i < FLOWS; i++) {
        SamiSession *s = &sessions[i];
        s->has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_TCP | SAMI_HAS_REPLY;
        s->status = SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED | SAMI_IPS_CONFIRMED;
        s->timeout_s = 100000;
        s->tcp_state = SAMI_TCP_STATE_ESTABLISHED;
        s->key = (SamiFlowKey){ .family = 4, .protocol = IPPROTO_TCP };
        s->key.orig.src = vm.address;
        s->key.orig.dst = other.address;
        s->key.orig.src_port = (guint16) (1000 + i);
        s->key.orig.dst_port = 443;
        sami_flow_key_mirror(&s->key, &s->reply);
        ops[i] = (SamiOp){ .kind = SAMI_OP_CREATE, .session = s };
    }
    if (!sami_firewall_apply(lab->watch.firewall, ops, FLOWS, &error))
        die("%s", error->message);
    for (guint i = 0; i < FLOWS; i++)
        if (ops[i].result != 0 && ops[i].result != EEXIST)
            die("no entry for the VM: %s", g_strerror(ops[i].result));
    watch_read_events(&lab->watch);
}

static void
end_by_abort(Server *s, gboolean is_answered)
{
    gint status;
    const gchar *arguments[] = { "abort", s->id, NULL };
    if (s->freeze) {
        if ((status = lab_finish("freeze", s->freeze)) != SAMI_EXIT_LATE)
            die("samictl freeze ended with %d, not late", status);
        s->freeze = 0;
    }
    pid_t abort = lab_run(s->lab, NULL, arguments);
    if (is_answered) {
        SamiRecord record = server_receipt(s, SAMI_RECEIPT_ABORTED);
        server_wait(s, &s->n_aborts, 0);
        server_add(s, &record);
        server_send(s, TRUE);
    }
    status = lab_finish("abort", abort);
    if (is_answered ? status != SAMI_EXIT_DONE : status == SAMI_EXIT_DONE || status == SAMI_EXIT_ABORTED)
        die("samictl abort ended with %d", status);
}

/* (nullable) (transfer full): what is wrong. */
static gchar *
judge(Lab *lab, const Case *what, gint status, const gchar *said, const gchar *phase)
{
    gboolean is_end = TRUE;
    guint n = lab->is_blind ? 0 : count_events(lab, &is_end);
    if (status != what->exit)
        return g_strdup_printf("samictl migrate ended with %d, not %d", status, what->exit);
    if (!g_str_equal(phase, what->phase))
        return g_strdup_printf("the exporter ended in %s, not %s", phase, what->phase);
    if (what->text && !strstr(said, what->text))
        return g_strdup_printf("it was not said: %s", what->text);
    if (!lab->is_blind && (n != (what->is_purged ? FLOWS : 0) || !is_end))
        return g_strdup_printf("%u events of the VM's in the source's table, the first of all:\n%.*s", n,
                               (int) strcspn(lab->watch.written->str, "\n"), lab->watch.written->str);
    return NULL;
}

static gboolean
run_case(Lab *lab, const Case *what, gboolean has_counters)
{
    g_autofree gchar *said = NULL, *wrong = NULL, *phase = NULL;
    gint status;
    gint64 start_us = g_get_monotonic_time();
    set_case(what->name);
    if (lab->is_empty)
        fill_table(lab);
    lab->is_empty = what->is_purged;
    Server *s = server_new(lab, what);
    server_reach(s, what->stage);
    if (what->run)
        what->run(s, what);
    if (what->end == END_HONEST)
        server_reach(s, STAGE_DONE);
    else if (what->end != END_ITSELF)
        end_by_abort(s, what->end == END_ABORT);
    status = lab_finish("migrate", s->migrate);
    if (s->freeze) { /* it must not have opened a gate */
        gint freeze = lab_finish("freeze", s->freeze);
        if (freeze == SAMI_EXIT_DONE || freeze == SAMI_EXIT_DEGRADED)
            wrong = g_strdup_printf("samictl freeze ended with %d", freeze);
    }
    phase = *s->id ? lab_phase(lab, s->id) : g_strdup(what->phase); /* without a hello nobody but the exporter knows it */
    server_free(s);
    if (!g_file_get_contents(lab->output, &said, NULL, NULL))
        die("nothing was said");
    if (!wrong)
        wrong = judge(lab, what, status, said, phase);
    if (!wrong && has_counters)
        wrong = watch_counters(&lab->watch, what->counter, MAX(what->n, 1));
    g_print("%s %s after %" G_GINT64_FORMAT " ms: %d %s %s\n", wrong ? "FAIL" : "ok  ", what->name, (g_get_monotonic_time() - start_us) / 1000,
            status, phase, what->text ? what->text : "");
    g_strchomp(said);
    if (wrong) /* its last line is the answer */
        g_print("     %s\n     %s\n", wrong, strrchr(said, '\n') ? strrchr(said, '\n') + 1 : said);
    return !wrong;
}

static const Case *const lists[] = { quick_cases, session_cases, slow_cases };

static const Case *
find_case(const gchar *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++)
        for (const Case *at = lists[i]; at->name; at++)
            if (g_str_equal(at->name, name))
                return at;
    die("there is no case '%s'", name);
}

static int
listen_at(const gchar *endpoint)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
    struct addrinfo *info = NULL;
    const int on = 1;
    g_autofree gchar *host = NULL, *port = NULL;
    g_autoptr(GError) error = NULL;
    if (!sami_address_split(endpoint, &host, &port, &error) || getaddrinfo(host, port, &hints, &info) != 0)
        die("%s: no address", endpoint);
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || bind(fd, info->ai_addr, info->ai_addrlen) != 0 ||
        listen(fd, 16) != 0)
        die("%s: %s", endpoint, g_strerror(errno));
    freeaddrinfo(info);
    return fd;
}

static void
open_lab(Lab *lab, const SamiConfig *config, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) peers = g_ptr_array_new_with_free_func(g_free);
    g_autofree gchar *bin = g_path_get_dirname(argv[0]);
    for (guint i = 0; i < config->peers->len; i++) {
        const SamiConfigPeer *from = g_ptr_array_index(config->peers, i);
        SamiPeer *peer = g_new0(SamiPeer, 1);
        *peer = (SamiPeer){ .name = from->name, .addresses = from->addresses, .certificate_file = from->certificate_file };
        g_ptr_array_add(peers, peer);
        if (from->signing_key_file && !lab->exporter_key)
            lab->exporter_key = sami_key_load_public(from->signing_key_file, NULL);
    }
    SamiNetworkConfig network = { .certificate_file = config->certificate, .key_file = config->key, .peers = peers };
    if (!(lab->tls = sami_tls_new(&network, TRUE, &error)) || !(lab->signing_key = sami_key_load_private(config->signing_key, config->key_passphrase_file, &error)))
        die("%s", error->message);
    if (!lab->exporter_key)
        die("no peer has a key");
    lab->config = config;
    lab->stranger = sami_key_generate();
    lab->samictl = g_build_filename(bin, "samictl", NULL);
    lab->exporter_dir = argv[3];
    lab->vm = argv[6];
    lab->output = g_strdup_printf("%s.said", config->path);
    lab->listener = listen_at(argv[2]);
    watch_open(&lab->watch, argv[4], is_about_answers, argv[5]);
}

static void
close_lab(Lab *lab)
{
    watch_close(&lab->watch);
    close(lab->listener);
    sami_tls_free(lab->tls);
    sami_key_free(lab->signing_key);
    sami_key_free(lab->stranger);
    sami_key_free(lab->exporter_key);
    g_free(lab->samictl);
    g_free(lab->output);
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Lab lab = { .is_empty = TRUE };
    guint n = 0, n_failed = 0;
    if (argc < 7)
        die("usage: hostile-collector CONFIG ADDRESS EXPORTER-DIR EXPORTER-SOCKET EXPORTER-NETNS VM [--blind] [CASE...]");
    g_autoptr(SamiConfig) config = sami_config_load(argv[1], &error);
    if (!config)
        die("%s", error->message);
    signal(SIGPIPE, SIG_IGN);
    open_lab(&lab, config, argv);
    lab.is_blind = argc > 7 && g_str_equal(argv[7], "--blind");
    for (gint i = 7 + lab.is_blind; i < argc; i++, n++)
        n_failed += !run_case(&lab, find_case(argv[i]), FALSE);
    for (gsize i = 0; i < G_N_ELEMENTS(lists) && argc == 7; i++)
        for (const Case *at = lists[i]; lists[i] != slow_cases && at->name; at++, n++)
            n_failed += !run_case(&lab, at, TRUE);
    close_lab(&lab);
    g_print("%u cases, %u failed\n", n, n_failed);
    return n > 0 && n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
