/* The store's contract: the methods of the pure Store, under the same names and with the same meaning.
 *
 * What an entry weighs, when memory is short and who listens is the cache's business; these hand entries in and out as
 * records (entry.c). Bounds are the pure store's.
 */
#include "store.h"

static int
hash_given(PyObject *arg, uint32_t *tag)
{
    long long hash = PyLong_AsLongLong(arg);
    if (hash == -1 && PyErr_Occurred())
        return -1;
    *tag = (uint32_t)(((uint64_t)hash * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
    return 0;
}

static int
size_given(PyObject *arg, long long *size)
{
    int overflow;
    *size = PyLong_AsLongLongAndOverflow(arg, &overflow);
    if (*size == -1 && !overflow && PyErr_Occurred())
        return -1;
    if (overflow > 0 || *size > LARGEST_SIZE)
        *size = LARGEST_SIZE;
    if (overflow < 0 || *size < 0) {
        PyErr_Format(PyExc_ValueError, "size must not be negative, got %R", arg);
        return -1;
    }
    return 0;
}

int
counted(Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most, const char *name)
{
    if (nargs >= least && nargs <= most)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd to %zd arguments, got %zd", name, least, most, nargs);
    return -1;
}

static PyObject *
entry_at(Core *s, uint32_t i)
{
    Row row;
    copy_row(s, i, &row);
    return entry_new(s, &row);
}

static int
is_entry(Core *s, PyObject *arg, Entry **entry)
{
    if (!Py_IS_TYPE(arg, s->st->entry)) {
        PyErr_Format(PyExc_TypeError, "not an entry: %R", arg);
        return 0;
    }
    *entry = (Entry *)arg;
    return 1;
}

static inline int
still_linked(Core *s, Entry *entry)
{
    return entry->row.key != NULL && is_linked(s, entry->row.slot, entry->row.key, entry->row.value);
}

static PyObject *
core_seek(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t tag, i;
    if (counted(nargs, 2, 2, "_seek") || hash_given(args[1], &tag))
        return NULL;
    int found = seek(s, args[0], tag, &i);
    if (found < 0)
        return NULL;
    return found ? entry_at(s, i) : Py_NewRef(Py_None);
}

static PyObject *
core_hit(Core *s, PyObject *arg)
{
    Entry *entry;
    if (!is_entry(s, arg, &entry))
        return NULL;
    if (still_linked(s, entry))
        touch(s, entry->row.slot);
    else
        s->hits++;
    return Py_NewRef(entry->row.value);
}

static PyObject *
core_put(Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *deadline = Py_None;
    Wanted wanted = {.weight = 1.0, .cost = Py_NAN, .hits = Py_NAN, .integral = 1};
    if (counted(nargs, 4, 4, "_put") || hash_given(args[1], &wanted.tag) || size_given(args[3], &wanted.size))
        return NULL;
    wanted.key = args[0];
    wanted.value = args[2];
    for (Py_ssize_t n = 0; names != NULL && n < PyTuple_GET_SIZE(names); n++) {
        PyObject *name = PyTuple_GET_ITEM(names, n), *given = args[nargs + n];
        if (PyUnicode_CompareWithASCIIString(name, "weight") == 0) {
            wanted.integral = !PyFloat_Check(given) && PyIndex_Check(given);
            wanted.weight = PyFloat_AsDouble(given);
            if (wanted.weight == -1.0 && PyErr_Occurred())
                return NULL;
        }
        else if (PyUnicode_CompareWithASCIIString(name, "cost") == 0) {
            if (given != Py_None) {
                wanted.cost = PyFloat_AsDouble(given);
                if (wanted.cost == -1.0 && PyErr_Occurred())
                    return NULL;
            }
        }
        else if (PyUnicode_CompareWithASCIIString(name, "deadline") == 0)
            deadline = given;
        else if (PyUnicode_CompareWithASCIIString(name, "absent") == 0) {
            if ((wanted.absent = PyObject_IsTrue(given)) < 0)
                return NULL;
        }
        else if (PyUnicode_CompareWithASCIIString(name, "history") == 0) {
            if (given != Py_None) {
                if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 2) {
                    PyErr_Format(PyExc_TypeError, "history must be (hits, stamp), not %R", given);
                    return NULL;
                }
                wanted.hits = PyFloat_AsDouble(PyTuple_GET_ITEM(given, 0));
                wanted.stamp = PyFloat_AsDouble(PyTuple_GET_ITEM(given, 1));
                if (PyErr_Occurred())
                    return NULL;
            }
        }
        else {
            PyErr_Format(PyExc_TypeError, "_put() got an unexpected keyword argument %R", name);
            return NULL;
        }
    }
    if (moment_of(s->st, deadline, &wanted.due))
        return NULL;
    uint32_t i;
    Row old;
    int made = put(s, &wanted, &i, &old);
    if (made < 0)
        return NULL;
    PyObject *entry = entry_at(s, i), *before;
    if (!made)
        before = Py_XNewRef(entry);
    else if (old.key == NULL)
        before = Py_NewRef(Py_None);
    else
        before = entry_new(s, &old);
    PyObject *pair = entry == NULL || before == NULL ? NULL : PyTuple_Pack(2, entry, before);
    Py_XDECREF(entry);
    Py_XDECREF(before);
    return pair;
}

static PyObject *
core_unlink(Core *s, PyObject *arg)
{
    Entry *entry;
    if (!is_entry(s, arg, &entry))
        return NULL;
    if (!still_linked(s, entry))
        Py_RETURN_FALSE;
    Row row;
    detach(s, entry->row.slot, &row);
    BEGIN_OUTSIDE
    row_clear(&row);
    END_OUTSIDE
    Py_RETURN_TRUE;
}

static PyObject *
core_take(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t tag;
    Row row;
    if (counted(nargs, 2, 2, "_take") || hash_given(args[1], &tag))
        return NULL;
    int found = take(s, args[0], tag, &row);
    if (found < 0)
        return NULL;
    return found ? entry_new(s, &row) : Py_NewRef(Py_None);
}

static PyObject *
core_resize(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    Entry *entry;
    long long size;
    if (counted(nargs, 2, 2, "_resize") || !is_entry(s, args[0], &entry) || size_given(args[1], &size))
        return NULL;
    if (!still_linked(s, entry))
        Py_RETURN_FALSE;
    uint32_t i = entry->row.slot;
    if (size >= (long long)WIDE && need_wide(s))
        return NULL;
    s->nbytes += size - size_at(s, i);
    entry->row.size = size;
    if (size >= (long long)WIDE) {
        s->slots[i].size = WIDE;
        s->wide[i] = (uint64_t)size;
    }
    else
        s->slots[i].size = (uint32_t)size;
    Py_RETURN_TRUE;
}

/* Everything, as a list in the store's order; the slab is out of the store before the first object is made. */
static PyObject *
drained(Core *s)
{
    Core taken;
    table_drain(s, &taken);
    PyObject *list = PyList_New(taken.live);
    Py_ssize_t n = 0;
    for (uint32_t i = taken.policy == LRU ? taken.head : 0;
         list != NULL && (taken.policy == LRU ? i != NIL : i < taken.used);
         i = taken.policy == LRU ? taken.slots[i].as.order.next : i + 1) {
        if (taken.slots[i].key == NULL)
            continue;
        Row row;
        copy_row(&taken, i, &row);
        PyObject *entry = entry_new(s, &row);
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, n++, entry);
    }
    table_free(&taken);
    return list;
}

