/* What callers see of an entry: a record with references of its own, made when somebody asks.
 *
 * The slab has no objects for entries. An `Entry` is a copy, so whoever holds one can use key and value whatever
 * happens to the store meanwhile; handed back to the store it means "that slot, if it still holds that very key and
 * value". Iteration takes a snapshot, 24 bytes an entry for keys, a row for entries, and makes one object a step.
 */
#include "store.h"

static int
entry_traverse(Entry *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->row.key);
    Py_VISIT(self->row.value);
    Py_VISIT(self->row.due.object);
    return 0;
}

static int
entry_clear(Entry *self)
{
    row_clear(&self->row);
    return 0;
}

static void
entry_dealloc(Entry *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    row_clear(&self->row);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* An Entry of a row, which it takes over in any case. */
PyObject *
entry_new(Core *s, Row *row)
{
    Row held = *row;
    memset(row, 0, sizeof *row);
    Entry *self = PyObject_GC_New(Entry, s->st->entry);
    if (self == NULL) {
        row_clear(&held);
        return NULL;
    }
    self->row = held;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

PyObject *
entries_new(Core *s, Rows *rows)
{
    PyObject *list = PyList_New((Py_ssize_t)rows->count);
    for (size_t n = 0; list != NULL && n < rows->count; n++) {
        PyObject *entry = entry_new(s, &rows->rows[n]);
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)n, entry);
    }
    rows_clear(rows);
    return list;
}

static PyObject *
entry_key(Entry *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->row.key == NULL ? Py_None : self->row.key);
}

static PyObject *
entry_value(Entry *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->row.value == NULL ? Py_None : self->row.value);
}

static PyObject *
entry_deadline(Entry *self, void *Py_UNUSED(closure))
{
    return moment_object(self->row.due);
}

/* The key's hash. The slab keeps 32 bits of it; where asking the key again would run foreign code, this is another
 * number that leads to the same place. */
static PyObject *
entry_hash(Entry *self, void *Py_UNUSED(closure))
{
    PyObject *key = self->row.key;
    if (key != NULL && (PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyBytes_CheckExact(key) ||
                        PyFloat_CheckExact(key) || key == Py_None)) {
        Py_hash_t hash = PyObject_Hash(key);
        return hash == -1 ? NULL : PyLong_FromSsize_t(hash);
    }
    return PyLong_FromLongLong((long long)(((uint64_t)self->row.tag << 32) * UINT64_C(0xF1DE83E19937733D)));
}

static PyObject *
entry_weight(Entry *self, void *Py_UNUSED(closure))
{
    double weight = self->row.weight;
    return floor(weight) == weight && isfinite(weight) ? PyLong_FromDouble(weight) : PyFloat_FromDouble(weight);
}

static PyObject *
entry_cost(Entry *self, void *Py_UNUSED(closure))
{
    return self->row.cost != self->row.cost ? Py_NewRef(Py_None) : PyFloat_FromDouble(self->row.cost);
}

static PyObject *
entry_repr(Entry *self)
{
    return PyUnicode_FromFormat("<Entry %u: %R, %lld bytes>", self->row.slot,
                                self->row.key == NULL ? Py_None : self->row.key, self->row.size);
}

/* Two records of one and the same link. */
static PyObject *
entry_compare(PyObject *left, PyObject *right, int op)
{
    if ((op != Py_EQ && op != Py_NE) || !Py_IS_TYPE(right, Py_TYPE(left)))
        Py_RETURN_NOTIMPLEMENTED;
    Row *a = &((Entry *)left)->row, *b = &((Entry *)right)->row;
    int same = a->key == b->key && a->value == b->value && a->slot == b->slot;
    return PyBool_FromLong(op == Py_EQ ? same : !same);
}

static Py_hash_t
entry_hash_of(Entry *self)
{
    return (Py_hash_t)(self->row.slot & 0x7FFFFFFF);
}

static PyGetSetDef entry_getset[] = {
    {"key", (getter)entry_key, NULL, "The key.", NULL},
    {"value", (getter)entry_value, NULL, "The value.", NULL},
    {"hash", (getter)entry_hash, NULL, "A number that finds the key's place: its hash, or as good as it.", NULL},
    {"weight", (getter)entry_weight, NULL, "What counts against maxsize: 1, or what getsizeof said.", NULL},
    {"cost", (getter)entry_cost, NULL, "Seconds that making the value took; None where nobody measured.", NULL},
    {"deadline", (getter)entry_deadline, NULL, "When it expires, in the timer's units; None: never.", NULL},
    {NULL},
};

static PyMemberDef entry_members[] = {
    {"serial", T_UINT, offsetof(Entry, row.slot), READONLY, "The number of its slot."},
    {"size", T_LONGLONG, offsetof(Entry, row.size), READONLY, "Bytes."},
    {"stamp", T_DOUBLE, offsetof(Entry, row.stamp), READONLY, "The process's clock at the last access."},
    {"hits", T_DOUBLE, offsetof(Entry, row.hits), READONLY, "Accesses, as the store counts them."},
    {NULL},
};

