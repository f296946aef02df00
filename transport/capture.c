#include "transport/capture.h"

#include <string.h>

#include <pcap/pcap.h>

#include "transport/capture-dispatch.h"

struct SamiCapture {
    SamiCaptureCommon common;
    SamiDispatch dispatch;
    SamiFragments *fragments;
    SamiKeyLog *key_log; /* (nullable) */
    pcap_t *pcap;
    int link;
    gboolean is_ng;
    gboolean is_read;    /* all packets, or as many as can be read */
};

gboolean
sami_capture_is(const guint8 magic[4])
{
    /* pcap with microseconds, nanoseconds, and with more in each record's header; in both byte orders. pcapng, which says it behind. */
    static const guint32 known[] = { 0xa1b2c3d4u, 0xa1b23c4du, 0xa1b2cd34u, 0x0a0d0d0au };
    guint32 value = (guint32) magic[0] << 24 | (guint32) magic[1] << 16 | (guint32) magic[2] << 8 | magic[3];
    for (guint i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i] == value || known[i] == GUINT32_SWAP_LE_BE(value))
            return TRUE;
    return FALSE;
}

static gboolean
open_pcap(SamiCapture *capture, FILE *file_take, GError **error)
{
    gchar why[PCAP_ERRBUF_SIZE] = "";
    int first = getc(file_take);
    ungetc(first, file_take);
    capture->is_ng = first == 0x0a;
    capture->pcap = pcap_fopen_offline_with_tstamp_precision(file_take, PCAP_TSTAMP_PRECISION_NANO, why);
    if (!capture->pcap) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "%s: %s", sami_capture_form(capture), why);
        fclose(file_take);
        return FALSE;
    }
    capture->link = pcap_datalink(capture->pcap);
    if (sami_packet_is_link_known(capture->link))
        return TRUE;
    const char *name = pcap_datalink_val_to_name(capture->link);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "%s: link type %d (%s) is not read; Ethernet, Linux cooked (SLL, SLL2), raw IP and loopback are",
                sami_capture_form(capture), capture->link, name ? name : "unknown");
    return FALSE;
}

SamiCapture *
sami_capture_open(FILE *file_take, const SamiInputOptions *options, GError **error)
{
    g_autoptr(SamiCapture) capture = g_new0(SamiCapture, 1);
    sami_capture_common_init(&capture->common, options);
    if (!open_pcap(capture, file_take, error))
        return NULL;
    if (options->key_log && !(capture->key_log = sami_key_log_load(options->key_log, error)))
        return NULL;
    capture->fragments = sami_fragments_new(&capture->common);
    capture->dispatch = (SamiDispatch){ &capture->common, sami_flows_new(&capture->common), capture->key_log };
    return g_steal_pointer(&capture);
}

void
sami_capture_free(SamiCapture *capture)
{
    if (!capture)
        return;
    sami_fragments_free(capture->fragments);
    sami_flows_free(capture->dispatch.flows);
    sami_capture_common_clear(&capture->common);
    sami_key_log_free(capture->key_log);
    if (capture->pcap)
        pcap_close(capture->pcap); /* and the file */
    g_free(capture);
}

/* A time that no clock shows, as of a capture that is broken, is none. */
static gint64
time_ns(const struct timeval *time)
{
    const gint64 second = G_GINT64_CONSTANT(1000000000);
    gint64 seconds = time->tv_sec, ns = time->tv_usec;
    return seconds < 0 || seconds >= G_MAXINT64 / second || ns < 0 || ns >= second ? 0 : seconds * second + ns;
}

static void
take_packet(SamiCapture *capture, const struct pcap_pkthdr *header, const u_char *octets)
{
    SamiInputCounts *counts = &capture->common.counts;
    SamiPacket packet;
    capture->common.time_ns = time_ns(&header->ts);
    counts->n_packets++;
    counts->n_cut += header->caplen < header->len;
    if (!sami_packet_parse(capture->link, octets, header->caplen, header->len, &packet)) {
        counts->n_other++;
        return;
    }
    if (packet.is_fragment) {
        counts->n_fragments++;
        if (!sami_fragments_add(capture->fragments, &packet))
            return;
        if (!sami_packet_skip_extensions(&packet) || packet.is_fragment) { /* fragments of a fragment */
            counts->n_other++;
            return;
        }
    }
    sami_dispatch_packet(&capture->dispatch, &packet);
}

/* The next record of the capture. */
static void
read_packet(SamiCapture *capture)
{
    struct pcap_pkthdr *header;
    const u_char *octets;
    off_t at = ftello(pcap_file(capture->pcap));
    capture->common.offset = at < 0 ? 0 : (guint64) at;
    int status = pcap_next_ex(capture->pcap, &header, &octets);
    if (status == 1) {
        take_packet(capture, header, octets);
        sami_flows_limit(capture->dispatch.flows, capture->fragments);
        return;
    }
    capture->is_read = TRUE;
    if (status != PCAP_ERROR_BREAK)
        sami_capture_fault(&capture->common, NULL, "%s: %s; nothing behind it can be read", sami_capture_form(capture), pcap_geterr(capture->pcap));
}

/* What waits when there are no more packets. FALSE: nothing does. */
static gboolean
finish_one(SamiCapture *capture)
{
    return sami_fragments_drop(capture->fragments, "the capture does not have the rest") || sami_flows_finish_one(capture->dispatch.flows);
}

SamiInputStatus
sami_capture_next(SamiCapture *capture, SamiInputMessage *ret, GError **fault)
{
    SamiInputStatus status;
    while (!sami_capture_take(&capture->common, &status, ret, fault)) {
        if (!capture->is_read)
            read_packet(capture);
        else if (!finish_one(capture))
            return SAMI_INPUT_END;
    }
    return status;
}

void
sami_capture_counts(const SamiCapture *capture, SamiInputCounts *ret)
{
    *ret = capture->common.counts;
}

const gchar *
sami_capture_form(const SamiCapture *capture)
{
    return capture->is_ng ? "pcapng" : "pcap";
}
