/* The one error domain of SAMI.
 *
 * A function that can fail takes a GError ** last and returns FALSE or NULL; its outputs are written only on
 * success. One code per thing that a caller does differently; the message is for the operator and names
 * the object, the place and the broken rule. */
#pragma once

#include <glib.h>

#define SAMI_ERROR (sami_error_quark())

typedef enum {
    SAMI_ERROR_FAILED,     /* local failure without a remedy of its own (exit code 1) */
    SAMI_ERROR_USAGE,      /* the caller asked for something that does not exist (exit code 2) */
    SAMI_ERROR_CONFIG,     /* configuration: file, line, key and what is allowed are in the message */
    SAMI_ERROR_MALFORMED,  /* bytes from outside break a rule of the format */
    SAMI_ERROR_PEN,        /* well-formed, but of a build with another enterprise number */
    SAMI_ERROR_SIGNATURE,  /* a Message is not what this session expects, or its signature is wrong */
    SAMI_ERROR_REFUSED,    /* the peer, or our policy, said no (exit code 3) */
    SAMI_ERROR_PEER,       /* the peer cannot be reached, or went away */
    SAMI_ERROR_KERNEL,     /* netlink said no */
    SAMI_ERROR_OVERRUN,    /* events were lost: a new dump is needed */
    SAMI_ERROR_FULL,       /* a bounded buffer has no room now; try after it has drained */
    SAMI_ERROR_PERMISSION, /* not permitted (exit code 10) */
} SamiErrorCode;

GQuark sami_error_quark(void);
