/* Deadlines: a lazy binary heap of (number, link), put right when its top is looked at.
 *
 * As in the pure store's heap.py: an item refers to a slot and to the link with which the deadline came there,
 * so an entry leaves without telling the heap, and whoever finds an item whose link is not the slot's drops it.
 * Deadlines may be of any type. Exact floats and ints are compared here; the others are ordered by what
 * heap.py's `moment` makes of them and compared by their own `<`; those that have no number are found by a walk.
 * Bounds: O(log n) for a deadline given and for one that passes.
 *
 * The heap's second user is the LFU policy, with hits for numbers and slots for links.
 */
#include "store.h"

static inline int
before(const Item *a, const Item *b)
{
    return a->number < b->number || (a->number == b->number && a->link < b->link);
}

int
heap_reserve(Heap *heap)
{
    if (heap->count < heap->room)
        return 0;
    size_t room = heap->room + heap->room / (heap->room < 512 ? 2 : 8) + 8;
    Item *grown = PyMem_Realloc(heap->items, room * sizeof *grown);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    heap->items = grown;
    heap->room = room;
    return 0;
}

int
heap_push(Heap *heap, double number, uint64_t link, uint32_t slot)
{
    if (heap_reserve(heap))
        return -1;
    Item item = {number, link, slot}, *items = heap->items;
    size_t at = heap->count++;
    while (at > 0 && before(&item, &items[(at - 1) / 2])) {
        items[at] = items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    items[at] = item;
    return 0;
}

void
heap_sink(Heap *heap, size_t at)
{
    Item *items = heap->items, item = items[at];
    size_t count = heap->count;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && before(&items[child + 1], &items[child]))
            child++;
        if (!before(&items[child], &item))
            break;
        items[at] = items[child];
    }
    items[at] = item;
}

void
heap_pop(Heap *heap)
{
    heap->items[0] = heap->items[--heap->count];
    if (heap->count)
        heap_sink(heap, 0);
}

/* Put items that were written one by one in order, and give back room that a much larger heap once needed. */
void
heap_make(Heap *heap)
{
    size_t room = heap->count + heap->count / 8 + 8;
    if (heap->room > 2 * room) {
        Item *fewer = PyMem_Realloc(heap->items, room * sizeof *fewer);
        if (fewer != NULL) {
            heap->items = fewer;
            heap->room = room;
        }
    }
    for (size_t at = heap->count / 2; at-- > 0;)
        heap_sink(heap, at);
}

void
heap_free(Heap *heap)
{
    PyMem_Free(heap->items);
    memset(heap, 0, sizeof *heap);
}

int
heap_check(Heap *heap)
{
    for (size_t at = 1; at < heap->count; at++)
        if (before(&heap->items[at], &heap->items[(at - 1) / 2]))
            return 0;
    return 1;
}

/* A deadline as a number of the same order; NaN where only its own `<` can tell. May call out. */
int
moment_of(State *st, PyObject *deadline, double *when)
{
    if (PyFloat_CheckExact(deadline)) {
        *when = PyFloat_AS_DOUBLE(deadline);
        return 0;
    }
    PyObject *number = PyObject_CallOneArg(st->moment, deadline);
    if (number == NULL)
        return -1;
    *when = Py_NAN;
    if (number != Py_None) {
        *when = PyFloat_AsDouble(number);
        if (*when == -1.0 && PyErr_Occurred()) {
            PyErr_Clear(); /* an int beyond all floats */
            *when = Py_NAN;
        }
    }
    Py_DECREF(number);
    return 0;
}

/* `not now < deadline`: 1, 0, or -1 with an exception. May call out; both are the caller's to hold. */
int
is_late(Core *s, PyObject *deadline, PyObject *now)
{
    (void)s;
    if (PyFloat_CheckExact(deadline) && PyFloat_CheckExact(now))
        return !(PyFloat_AS_DOUBLE(now) < PyFloat_AS_DOUBLE(deadline));
    int early = PyObject_RichCompareBool(now, deadline, Py_LT);
    return early < 0 ? -1 : !early;
}

