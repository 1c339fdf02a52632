/* The slab: entries side by side in arrays, and what becomes of the arrays as entries come and go.
 *
 * What every lookup touches and what a hit writes lie in two arrays of 32 and 12 bytes an entry (index.c finds their
 * slots). What few entries need (a cost, a weight, a deadline, a size over 4 GiB) lies in columns that are only made
 * when the first such thing comes. An LRU store fills vacant slots again. In the other stores a new entry is
 * always behind the older ones, so that the number of a slot stands for the age of its entry: ties are broken
 * by it, and a sample drawn by slot is the one that the pure store draws from its list of serials. When more
 * than a third of the slots are vacant, the living move together, in their order.
 *
 * Invariants (table_check walks them): index and slab agree; every run in the index is without a gap between
 * an entry's home and its place; `nbytes` and `weight` are the sums; an LRU store's order links all entries
 * once; vacant slots hold nothing.
 */
#include "store.h"

#define SMALLEST_INDEX 8

/* Those that every lookup touches. */
static int
resize_first(Core *s, uint32_t room)
{
    Slot *slots = pages_resize(s->slots, sizeof *slots * s->room, sizeof *slots * room, &s->slots_mapped);
    if (slots == NULL)
        return -1;
    s->slots = slots;
    Use *uses = pages_resize(s->uses, sizeof *uses * s->room, sizeof *uses * room, &s->uses_mapped);
    if (uses == NULL)
        return -1;
    s->uses = uses;
    return 0;
}

static int
resize_column(void **column, size_t width, uint32_t room)
{
    void *grown = PyMem_Realloc(*column, width * room);
    if (grown == NULL)
        return -1;
    *column = grown;
    return 0;
}

#define COLUMN(field) resize_column((void **)&s->field, sizeof *s->field, room)

static int
set_room(Core *s, uint32_t room)
{
    if (resize_first(s, room) || (s->costs && COLUMN(costs)) || (s->weights && COLUMN(weights)) ||
        (s->dues && COLUMN(dues)) || (s->odd && COLUMN(odd)) || (s->wide && COLUMN(wide)))
        return -1;
    s->room = room;
    return 0;
}

/* Make sure that one more entry can be linked without failing. Calls nothing. */
int
reserve(Core *s)
{
    /* Where it would be sparse with one entry more, as the pure store sees it: both move at the same time. */
    if (s->policy != LRU && s->used == s->room && 2 * ((uint64_t)s->used + 1) > 3 * ((uint64_t)s->live + 1) + 128)
        compact(s);
    if ((s->policy != LRU || s->vacant == NIL) && s->used == s->room) {
        uint64_t room = s->room < 8 ? 8 : (uint64_t)s->room + (s->room < 512 ? s->room / 2 : s->room / (s->room < 8192 ? 8 : 16));
        if (room > MOST_SLOTS)
            room = MOST_SLOTS;
        if (room == s->room || set_room(s, (uint32_t)room)) {
            PyErr_NoMemory();
            return -1;
        }
        if (s->index != NULL && s->room >> s->bits)
            index_fill(s, s->mask + 1);
    }
    uint64_t places = s->index == NULL ? 0 : (uint64_t)s->mask + 1;
    if (3 * ((uint64_t)s->live + 1) > 2 * places) {
        places = places ? 2 * places : SMALLEST_INDEX;
        if (places > (UINT64_C(1) << 31) || index_make(s, (uint32_t)places)) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

/* Columns are made as wide as the slab and filled with what stands for "nothing said". */
static int
need_numbers(Core *s, double **column, double nothing)
{
    if (*column != NULL)
        return 0;
    if (resize_column((void **)column, sizeof **column, s->room)) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < s->used; i++)
        (*column)[i] = nothing;
    return 0;
}

int
need_costs(Core *s)
{
    return need_numbers(s, &s->costs, Py_NAN);
}

int
need_weights(Core *s)
{
    return need_numbers(s, &s->weights, 1.0);
}

int
need_dues(Core *s)
{
    uint32_t room = s->room;
    if (s->dues != NULL)
        return 0;
    if (COLUMN(dues)) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < s->used; i++)
        s->dues[i].when = Py_NAN;
    return 0;
}

