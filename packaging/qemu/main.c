/* Command line of sami-vmstate. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <glib-unix.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "common/value.h"
#include "packaging/qemu/qmp.h"

#define RETRY_MAX_MS (7u * 24 * 3600 * 1000)

typedef struct {
    gchar *bus, *id, *vm, *to, *qmp, *config, *exporter, *collector, *deadline, *on_late, *on_failure, *retry;
    gboolean is_version, is_debug;
} Words;

static void
words_clear(Words *words)
{
    gchar **all[] = {&words->bus,      &words->id,        &words->vm,       &words->to,     &words->qmp, &words->config,
                     &words->exporter, &words->collector, &words->deadline, &words->on_late, &words->on_failure, &words->retry};
    for (gsize i = 0; i < G_N_ELEMENTS(all); i++)
        g_clear_pointer(all[i], g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Words, words_clear)

static void
options_clear(SamiVmstateOptions *options)
{
    g_free(options->id);
    g_strfreev(options->vm);
    g_free(options->to);
    g_free(options->exporter);
    g_free(options->collector);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SamiVmstateOptions, options_clear)

static gboolean
parse(Words *words, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"bus", 'b', 0, G_OPTION_ARG_STRING, &words->bus, "D-Bus address, the addr= of QEMU's dbus-vmstate object", "ADDRESS"},
        {"id", 'i', 0, G_OPTION_ARG_STRING, &words->id, "our name in the stream, the same at both ends (default: sami)", "ID"},
        {"vm", 0, 0, G_OPTION_ARG_STRING, &words->vm, "the VM, by name (vms.d) or addresses; needed at the source", "VM"},
        {"to", 0, 0, G_OPTION_ARG_STRING, &words->to, "firewall that the VM moves to: with --qmp we start the migration", "PEER"},
        {"qmp", 0, 0, G_OPTION_ARG_FILENAME, &words->qmp, "a monitor of QEMU for us alone", "SOCKET"},
        {"deadline", 0, 0, G_OPTION_ARG_STRING, &words->deadline, "from Save to the end of Load (default: sami.conf)", "TIME"},
        {"on-late", 0, 0, G_OPTION_ARG_STRING, &words->on_late, "resume (default), abort or wait", "WORD"},
        {"on-failure", 0, 0, G_OPTION_ARG_STRING, &words->on_failure, "QEMU's migration has failed: abort (default) ours or thaw it", "WORD"},
        {"retry-within", 0, 0, G_OPTION_ARG_STRING, &words->retry, "after a thaw: abort when no attempt comes (default: 5m)", "TIME"},
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &words->config, "default: " SAMI_SYSCONFDIR "/sami.conf", "FILE"},
        {"exporter", 0, 0, G_OPTION_ARG_FILENAME, &words->exporter, "control socket (default: in run-dir of sami.conf)", "SOCKET"},
        {"collector", 0, 0, G_OPTION_ARG_FILENAME, &words->collector, "control socket (default: in run-dir of sami.conf)", "SOCKET"},
        {"debug", 0, 0, G_OPTION_ARG_NONE, &words->is_debug, "log more", NULL},
        {"version", 'V', 0, G_OPTION_ARG_NONE, &words->is_version, "print the version", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, "A helper of QEMU's dbus-vmstate object: Save freezes the VM's sessions, Load waits for READY.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return FALSE;
    if (*argc > 1)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%s' is too much", (*argv)[1]);
    return *argc == 1;
}

/* Addresses of a comma separated list of addresses and names of vms.d, and the VLAN of those. */
static gchar **
read_vm(const SamiConfig *config, const gchar *text, guint *ret_vlan, GError **error)
{
    guint vlan = 0;
    g_auto(GStrv) words = sami_value_list(text ? text : "", error);
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; words && words[i]; i++) {
        const SamiConfigVm *vm = config ? sami_config_vm(config, words[i]) : NULL;
        if (!vm && !sami_value_address(words[i], TRUE, error)) {
            g_prefix_error(error, "--vm: no VM of vms.d, and ");
            return NULL;
        }
        if (vm && vm->vlan && vlan && vm->vlan != vlan) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--vm names VMs of VLAN %u and of VLAN %u", vlan, vm->vlan);
            return NULL;
        }
        vlan = vm && vm->vlan ? vm->vlan : vlan;
        if (!vm)
            g_ptr_array_add(list, g_strdup(words[i]));
        for (guint k = 0; vm && vm->addresses[k]; k++)
            g_ptr_array_add(list, g_strdup(vm->addresses[k]));
    }
    if (!words)
        return NULL;
    *ret_vlan = vlan;
    g_ptr_array_add(list, NULL);
    return (gchar **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
}

/* The place of the word in the list. */
static gboolean
read_word(const gchar *option, const gchar *word, const gchar *const *words, guint *ret, GError **error)
{
    for (guint i = 0; words[i]; i++)
        if (!strcmp(words[i], word)) {
            *ret = i;
            return TRUE;
        }
    g_autofree gchar *list = g_strjoinv(", ", (gchar **)words);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--%s '%s' is unknown; allowed: %s", option, word, list);
    return FALSE;
}

