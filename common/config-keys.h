/* The table of configuration keys, for config.c and its tests only. */
#pragma once

#include "common/config.h"

/* How a key is read, and the C type of its field. */
typedef enum {
    SAMI_KEY_STRING,
    SAMI_KEY_NAME,
    SAMI_KEY_ENDPOINT,
    SAMI_KEY_FILE,
    SAMI_KEY_SECRET, /* a file, a URI, or $CREDENTIALS_DIRECTORY/NAME */
    SAMI_KEY_CHOICE,
    SAMI_KEY_BOOL,
    SAMI_KEY_NUMBER,  /* guint64 */
    SAMI_KEY_SIZE,    /* guint64, octets */
    SAMI_KEY_COUNT,   /* guint */
    SAMI_KEY_MS,      /* guint, milliseconds */
    SAMI_KEY_SECONDS, /* guint, whole seconds */
    SAMI_KEY_TIME,    /* gint64, seconds since 1970; 0: none */
    SAMI_KEY_FILES,
    SAMI_KEY_NAMES,
    SAMI_KEY_ENDPOINTS,
    SAMI_KEY_ADDRESSES,
    SAMI_KEY_PREFIXES,
    SAMI_KEY_NUMBERS,
    SAMI_KEY_CHOICES,
    SAMI_KEY_VLANS,
    SAMI_KEY_PROTOCOLS, /* names or numbers, or `any` alone */
    SAMI_KEY_PORTS,     /* numbers and ranges */
    SAMI_KEY_LABELS,    /* the same */
    SAMI_KEY_HELPERS,   /* names, or `any` alone */
    SAMI_KEY_VLAN_PAIRS, /* these four: see common/pairs.h */
    SAMI_KEY_ADDRESS_PAIRS,
    SAMI_KEY_MARK_PAIRS,
    SAMI_KEY_LABEL_PAIRS,
    SAMI_KEY_N_TYPES
} SamiKeyType;

/* One key. The table is grouped by file kind. */
typedef struct {
    const gchar *group;
    const gchar *name;
    SamiKeyType type;
    gsize offset;
    const gchar *value; /* default; NULL: none, or computed after reading */
    guint64 min;        /* of a number or the duration in ms; of a list the number of elements */
    guint64 max;
    const gchar *choices; /* allowed words, between commas */
    const gchar *help;
} SamiKey;

extern const SamiKey sami_keys[];
extern const guint sami_n_keys;

/* NULL if the group has no such key. */
const SamiKey *sami_key_find(const gchar *group, const gchar *name);
/* The names of a group's keys, for messages. (transfer full) */
gchar *sami_key_list(const gchar *group);
/* Checks `value` and stores it in the field of `target`, the struct of the key's group. File names
 * become absolute beside the file `path`. SAMI_ERROR_USAGE says what is allowed; the field is then
 * untouched. */
gboolean sami_key_set(const SamiKey *key, const gchar *path, const gchar *value, gpointer target,
                      GError **error);
/* Frees strings and lists of one group in `target`, and sets them NULL. */
void sami_key_clear(const gchar *group, gpointer target);
