/* Who goes first: by last use, by aging frequency, by value density; and what an entry is worth.
 *
 * The orders are the pure store's (policies.py and density.py tell ideas and sources), to the last tie: LRU is a
 * list through the slots. LFU is a heap by hits, put right lazily, aged by letting a new hit count more (forward
 * decay). Density samples 32 entries where little is to be freed, with a pool of candidates from samples past;
 * where much is, it draws a waterline: one pass counts bytes by class of density, a second takes what lies
 * below, and only the class that the line runs through is sorted.
 * Bounds: a victim costs O(1), O(log n) amortised, O(sample); a waterline one pass and 4 bytes an entry.
 */
#include "store.h"
#include "hit.h"

/* --------------------------------------------------------------------------------------------- LRU's list */

/* Newest of all, but for what was inherited through a fork: that lies behind `last`, to be given up when
 * nothing else is left, as its pages are other processes' as well and dropping it gives nothing back. */
void
order_append(Core *s, uint32_t i)
{
    Slot *slots = s->slots;
    uint32_t prev = s->last, next = prev == NIL ? s->head : slots[prev].as.order.next;
    slots[i].as.order.prev = prev;
    slots[i].as.order.next = next;
    if (prev == NIL)
        s->head = i;
    else
        slots[prev].as.order.next = i;
    if (next == NIL)
        s->tail = i;
    else
        slots[next].as.order.prev = i;
    s->last = i;
}

void
order_remove(Core *s, uint32_t i)
{
    Slot *slots = s->slots;
    uint32_t prev = slots[i].as.order.prev, next = slots[i].as.order.next;
    if (s->last == i)
        s->last = prev;
    if (prev == NIL)
        s->head = next;
    else
        slots[prev].as.order.next = next;
    if (next == NIL)
        s->tail = prev;
    else
        slots[next].as.order.prev = prev;
}

/* -------------------------------------------------------------------------------------------- LFU's ranks */

/* Renumber after the slots moved. There is room: every entry has an item already. */
void
ranks_rebuild(Core *s)
{
    if (s->policy != LFU)
        return;
    s->ranks.count = 0;
    for (uint32_t i = 0; i < s->used; i++)
        if (s->slots[i].key != NULL) {
            Item item = {s->slots[i].as.hits, i, i};
            s->ranks.items[s->ranks.count++] = item;
        }
    heap_make(&s->ranks);
}

/* After ten accesses an entry, let new hits count twice as much. */
void
age(Core *s)
{
    long long accesses = s->hits + s->misses, left = s->age_at - accesses;
    long long half_life = (long long)HALF_LIFE * s->live;
    if (left > 0 && left <= half_life)
        return;
    s->age_at = accesses + half_life;
    if (left > 0 || accesses == 0)
        return; /* the counters were reset, or the store shrank */
    s->gain *= 2.0;
    if (s->gain > ldexp(1.0, 500)) {
        /* Long before doubles end; powers of two keep the counts exact. */
        double scale = 1.0 / s->gain;
        s->gain = 1.0;
        for (uint32_t i = 0; i < s->used; i++)
            if (s->slots[i].key != NULL)
                s->slots[i].as.hits *= scale;
        ranks_rebuild(s);
    }
}

static uint32_t
rarest(Core *s, uint32_t keep)
{
    Heap *ranks = &s->ranks;
    uint32_t found = NIL;
    int held = 0;
    while (ranks->count) {
        Item *top = heap_top(ranks);
        uint32_t i = top->slot;
        if (i >= s->used || s->slots[i].key == NULL)
            heap_pop(ranks);
        else if (s->slots[i].as.hits != top->number)
            heap_renumber(ranks, s->slots[i].as.hits);
        else if (i == keep) {
            held = 1;
            heap_pop(ranks);
        }
        else {
            found = i;
            break;
        }
    }
    if (held)
        heap_push(ranks, s->slots[keep].as.hits, keep, keep); /* into the room that was just made */
    return found;
}

/* ---------------------------------------------------------------------------------------------- densities */

static inline double
mean_cost(Core *s)
{
    return s->cost_count ? s->cost_total / (double)s->cost_count : UNTIMED;
}