int
need_odd(Core *s)
{
    uint32_t room = s->room;
    if (s->odd != NULL)
        return 0;
    if (COLUMN(odd)) {
        PyErr_NoMemory();
        return -1;
    }
    memset(s->odd, 0, (size_t)s->used * sizeof *s->odd);
    return 0;
}

int
need_wide(Core *s)
{
    uint32_t room = s->room;
    if (s->wide != NULL)
        return 0;
    if (COLUMN(wide)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Return a slot for a new entry after `reserve`; its key is still NULL. */
uint32_t
take_slot(Core *s)
{
    uint32_t i;
    if (s->policy == LRU && s->vacant != NIL) {
        i = s->vacant;
        s->vacant = s->slots[i].as.order.next;
    }
    else
        i = s->used++;
    s->slots[i].key = NULL;
    if (s->costs != NULL)
        s->costs[i] = Py_NAN;
    if (s->weights != NULL)
        s->weights[i] = 1.0;
    if (s->dues != NULL)
        s->dues[i].when = Py_NAN;
    if (s->odd != NULL)
        s->odd[i] = NULL;
    return i;
}

/* Give a slot back that is in no index and no order any more. */
void
release_slot(Core *s, uint32_t i)
{
    disinherit(s, i);
    s->slots[i].key = NULL;
    s->slots[i].value = NULL;
    if (s->dues != NULL)
        s->dues[i].when = Py_NAN;
    if (s->odd != NULL)
        s->odd[i] = NULL;
    if (s->policy == LRU) {
        s->slots[i].as.order.next = s->vacant;
        s->vacant = i;
    }
    s->live--;
}

/* Whether a slot still holds that key (and, unless NULL, that value). */
int
is_linked(Core *s, uint32_t i, PyObject *key, PyObject *value)
{
    return i < s->used && s->slots[i].key == key && (value == NULL || s->slots[i].value == value);
}

/* Fill a row with what a slot says; the references stay the slot's. */
void
read_row(Core *s, uint32_t i, Row *row)
{
    row->key = s->slots[i].key;
    row->value = s->slots[i].value;
    row->due = moment_at(s, i);
    row->size = size_at(s, i);
    row->weight = weight_at(s, i);
    row->cost = s->costs == NULL ? Py_NAN : s->costs[i];
    row->stamp = s->uses[i].stamp;
    row->hits = hits_at(s, i);
    row->tag = s->slots[i].tag;
    row->slot = i;
}

void
copy_row(Core *s, uint32_t i, Row *row)
{
    read_row(s, i, row);
    Py_INCREF(row->key);
    Py_INCREF(row->value);
    Py_XINCREF(row->due.object);
}

/* Unlink an entry into a row, which takes over its references. Calls nothing. */
void
detach(Core *s, uint32_t i, Row *row)
{
    read_row(s, i, row);
    leave_index(s, i);
    if (s->policy == LRU)
        order_remove(s, i);
    release_slot(s, i);
    s->nbytes -= row->size;
    s->weight -= row->weight;
    if (s->live == 0) {
        s->weight = 0.0;
        s->fractional = 0;
    }
    s->version++;
}

void
row_clear(Row *row)
{
    Py_CLEAR(row->key);
    Py_CLEAR(row->value);
    Py_CLEAR(row->due.object);
}

int
rows_reserve(Rows *rows, size_t more)
{
    if (rows->room - rows->count >= more)
        return 0;
    size_t room = rows->room + rows->room / 2 + more;
    Row *grown = PyMem_Realloc(rows->rows, room * sizeof *grown);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    rows->rows = grown;
    rows->room = room;
    return 0;
}

void
rows_clear(Rows *rows)
{
    Row *held = rows->rows;
    size_t count = rows->count;
    memset(rows, 0, sizeof *rows);
    if (held == NULL)
        return;
    PyObject *type, *value, *traceback; /* destructors must not meet an exception on its way */
    PyErr_Fetch(&type, &value, &traceback);
    for (size_t n = 0; n < count; n++)
        row_clear(&held[n]);
    PyErr_Restore(type, value, traceback);
    PyMem_Free(held);
}

#define MOVE(field) \
    if (s->field != NULL) \
    s->field[to] = s->field[from]

/* Move the living together. LRU: into new arrays, in the order of use; else in place, in the order they have.
 * Keeps everything as it is if there is no memory for it. Calls nothing. */
void
compact(Core *s)
{
    uint32_t places = SMALLEST_INDEX;
    while (3 * ((uint64_t)s->live + 1) > 2 * (uint64_t)places)
        places *= 2;
    uint32_t *index = s->index;
    size_t index_mapped = 0;
    if (index == NULL)
        return;
    if (places < s->mask + 1) {
        size_t size = (size_t)places * sizeof *index;
        index = pages_resize(NULL, size, size, &index_mapped);
        if (index == NULL)
            return;
    }
    else
        places = s->mask + 1;
    uint32_t room = s->live + s->live / 16 + 8, to = 0;
    if (s->policy == LRU) {
        size_t slots_mapped = 0, uses_mapped = 0;
        Slot *slots = pages_resize(NULL, s->live * sizeof *slots, room * sizeof *slots, &slots_mapped);
        Use *uses = pages_resize(NULL, s->live * sizeof *uses, room * sizeof *uses, &uses_mapped);
        double *costs = s->costs ? PyMem_Malloc(room * sizeof *costs) : NULL;
        double *weights = s->weights ? PyMem_Malloc(room * sizeof *weights) : NULL;
        Due *dues = s->dues ? PyMem_Malloc(room * sizeof *dues) : NULL;
        PyObject **odd = s->odd ? PyMem_Malloc(room * sizeof *odd) : NULL;
        uint64_t *wide = s->wide ? PyMem_Malloc(room * sizeof *wide) : NULL;
        uint8_t *heirlooms = s->heirlooms ? PyMem_Calloc(s->live / 8 + 1, 1) : NULL;
        if (!slots || !uses || (s->heirlooms && !heirlooms) || (s->costs && !costs) || (s->weights && !weights) || (s->dues && !dues) ||
            (s->odd && !odd) || (s->wide && !wide)) {
            pages_free(slots, slots_mapped);
            pages_free(uses, uses_mapped);
            PyMem_Free(costs);
            PyMem_Free(weights);
            PyMem_Free(dues);
            PyMem_Free(odd);
            PyMem_Free(wide);
            PyMem_Free(heirlooms);
            if (index != s->index)
                pages_free(index, index_mapped);
            return;
        }
        uint32_t last = NIL;
        for (uint32_t from = s->head; from != NIL; from = s->slots[from].as.order.next, to++) {
            if (from == s->last)
                last = to;
            if (heirlooms && is_inherited(s, from))
                heirlooms[to / 8] |= (uint8_t)(1 << to % 8);
            slots[to] = s->slots[from];
            uses[to] = s->uses[from];
            if (costs)
                costs[to] = s->costs[from];
            if (weights)
                weights[to] = s->weights[from];
            if (dues)
                dues[to] = s->dues[from];
            if (odd)
                odd[to] = s->odd[from];
            if (wide)
                wide[to] = s->wide[from];
        }
        for (uint32_t i = 0; i < to; i++) {
            slots[i].as.order.prev = i ? i - 1 : NIL;
            slots[i].as.order.next = i + 1 < to ? i + 1 : NIL;
        }
        pages_free(s->slots, s->slots_mapped);
        pages_free(s->uses, s->uses_mapped);
        PyMem_Free(s->costs);
        PyMem_Free(s->weights);
        PyMem_Free(s->dues);
        PyMem_Free(s->odd);
        PyMem_Free(s->wide);
        PyMem_Free(s->heirlooms);
        s->heirlooms = heirlooms;
        s->boundary = heirlooms ? s->live : 0;
        s->slots = slots;
        s->uses = uses;
        s->slots_mapped = slots_mapped;
        s->uses_mapped = uses_mapped;
        s->costs = costs;
        s->weights = weights;
        s->dues = dues;
        s->odd = odd;
        s->wide = wide;
        s->room = room;
        s->head = to ? 0 : NIL;
        s->tail = to ? to - 1 : NIL;
        s->last = last;
        s->vacant = NIL;
        s->used = to;
    }
    else {
        for (int n = 0; n < s->pooled; n++)
            if (s->pool[n].slot < s->used && s->slots[s->pool[n].slot].key == NULL)
                s->pool[n].slot = NIL;
        /* Candidates in rising order of slots, to be renumbered as the living pass by. */
        int order[POOL], passed = 0;
        for (int n = 0; n < s->pooled; n++) {
            int at = n;
            for (; at > 0 && s->pool[order[at - 1]].slot > s->pool[n].slot; at--)
                order[at] = order[at - 1];
            order[at] = n;
        }
        uint32_t watched = 0;
        watch_tidy(s);
        for (uint32_t from = 0; from < s->used; from++) {
            if (s->slots[from].key == NULL)
                continue;
            while (watched < s->trust.count && s->trust.watched[watched].slot == from)
                s->trust.watched[watched++].slot = to;
            while (passed < s->pooled && s->pool[order[passed]].slot == from)
                s->pool[order[passed++]].slot = to;
            MOVE(slots);
            MOVE(uses);
            MOVE(costs);
            MOVE(weights);
            MOVE(dues);
            MOVE(odd);
            MOVE(wide);
            to++;
        }
        s->boundary = s->inherited;
        s->used = to;
        if (room < s->room) {
            set_room(s, room); /* where this fails, some arrays have more room than is used */
            s->room = room;
        }
    }
    if (index != s->index) {
        pages_free(s->index, s->index_mapped);
        s->index = index;
        s->index_mapped = index_mapped;
    }
    index_fill(s, places);
    due_rebuild(s);
    ranks_rebuild(s);
    s->version++;
}

/* Give back the room that a much larger table once needed. O(1), or O(n) after n removals. */
void
tighten(Core *s)
{
    if (is_sparse(s))
        compact(s);
}

int
table_traverse(Core *s, visitproc visit, void *arg)
{
    if (s->collected)
        for (uint32_t i = 0; i < s->used; i++)
            if (s->slots[i].key != NULL) {
                Py_VISIT(s->slots[i].key);
                Py_VISIT(s->slots[i].value);
            }
    if (s->odd != NULL)
        for (uint32_t i = 0; i < s->used; i++)
            Py_VISIT(s->odd[i]);
    return 0;
}

/* Free what there is beside the entries. */
void
free_beside(Core *s)
{
    heap_free(&s->due);
    heap_free(&s->ranks);
    past_free(s);
    trust_free(s);
}

/* Take everything out at once: the arrays go to `into`, which is nobody's object. Calls nothing. */
void
table_drain(Core *s, Core *into)
{
    memset(into, 0, sizeof *into);
    into->policy = s->policy;
#define TAKE(field, empty) into->field = s->field, s->field = empty
    TAKE(slots, NULL);
    TAKE(uses, NULL);
    TAKE(costs, NULL);
    TAKE(weights, NULL);
    TAKE(dues, NULL);
    TAKE(odd, NULL);
    TAKE(wide, NULL);
    TAKE(index, NULL);
    TAKE(slots_mapped, 0);
    TAKE(uses_mapped, 0);
    TAKE(index_mapped, 0);
    TAKE(mask, 0);
    TAKE(shift, 32);
    TAKE(room, 0);
    TAKE(used, 0);
    TAKE(live, 0);
    TAKE(head, NIL);
    TAKE(tail, NIL);
    TAKE(last, NIL);
    TAKE(vacant, NIL);
    TAKE(heirlooms, NULL);
    TAKE(boundary, 0);
    TAKE(inherited, 0);
#undef TAKE
    s->nbytes = 0;
    s->weight = 0.0;
    s->fractional = 0;
    s->unordered = 0;
    s->collected = 0;
    free_beside(s);
    pool_forget(s);
    s->version++;
}

/* Drop what a drained table holds. */
void
table_free(Core *s)
{
    PyObject *type, *value, *traceback; /* destructors must not meet an exception on its way */
    PyErr_Fetch(&type, &value, &traceback);
    for (uint32_t i = 0; i < s->used; i++)
        if (s->slots[i].key != NULL) {
            Py_DECREF(s->slots[i].key);
            Py_DECREF(s->slots[i].value);
            if (s->odd != NULL)
                Py_XDECREF(s->odd[i]);
        }
    pages_free(s->slots, s->slots_mapped);
    pages_free(s->uses, s->uses_mapped);
    PyMem_Free(s->costs);
    PyMem_Free(s->weights);
    PyMem_Free(s->dues);
    PyMem_Free(s->odd);
    PyMem_Free(s->wide);
    PyMem_Free(s->heirlooms);
    pages_free(s->index, s->index_mapped);
    s->heirlooms = NULL;
    s->slots = NULL;
    s->used = 0;
    PyErr_Restore(type, value, traceback);
}

/* Walk all invariants; raise AssertionError for the first that does not hold. */
#define HOLDS(condition, what) \
    do { \
        if (!(condition)) { \
            PyErr_SetString(PyExc_AssertionError, what); \
            return -1; \
        } \
    } while (0)

int
table_check(Core *s)
{
    uint32_t filled = 0, inherited = 0, indexed = 0, vacant = 0;
    long long nbytes = 0;
    double weight = 0.0;
    HOLDS(s->used <= s->room, "more slots than memory");
    HOLDS(s->index == NULL || !(s->room >> s->bits), "a slot whose number fits into no cell");
    for (uint32_t i = 0; i < s->used; i++) {
        if (s->slots[i].key == NULL) {
            HOLDS(s->slots[i].value == NULL, "a vacant slot with a value");
            HOLDS(!is_dated(moment_at(s, i)), "a vacant slot with a deadline");
            continue;
        }
        filled++;
        inherited += (uint32_t)is_inherited(s, i);
        nbytes += size_at(s, i);
        weight += weight_at(s, i);
        uint32_t at = s->slots[i].tag >> s->shift;
        while (s->index[at] != cell_of(s, i)) {
            HOLDS(s->index[at] != NIL, "an entry that a lookup does not reach");
            at = (at + 1) & s->mask;
        }
        HOLDS(s->collected || !(PyObject_IS_GC(s->slots[i].key) || PyObject_IS_GC(s->slots[i].value)),
              "an entry that the collector does not see");
    }
    HOLDS(filled == s->live, "entries and their count disagree");
    HOLDS(inherited == s->inherited && s->boundary <= s->used, "inherited entries and their count disagree");
    if (s->index != NULL)
        for (uint32_t at = 0; at <= s->mask; at++)
            indexed += s->index[at] != NIL;
    HOLDS(indexed == s->live, "index and entries disagree");
    HOLDS(nbytes == s->nbytes, "byte total");
    HOLDS(fabs(weight - s->weight) < 1e-6, "weight total");
    if (s->policy == LRU) {
        uint32_t walked = 0, prev = NIL;
        for (uint32_t i = s->head; i != NIL; prev = i, i = s->slots[i].as.order.next) {
            HOLDS(++walked <= s->live, "a cycle in the order");
            HOLDS(s->slots[i].key != NULL && s->slots[i].as.order.prev == prev, "a broken order");
        }
        HOLDS(walked == s->live && s->tail == prev, "an order that misses entries");
        HOLDS(s->last == NIL || s->slots[s->last].key != NULL, "a vacant slot to link behind");
        for (uint32_t i = s->vacant; i != NIL; i = s->slots[i].as.order.next) {
            HOLDS(++vacant <= s->used, "a cycle of vacant slots");
            HOLDS(s->slots[i].key == NULL, "a filled slot among the vacant");
        }
        HOLDS(vacant == s->used - s->live, "vacant slots that are lost");
    }
    HOLDS(heap_check(&s->due), "the order of deadlines");
    HOLDS(heap_check(&s->ranks), "the order of frequencies");
    size_t dated = 0, ordered = 0;
    for (uint32_t i = 0; s->dues != NULL && i < s->used; i++)
        if (s->dues[i].when == s->dues[i].when)
            dated++;
        else
            HOLDS(s->unordered || !is_dated(moment_at(s, i)), "a deadline that nobody will look for");
    for (size_t n = 0; n < s->due.count; n++) {
        Item *item = heap_top(&s->due) + n;
        ordered += item->slot < s->used && s->slots[item->slot].key != NULL && s->dues != NULL &&
                   s->dues[item->slot].when == item->number && s->dues[item->slot].link == item->link;
    }
    HOLDS(ordered == dated, "a deadline that is missing from the order");
    return 0;
}