static PyObject *
core_drain(Core *s, PyObject *Py_UNUSED(none))
{
    return drained(s);
}

static PyObject *
core_expire(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    Rows rows = {NULL, 0, 0};
    if (counted(nargs, 0, 1, "_expire"))
        return NULL;
    if (expire(s, nargs == 0 || args[0] == Py_None ? NULL : args[0], &rows)) {
        rows_clear(&rows);
        return NULL;
    }
    return entries_new(s, &rows);
}

static PyObject *
core_evict(Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    long long nbytes, leave = 0;
    int overflow;
    if (counted(nargs, 1, 2, "_evict"))
        return NULL;
    nbytes = PyLong_AsLongLongAndOverflow(args[0], &overflow);
    if (overflow)
        nbytes = overflow > 0 ? LLONG_MAX : 0;
    if (nargs == 2 || (names != NULL && PyTuple_GET_SIZE(names) == 1 &&
                       PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "leave") == 0)) {
        leave = PyLong_AsLongLongAndOverflow(args[1], &overflow);
        if (overflow > 0)
            leave = LLONG_MAX;
    }
    else if (names != NULL) {
        PyErr_SetString(PyExc_TypeError, "_evict() takes nbytes and leave");
        return NULL;
    }
    if (PyErr_Occurred())
        return NULL;
    if (s->nbytes <= nbytes && leave <= 0) {
        if (s->policy == DENSITY && clock_tick(s->st, 1))
            return NULL;
        return s->nbytes ? drained(s) : PyList_New(0);
    }
    Rows rows = {NULL, 0, 0};
    if (nbytes > 0 && evict(s, nbytes, leave, &rows)) {
        rows_clear(&rows);
        return NULL;
    }
    return entries_new(s, &rows);
}