static inline double
density(double hits, double cost, long long size, double stamp, double now, double gain, double mean)
{
    double full = SATURATION * gain, idle = now - stamp;
    return (hits < full ? hits : full) * (cost != cost ? mean : cost) /
           ((double)(size ? size : 1) * (idle > YOUNGEST ? idle : YOUNGEST) * gain);
}

static inline double
density_at(Core *s, uint32_t i, double now, double mean)
{
    return density(hits_at(s, i), s->costs == NULL ? Py_NAN : s->costs[i], size_at(s, i), s->uses[i].stamp, now,
                   s->gain, mean);
}

static inline int
class_of(double value)
{
    int exponent;
    if (value <= 0.0)
        return LOWEST;
    if (!isfinite(value))
        return 0;
    frexp(value, &exponent);
    return exponent < LOWEST ? LOWEST : exponent > HIGHEST ? HIGHEST : exponent;
}

void
pool_forget(Core *s)
{
    for (int n = 0; n < s->pooled; n++)
        s->pool[n].slot = NIL;
}

/* Park and Miller's generator; its modulus is one less than a power of 2, so that folding stands for the division. */
static uint32_t
draw(Core *s)
{
    uint64_t product = s->seed * 48271, folded = (product & 0x7FFFFFFF) + (product >> 31);
    return (uint32_t)(s->seed = folded >= 0x7FFFFFFF ? folded - 0x7FFFFFFF : folded);
}

/* Draw up to n of the slots that are filled `from` there on (0, or where own ones begin); all of them where there
 * are no more. Evenly spaced ones, from a random place and at a random distance; as some are vacant, more than
 * once. The same as the pure store draws. */
uint32_t
sample(Core *s, uint32_t n, uint32_t from, uint32_t *into)
{
    uint32_t count = 0, size = s->used - from, live = s->live - (from ? s->inherited : 0);
    for (int turn = 0; turn < 16 && count < n; turn++) {
        uint32_t missing = n - count;
        if (size <= n || live <= n)
            break;
        uint32_t at = draw(s) % size, step = 1 + draw(s) % (size / missing); /* their sum fits: MOST_SLOTS */
        for (; missing > 0; missing--, at += step) {
            if (at >= size)
                at -= size;
            if (s->slots[from + at].key != NULL)
                into[count++] = from + at;
        }
    }
    if (count == 0 || size <= n || live <= n) {
        count = 0;
        for (uint32_t i = from; i < s->used && count < n; i++)
            if (s->slots[i].key != NULL)
                into[count++] = i;
    }
    return count;
}

static inline int
by_density(const void *left, const void *right)
{
    const Candidate *a = left, *b = right;
    if (a->density != b->density)
        return a->density < b->density ? -1 : 1;
    if (a->slot != b->slot)
        return a->slot < b->slot ? -1 : 1;
    return a->hits < b->hits ? -1 : a->hits > b->hits;
}

/* Put one more among `count` ranks that are in order, of which the first `most` matter; return how many there are. */
static inline int
rank_in(Candidate *ranks, int count, int most, Candidate one)
{
    int at = count < most ? count++ : most;
    if (at == most && by_density(&one, &ranks[--at]) > 0)
        return count;
    for (; at > 0 && by_density(&one, &ranks[at - 1]) < 0; at--)
        ranks[at] = ranks[at - 1];
    ranks[at] = one;
    return count;
}

/* The slot where those entries begin that are given up before inherited ones; 0 if there are none. */
static inline uint32_t
own_from(Core *s)
{
    return s->inherited < s->live ? s->boundary : 0;
}

