/* What is remembered of entries that were used and given up: a byte each, so that they are known again.
 *
 * The idea, and what the cells hold, is told in past.py, whose twin this is; it also tells why a few newcomers are
 * tried for long. A store that has no memory for the table goes on without.
 * Bounds: O(1), amortised; a byte or two an entry, none before the first eviction.
 */
#include "store.h"

#define LEAST 64
#define HALVING 4
#define TRIED 32.0
#define SELDOM 512

static uint32_t
wanted(uint32_t living)
{
    uint32_t size = LEAST;
    while (size < living && size < UINT32_C(1) << 31)
        size *= 2;
    return size;
}

static void
resize(Core *s, uint32_t size)
{
    uint8_t *cells = PyMem_Realloc(s->past, size);
    if (cells == NULL)
        return; /* as it was; a table too large for now does no harm */
    if (s->cells == 0)
        memset(cells, 0, size);
    else
        /* One more bit of the hash says where: what is remembered may be in either half. */
        for (uint32_t n = s->cells; n < size; n *= 2)
            memcpy(cells + n, cells, n);
    s->past = cells;
    s->cells = size;
}

/* Halve all hits, and fit the table to the entries there are. */
static void
fade(Core *s)
{
    for (uint32_t n = 0; n < s->cells; n++)
        s->past[n] -= (s->past[n] & 7) != 0;
    if (s->cells != wanted(s->live))
        resize(s, wanted(s->live));
    s->fades = s->live > LEAST / HALVING ? HALVING * (long long)s->live : LEAST;
}

/* Unlink an entry that is given up into a row, and remember it. */
void
give_up(Core *s, uint32_t i, Row *into)
{
    uint32_t tag = s->slots[i].tag;
    double hits = hits_at(s, i);
    detach(s, i, into);
    if (s->policy != DENSITY)
        return;
    if (s->fades <= 0)
        fade(s);
    s->fades--;
    if (hits >= 2.0 && s->cells) {
        int level;
        frexp(hits, &level);
        s->past[tag & (s->cells - 1)] = (uint8_t)(tag >> 27 << 3 | (uint32_t)(level - 1 < 7 ? level - 1 : 7));
    }
}

/* The hits that a new entry begins with. */
double
welcome(Core *s, uint32_t tag)
{
    if (s->cells == 0)
        return s->gain;
    double first = 1.0;
    uint8_t cell = s->past[tag & (s->cells - 1)];
    if ((cell & 7) && (uint32_t)(cell >> 3) == tag >> 27)
        first += (double)(1 << (cell & 7));
    s->seed = s->seed * 48271 % 0x7FFFFFFF;
    return s->seed % SELDOM == 0 && first < TRIED ? TRIED : first;
}

/* Give back the room of a store that was much larger once. */
void
past_tighten(Core *s)
{
    if (s->cells > 4 * (uint64_t)wanted(s->live))
        resize(s, wanted(s->live));
}

void
past_free(Core *s)
{
    PyMem_Free(s->past);
    s->past = NULL;
    s->cells = 0;
    s->fades = 0;
}