static PyObject *
core_evict_one(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t keep = NIL;
    Entry *entry;
    if (counted(nargs, 0, 1, "_evict_one"))
        return NULL;
    if (nargs == 1 && args[0] != Py_None) {
        if (!is_entry(s, args[0], &entry))
            return NULL;
        if (still_linked(s, entry))
            keep = entry->row.slot;
    }
    uint32_t i = victim(s, keep);
    if (i == NIL)
        Py_RETURN_NONE;
    Row row;
    give_up(s, i, &row);
    return entry_new(s, &row);
}

static PyObject *
core_living(Core *s, PyObject *Py_UNUSED(none))
{
    return living_new(s, 0);
}

static PyObject *
core_snapshot(Core *s, PyObject *Py_UNUSED(none))
{
    Rows rows = {NULL, 0, 0};
    if (rows_reserve(&rows, s->live))
        return NULL;
    for (uint32_t i = s->policy == LRU ? s->head : 0; s->policy == LRU ? i != NIL : i < s->used;
         i = s->policy == LRU ? s->slots[i].as.order.next : i + 1)
        if (s->slots[i].key != NULL)
            copy_row(s, i, &rows.rows[rows.count++]);
    return entries_new(s, &rows);
}

static PyObject *
core_ranked(Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    Rows rows = {NULL, 0, 0};
    if (nargs + (names == NULL ? 0 : PyTuple_GET_SIZE(names)) != 2) {
        PyErr_SetString(PyExc_TypeError, "_ranked() takes n and hottest");
        return NULL;
    }
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(args[0], &overflow);
    if (overflow || n > (long long)s->live)
        n = s->live;
    int hottest = PyObject_IsTrue(args[1]);
    if (hottest < 0 || PyErr_Occurred())
        return NULL;
    if (ranked(s, n < 0 ? 0 : (Py_ssize_t)n, hottest, &rows)) {
        rows_clear(&rows);
        return NULL;
    }
    return entries_new(s, &rows);
}

static PyObject *
core_sample(Core *s, PyObject *arg)
{
    uint32_t drawn[TALLY_SAMPLE];
    long n = PyLong_AsLong(arg);
    Rows rows = {NULL, 0, 0};
    if (n == -1 && PyErr_Occurred())
        return NULL;
    if (n < 0 || n > TALLY_SAMPLE) {
        PyErr_Format(PyExc_ValueError, "n must be within 0 and %d, got %ld", TALLY_SAMPLE, n);
        return NULL;
    }
    uint32_t count = n ? sample(s, (uint32_t)n, 0, drawn) : 0;
    if (rows_reserve(&rows, count))
        return NULL;
    for (uint32_t k = 0; k < count; k++)
        copy_row(s, drawn[k], &rows.rows[rows.count++]);
    return entries_new(s, &rows);
}

static PyObject *
core_tally(Core *s, PyObject *arg)
{
    double now = PyFloat_AsDouble(arg);
    if (now == -1.0 && PyErr_Occurred())
        return NULL;
    PyObject *into = PyDict_New();
    if (into != NULL && tally(s, now, into))
        Py_CLEAR(into);
    return into;
}

static PyObject *
core_next_deadline(Core *s, PyObject *Py_UNUSED(none))
{
    double when;
    return next_deadline(s, &when) ? PyFloat_FromDouble(when) : Py_NewRef(Py_None);
}

static PyObject *
core_check(Core *s, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    if (table_check(s))
        return NULL;
    Py_RETURN_NONE;
}