static uint32_t
least_dense(Core *s, uint32_t keep, uint32_t from)
{
    Candidate ranks[POOL + SAMPLE];
    uint32_t drawn[SAMPLE];
    int pooled = 0;
    /* Whoever left or was hit since is no candidate any more. */
    for (int n = 0; n < s->pooled; n++) {
        uint32_t i = s->pool[n].slot;
        if (i >= from && i < s->used && s->slots[i].key != NULL && s->slots[i].as.hits == s->pool[n].hits)
            s->pool[pooled++] = s->pool[n];
    }
    s->pooled = pooled;
    double now = clock_now(s->st), mean = mean_cost(s);
    for (;;) {
        int few = s->live - (from ? s->inherited : 0) <= SAMPLE, count = 0, most = 1 + POOL; /* the victim, and the pool after it */
        uint32_t n = sample(s, pooled && !few ? FRESH : SAMPLE, from, drawn);
        for (uint32_t k = 0; k < n; k++)
            PREFETCH(&s->slots[drawn[k]]);
        if (!few)
            for (int k = 0; k < pooled; k++) {
                most += s->pool[k].slot == keep;
                count = rank_in(ranks, count, most, s->pool[k]); /* in order but for those that were forgotten */
            }
        for (uint32_t k = 0; k < n; k++) {
            uint32_t i = drawn[k];
            Candidate one = {density_at(s, i, now, mean), s->slots[i].as.hits, i};
            most += i == keep;
            count = rank_in(ranks, count, most, one);
        }
        for (int at = 0; at < count; at++) {
            uint32_t i = ranks[at].slot;
            if (i < s->used && s->slots[i].key != NULL && i != keep && s->slots[i].as.hits == ranks[at].hits) {
                int rest = count - at - 1;
                s->pooled = rest < POOL ? rest : POOL;
                memcpy(s->pool, &ranks[at + 1], sizeof(Candidate) * (size_t)s->pooled);
                return i;
            }
        }
        if (few)
            return from ? least_dense(s, keep, 0) : NIL;
        pooled = 0;
    }
}

/* ------------------------------------------------------------------------------------------------ victims */

/* The slot that the policy gives up next, never `keep`; or NIL. Calls nothing. */
uint32_t
victim(Core *s, uint32_t keep)
{
    if (s->policy == LRU)
        return s->head != NIL && s->head == keep ? s->slots[keep].as.order.next : s->head;
    note_fork(s);
    return s->policy == LFU ? rarest(s, keep) : least_dense(s, keep, own_from(s));
}

/* Give up the least dense of the entries in slots `from` there on, until `missing` bytes are freed. */
static int
waterline(Core *s, long long missing, long long leave, double now, uint32_t from, Rows *into)
{
    long long bytes[CLASSES] = {0};
    uint32_t start[CLASSES + 1], counts[CLASSES] = {0};
    double mean = mean_cost(s);
    for (uint32_t i = from; i < s->used; i++)
        if (s->slots[i].key != NULL) {
            int level = class_of(density_at(s, i, now, mean)) - LOWEST;
            bytes[level] += size_at(s, i);
            counts[level]++;
        }
    uint32_t wanted = 0;
    int levels = 0;
    for (long long below = 0; levels < CLASSES && below < missing; levels++) {
        start[levels] = wanted;
        wanted += counts[levels];
        below += bytes[levels];
    }
    start[levels] = wanted;
    if (wanted == 0) {
        past_tighten(s);
        return 0;
    }
    uint32_t *slots = PyMem_Malloc(wanted * sizeof *slots);
    if (slots == NULL)
        return evict(s, -missing, leave, into); /* without the room for a waterline: one by one */
    uint32_t filled[CLASSES];
    memcpy(filled, start, sizeof(uint32_t) * (size_t)levels);
    for (uint32_t i = from; i < s->used; i++)
        if (s->slots[i].key != NULL) {
            int level = class_of(density_at(s, i, now, mean)) - LOWEST;
            if (level < levels)
                slots[filled[level]++] = i;
        }
    int failed = 0;
    for (int level = 0; level < levels && missing > 0 && !failed; level++) {
        uint32_t *first = slots + start[level], count = counts[level];
        Candidate *ranks = NULL;
        if (bytes[level] > missing && (ranks = PyMem_Malloc(count * sizeof *ranks)) != NULL) {
            for (uint32_t k = 0; k < count; k++) {
                Candidate one = {density_at(s, first[k], now, mean), 0.0, first[k]};
                ranks[k] = one;
            }
            qsort(ranks, count, sizeof *ranks, by_density);
        }
        for (uint32_t k = 0; k < count; k++) {
            uint32_t i = ranks == NULL ? first[k] : ranks[k].slot;
            long long size = size_at(s, i);
            if (missing <= 0 || s->nbytes - size < leave) {
                missing = 0;
                break;
            }
            if ((failed = rows_reserve(into, 1)))
                break;
            give_up(s, i, &into->rows[into->count++]);
            missing -= size;
        }
        PyMem_Free(ranks);
    }
    PyMem_Free(slots);
    if (missing > 0 && from && !failed) /* own ones were not enough */
        return waterline(s, missing, leave, now, 0, into);
    tighten(s);
    past_tighten(s);
    return failed ? -1 : 0;
}

