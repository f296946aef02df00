#include "transport/capture.h"

gboolean
sami_capture_is(const guint8 magic[4])
{
    return FALSE;
}

SamiCapture *
sami_capture_open(FILE *file_take, const SamiInputOptions *options, GError **error)
{
    fclose(file_take);
    g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_FAILED, "captures are not read yet");
    return NULL;
}

void
sami_capture_free(SamiCapture *capture)
{
}

SamiInputStatus
sami_capture_next(SamiCapture *capture, SamiInputMessage *ret, GError **fault)
{
    return SAMI_INPUT_END;
}

void
sami_capture_counts(const SamiCapture *capture, SamiInputCounts *ret)
{
}

const gchar *
sami_capture_form(const SamiCapture *capture)
{
    return "";
}
