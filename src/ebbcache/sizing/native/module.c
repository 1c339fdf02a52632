/* The functions, and what they need to know: whose rules, how large a budget, who measures instead.
 *
 * `sizeof` is what sizing/__init__.py says of it; exact str, bytes and numbers are one look at their type's rule, at
 * some 20 ns a call. Everything is kept in the module's own state.
 */
#include <math.h>

#include "sizing.h"

static PyObject *
as_int(double bytes)
{
    return PyLong_FromLongLong(llrint(bytes)); /* to even, as round() in Python */
}

/* Let Python answer for a value that could not be walked. */
static PyObject *
failed(State *st, PyObject *obj)
{
    if (st->failed == NULL || !PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL && error != NULL)
        PyException_SetTraceback(error, trace);
    PyObject *answer = error == NULL ? NULL : PyObject_CallFunctionObjArgs(st->failed, obj, error, NULL);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    return answer;
}

/* The bytes of a leaf, -1 if `obj` is none. */
static inline double
leaf(State *st, PyObject *obj)
{
    const Rule *rule = rules_find(st->rules, Py_TYPE(obj));
    if (UNLIKELY(rule == NULL)) {
        rule = rules_learn(st, st->rules, obj);
        if (rule == NULL)
            PyErr_Clear(); /* the walk will meet that again */
    }
    if (rule == NULL || rule->code > LAST_LEAF)
        return -1;
    if (rule->code == NOTHING)
        return 0;
    if (rule->code == INT) {
        int overflow;
        long value = PyLong_AsLongAndOverflow(obj, &overflow);
        if (!overflow && -5 <= value && value <= 256)
            return 0;
    }
    return leaf_bytes(rule, obj);
}

static PyObject *
measure(State *st, PyObject *obj, double budget)
{
    double bytes = 0;
    if (walk_weigh(st, obj, budget, 0, &bytes) < 0)
        return failed(st, obj);
    return as_int(bytes);
}

static int
parse_budget(PyObject *value, double *budget)
{
    if (!PyLong_CheckExact(value)) {
        PyErr_Format(PyExc_TypeError, "budget must be an int, a number of objects, not %R", value);
        return -1;
    }
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow < 0 || (overflow == 0 && number < 1)) {
        PyErr_Format(PyExc_ValueError, "budget must be a positive number of objects, got %R", value);
        return -1;
    }
    *budget = overflow ? 9e18 : (double)number;
    return 0;
}

static PyObject *
sizing_sizeof(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    State *st = PyModule_GetState(module);
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    PyObject *obj = nargs == 1 ? args[0] : NULL, *exact = NULL, *budget = NULL;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i), *value = args[nargs + i];
        if (PyUnicode_CompareWithASCIIString(name, "exact") == 0)
            exact = value;
        else if (PyUnicode_CompareWithASCIIString(name, "budget") == 0)
            budget = value;
        else if (obj == NULL && PyUnicode_CompareWithASCIIString(name, "obj") == 0)
            obj = value;
        else {
            PyErr_Format(PyExc_TypeError, "sizeof() got an unexpected keyword argument %R", name);
            return NULL;
        }
    }
    if (obj == NULL || nargs > 1) {
        PyErr_Format(PyExc_TypeError, "sizeof() takes one object and the keywords exact and budget (%zd given)", nargs);
        return NULL;
    }
    if (st->rules == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "sizeof() was asked before use() said whose rules to follow");
        return NULL;
    }
    if (UNLIKELY(st->yardstick != NULL))
        return PyObject_CallOneArg(st->yardstick, obj);
    double bytes = leaf(st, obj), limit = (double)st->budget;
    if (bytes >= 0)
        return PyLong_FromSsize_t((Py_ssize_t)bytes);
    if (budget != NULL && parse_budget(budget, &limit) < 0)
        return NULL;
    if (exact != NULL) {
        int truth = PyObject_IsTrue(exact);
        if (truth < 0)
            return NULL;
        if (truth)
            limit = Py_HUGE_VAL;
    }
    return measure(st, obj, limit);
}