/* Unlink victims until their sizes reach `nbytes`, into rows; stop before less than `leave` bytes stay. A negative
 * `nbytes` says that there is no memory for a waterline. Where memory for rows runs out, what was freed is enough
 * of an answer, unless that is nothing. */
int
evict(Core *s, long long nbytes, long long leave, Rows *into)
{
    int plain = nbytes < 0;
    note_fork(s);
    if (plain)
        nbytes = -nbytes;
    else if (s->policy == DENSITY) {
        if (clock_tick(s->st, 1))
            return -1;
        int little = nbytes <= s->nbytes && nbytes * 16 < s->nbytes;
        if (!little && (nbytes < s->nbytes || leave > 0))
            return waterline(s, nbytes, leave, clock_now(s->st), own_from(s), into);
    }
    long long freed = 0;
    while (freed < nbytes && s->nbytes > 0) {
        uint32_t i = victim(s, NIL);
        if (i == NIL || s->nbytes - size_at(s, i) < leave)
            break;
        if (rows_reserve(into, 1)) {
            if (into->count == 0)
                return -1;
            PyErr_Clear();
            break;
        }
        freed += size_at(s, i);
        give_up(s, i, &into->rows[into->count++]);
    }
    tighten(s);
    past_tighten(s);
    return 0;
}

/* ------------------------------------------------------------------------------------------------- looking */

