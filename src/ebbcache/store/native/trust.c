/* How far a cache's value densities can be trusted: what its coldest entries promised, beside what came.
 *
 * The idea and its source are told in trust.py, whose twin this is. Slots of the density policy are filled in rising
 * order and keep it when the living move together, so a slot that is filled holds whom it held.
 * Bounds: 64 entries a tally; 1.5 KiB from the first tally on, without which a cache goes on untrusted.
 */
#include "store.h"

#define COLDEST 4
#define TYPICAL (1.0 / 16.0)
#define DOUBT 5.0
#define MEMORY 1000.0
#define MOST 2.0

/* Look at what is watched; what densities are to be multiplied with. Calls nothing. */
double
trusted(Core *s, double now)
{
    if (s->policy != DENSITY)
        return 1.0;
    Trust *t = &s->trust;
    for (uint32_t k = 0; k < t->count; k++) {
        Watched *one = &t->watched[k];
        if (s->slots[one->slot].key == NULL)
            continue;
        double until = now, uses = s->slots[one->slot].as.hits - one->hits;
        if (uses > 0.0) {
            t->found += 1.0;
            until = t->looked + (s->uses[one->slot].stamp - t->looked) / uses; /* the first of several, about */
        }
        double before = t->looked - one->stamp > YOUNGEST ? t->looked - one->stamp : YOUNGEST;
        if (until - one->stamp > before)
            t->promised += (one->hits < SATURATION ? one->hits : SATURATION) * log((until - one->stamp) / before);
    }
    t->count = 0;
    double total = t->found + t->promised;
    if (total > MEMORY) {
        t->found *= MEMORY / total;
        t->promised *= MEMORY / total;
    }
    double factor = (t->found / TYPICAL + DOUBT) / (t->promised + DOUBT);
    return factor > MOST ? MOST : factor;
}

static int
by_slot(const void *left, const void *right)
{
    const Watched *a = left, *b = right;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

/* Watch some of the coldest of the rows of a tally, whose classes are `levels`; of what is late, NO_LEVEL. */
void
watch(Core *s, const Rows *rows, const int16_t *levels, double now)
{
    Trust *t = &s->trust;
    uint32_t counts[CLASSES] = {0}, fresh = 0, cold = 0;
    if (s->policy != DENSITY)
        return;
    t->looked = now;
    if (t->watched == NULL && (t->watched = PyMem_Malloc(WATCHED * sizeof *t->watched)) == NULL)
        return;
    for (size_t k = 0; k < rows->count; k++)
        if (levels[k] != NO_LEVEL) {
            counts[levels[k] - LOWEST]++;
            fresh++;
        }
    if (fresh == 0)
        return;
    int level = LOWEST;
    for (uint32_t few = fresh / COLDEST ? fresh / COLDEST : 1; level <= HIGHEST; level++)
        if ((cold += counts[level - LOWEST]) >= few)
            break;
    uint32_t step = (cold + WATCHED - 1) / WATCHED, place = 0;
    for (size_t k = 0; k < rows->count; k++)
        if (levels[k] != NO_LEVEL && levels[k] <= level && place++ % step == 0) {
            const Row *row = &rows->rows[k];
            Watched one = {row->hits, row->stamp, row->slot};
            t->watched[t->count++] = one;
        }
    qsort(t->watched, t->count, sizeof *t->watched, by_slot);
}

/* Forget who left, before the living move together. */
void
watch_tidy(Core *s)
{
    Trust *t = &s->trust;
    uint32_t kept = 0;
    for (uint32_t k = 0; k < t->count; k++)
        if (s->slots[t->watched[k].slot].key != NULL)
            t->watched[kept++] = t->watched[k];
    t->count = kept;
}

void
trust_free(Core *s)
{
    PyMem_Free(s->trust.watched);
    memset(&s->trust, 0, sizeof s->trust);
}
