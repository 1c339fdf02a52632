/* numpy's arrays, read in place: head, dimensions, buffer, elements that are objects, and the base of a view.
 *
 * The heads lie as numpy/ndarraytypes.h has them, in numpy 1 and 2 alike (PyArrayObject_fields, the start of
 * PyArray_Descr); array_fill() compares arrays with what numpy says of them before any is read so. Arrays of
 * StringDType, and what lies neither in C's nor in Fortran's order, are left to reader_of_arrays in layout.py. Bound:
 * some 20 ns, and 10 for each element that is an object.
 */
#include "sizing.h"

typedef struct {
    PyObject_HEAD
    PyObject *scalars;
    char kind, code;
} Type;

typedef struct {
    PyObject_HEAD
    char *data;
    int nd;
    Py_ssize_t *dimensions, *strides;
    PyObject *base, *dtype;
    int flags;
} Array;

#define CONTIGUOUS 3 /* in the order of C or of Fortran */
#define OWNS_DATA 4

static inline char
code_of(const Array *array)
{
    return ((const Type *)array->dtype)->code;
}

static int
has_code(PyObject *dtype)
{
    PyObject *code = PyObject_GetAttrString(dtype, "char");
    int same = code != NULL && PyUnicode_Check(code) && PyUnicode_GET_LENGTH(code) == 1 &&
               PyUnicode_READ_CHAR(code, 0) == (Py_UCS4)(unsigned char)((const Type *)dtype)->code;
    Py_XDECREF(code);
    return same;
}

/* Whether arrays of `type` lie in memory as believed; errors are taken for a no. */
static int
is_known(PyTypeObject *type)
{
    int known = 0;
    PyObject *made = PyObject_CallFunction((PyObject *)type, "((ii)s)", 2, 3, "O"), *view = NULL, *dtype = NULL;
    PyObject *number = PyObject_CallFunction((PyObject *)type, "((i)s)", 5, "f4"), *other = NULL;
    if (made != NULL && number != NULL && type->tp_basicsize >= (Py_ssize_t)sizeof(Array)) {
        view = PyObject_GetAttrString(made, "T");
        dtype = PyObject_GetAttrString(made, "dtype");
        other = PyObject_GetAttrString(number, "dtype");
        const Array *whole = (const Array *)made, *part = (const Array *)view;
        known = view != NULL && dtype != NULL && other != NULL && whole->nd == 2 && whole->dimensions[0] == 2 &&
                whole->dimensions[1] == 3 && whole->base == NULL && whole->dtype == dtype &&
                (whole->flags & (OWNS_DATA | CONTIGUOUS)) == (OWNS_DATA | 1) && part->base == made &&
                part->dimensions[0] == 3 && (part->flags & (OWNS_DATA | CONTIGUOUS)) == 2 &&
                part->data == whole->data && ((const Array *)number)->dtype == other &&
                Py_TYPE(dtype)->tp_basicsize >= (Py_ssize_t)sizeof(Type) && has_code(dtype) && has_code(other) &&
                code_of(whole) == 'O';
    }
    Py_XDECREF(view);
    Py_XDECREF(dtype);
    Py_XDECREF(other);
    Py_XDECREF(number);
    Py_XDECREF(made);
    PyErr_Clear();
    return known;
}

/* native: ("arrays", ndarray). */
int
array_fill(Rule *rule)
{
    return PyTuple_GET_SIZE(rule->data) == 2 && PyType_Check(PyTuple_GET_ITEM(rule->data, 1)) &&
           is_known((PyTypeObject *)PyTuple_GET_ITEM(rule->data, 1));
}

/* The size of an item, -1 if numpy does not tell. May call out. */
static Py_ssize_t
item_of(State *st, PyObject *dtype, char code)
{
    if (code == 'O')
        return (Py_ssize_t)sizeof(PyObject *);
    if (LIKELY(dtype == st->dtype))
        return st->dtype_item;
    Py_INCREF(dtype);
    PyObject *item = PyObject_GetAttr(dtype, st->str_itemsize);
    Py_ssize_t size = item == NULL ? -1 : PyLong_AsSsize_t(item);
    Py_XDECREF(item);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        size = -1;
    }
    if (size < 0 || strchr("VSUMm", code) != NULL) /* it may be the array's own, and die with it */
        Py_DECREF(dtype);
    else {
        PyObject *old = st->dtype;
        st->dtype = dtype;
        st->dtype_item = size;
        Py_XDECREF(old);
    }
    return size;
}

static double
items_in(const Array *array)
{
    double count = 1;
    for (int i = 0; i < array->nd; i++)
        count *= (double)array->dimensions[i];
    return count;
}

/* Collect the elements of an array of objects, or some that stand for the others. */
static int
collect_elements(Walk *w, const Array *array, double cap)
{
    PyObject *const *items = (PyObject *const *)array->data;
    double all = items_in(array);
    Py_ssize_t length = (Py_ssize_t)all, count = all <= cap ? length : few(cap);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = items[all <= cap ? i : scattered(length, count, i)];
        if (item != NULL && items_add(&w->kids, item, 0) < 0)
            return -1;
    }
    if (all > cap)
        stand_for(w, all / (double)count);
    return 0;
}

/* How many references a look at an array finds. */
Py_ssize_t
count_in_array(Walk *w, PyObject *obj, double cap)
{
    const Array *array = (const Array *)obj;
    Py_ssize_t count = collect_referents(w, obj) < 0 ? 0 : w->kids.used;
    PyErr_Clear();
    count += array->base != NULL;
    if (code_of(array) == 'O' && array->flags & OWNS_DATA)
        count += items_in(array) <= cap ? (Py_ssize_t)items_in(array) : few(cap);
    return count + (array->flags & OWNS_DATA && strchr("VTSUMm", code_of(array)) != NULL);
}

/* Read an array and hand over what it refers to. 1: it is one for Python. May call out. */
int
read_ndarray(Walk *w, const Rule *rule, PyObject *obj, double cap, double *own)
{
    double block = rule->block; /* the rule may be gone after what calls out */
    int view = rule->view;
    const Array *array = (const Array *)obj;
    char code = code_of(array);
    int owns = array->flags & OWNS_DATA;
    if (owns && (code == 'T' || (code == 'O' && !(array->flags & CONTIGUOUS))))
        return 1;
    Py_ssize_t item = owns ? item_of(w->st, array->dtype, code) : 0;
    if (item < 0)
        return 1;
    *own = block + (array->nd ? malloc_chunk(16.0 * array->nd) : 0);
    if (owns) {
        double size = (double)item * items_in(array);
        *own += malloc_chunk(size < 1 ? 1 : size);
    }
    if (PyObject_IS_GC(obj) && collect_referents(w, obj) < 0) /* a subclass's attributes */
        return -1;
    if (array->base != NULL && items_add(&w->kids, array->base, 0) < 0)
        return -1;
    if (owns && strchr("VSUMm", code) != NULL && items_add(&w->kids, array->dtype, 0) < 0)
        return -1;
    if (owns && code == 'O' && collect_elements(w, array, cap) < 0)
        return -1;
    return w->kids.used ? hand_over(w, view, 1) : 0;
}