/* Add up bytes by class of density at `now` into a dict. */
int
tally(Core *s, double now, PyObject *into)
{
    uint32_t *drawn = PyMem_Malloc(TALLY_SAMPLE * sizeof *drawn);
    int16_t levels[TALLY_SAMPLE];
    Rows rows = {NULL, 0, 0};
    PyObject *instant = NULL;
    long long bytes[CLASSES] = {0}, sampled = 0;
    int seen[CLASSES] = {0}, failed = -1;
    if (drawn == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (s->due.count || s->unordered) {
        instant = ask_timer(s);
        if (instant == NULL)
            goto done;
    }
    uint32_t count = sample(s, TALLY_SAMPLE, 0, drawn);
    double mean = mean_cost(s), gain = s->gain, factor = trusted(s, now);
    long long nbytes = s->nbytes;
    uint64_t version = s->version;
    int scaled = s->live > count;
    if (rows_reserve(&rows, count))
        goto done;
    for (uint32_t k = 0; k < count; k++)
        copy_row(s, drawn[k], &rows.rows[rows.count++]);
    for (size_t k = 0; k < rows.count; k++) {
        Row *row = &rows.rows[k];
        int late = instant != NULL && is_dated(row->due) ? is_late(row->due, instant) : 0;
        if (late < 0)
            goto done;
        int level = LOWEST;
        if (!late)
            level = class_of(density(row->hits, row->cost, row->size, row->stamp, now, gain, mean) * factor);
        levels[k] = late ? NO_LEVEL : (int16_t)level;
        seen[level - LOWEST] = 1;
        bytes[level - LOWEST] += row->size;
        sampled += row->size;
    }
    if (s->version == version) /* else some deadline's comparison changed the store, and slots may be others' */
        watch(s, &rows, levels, now);
    for (int level = LOWEST; level <= HIGHEST; level++) {
        if (!seen[level - LOWEST])
            continue;
        PyObject *key = PyLong_FromLong(level), *amount = PyLong_FromLongLong(bytes[level - LOWEST]);
        if (scaled && sampled && amount != NULL) {
            PyObject *whole = PyLong_FromLongLong(nbytes), *part = PyLong_FromLongLong(sampled), *product = NULL;
            if (whole != NULL && part != NULL)
                product = PyNumber_Multiply(amount, whole);
            Py_SETREF(amount, product == NULL ? NULL : PyNumber_FloorDivide(product, part));
            Py_XDECREF(product);
            Py_XDECREF(whole);
            Py_XDECREF(part);
        }
        int bad = key == NULL || amount == NULL || PyDict_SetItem(into, key, amount);
        Py_XDECREF(key);
        Py_XDECREF(amount);
        if (bad)
            goto done;
    }
    failed = 0;
done:
    PyMem_Free(drawn);
    Py_XDECREF(instant);
    rows_clear(&rows);
    return failed;
}

typedef struct {
    double rank;
    uint32_t slot;
    size_t row;
} Place;

static int
by_rank(const void *left, const void *right)
{
    const Place *a = left, *b = right;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

/* Copy up to n live entries from the cold (or hot) end of the order of eviction. */
int
ranked(Core *s, Py_ssize_t n, int hottest, Rows *into)
{
    int mortal = s->due.count || s->unordered;
    Rows all = {NULL, 0, 0};
    if (rows_reserve(&all, s->policy == LRU && !mortal && n < (Py_ssize_t)s->live ? (size_t)n : s->live))
        return -1;
    if (s->policy == LRU) {
        uint32_t i = hottest ? s->tail : s->head;
        while (i != NIL && all.count < all.room) {
            copy_row(s, i, &all.rows[all.count++]);
            i = hottest ? s->slots[i].as.order.prev : s->slots[i].as.order.next;
        }
    }
    else
        for (uint32_t i = 0; i < s->used; i++)
            if (s->slots[i].key != NULL)
                copy_row(s, i, &all.rows[all.count++]);
    /* What has expired is taken out; the rows keep what is asked alive. */
    size_t kept = 0;
    int failed = 0;
    for (size_t k = 0; k < all.count; k++) {
        Row row = all.rows[k];
        int alive = !is_dated(row.due) || failed || (s->policy == LRU && kept == (size_t)n)
                        ? 1
                        : is_alive(s, row.due);
        failed |= alive < 0;
        if (alive) {
            memmove(&all.rows[k], &all.rows[kept], sizeof row);
            all.rows[kept++] = row;
        }
        /* The dead one stays where it is, behind the living, and is cleared with them. */
    }
    if (!failed && s->policy != LRU) {
        Place *places = PyMem_Malloc((kept ? kept : 1) * sizeof *places);
        Row *sorted = PyMem_Malloc((kept ? kept : 1) * sizeof *sorted);
        double mean = mean_cost(s), gain = s->gain, now;
        if (places == NULL || sorted == NULL)
            PyErr_NoMemory();
        failed = places == NULL || sorted == NULL || (s->policy == DENSITY && clock_tick(s->st, 1));
        now = clock_now(s->st);
        for (size_t k = 0; k < kept && !failed; k++) {
            Row *row = &all.rows[k];
            places[k].rank = s->policy == LFU ? row->hits
                                              : density(row->hits, row->cost, row->size, row->stamp, now, gain, mean);
            places[k].slot = row->slot;
            places[k].row = k;
        }
        if (!failed) {
            qsort(places, kept, sizeof *places, by_rank);
            for (size_t k = 0; k < kept; k++)
                sorted[k] = all.rows[places[hottest ? kept - 1 - k : k].row];
            if (kept)
                memcpy(all.rows, sorted, kept * sizeof *sorted);
        }
        PyMem_Free(places);
        PyMem_Free(sorted);
    }
    if (!failed && kept > (size_t)n)
        kept = (size_t)n;
    if (!failed && !(failed = rows_reserve(into, kept)))
        for (size_t k = 0; k < kept; k++) {
            Row *row = &all.rows[k];
            into->rows[into->count++] = *row;
            memset(row, 0, sizeof *row);
        }
    rows_clear(&all);
    return failed ? -1 : 0;
}