static gboolean
read_policies(const Words *words, SamiVmstateOptions *options, GError **error)
{
    static const gchar *const late[] = {"wait", "resume", "abort", NULL}, *const failure[] = {"abort", "thaw", NULL};
    guint on_late = SAMI_LATE_RESUME, on_failure = SAMI_FAILURE_ABORT;
    guint64 ms = 5 * 60 * 1000;
    if ((words->on_late && !read_word("on-late", words->on_late, late, &on_late, error)) ||
        (words->on_failure && !read_word("on-failure", words->on_failure, failure, &on_failure, error)))
        return FALSE;
    if (words->retry && !sami_value_duration(words->retry, 0, RETRY_MAX_MS, &ms, error)) {
        g_prefix_error(error, "--retry-within ");
        return FALSE;
    }
    options->on_late = on_late;
    options->on_failure = on_failure;
    options->retry_ms = (guint)ms;
    return TRUE;
}

static gchar *
choose_socket(const SamiConfig *config, const gchar *given, const gchar *name)
{
    return given ? g_strdup(given) : g_build_filename(config ? config->run_dir : SAMI_RUNDIR, name, NULL);
}

static gboolean
read_options(const Words *words, SamiVmstateOptions *options, GError **error)
{
    const gchar *file = words->config ? words->config : SAMI_SYSCONFDIR "/sami.conf";
    g_autoptr(SamiConfig) config = NULL;
    guint64 ms = 0;
    if (words->config || g_file_test(file, G_FILE_TEST_EXISTS)) {
        config = sami_config_load(file, error);
        if (!config)
            return FALSE;
    }
    options->id = g_strdup(words->id ? words->id : "sami");
    if (!*options->id || strlen(options->id) > 255 || strchr(options->id, ',')) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--id: allowed: 1 to 255 octets without comma");
        return FALSE;
    }
    options->deadline_ms = config ? config->deadline_ms : 2000;
    if (words->deadline) {
        if (!sami_value_duration(words->deadline, 10, SAMI_LOAD_WAIT_MAX_MS, &ms, error)) {
            g_prefix_error(error, "--deadline ");
            return FALSE;
        }
        options->deadline_ms = (guint)ms;
    }
    options->deadline_ms = MIN(options->deadline_ms, SAMI_LOAD_WAIT_MAX_MS);
    options->to = g_strdup(words->to);
    options->has_monitor = words->qmp != NULL;
    options->exporter = choose_socket(config, words->exporter, "exporter.sock");
    options->collector = choose_socket(config, words->collector, "collector.sock");
    if (!(options->vm = read_vm(config, words->vm, &options->vlan, error)) || !read_policies(words, options, error))
        return FALSE;
    if (words->to && !(words->qmp && *options->vm)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--to needs --qmp and --vm: QEMU's word starts the migration");
        return FALSE;
    }
    return TRUE;
}

static gboolean
on_signal(gpointer user_data)
{
    g_main_loop_quit(user_data);
    return G_SOURCE_CONTINUE;
}

static void
on_closed(GDBusConnection *bus, gboolean is_vanished, GError *error, gpointer user_data)
{
    SamiVmstate *self = user_data;
    g_message("the bus has ended%s%s", error ? ": " : "", error ? error->message : "");
    self->status = EXIT_FAILURE;
    g_main_loop_quit(self->loop);
}

static gboolean
run(const Words *words, const SamiVmstateOptions *options, int *ret_status, GError **error)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    SamiVmstate self = {.options = options, .loop = loop};
    const gchar *address = words->bus ? words->bus : g_getenv("DBUS_SESSION_BUS_ADDRESS");
    if (!address) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--bus is missing: the addr= of QEMU's dbus-vmstate object");
        return FALSE;
    }
    g_mutex_init(&self.lock);
    g_cond_init(&self.undone);
    g_autoptr(GDBusConnection) bus = g_dbus_connection_new_for_address_sync(
        address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL, NULL, error);
    g_autoptr(SamiQmp) qmp = bus && words->qmp ? sami_qmp_new(&self, words->qmp, error) : NULL;
    if (!bus || (words->qmp && !qmp) || !sami_vmstate_export(&self, bus, error))
        return FALSE;
    g_signal_connect(bus, "closed", G_CALLBACK(on_closed), &self);
    g_unix_signal_add(SIGTERM, on_signal, loop);
    g_unix_signal_add(SIGINT, on_signal, loop);
    g_message("ready: id %s, deadline %u ms", options->id, options->deadline_ms);
    g_main_loop_run(loop);
    *ret_status = self.status;
    return TRUE;
}

int
main(int argc, char **argv)
{
    g_auto(Words) words = {0};
    g_auto(SamiVmstateOptions) options = {0};
    g_autoptr(GError) error = NULL;
    int status = EXIT_SUCCESS;
    gboolean is_parsed = parse(&words, &argc, &argv, &error);
    if (is_parsed && words.is_version) {
        g_print("sami-vmstate %s\n", PACKAGE_VERSION);
        return EXIT_SUCCESS;
    }
    sami_log_init("sami-vmstate", words.is_debug);
    if (is_parsed && read_options(&words, &options, &error) && run(&words, &options, &status, &error))
        return status; /* threads that wait for a daemon end with the process */
    g_printerr("sami-vmstate: %s\n", error->message);
    return is_parsed && !g_error_matches(error, SAMI_ERROR, SAMI_ERROR_USAGE) ? EXIT_FAILURE : 2;
}
