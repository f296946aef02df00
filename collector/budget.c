#include "collector/budget.h"

SamiBudget *
sami_budget_new(void)
{
    SamiBudget *budget = g_atomic_rc_box_new0(SamiBudget);
    budget->limit = SAMI_BUDGET_UNLIMITED;
    return budget;
}

SamiBudget *
sami_budget_ref(SamiBudget *budget)
{
    return budget ? g_atomic_rc_box_acquire(budget) : NULL;
}

void
sami_budget_unref(SamiBudget *budget)
{
    if (budget)
        g_atomic_rc_box_release(budget);
}

guint64
sami_budget_used(const SamiBudget *budget)
{
    return budget->used;
}

guint64
sami_budget_room(const SamiBudget *budget)
{
    guint64 limit = budget->limit, used = budget->used;
    return limit > used ? limit - used : 0;
}

void
sami_budget_set_limit(SamiBudget *budget, guint64 limit)
{
    budget->limit = limit;
}

void
sami_budget_add(SamiBudget *budget, gint64 n)
{
    budget->used += (guint64) n;
}
