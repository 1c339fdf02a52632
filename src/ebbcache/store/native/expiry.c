/* Deadlines: a lazy binary heap of (number, link), put right when its top is looked at.
 *
 * As in the pure store's heap.py: an item refers to a slot and to the link with which the deadline came there,
 * so an entry leaves without telling the heap, and whoever finds an item whose link is not the slot's drops it.
 * Deadlines may be of any type. Exact floats are kept and compared as numbers; the others are ordered by what
 * heap.py's `moment` makes of them and compared by their own `<`; those that have no number are found by a walk.
 * With one ttl for all, deadlines come in order, and a sorted array is a heap, so it serves as a queue meanwhile.
 * Bounds: O(1) for a deadline in order, else O(log n), for one given and for one that passes; 28 bytes each.
 *
 * The heap's second user is the LFU policy, with hits for numbers and slots for links.
 */
#include "store.h"

static inline int
before(const Item *a, const Item *b)
{
    return a->number < b->number || (a->number == b->number && a->link < b->link);
}

/* Move a queue to the start of its memory. */
static void
heap_front(Heap *heap)
{
    if (heap->first)
        memmove(heap->items, heap->items + heap->first, heap->count * sizeof(Item));
    heap->first = 0;
}

/* Make sure that one more item can be pushed without failing. */
int
heap_reserve(Heap *heap)
{
    if (heap->first + heap->count < heap->room)
        return 0;
    if (heap->first > heap->room / 4) {
        heap_front(heap);
        return 0;
    }
    size_t room = heap->room + heap->room / (heap->room < 512 ? 2 : 16) + 8;
    Item *grown = PyMem_Realloc(heap->items, room * sizeof *grown);
    if (grown == NULL && heap->first) {
        heap_front(heap);
        return 0;
    }
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    heap->items = grown;
    heap->room = room;
    return 0;
}

int
heap_push(Heap *heap, double number, uint32_t link, uint32_t slot)
{
    if (heap_reserve(heap))
        return -1;
    Item item = {number, link, slot};
    if (heap->count == 0)
        heap->heaped = 0;
    if (!heap->heaped) {
        Item *end = heap->items + heap->first + heap->count;
        if (heap->count == 0 || before(end - 1, &item)) {
            *end = item;
            heap->count++;
            return 0;
        }
        heap_front(heap);
        heap->heaped = 1;
    }
    Item *items = heap->items;
    size_t at = heap->count++;
    while (at > 0 && before(&item, &items[(at - 1) / 2])) {
        items[at] = items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    items[at] = item;
    return 0;
}

static void
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
    heap->count--;
    if (heap->count == 0)
        heap->first = 0;
    else if (!heap->heaped)
        heap->first++;
    else {
        heap->items[0] = heap->items[heap->count];
        heap_sink(heap, 0);
    }
}

/* Give the top another number. */
void
heap_renumber(Heap *heap, double number)
{
    if (!heap->heaped) {
        heap_front(heap);
        heap->heaped = 1;
    }
    heap->items[0].number = number;
    heap_sink(heap, 0);
}

/* Put items that were written one by one, from the start, in order; and give back room that a much larger heap once
 * needed. */
void
heap_make(Heap *heap)
{
    size_t room = heap->count + heap->count / 8 + 8, at = 1;
    if (heap->room > 2 * room) {
        Item *fewer = PyMem_Realloc(heap->items, room * sizeof *fewer);
        if (fewer != NULL) {
            heap->items = fewer;
            heap->room = room;
        }
    }
    heap->first = 0;
    while (at < heap->count && before(&heap->items[at - 1], &heap->items[at]))
        at++;
    heap->heaped = at < heap->count;
    if (heap->heaped)
        for (at = heap->count / 2; at-- > 0;)
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
    Item *items = heap->items + heap->first;
    if (heap->first + heap->count > heap->room || (heap->heaped && heap->first))
        return 0;
    for (size_t at = 1; at < heap->count; at++)
        if (before(&items[at], &items[heap->heaped ? (at - 1) / 2 : at - 1]))
            return 0;
    return 1;
}

/* A deadline with its number, as far as it has one; the reference stays borrowed. May call out. */
int
moment_of(State *st, PyObject *deadline, Moment *due)
{
    due->object = NULL;
    due->when = Py_NAN;
    if (deadline == Py_None)
        return 0;
    if (PyFloat_CheckExact(deadline)) {
        due->when = PyFloat_AS_DOUBLE(deadline);
        if (due->when != due->when)
            due->object = deadline;
        return 0;
    }
    PyObject *number = PyObject_CallOneArg(st->moment, deadline);
    if (number == NULL)
        return -1;
    due->object = deadline;
    if (number != Py_None) {
        due->when = PyFloat_AsDouble(number);
        if (due->when == -1.0 && PyErr_Occurred()) {
            PyErr_Clear(); /* an int beyond all floats */
            due->when = Py_NAN;
        }
    }
    Py_DECREF(number);
    return 0;
}

