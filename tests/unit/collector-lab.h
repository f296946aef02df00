/* A collector's state process on the fake kernel and a real disk, and exporters that have both keys and speak to it over session sockets: what each is
 * answered, and what the operator reads. */
#pragma once

#include "collector/collector.h"
#include "transport/session.h"

typedef struct {
    gchar *directory; /* has sami.conf and what belongs to it; journal/ is below it */
    gchar *journal;
    SamiConfig *config; /* what of it is set later holds for what begins later */
    GPtrArray *signers;
    SamiCollector *collector; /* of fw2.example, which lets fw1.example bring 10.0.0.0/24, announced or not, and all of it in a replication */
    GPtrArray *peers;         /* of LabPeer */
    GString *log;             /* warnings and worse, a line each */
} Lab;

typedef struct {
    Lab *lab;
    SamiSessionSocket *socket;
    SamiStream *stream;  /* the exporter's end */
    GArray *answers;     /* of SamiRecord, in order */
    guint n_last;        /* Messages with the last flag: what an honest collector sends once */
    gboolean is_closed;  /* CLOSE came, or the socket is gone */
    gboolean is_deaf;    /* takes no answers */
} LabPeer;

Lab *lab_new(void);
/* Ends the collector, which has to have given back all that it held in budgets; removes the directory. */
void lab_free(Lab *lab);
/* Until the collector has nothing more to do now, and the peers have taken what it said. */
void lab_settle(Lab *lab);
/* The state process is gone, and another one begins with the same table and the same disk. */
void lab_restart(Lab *lab);
/* The time of this timer is over. */
void lab_hurry(guint timer);
/* Entries in the table. */
guint lab_count_entries(Lab *lab);
/* Files in the journal's directory whose name ends like this. */
guint lab_count_files(const Lab *lab, const gchar *suffix);
/* Was this logged? Forgets all that was. */
gboolean lab_was_told(Lab *lab, const gchar *text);

/* A Transport Session of fw1.example for migration `id`, with its hello (SAMI_OPENING_*), and whatever that was answered. */
LabPeer *lab_connect(Lab *lab, guint8 id, guint8 opening);
/* A record into the Message that lab_send() ends, signs and sends; into the next one, if it does not fit or the first of its template. */
void lab_add(LabPeer *peer, const SamiRecord *record);
void lab_send(LabPeer *peer);
/* The exporter has taken all that it was answered, and closes its session. */
void lab_close(LabPeer *peer);
/* vm-address 10.0.0.13 and begin of these kinds. */
void lab_add_begin(LabPeer *peer, guint32 kinds);
/* `n` TCP flows of the VM from number `from` on. */
void lab_add_flows(LabPeer *peer, guint from, guint n, guint8 action, guint32 mark);
SamiSession lab_flow(guint number);
/* Of SAMI_MARKER_*, behind n records; sent. */
void lab_mark(LabPeer *peer, guint8 marker, guint64 n_records);
/* hello, begin, n flows and the snapshot marker, to the receipt. */
LabPeer *lab_begin(Lab *lab, guint8 id, guint n);
/* (nullable) (transfer none) until the next answer; waits for it, for at most ten seconds. */
const SamiReceipt *lab_receipt(LabPeer *peer, guint8 phase);
const SamiRefusal *lab_refusal(LabPeer *peer);
/* Waits until it is TRUE. FALSE: it was not within ten seconds. */
gboolean lab_wait(Lab *lab, gboolean (*is_so)(gpointer user_data), gpointer user_data);
/* Every write to this descriptor fails from now on, as on a disk that is full. */
void lab_fill_disk(int fd);
