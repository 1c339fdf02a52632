/* numpy's arrays, read in place: head, dimensions, buffer, and the base that a view looks into.
 *
 * The head lies as numpy/ndarraytypes.h has it, in numpy 1 and 2 alike (PyArrayObject_fields); arrays_check() compares
 * an array of a kind with what numpy says of it before any is read so. Arrays of objects, of texts and of structures
 * are left to reader_of_arrays in layout.py. Bound: some 20 ns.
 */
#include "sizing.h"

typedef struct {
    PyObject_HEAD
    char *data;
    int nd;
    Py_ssize_t *dimensions, *strides;
    PyObject *base, *dtype;
    int flags;
} Array;

#define OWNS_DATA 4

static double
malloc_chunk(double size)
{
    double whole = (double)((long long)(size + 23) & -16);
    return whole < 32 ? 32 : whole;
}

/* Whether arrays of `type` lie in memory as believed; errors are taken for a no. */
int
arrays_check(PyTypeObject *type)
{
    int known = 0;
    PyObject *made = PyObject_CallFunction((PyObject *)type, "((ii))", 2, 3), *view = NULL, *dtype = NULL;
    if (made != NULL && type->tp_basicsize >= (Py_ssize_t)sizeof(Array)) {
        view = PyObject_GetAttrString(made, "T");
        dtype = PyObject_GetAttrString(made, "dtype");
        const Array *whole = (const Array *)made, *part = (const Array *)view;
        known = view != NULL && dtype != NULL && whole->nd == 2 && whole->dimensions[0] == 2 &&
                whole->dimensions[1] == 3 && whole->base == NULL && whole->dtype == dtype &&
                (whole->flags & OWNS_DATA) && part->base == made && part->dimensions[0] == 3 &&
                !(part->flags & OWNS_DATA) && part->data == whole->data;
    }
    Py_XDECREF(view);
    Py_XDECREF(dtype);
    Py_XDECREF(made);
    PyErr_Clear();
    return known;
}

/* The size of an item, -1 if such arrays hold more than their buffers. May call out. */
static Py_ssize_t
item_of(State *st, PyObject *dtype)
{
    if (LIKELY(dtype == st->dtype))
        return st->dtype_item;
    Py_ssize_t size = -1;
    Py_INCREF(dtype);
    PyObject *kind = PyObject_GetAttrString(dtype, "char"), *item = PyObject_GetAttrString(dtype, "itemsize");
    if (kind != NULL && item != NULL && PyUnicode_Check(kind) && PyUnicode_GET_LENGTH(kind) == 1 &&
        PyUnicode_READ_CHAR(kind, 0) < 128 && strchr("OVTSUMm", (int)PyUnicode_READ_CHAR(kind, 0)) == NULL)
        size = PyLong_AsSsize_t(item);
    Py_XDECREF(kind);
    Py_XDECREF(item);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        size = -1;
    }
    if (size < 0)
        Py_DECREF(dtype);
    else {
        PyObject *old = st->dtype;
        st->dtype = dtype;
        st->dtype_item = size;
        Py_XDECREF(old);
    }
    return size;
}

/* Read an array and hand its base over. 1: it is one for Python. May call out. */
int
read_ndarray(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    double block = rule->block; /* the rule may be gone after what calls out */
    Py_ssize_t item = item_of(w->st, ((const Array *)obj)->dtype);
    if (item < 0)
        return 1;
    const Array *array = (const Array *)obj;
    *own = block + (array->nd ? malloc_chunk(16.0 * array->nd) : 0);
    if (array->flags & OWNS_DATA) {
        double size = (double)item;
        for (int i = 0; i < array->nd; i++)
            size *= (double)array->dimensions[i];
        *own += malloc_chunk(size < 1 ? 1 : size);
    }
    if (array->base == NULL)
        return 0;
    w->looks += 1;
    return walk_refer(w, array->base, w->heavy * w->scale, 0);
}
