/* Tensors of torch and arrays of Arrow: the rules of holders/torch.py and holders/arrow.py, whose methods are called
 * without a frame of Python's between.
 *
 * What they call are functions and fields in C that the rules hand over, and the memory that these tell of becomes a
 * part of the value, with as many owners as they say. What is rare (tensors without a storage, nested types) is left
 * to Python. Bound: some ten calls a tensor, five an array and two a buffer, 30 to 300 ns each.
 */
#include "sizing.h"

/* What `function` says of `obj`, a number that is not negative; or -1 with an exception. May call out. */
static Py_ssize_t
ask_number(PyObject *function, PyObject *obj)
{
    PyObject *answer = PyObject_CallOneArg(function, obj);
    if (answer == NULL)
        return -1;
    Py_ssize_t number = PyLong_AsSsize_t(answer);
    Py_DECREF(answer);
    if (number < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "a number of bytes or owners cannot be negative");
    return number;
}

static int
ask_truth(PyObject *field, PyObject *obj)
{
    PyObject *answer = field_of(field, obj);
    int truth = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return truth;
}

enum {
    HAS_STORAGE = 1, ADDRESS, USE_COUNT, OFFSET, ITEM, NUMEL, BASE, GRAD, REQUIRES_GRAD, IS_LEAF, IS_META,
    TENSOR_BYTES, STORAGE_BYTES, VIEW_BYTES, AUTOGRAD_BYTES, TENSOR_DATA
};

/* native: ("tensors", functions: whether there is a storage, its address, of that how many hold it, where in it the
 * tensor begins, the size of an item and how many; fields: base, grad, requires_grad, is_leaf, is_meta; bytes of the parts). */
int
tensor_fill(Rule *rule)
{
    PyObject *data = rule->data;
    if (PyTuple_GET_SIZE(data) != TENSOR_DATA || !are_fields(data, BASE, IS_META + 1))
        return 0;
    for (Py_ssize_t i = HAS_STORAGE; i <= NUMEL; i++)
        if (!PyCallable_Check(PyTuple_GET_ITEM(data, i)))
            return 0;
    return 1;
}

static Py_ssize_t
tensor_bytes(PyObject *data, PyObject *obj)
{
    Py_ssize_t item = ask_number(PyTuple_GET_ITEM(data, ITEM), obj);
    Py_ssize_t count = item < 0 ? -1 : ask_number(PyTuple_GET_ITEM(data, NUMEL), obj);
    return count < 0 ? -1 : item * count;
}

/* What a tensor has: its storage as a part, and its gradient in w->kids. 1: it has no storage. */
static int
tensor_parts(Walk *w, PyObject *data, PyObject *obj, double *own)
{
    PyObject *has = PyObject_CallOneArg(PyTuple_GET_ITEM(data, HAS_STORAGE), obj);
    int truth = has == NULL ? -1 : PyObject_IsTrue(has);
    Py_XDECREF(has);
    if (truth <= 0)
        return truth < 0 ? FAILED : 1;
    Py_ssize_t start = ask_number(PyTuple_GET_ITEM(data, OFFSET), obj);
    Py_ssize_t item = start < 0 ? -1 : ask_number(PyTuple_GET_ITEM(data, ITEM), obj);
    Py_ssize_t count = item < 0 ? -1 : ask_number(PyTuple_GET_ITEM(data, NUMEL), obj);
    PyObject *address = count < 0 ? NULL : PyObject_CallOneArg(PyTuple_GET_ITEM(data, ADDRESS), obj);
    if (address == NULL)
        return FAILED;
    uintptr_t key = (uintptr_t)PyLong_AsUnsignedLongLongMask(address);
    Py_ssize_t holders = ask_number(PyTuple_GET_ITEM(data, USE_COUNT), address), size = (start + count) * item;
    Py_DECREF(address);
    PyObject *base = holders < 0 ? NULL : field_of(PyTuple_GET_ITEM(data, BASE), obj);
    if (base == NULL)
        return FAILED;
    if (base != Py_None) {
        *own += number_in(data, VIEW_BYTES);
        size = tensor_bytes(data, base); /* a view may repeat what it shows */
        if (Py_REFCNT(base) <= 2) { /* torch's and ours: only views keep it, and it goes with them */
            holders--;
            if (walk_part(w, obj, (uintptr_t)base, holders, number_in(data, TENSOR_BYTES), NULL) < 0) {
                Py_DECREF(base);
                return FATAL;
            }
        }
    }
    else {
        int none = ask_truth(PyTuple_GET_ITEM(data, IS_META), obj);
        size = none < 0 ? -1 : none ? 0 : size;
    }
    Py_DECREF(base);
    int leaf = size < 0 ? -1 : ask_truth(PyTuple_GET_ITEM(data, REQUIRES_GRAD), obj);
    if (leaf > 0)
        leaf = ask_truth(PyTuple_GET_ITEM(data, IS_LEAF), obj);
    if (leaf < 0)
        return FAILED;
    if (leaf) {
        PyObject *grad = field_of(PyTuple_GET_ITEM(data, GRAD), obj);
        int done = grad == NULL ? FAILED : grad == Py_None ? 0 : items_add(&w->kids, grad, 0);
        Py_XDECREF(grad);
        if (done < 0)
            return done;
        *own += number_in(data, AUTOGRAD_BYTES);
    }
    double bytes = number_in(data, STORAGE_BYTES) + malloc_chunk((double)((size + 63) & -64));
    return walk_part(w, obj, key, holders, bytes, NULL);
}

