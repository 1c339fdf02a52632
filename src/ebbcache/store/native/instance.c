/* What stands in a method's keys for the instance: its identity, which keeps nobody alive.
 *
 * It holds the instance's address and a weak reference. A look-up that has the instance compares addresses and then
 * asks the reference, so neither `__hash__` nor `__eq__` of the instance runs, and an address that is used again
 * for another object is not mistaken. An Instance is equal to itself alone; its hash is that of the address, so that a
 * look-up needs no Instance to find a key that has one.
 * Bound: 32 bytes, and a basic weak reference, which all of an object's Instances share.
 */
#include "store.h"

static PyObject *
instance_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    PyObject *object;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O", names, &object))
        return NULL;
    PyObject *ref = PyWeakref_NewRef(object, NULL);
    if (ref == NULL)
        return NULL;
    Instance *self = (Instance *)type->tp_alloc(type, 0);
    if (self == NULL) {
        Py_DECREF(ref);
        return NULL;
    }
    self->address = object;
    self->ref = ref;
    return (PyObject *)self;
}

static void
instance_dealloc(Instance *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->ref);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_hash_t
instance_hash(Instance *self)
{
    return hash_of_address(self->address);
}

static PyObject *
instance_repr(Instance *self)
{
    return PyUnicode_FromFormat("<instance at %p>", self->address);
}

/* The address means nothing in another process. */
static PyObject *
instance_reduce(PyObject *self, PyObject *Py_UNUSED(none))
{
    PyErr_Format(PyExc_TypeError, "entries of methods belong to instances and cannot be pickled: %R", self);
    return NULL;
}

static PyMethodDef instance_methods[] = {
    {"__reduce__", instance_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot instance_slots[] = {
    {Py_tp_new, instance_new},   {Py_tp_dealloc, instance_dealloc}, {Py_tp_hash, instance_hash},
    {Py_tp_repr, instance_repr}, {Py_tp_methods, instance_methods}, {0, NULL},
};

PyType_Spec instance_spec = {
    .name = "ebbcache.store._store.Instance",
    .basicsize = sizeof(Instance),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = instance_slots,
};