static PyObject *
entry_class_getitem(PyObject *type, PyObject *Py_UNUSED(item))
{
    return Py_NewRef(type);
}

static PyMethodDef entry_methods[] = {
    {"__class_getitem__", entry_class_getitem, METH_O | METH_CLASS, NULL},
    {NULL},
};

static PyType_Slot entry_slots[] = {
    {Py_tp_doc, "One key, its value, and what the eviction policies knew about them when it was asked for."},
    {Py_tp_dealloc, entry_dealloc},
    {Py_tp_traverse, entry_traverse},
    {Py_tp_clear, entry_clear},
    {Py_tp_repr, entry_repr},
    {Py_tp_richcompare, entry_compare},
    {Py_tp_hash, entry_hash_of},
    {Py_tp_getset, entry_getset},
    {Py_tp_members, entry_members},
    {Py_tp_methods, entry_methods},
    {0, NULL},
};

PyType_Spec entry_spec = {
    .name = "ebbcache.store._store.Entry",
    .basicsize = sizeof(Entry),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = entry_slots,
};

/* ----------------------------------------------------------------------------------------------- iteration */

typedef struct {
    PyObject *key;
    Moment due;
} Dated;

typedef struct {
    PyObject_HEAD
    Core *store;
    Dated *keys; /* of an iterator over keys; else the rows */
    size_t count;
    Rows rows;
    size_t at;
} Living;

static int
living_traverse(Living *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->store);
    for (size_t n = self->at; self->keys != NULL && n < self->count; n++) {
        Py_VISIT(self->keys[n].key);
        Py_VISIT(self->keys[n].due.object);
    }
    for (size_t n = self->at; n < self->rows.count; n++) {
        Py_VISIT(self->rows.rows[n].key);
        Py_VISIT(self->rows.rows[n].value);
        Py_VISIT(self->rows.rows[n].due.object);
    }
    return 0;
}

static int
living_clear(Living *self)
{
    Dated *keys = self->keys;
    size_t at = self->at, count = self->count;
    self->keys = NULL;
    self->count = self->at = 0;
    for (; keys != NULL && at < count; at++) {
        Py_XDECREF(keys[at].key);
        Py_XDECREF(keys[at].due.object);
    }
    PyMem_Free(keys);
    rows_clear(&self->rows);
    Py_CLEAR(self->store);
    return 0;
}

static void
living_dealloc(Living *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    living_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Iterate over what the store holds now: its keys, or entries. */
PyObject *
living_new(Core *s, int keys)
{
    Living *self = PyObject_GC_New(Living, s->st->living);
    if (self == NULL)
        return NULL;
    memset(&self->rows, 0, sizeof self->rows);
    self->store = (Core *)Py_NewRef(s);
    self->keys = NULL;
    self->count = self->at = 0;
    if (keys)
        self->keys = PyMem_Malloc((s->live ? s->live : 1) * sizeof *self->keys);
    if (keys ? self->keys == NULL : rows_reserve(&self->rows, s->live)) {
        PyObject_GC_Track(self);
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    for (uint32_t i = s->policy == LRU ? s->head : 0; s->policy == LRU ? i != NIL : i < s->used;
         i = s->policy == LRU ? s->slots[i].as.order.next : i + 1) {
        if (s->slots[i].key == NULL)
            continue;
        if (keys) {
            self->keys[self->count].key = Py_NewRef(s->slots[i].key);
            Moment due = moment_at(s, i);
            Py_XINCREF(due.object);
            self->keys[self->count++].due = due;
        }
        else
            copy_row(s, i, &self->rows.rows[self->rows.count++]);
    }
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PyObject *
living_next(Living *self)
{
    while (self->store != NULL && self->at < (self->keys != NULL ? self->count : self->rows.count)) {
        /* Taken out first: asking the timer may come back here. */
        Core *s = (Core *)Py_NewRef(self->store);
        Row row = {.due = {NULL, Py_NAN}};
        if (self->keys != NULL) {
            row.key = self->keys[self->at].key;
            row.due = self->keys[self->at].due;
            self->at++;
        }
        else {
            row = self->rows.rows[self->at];
            memset(&self->rows.rows[self->at++], 0, sizeof row);
        }
        int keys = self->keys != NULL;
        int alive = is_dated(row.due) ? is_alive(s, row.due) : 1;
        PyObject *found = NULL;
        if (alive > 0) {
            if (keys) {
                found = row.key;
                row.key = NULL;
            }
            else
                found = entry_new(s, &row);
        }
        row_clear(&row);
        Py_DECREF(s);
        if (alive)
            return found;
    }
    return NULL;
}

/* Whoever shares an iterator shares its store. */
GUARD(PyObject *, living_next, self->store, (Living *self), (self))

static PyType_Slot living_slots[] = {
    {Py_tp_dealloc, living_dealloc},
    {Py_tp_traverse, living_traverse},
    {Py_tp_clear, living_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, ALONE(living_next)},
    {0, NULL},
};

PyType_Spec living_spec = {
    .name = "ebbcache.store._store.Living",
    .basicsize = sizeof(Living),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = living_slots,
};