/* Hand over what the collector sees of `obj`, too, if the rest was read. */
static int
with_referents(Walk *w, PyObject *obj, int done)
{
    if (done == 0)
        done = collect_referents(w, obj);
    if (done != 0) {
        items_clear(&w->kids, 0);
        return done;
    }
    return hand_over(w, 0, 1);
}

/* Read a tensor. 1: it is one for Python. May call out. */
int
read_tensor(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    PyObject *data = Py_NewRef(rule->data);
    *own = rule->block + number_in(data, TENSOR_BYTES);
    int done = tensor_parts(w, data, obj, own);
    Py_DECREF(data);
    return with_referents(w, obj, done);
}

enum {
    HOW = 1, NAMES, OWNERS, NODES, SCHEMA, DICTIONARIES, EXTENSIONS, BLOCK_AT, HEAD_BYTES, COLUMN_BYTES, CHUNK_BYTES,
    ARRAY_BYTES, CHILD_BYTES, BUFFER_BYTES, ARROW_DATA
};
enum { ONE_ARRAY, ONE_COLUMN, TABLE, BATCH, BUFFER };
enum { N_TYPE, N_FIELDS, N_BUFFERS, N_DICTIONARY, N_SIZE, N_ADDRESS, N_CHUNKS, N_COLUMNS, N_SCHEMA, NAME_COUNT };

/* native: ("arrow", what it is, names of attributes, functions `_owners`, `_nodes`, `_schema`, types of dictionaries
 * and of extensions, where in a buffer's wrapper the pointer to its count is or -1, bytes of the parts). */
int
arrow_fill(Rule *rule)
{
    PyObject *data = rule->data;
    if (PyTuple_GET_SIZE(data) != ARROW_DATA || PyTuple_GET_SIZE(PyTuple_GET_ITEM(data, NAMES)) != NAME_COUNT)
        return 0;
    return PyType_Check(PyTuple_GET_ITEM(data, DICTIONARIES)) && PyType_Check(PyTuple_GET_ITEM(data, EXTENSIONS));
}

static PyObject *
attribute(PyObject *data, PyObject *obj, int name)
{
    return PyObject_GetAttr(obj, PyTuple_GET_ITEM(PyTuple_GET_ITEM(data, NAMES), name));
}

static Py_ssize_t
attribute_number(PyObject *data, PyObject *obj, int name)
{
    PyObject *value = attribute(data, obj, name);
    Py_ssize_t number = value == NULL ? -1 : PyLong_AsSsize_t(value);
    Py_XDECREF(value);
    return number;
}

/* How many shared pointers there are like the one in a buffer's wrapper (libstdc++'s shared_ptr_base.h). */
static Py_ssize_t
count_of(PyObject *data, PyObject *buffer)
{
    const char *block = *(const char *const *)((const char *)buffer + PyLong_AsSsize_t(PyTuple_GET_ITEM(data, BLOCK_AT)));
    return block == NULL ? 0 : *(const int32_t *)(block + sizeof(void *));
}