#define FAST(name, function, doc) {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL, doc}
#define FAST_NAMED(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, doc}

GUARD(PyObject *, core_get, s, (Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names), (s, args, nargs, names))
GUARD(PyObject *, core_sizeof, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_seek, s, (Core *s, PyObject *const *args, Py_ssize_t nargs), (s, args, nargs))
GUARD(PyObject *, core_hit, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_put, s, (Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names), (s, args, nargs, names))
GUARD(PyObject *, core_unlink, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_take, s, (Core *s, PyObject *const *args, Py_ssize_t nargs), (s, args, nargs))
GUARD(PyObject *, core_resize, s, (Core *s, PyObject *const *args, Py_ssize_t nargs), (s, args, nargs))
GUARD(PyObject *, core_drain, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_expire, s, (Core *s, PyObject *const *args, Py_ssize_t nargs), (s, args, nargs))
GUARD(PyObject *, core_evict, s, (Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names), (s, args, nargs, names))
GUARD(PyObject *, core_evict_one, s, (Core *s, PyObject *const *args, Py_ssize_t nargs), (s, args, nargs))
GUARD(PyObject *, core_living, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_snapshot, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_ranked, s, (Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names), (s, args, nargs, names))
GUARD(PyObject *, core_sample, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_tally, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_next_deadline, s, (Core *s, PyObject *arg), (s, arg))
GUARD(PyObject *, core_plain, s, (Core *s, PyObject *const *args, Py_ssize_t nargs), (s, args, nargs))
GUARD(PyObject *, core_check, s, (Core *s, PyObject *args, PyObject *kwargs), (s, args, kwargs))

PyMethodDef core_methods[] = {
    FAST_NAMED("get", ALONE(core_get),
               "get($self, key, /, default=None)\n--\n\n"
               "Return the value for `key` (a hit), else `default` (a miss); `__missing__` is not asked. O(1)."),
    {"__missing__", (PyCFunction)core_missing, METH_O, NULL},
    {"__sizeof__", (PyCFunction)ALONE(core_sizeof), METH_NOARGS, "Return the bytes of the store without keys and values."},
    FAST("_seek", ALONE(core_seek), "Return the live entry of a key with that hash, or None. No hit is counted."),
    {"_hit", (PyCFunction)ALONE(core_hit), METH_O, "Count a hit on an entry, and return its value."},
    FAST_NAMED("_put", ALONE(core_put), "Link an entry; return it and the one it replaced, or None."),
    {"_unlink", (PyCFunction)ALONE(core_unlink), METH_O, "Remove an entry; return whether it was still linked."},
    FAST("_take", ALONE(core_take), "Remove and return the live entry of a key with that hash, or None."),
    FAST("_resize", ALONE(core_resize), "Give an entry a new size; return whether it was still linked."),
    {"_drain", (PyCFunction)ALONE(core_drain), METH_NOARGS, "Remove and return everything."},
    FAST("_expire", ALONE(core_expire), "Remove and return what has expired."),
    FAST_NAMED("_evict", ALONE(core_evict), "Remove victims until their sizes reach `nbytes`; return them."),
    FAST("_evict_one", ALONE(core_evict_one), "Remove and return the next victim, never `keep`; None: there is none."),
    {"_living", (PyCFunction)ALONE(core_living), METH_NOARGS, "Iterate over a snapshot, without what has expired."},
    {"_snapshot", (PyCFunction)ALONE(core_snapshot), METH_NOARGS, "Return all entries in the store's order."},
    FAST_NAMED("_ranked", ALONE(core_ranked), "Return entries from the cold (or hot) end of the order of eviction."),
    {"_sample", (PyCFunction)ALONE(core_sample), METH_O, "Return that many entries, drawn from all."},
    {"_tally", (PyCFunction)ALONE(core_tally), METH_O, "Return bytes by class of density."},
    {"_next_deadline", (PyCFunction)ALONE(core_next_deadline), METH_NOARGS, "Return the least deadline, or None."},
    /* What the pure store may be told, that others are amid their work, makes no difference here. */
    {"_check", (PyCFunction)(void (*)(void))ALONE(core_check), METH_VARARGS | METH_KEYWORDS,
     "Walk everything and assert every invariant."},
    FAST("_plain", ALONE(core_plain), "Be told what inserts need to know."),
    {NULL},
};
