/* The numbers of caches that change all the time: a cache's counters, and the allowance that all share.
 *
 * The twins of ebbcache.store.numbers, as plain C counters that an insert changes without Python.
 */
#include "store.h"

static PyObject *
allowance_get(Allowance *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(SHARED_LONG(self->left));
}

/* Amounts that only make-believe machines have are cut to what C can count. */
static int
allowance_set(Allowance *self, PyObject *left, void *Py_UNUSED(closure))
{
    int overflow;
    if (left == NULL) {
        PyErr_SetString(PyExc_AttributeError, "left cannot be deleted");
        return -1;
    }
    long long amount = PyLong_AsLongLongAndOverflow(left, &overflow);
    if (amount == -1 && !overflow && PyErr_Occurred())
        return -1;
    const long long most = 1LL << 62;
    SHARE_LONG(self->left, overflow > 0 || amount > most ? most : overflow < 0 || amount < -most ? -most : amount);
    return 0;
}

static void
plain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyGetSetDef allowance_getset[] = {
    {"left", (getter)allowance_get, (setter)allowance_set, "Bytes.", NULL},
    {NULL},
};

static PyType_Slot allowance_slots[] = {
    {Py_tp_doc, "The bytes that inserts may still add before somebody must look; shared by all caches."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, plain_dealloc},
    {Py_tp_getset, allowance_getset},
    {0, NULL},
};

PyType_Spec allowance_spec = {
    .name = "ebbcache.store._store.Allowance",
    .basicsize = sizeof(Allowance),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = allowance_slots,
};

static PyMemberDef counts_members[] = {
    {"inserts", T_LONGLONG, offsetof(Counts, inserts), 0, NULL},
    {"evictions", T_LONGLONG, offsetof(Counts, evictions), 0, NULL},
    {"expirations", T_LONGLONG, offsetof(Counts, expirations), 0, NULL},
    {"refused", T_LONGLONG, offsetof(Counts, refused), 0, NULL},
    {"listener_errors", T_LONGLONG, offsetof(Counts, listener_errors), 0, NULL},
    {NULL},
};

static PyType_Slot counts_slots[] = {
    {Py_tp_doc, "Counters of one cache."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, plain_dealloc},
    {Py_tp_members, counts_members},
    {0, NULL},
};

PyType_Spec counts_spec = {
    .name = "ebbcache.store._store.Counts",
    .basicsize = sizeof(Counts),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = counts_slots,
};
