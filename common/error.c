#include "common/error.h"

G_DEFINE_QUARK(sami-error-quark, sami_error)