/* A deadline as callers see it: a new reference; None: never. */
PyObject *
moment_object(Moment due)
{
    if (due.object != NULL)
        return Py_NewRef(due.object);
    return due.when == due.when ? PyFloat_FromDouble(due.when) : Py_NewRef(Py_None);
}

/* `not now < deadline`: 1, 0, or -1 with an exception. May call out; both are the caller's to hold. */
int
is_late(Moment due, PyObject *now)
{
    if (due.object == NULL && PyFloat_CheckExact(now))
        return !(PyFloat_AS_DOUBLE(now) < due.when);
    PyObject *deadline = moment_object(due);
    if (deadline == NULL)
        return -1;
    int early = PyObject_RichCompareBool(now, deadline, Py_LT);
    Py_DECREF(deadline);
    return early < 0 ? -1 : !early;
}

/* What the store's timer says: a new reference, or NULL with an exception. May call out. */
PyObject *
ask_timer(Core *s)
{
    PyObject *timer = Py_NewRef(s->timer), *now;
    BEGIN_OUTSIDE
    now = PyObject_CallNoArgs(timer);
    Py_DECREF(timer);
    END_OUTSIDE
    return now;
}

/* Whether `timer() < deadline`: 1, 0, or -1 with an exception. May call out; the caller holds the deadline. */
int
is_alive(Core *s, Moment due)
{
    double instant;
    if (due.object == NULL && timer_now(s, &instant))
        return instant < due.when;
    PyObject *now = ask_timer(s);
    if (now == NULL)
        return -1;
    int late = is_late(due, now);
    Py_DECREF(now);
    return late < 0 ? -1 : !late;
}

static int
is_current(Core *s, const Item *item)
{
    return s->dues != NULL && item->slot < s->used && s->slots[item->slot].key != NULL &&
           s->dues[item->slot].link == item->link && s->dues[item->slot].when == item->number;
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
        if (s->slots[i].key != NULL && due->when == due->when) {
            Item item = {due->when, due->link, i};
            s->due.items[s->due.count++] = item;
        }
    }
    heap_make(&s->due);
}

/* Forget the dead, where slots are what they were. */
void
due_prune(Core *s)
{
    Heap *heap = &s->due;
    Item *from = heap->items + heap->first, *end = from + heap->count;
    heap->count = 0;
    for (; from < end; from++)
        if (is_current(s, from))
            heap->items[heap->count++] = *from;
    heap_make(heap);
}

/* Unlink what has expired at `now` (NULL: what the timer says) into rows. */
int
expire(Core *s, PyObject *now, Rows *into)
{
    if (s->due.count == 0 && !s->unordered)
        return 0;
    if (now != NULL)
        Py_INCREF(now);
    else if ((now = ask_timer(s)) == NULL)
        return -1;
    size_t first = into->count;
    int failed = 0;
    while (s->due.count) {
        Item item = *heap_top(&s->due);
        if (!is_current(s, &item)) {
            heap_pop(&s->due);
            continue;
        }
        Moment due = moment_at(s, item.slot);
        Py_XINCREF(due.object);
        int late = is_late(due, now);
        /* Where that called out, the entry may be gone; another one's slot has another link. */
        if (late > 0 && is_current(s, &item)) {
            if ((failed = rows_reserve(into, 1)) == 0)
                detach(s, item.slot, &into->rows[into->count++]);
        }
        Py_XDECREF(due.object);
        if (failed || late <= 0) {
            failed = failed || late < 0;
            break;
        }
    }
    if (!failed && s->unordered) {
        /* Slots are stable for as long as nothing is linked or unlinked by those that are asked. */
        for (uint32_t i = 0; i < s->used && s->dues != NULL; i++) {
            Moment due = moment_at(s, i);
            if (s->slots[i].key == NULL || !is_dated(due))
                continue;
            uint32_t link = s->dues[i].link;
            Py_XINCREF(due.object);
            int late = is_late(due, now);
            if (late > 0 && s->dues != NULL && i < s->used && s->slots[i].key != NULL && s->dues[i].link == link &&
                moment_at(s, i).object == due.object) {
                if ((failed = rows_reserve(into, 1)) == 0)
                    detach(s, i, &into->rows[into->count++]);
            }
            Py_XDECREF(due.object);
            if (failed || late < 0) {
                failed = 1;
                break;
            }
        }
    }
    Py_DECREF(now);
    if (into->count > first) {
        tighten(s);
        past_tighten(s);
    }
    return failed ? -1 : 0;
}

/* The least deadline that is a number: 1 and `when`, or 0. */
int
next_deadline(Core *s, double *when)
{
    while (s->due.count && !is_current(s, heap_top(&s->due)))
        heap_pop(&s->due);
    if (s->due.count == 0)
        return 0;
    *when = heap_top(&s->due)->number;
    return 1;
}
