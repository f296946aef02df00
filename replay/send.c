/* send: what was recorded goes to a collector. Here: where to, and how fast. */
#include "replay/send.h"

#include <string.h>

#include "common/value.h"

#define MTU_DEFAULT 1400u
#define REFRESH_DEFAULT 20u
#define REFRESH_MAX 1000000u
#define REFRESH_MAX_MS (24u * 3600u * 1000u)
#define UDP_RATE "1000" /* there is nothing that would slow us down for a slow receiver */

static gboolean
refuse_option(const gchar *name, const gchar *needs, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "send: --%s goes with --%s only", name, needs);
    return FALSE;
}

static gboolean
check_options(const ReplayArgs *args, GError **error)
{
    guint n = (args->to != NULL) + (args->udp != NULL) + (args->tcp != NULL);
    if (n != 1) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, n == 0 ? "send: where to? --to PEER, --udp HOST:PORT or --tcp HOST:PORT"
                                                                        : "send: one of --to, --udp and --tcp");
        return FALSE;
    }
    if (!args->to && (args->vms || args->is_keeping_times || args->is_signing_unsigned || args->keys || args->migration))
        return refuse_option(args->vms                   ? "vm"
                             : args->is_keeping_times        ? "no-aging"
                             : args->is_signing_unsigned ? "sign-unsigned"
                             : args->keys                ? "key"
                                                         : "migration",
                             "to", error);
    if (!args->udp && (args->mtu || args->template_refresh))
        return refuse_option(args->mtu ? "mtu" : "template-refresh", "udp", error);
    return TRUE;
}

static gboolean
read_plain(const ReplayArgs *args, ReplayPlain *plain, GError **error)
{
    guint64 mtu = MTU_DEFAULT, every = REFRESH_DEFAULT;
    const gchar *refresh = args->template_refresh;
    plain->is_udp = args->udp != NULL;
    plain->endpoint = plain->is_udp ? args->udp : args->tcp;
    if (!sami_value_endpoint(plain->endpoint, error)) {
        g_prefix_error(error, "send: --%s: ", plain->is_udp ? "udp" : "tcp");
        return FALSE;
    }
    if (args->mtu && !sami_value_uint(args->mtu, 256, 65507, &mtu, error)) {
        g_prefix_error(error, "send: --mtu: ");
        return FALSE;
    }
    gboolean is_time = refresh && *refresh && g_ascii_isalpha(refresh[strlen(refresh) - 1]);
    if (is_time ? !sami_value_duration(refresh, 1, REFRESH_MAX_MS, &plain->every_ms, error)
                : refresh && !sami_value_uint(refresh, 1, REFRESH_MAX, &every, error)) {
        g_prefix_error(error, "send: --template-refresh: ");
        return FALSE;
    }
    plain->mtu = (gsize) mtu;
    plain->every = is_time ? 0 : (guint) every;
    return TRUE;
}

SamiExit
replay_send(Replay *replay, GError **error)
{
    const ReplayArgs *args = &replay->args;
    ReplayPlain plain = { 0 };
    if (!check_options(args, error))
        return SAMI_EXIT_USAGE;
    if (!replay_pace_parse(args->speed ? args->speed : args->udp ? UDP_RATE : NULL, &plain.pace, error)) {
        g_prefix_error(error, "send: --speed: ");
        return SAMI_EXIT_USAGE;
    }
    if (args->to)
        return replay_send_migration(replay, &plain.pace, error);
    return read_plain(args, &plain, error) ? replay_send_plain(replay, &plain, error) : SAMI_EXIT_USAGE;
}