static PyObject *
sizing_weigh(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    State *st = PyModule_GetState(module);
    if (nargs != 2) {
        PyErr_Format(PyExc_TypeError, "weigh() takes an object and its cost in seconds (%zd given)", nargs);
        return NULL;
    }
    double cost = PyFloat_AsDouble(args[1]);
    if (cost == -1.0 && PyErr_Occurred())
        return NULL;
    if (st->rules == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "weigh() was asked before use() said whose rules to follow");
        return NULL;
    }
    if (UNLIKELY(st->yardstick != NULL))
        return PyObject_CallOneArg(st->yardstick, args[0]);
    double bytes = leaf(st, args[0]), limit = (double)st->budget;
    if (bytes >= 0)
        return PyLong_FromSsize_t((Py_ssize_t)bytes);
    if (cost > 0) {
        limit = floor(cost * st->looks_a_second);
        limit = limit < st->least ? st->least : limit > st->most ? st->most : limit;
    }
    return measure(st, args[0], limit);
}

static PyObject *
sizing_freed_with(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    State *st = PyModule_GetState(module);
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    double limit = st->least, bytes = 0;
    if (nargs != 1 || named > 1 ||
        (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "budget") != 0)) {
        PyErr_SetString(PyExc_TypeError, "freed_with() takes one object and the keyword budget");
        return NULL;
    }
    if (named && parse_budget(args[1], &limit) < 0)
        return NULL;
    if (st->rules == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "freed_with() was asked before use() said whose rules to follow");
        return NULL;
    }
    if (st->yardstick != NULL)
        return PyObject_CallOneArg(st->yardstick, args[0]);
    bytes = leaf(st, args[0]);
    if (bytes >= 0)
        return as_int(bytes);
    if (walk_weigh(st, args[0], limit, 1, &bytes) < 0)
        return failed(st, args[0]);
    return as_int(bytes);
}

static PyObject *
sizing_use(PyObject *module, PyObject *args)
{
    State *st = PyModule_GetState(module);
    PyObject *table, *yardstick, *failing, *part;
    Py_ssize_t budget;
    double least, most, looks;
    if (!PyArg_ParseTuple(args, "OOOOnddd:use", &table, &yardstick, &failing, &part, &budget, &least, &most, &looks))
        return NULL;
    if (yardstick != Py_None && !PyCallable_Check(yardstick)) {
        PyErr_Format(PyExc_TypeError, "yardstick must be callable or None, not %R", yardstick);
        return NULL;
    }
    PyObject *rules = Py_NewRef(Py_None);
    if (st->rules != NULL && st->rules->table == table)
        Py_SETREF(rules, Py_NewRef((PyObject *)st->rules));
    else {
        Py_SETREF(rules, PyObject_CallOneArg((PyObject *)st->rules_type, table));
        if (rules == NULL)
            return NULL;
        if (PyObject_SetAttr(table, st->str_rules, rules) < 0) {
            Py_DECREF(rules);
            return NULL;
        }
    }
    st->budget = budget;
    st->least = least;
    st->most = most;
    st->looks_a_second = looks;
    Rules *old = st->rules;
    PyObject *old_yardstick = st->yardstick, *old_failed = st->failed, *old_part = st->part_type;
    st->rules = (Rules *)rules;
    st->yardstick = yardstick == Py_None ? NULL : Py_NewRef(yardstick);
    st->failed = Py_NewRef(failing);
    st->part_type = Py_NewRef(part);
    Py_XDECREF(old);
    Py_XDECREF(old_yardstick);
    Py_XDECREF(old_failed);
    Py_XDECREF(old_part);
    Py_RETURN_NONE;
}

#define FAST(function) (PyCFunction)(void (*)(void))function

static PyMethodDef methods[] = {
    {"sizeof", FAST(sizing_sizeof), METH_FASTCALL | METH_KEYWORDS,
     "sizeof($module, /, obj, *, exact=False, budget=0)\n--\n\nReturn the bytes that the allocators would get back if "
     "`obj` alone went away."},
    {"weigh", FAST(sizing_weigh), METH_FASTCALL,
     "weigh($module, obj, cost, /)\n--\n\nReturn sizeof(obj) of a value that took `cost` seconds to make."},
    {"freed_with", FAST(sizing_freed_with), METH_FASTCALL | METH_KEYWORDS,
     "freed_with($module, obj, /, *, budget=0)\n--\n\nReturn the bytes that would go with `obj`, which is about to be "
     "dropped."},
    {"use", sizing_use, METH_VARARGS,
     "use(table, yardstick, failed, part, budget, least, most, looks)\n--\n\nSay whose rules to follow, who measures "
     "instead (or None), who answers for failures, and the budgets."},
    {NULL, NULL, 0, NULL},
};