/* Note the buffer that `buffer` wraps, which so many hold, or 0: that is not known. */
static int
add_buffer(Walk *w, PyObject *data, PyObject *obj, PyObject *buffer, Py_ssize_t holders)
{
    Py_ssize_t size = attribute_number(data, buffer, N_SIZE);
    if (size <= 0)
        return PyErr_Occurred() ? FAILED : 0;
    PyObject *address = attribute(data, buffer, N_ADDRESS);
    if (address == NULL)
        return FAILED;
    uintptr_t key = (uintptr_t)PyLong_AsUnsignedLongLongMask(address);
    if (holders <= 1) {
        PyObject *args[] = {NULL, obj, address};
        PyObject *owners = PyObject_Vectorcall(PyTuple_GET_ITEM(data, OWNERS), args + 1,
                                               2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        holders = owners == NULL ? -1 : PyLong_AsSsize_t(owners);
        Py_XDECREF(owners);
    }
    Py_DECREF(address);
    if (PyErr_Occurred())
        return FAILED;
    double bytes = number_in(data, BUFFER_BYTES) + malloc_chunk((double)((size + 63) & -64));
    return walk_part(w, obj, key, holders, bytes, NULL);
}

/* Note the buffers in a list of wrappers; `told`: their counts are those of these wrappers and of the array. */
static int
add_buffers(Walk *w, PyObject *data, PyObject *obj, PyObject *buffers, int told)
{
    int done = 0;
    for (Py_ssize_t i = 0; done == 0 && PyList_Check(buffers) && i < PyList_GET_SIZE(buffers); i++) {
        PyObject *buffer = Py_NewRef(PyList_GET_ITEM(buffers, i));
        if (buffer != Py_None)
            done = add_buffer(w, data, obj, buffer, told ? count_of(data, buffer) - 1 : 0);
        Py_DECREF(buffer);
    }
    return done;
}

static int
add_array(Walk *w, PyObject *data, PyObject *obj, PyObject *array, double *own)
{
    PyObject *kind = attribute(data, array, N_TYPE), *buffers = NULL, *names = PyTuple_GET_ITEM(data, NAMES);
    Py_ssize_t nodes = 1, fields = kind == NULL ? -1 : attribute_number(data, kind, N_FIELDS);
    if (fields > 0)
        nodes = ask_number(PyTuple_GET_ITEM(data, NODES), kind);
    if (fields >= 0 && nodes > 0)
        buffers = PyObject_CallMethodNoArgs(array, PyTuple_GET_ITEM(names, N_BUFFERS));
    if (buffers == NULL) {
        Py_XDECREF(kind);
        return FAILED;
    }
    int told = nodes == 1 && PyLong_AsSsize_t(PyTuple_GET_ITEM(data, BLOCK_AT)) > 0, done = 0;
    *own += (double)nodes * number_in(data, ARRAY_BYTES) + (double)(nodes - 1) * number_in(data, CHILD_BYTES);
    if (PyObject_TypeCheck(kind, (PyTypeObject *)PyTuple_GET_ITEM(data, DICTIONARIES))) {
        PyObject *words = attribute(data, array, N_DICTIONARY), *more = NULL;
        told = 0; /* in C++ such arrays hold more arrays */
        *own += number_in(data, ARRAY_BYTES);
        if (words != NULL)
            more = PyObject_CallMethodNoArgs(words, PyTuple_GET_ITEM(names, N_BUFFERS));
        done = more == NULL ? FAILED : add_buffers(w, data, obj, more, 0);
        Py_XDECREF(words);
        Py_XDECREF(more);
    }
    else if (PyObject_TypeCheck(kind, (PyTypeObject *)PyTuple_GET_ITEM(data, EXTENSIONS)))
        told = 0;
    if (done == 0)
        done = add_buffers(w, data, obj, buffers, told);
    Py_DECREF(buffers);
    Py_DECREF(kind);
    return done;
}

/* Note all arrays in the list that an attribute is: chunks of a column, columns of a batch. */
static int
add_arrays(Walk *w, PyObject *data, PyObject *obj, PyObject *holder, int name, double each, double *own)
{
    PyObject *arrays = attribute(data, holder, name);
    int done = arrays == NULL || !PyList_Check(arrays) ? FAILED : 0;
    if (done < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "Arrow's arrays are expected in a list");
    for (Py_ssize_t i = 0; done == 0 && i < PyList_GET_SIZE(arrays); i++) {
        *own += each;
        done = add_array(w, data, obj, PyList_GET_ITEM(arrays, i), own);
    }
    Py_XDECREF(arrays);
    return done;
}

static int
add_table(Walk *w, PyObject *data, PyObject *obj, double *own)
{
    PyObject *columns = attribute(data, obj, N_COLUMNS);
    int done = columns == NULL || !PyList_Check(columns) ? FAILED : 0;
    if (done < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "Arrow's columns are expected in a list");
    for (Py_ssize_t i = 0; done == 0 && i < PyList_GET_SIZE(columns); i++) {
        *own += number_in(data, COLUMN_BYTES);
        done = add_arrays(w, data, obj, PyList_GET_ITEM(columns, i), N_CHUNKS, number_in(data, CHUNK_BYTES), own);
    }
    Py_XDECREF(columns);
    PyObject *schema = done < 0 ? NULL : attribute(data, obj, N_SCHEMA);
    PyObject *part = schema == NULL ? NULL : PyObject_CallOneArg(PyTuple_GET_ITEM(data, SCHEMA), schema);
    Py_XDECREF(schema);
    if (done == 0)
        done = part == NULL ? FAILED : items_add(&w->kids, part, 0);
    Py_XDECREF(part);
    return done;
}

/* Read an array, column, table, batch or buffer. May call out. */
int
read_arrow(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    PyObject *data = Py_NewRef(rule->data);
    int done = FAILED;
    *own = rule->block + number_in(data, HEAD_BYTES);
    switch (PyLong_AsSsize_t(PyTuple_GET_ITEM(data, HOW))) {
    case ONE_ARRAY:
        done = add_array(w, data, obj, obj, own);
        break;
    case ONE_COLUMN:
        done = add_arrays(w, data, obj, obj, N_CHUNKS, number_in(data, CHUNK_BYTES), own);
        break;
    case TABLE:
        done = add_table(w, data, obj, own);
        break;
    case BATCH:
        done = add_arrays(w, data, obj, obj, N_COLUMNS, 0, own);
        break;
    default:
        done = add_buffer(w, data, obj, obj, 0);
    }
    Py_DECREF(data);
    return with_referents(w, obj, done);
}