/* Whether `timer() < deadline`: 1, 0, or -1 with an exception. May call out; the caller holds `deadline`. */
int
is_alive(Core *s, PyObject *deadline)
{
    double instant;
    if (PyFloat_CheckExact(deadline) && timer_now(s, &instant))
        return instant < PyFloat_AS_DOUBLE(deadline);
    PyObject *timer = Py_NewRef(s->timer);
    PyObject *now = PyObject_CallNoArgs(timer);
    Py_DECREF(timer);
    if (now == NULL)
        return -1;
    int late = is_late(s, deadline, now);
    Py_DECREF(now);
    return late < 0 ? -1 : !late;
}

static int
is_current(Core *s, const Item *item)
{
    return s->dues != NULL && item->slot < s->used && s->dues[item->slot].deadline != NULL &&
           s->dues[item->slot].link == item->link;
}

/* Forget the dead and renumber the living, after the slots moved. Needs no memory, as there is one item for
 * each dated entry already. */
void
due_rebuild(Core *s)
{
    s->due.count = 0;
    if (s->dues == NULL)
        return;
    for (uint32_t i = 0; i < s->used; i++) {
        Due *due = &s->dues[i];
        if (s->slots[i].key != NULL && due->deadline != NULL && due->when == due->when) {
            Item item = {due->when, due->link, i};
            s->due.items[s->due.count++] = item;
        }
    }
    heap_make(&s->due);
}

/* Unlink what has expired at `now` (NULL: what the timer says) into rows. */
int
expire(Core *s, PyObject *now, Rows *into)
{
    if (s->due.count == 0 && !s->unordered)
        return 0;
    if (now != NULL)
        Py_INCREF(now);
    else {
        PyObject *timer = Py_NewRef(s->timer);
        now = PyObject_CallNoArgs(timer);
        Py_DECREF(timer);
        if (now == NULL)
            return -1;
    }
    size_t first = into->count;
    int failed = 0;
    while (s->due.count) {
        Item item = s->due.items[0];
        if (!is_current(s, &item)) {
            heap_pop(&s->due);
            continue;
        }
        PyObject *deadline = Py_NewRef(s->dues[item.slot].deadline);
        int late = is_late(s, deadline, now);
        /* Where that called out, the entry may be gone; another one's slot has another link. */
        if (late > 0 && is_current(s, &item)) {
            if ((failed = rows_reserve(into, 1)) == 0)
                detach(s, item.slot, &into->rows[into->count++]);
        }
        Py_DECREF(deadline);
        if (failed || late <= 0) {
            failed = failed || late < 0;
            break;
        }
    }
    if (!failed && s->unordered) {
        /* Slots are stable for as long as nothing is linked or unlinked by those that are asked. */
        for (uint32_t i = 0; i < s->used && s->dues != NULL; i++) {
            if (s->slots[i].key == NULL || s->dues[i].deadline == NULL)
                continue;
            uint64_t link = s->dues[i].link;
            PyObject *deadline = Py_NewRef(s->dues[i].deadline);
            int late = is_late(s, deadline, now);
            if (late > 0 && s->dues != NULL && i < s->used && s->dues[i].deadline == deadline &&
                s->dues[i].link == link) {
                if ((failed = rows_reserve(into, 1)) == 0)
                    detach(s, i, &into->rows[into->count++]);
            }
            Py_DECREF(deadline);
            if (failed || late < 0) {
                failed = 1;
                break;
            }
        }
    }
    Py_DECREF(now);
    if (into->count > first)
        tighten(s);
    return failed ? -1 : 0;
}

/* The least deadline that is a number: 1 and `when`, or 0. */
int
next_deadline(Core *s, double *when)
{
    while (s->due.count && !is_current(s, &s->due.items[0]))
        heap_pop(&s->due);
    if (s->due.count == 0)
        return 0;
    *when = s->due.items[0].number;
    return 1;
}