#define NEED(expression)                                                                                               \
    if ((expression) == NULL)                                                                                          \
    return -1

static int
sizing_exec(PyObject *module)
{
    State *st = PyModule_GetState(module);
    PyObject *ordered;
    NEED(st->rules_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &rules_spec, NULL));
    NEED(st->str_sizeof = PyObject_GetAttrString((PyObject *)&PyUnicode_Type, "__sizeof__"));
    NEED(st->int_sizeof = PyObject_GetAttrString((PyObject *)&PyLong_Type, "__sizeof__"));
    NEED(st->dict_sizeof = PyObject_GetAttrString((PyObject *)&PyDict_Type, "__sizeof__"));
    NEED(st->ordered_dict_sizeof = PyObject_GetAttrString((PyObject *)&PyODict_Type, "__sizeof__"));
    NEED(ordered = PyImport_ImportModule("collections"));
    PyObject *deque = PyObject_GetAttrString(ordered, "deque");
    Py_DECREF(ordered);
    NEED(deque);
    st->deque_sizeof = PyObject_GetAttrString(deque, "__sizeof__");
    Py_DECREF(deque);
    NEED(st->deque_sizeof);
    static const struct {
        size_t at;
        const char *text;
    } names[] = {
        {offsetof(State, str_kind), "kind"},
        {offsetof(State, str_native), "native"},
        {offsetof(State, str_read), "read"},
        {offsetof(State, str_claim), "claim"},
        {offsetof(State, str_view), "view"},
        {offsetof(State, str_alone), "alone"},
        {offsetof(State, str_rules), "rules"},
        {offsetof(State, str_note), "note"},
        {offsetof(State, str_shared_before), "shared_before"},
        {offsetof(State, str_charged), "charged_to_another"},
        {offsetof(State, str_key), "key"},
        {offsetof(State, str_several), "several"},
        {offsetof(State, str_nbytes), "nbytes"},
        {offsetof(State, str_references), "references"},
        {offsetof(State, str_shared), "shared"},
        {offsetof(State, str_class_bytes), "class_bytes"},
        {offsetof(State, str_inner), "inner"},
        {offsetof(State, str_itemsize), "itemsize"},
        {offsetof(State, str_name), "__name__"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        NEED(*(PyObject **)((char *)st + names[i].at) = PyUnicode_InternFromString(names[i].text));
    return layout_check(st);
}

#define EACH(do)                                                                                                       \
    do(st->rules_type);                                                                                                \
    do(st->part_type);                                                                                                 \
    do(st->dtype);                                                                                                 \
    do(st->str_sizeof);                                                                                                \
    do(st->int_sizeof);                                                                                                \
    do(st->dict_sizeof);                                                                                               \
    do(st->ordered_dict_sizeof);                                                                                       \
    do(st->deque_sizeof);                                                                                              \
    do(st->yardstick);                                                                                                 \
    do(st->failed);                                                                                                    \
    do(st->rules)

static int
sizing_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *st = PyModule_GetState(module);
    EACH(Py_VISIT);
    return 0;
}

static int
sizing_clear(PyObject *module)
{
    State *st = PyModule_GetState(module);
    EACH(Py_CLEAR);
    PyObject **names[] = {&st->str_kind,  &st->str_native, &st->str_read,          &st->str_claim,   &st->str_view,
                          &st->str_alone, &st->str_rules,  &st->str_note,          &st->str_charged, &st->str_key,
                          &st->str_nbytes, &st->str_several, &st->str_shared, &st->str_shared_before, &st->str_references,
                          &st->str_class_bytes, &st->str_inner, &st->str_itemsize, &st->str_name};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        Py_CLEAR(*names[i]);
    return 0;
}

static void
sizing_free(void *module)
{
    sizing_clear((PyObject *)module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, sizing_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ebbcache.sizing._sizing",
    .m_doc = "Sizes of values, in C; see ebbcache.sizing.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = sizing_traverse,
    .m_clear = sizing_clear,
    .m_free = sizing_free,
};

PyMODINIT_FUNC
PyInit__sizing(void)
{
    return PyModuleDef_Init(&definition);
}
