/* How values lie in memory: what blocks an object takes itself, read in place.
 *
 * Sizes of texts and numbers, tables of dicts, and what shows in C only: the capacity of an instance's attribute array
 * (Objects/dictobject.c: new_values, shared_keys_usable_size), and a `__dict__` that somebody asked for since
 * CPython 3.13. layout_check() compares what is believed of dicts with what they say. Bound: exact block by block.
 */
#include "sizing.h"
#ifdef __GLIBC__
#include <malloc.h>
#if __GLIBC_PREREQ(2, 33)
#define BYTES_IN_USE mallinfo2().uordblks
#else
#define BYTES_IN_USE (unsigned int)mallinfo().uordblks
#endif
#endif

/* Objects/dictobject.c, the same in 3.11 to 3.14; layout_check() compares it with what dict.__sizeof__ says. */
typedef struct {
    Py_ssize_t refcnt;
    uint8_t log2_size, log2_index_bytes, kind;
    uint32_t version;
    Py_ssize_t usable, nentries;
} Keys;

static inline const Keys *
keys_of(PyObject *dict)
{
    return (const Keys *)((PyDictObject *)dict)->ma_keys;
}

/* How many entries of a dict are or were in use: they are found at the positions below that. */
Py_ssize_t
dict_entries(PyObject *dict)
{
    return ((PyDictObject *)dict)->ma_values ? PyDict_GET_SIZE(dict) : keys_of(dict)->nentries;
}

static inline Py_ssize_t
keys_bytes(const Keys *keys)
{
    size_t size = (size_t)1 << keys->log2_size;
    return (Py_ssize_t)(sizeof(Keys) + ((size_t)1 << keys->log2_index_bytes) +
                        (size << 1) / 3 * (keys->kind == 0 ? 24 : 16));
}

static inline Py_ssize_t
bytes_bytes(PyObject *obj)
{
    return (Py_ssize_t)offsetof(PyBytesObject, ob_sval) + 1 + PyBytes_GET_SIZE(obj);
}

/* The blocks of a dict but the object itself. May call out. */
int
dict_tables(Walk *w, PyObject *dict, double *bytes)
{
    if (LIKELY(w->st->dict_known && ((PyDictObject *)dict)->ma_values == NULL)) {
        const Keys *keys = keys_of(dict);
        *bytes = keys->refcnt == 1 ? chunk(keys_bytes(keys)) : 0;
        return 0;
    }
    double total;
    if (call_for_bytes(w->st->dict_sizeof, dict, &total) < 0)
        return -1;
    *bytes = chunk((Py_ssize_t)total - Py_TYPE(dict)->tp_basicsize);
    return 0;
}

/* Whether what is too large for pymalloc comes from glibc's malloc, with nothing of a debugging allocator's in front:
 * 1 if malloc says that it cut just that much for some bytes, -1 with an exception. */
static int
blocks_are_glibcs(void)
{
#ifdef __GLIBC__
    for (int left = 3; left > 0; left--) { /* other threads may ask malloc for memory meanwhile */
        size_t before = BYTES_IN_USE;
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, 5000); /* more than malloc keeps for each thread */
        size_t after = BYTES_IN_USE;
        if (bytes == NULL)
            return -1;
        Py_ssize_t cut = (Py_ssize_t)(after - before), asked = (Py_ssize_t)chunk(bytes_bytes(bytes));
        Py_DECREF(bytes);
        if (asked <= cut && cut <= asked + 16)
            return 1;
    }
#endif
    return 0;
}

/* Compare what is believed of dicts with what they say, and of malloc with what it cuts. */
int
layout_check(State *st)
{
    st->malloc_known = blocks_are_glibcs();
    if (st->malloc_known < 0)
        return -1;
    st->dict_known = 1;
    for (int n = 0; n < 300 && st->dict_known; n = 3 * n + 1) {
        for (int text = 0; text < 2; text++) {
            PyObject *dict = PyDict_New(), *key;
            double said = 0;
            if (dict == NULL)
                return -1;
            for (int i = 0; i < n; i++) {
                key = text ? PyUnicode_FromFormat("%d", i) : PyLong_FromLong(i);
                int done = key == NULL ? -1 : PyDict_SetItem(dict, key, Py_None);
                Py_XDECREF(key);
                if (done < 0) {
                    Py_DECREF(dict);
                    return -1;
                }
            }
            int failed = call_for_bytes(st->dict_sizeof, dict, &said) < 0;
            Py_ssize_t ours = PyDict_Type.tp_basicsize + (n ? keys_bytes(keys_of(dict)) : 0);
            if (!failed && ((Py_ssize_t)said != ours || dict_entries(dict) != n))
                st->dict_known = 0;
            Py_DECREF(dict);
            if (failed)
                return -1;
        }
    }
    return 0;
}

/* An answer in bytes, or -1 with an exception, as number_of_bytes in layout.py. May call out. */
int
number_of_bytes(PyObject *answer, double *bytes)
{
    if (PyBool_Check(answer)) {
        PyErr_SetString(PyExc_TypeError, "a size in bytes cannot be a bool");
        return -1;
    }
    PyObject *index = PyNumber_Index(answer);
    if (index == NULL)
        return -1;
    int overflow;
    long long size = PyLong_AsLongLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (overflow || size < 0 || size >= 1LL << 46) {
        PyErr_Format(PyExc_ValueError, "a size cannot be %s bytes",
                     overflow > 0 || size > 0 ? "so many" : "a negative number of");
        return -1;
    }
    *bytes = (double)size;
    return 0;
}

int
call_for_bytes(PyObject *function, PyObject *obj, double *bytes)
{
    Py_INCREF(function);
    PyObject *answer = PyObject_CallOneArg(function, obj);
    Py_DECREF(function);
    if (answer == NULL)
        return -1;
    int done = number_of_bytes(answer, bytes);
    Py_DECREF(answer);
    return done;
}

static Py_ssize_t
str_bytes(PyObject *obj)
{
    PyASCIIObject *text = (PyASCIIObject *)obj;
    Py_ssize_t size;
    if (PyUnicode_IS_COMPACT_ASCII(obj))
        size = (Py_ssize_t)sizeof(PyASCIIObject) + text->length + 1;
    else if (text->state.compact) {
        PyCompactUnicodeObject *more = (PyCompactUnicodeObject *)obj;
        size = (Py_ssize_t)sizeof(PyCompactUnicodeObject) + (text->length + 1) * (Py_ssize_t)text->state.kind;
        if (more->utf8 != NULL)
            size += more->utf8_length + 1;
    }
    else
        size = (Py_ssize_t)sizeof(PyUnicodeObject) + (text->length + 1) * (Py_ssize_t)(text->state.kind ? text->state.kind : 4);
#if PY_VERSION_HEX < 0x030C0000
    if (UNLIKELY(text->wstr != NULL) && (!text->state.compact || (void *)text->wstr != PyUnicode_DATA(obj)))
        size += (text->length + 1) * (Py_ssize_t)sizeof(wchar_t);
#endif
    return size;
}

Py_ssize_t
int_bytes(PyObject *obj)
{
#if PY_VERSION_HEX >= 0x030C0000
    Py_ssize_t digits = (Py_ssize_t)(((PyLongObject *)obj)->long_value.lv_tag >> 3);
    Py_ssize_t head = (Py_ssize_t)offsetof(PyLongObject, long_value.ob_digit);
#else
    Py_ssize_t digits = Py_SIZE(obj) < 0 ? -Py_SIZE(obj) : Py_SIZE(obj);
    Py_ssize_t head = (Py_ssize_t)offsetof(PyLongObject, ob_digit);
#endif
    return head + digits * (Py_ssize_t)sizeof(digit);
}

/* The block of bytes that ask for `asked`. Whoever made them may have had more and not cut the rest off, as orjson
 * does, which no `__sizeof__` shows. What is too large for pymalloc comes from malloc, but for what was compiled in. */
static double
real_block(PyObject *obj, double asked)
{
#ifdef __GLIBC__
    if (asked > SMALL && Py_REFCNT(obj) < COMPILED_IN) {
        double cut = (double)(malloc_usable_size(obj) + sizeof(size_t));
        if (cut > asked + asked / 8 + 64) /* else malloc's own rounding, to pages where it maps */
            return cut;
    }
#endif
    return asked;
}

double
leaf_bytes(const Rule *rule, PyObject *obj)
{
    switch (rule->code) {
    case STR:
        return chunk(str_bytes(obj));
    case BYTES:
        return rule->view ? real_block(obj, chunk(bytes_bytes(obj))) : chunk(bytes_bytes(obj));
    case INT:
        return chunk(int_bytes(obj));
    default:
        return rule->block;
    }
}

/* What the attributes of an instance take beside it, and how much longer they make the instance itself. */
double
attributes(PyObject *obj, Py_ssize_t *inside)
{
    const Keys *keys = (const Keys *)((PyHeapTypeObject *)Py_TYPE(obj))->ht_cached_keys;
    *inside = 0;
#if PY_VERSION_HEX >= 0x030D0000
    (void)keys;
    const uint8_t *values = (const uint8_t *)obj + Py_TYPE(obj)->tp_basicsize;
    Py_ssize_t room = values[0];
    *inside = ((room + 7) & -8) + (room + 1) * (Py_ssize_t)sizeof(PyObject *);
    PyObject *dict = ((PyObject **)obj)[-3];
    if (dict == NULL || !values[3] || Py_REFCNT(dict) > 1)
        return 0;
    /* Somebody asked for its `__dict__` once, whose values still are the instance's. 3.13 does not show it to a
     * visitor; 3.14 does, and it says it had these values. */
#if PY_VERSION_HEX >= 0x030E0000
    return -chunk(room * (Py_ssize_t)sizeof(PyObject *));
#else
    return chunk(PyDict_Type.tp_basicsize + 16);
#endif
#else
#if PY_VERSION_HEX >= 0x030C0000
    uintptr_t word = ((uintptr_t *)obj)[-3];
    const uint8_t *values = word & 1 ? (const uint8_t *)(word + 1) : NULL;
#else
    const uint8_t *values = (const uint8_t *)((uintptr_t *)obj)[-4];
#endif
    if (values == NULL)
        return 0;
    /* An array is as long as the class's instances had attributes when it was made, which its prefix tells
     * roughly, and the keys that they share exactly once the class has settled. */
    Py_ssize_t prefix = values[-1];
    Py_ssize_t room = keys == NULL ? 0 : keys->nentries + keys->usable;
    if (room < prefix - 9)
        room = prefix - 9;
    return chunk(prefix + room * (Py_ssize_t)sizeof(PyObject *));
#endif
}

/* Both, for an object that was counted without. */
double
beside(const Rule *rule, PyObject *obj)
{
    Py_ssize_t inside = 0;
    if (!rule->values)
        return 0;
    double apart = attributes(obj, &inside);
    return apart + chunk(rule->bare + rule->front + inside) - chunk(rule->bare + rule->front);
}
