/* The module `ebbcache.store._store`: its types and what they look up once, for each interpreter its own.
 *
 * Initialised in several phases (PEP 489), with heap types and no static state (PEP 630).
 */
#include "store.h"

#ifdef Py_GIL_DISABLED
PER_THREAD Guard *guards;
#endif

/* The offset of a slot of a Python class with `__slots__`. */
Py_ssize_t
offset_of(PyObject *type, const char *name)
{
    PyObject *member = PyObject_GetAttrString(type, name);
    Py_ssize_t offset = -1;
    if (member != NULL && Py_IS_TYPE(member, &PyMemberDescr_Type))
        offset = ((PyMemberDescrObject *)member)->d_member->offset;
    else if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "%s is no slot", name);
    Py_XDECREF(member);
    return offset;
}

static PyObject *
attribute_of(const char *module, const char *name)
{
    PyObject *found = NULL, *imported = PyImport_ImportModule(module);
    if (imported != NULL)
        found = PyObject_GetAttrString(imported, name);
    Py_XDECREF(imported);
    return found;
}

static PyTypeObject *
type_of(PyObject *module, PyType_Spec *spec, int shown)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type != NULL && shown && PyModule_AddType(module, type))
        Py_CLEAR(type);
    return type;
}

static int
store_exec(PyObject *module)
{
    State *st = PyModule_GetState(module);
#define NEED(what) \
    if (!(what)) \
    return -1
    NEED(st->core = type_of(module, &core_spec, 1));
    NEED(st->entry = type_of(module, &entry_spec, 1));
    NEED(st->living = type_of(module, &living_spec, 0));
    NEED(st->allowance = type_of(module, &allowance_spec, 1));
    NEED(st->counts = type_of(module, &counts_spec, 1));
    NEED(st->instance = type_of(module, &instance_spec, 1));
    /* The memo relies on how tuples hash; should that ever change, the decorators do without it. */
    int alike = tuples_hash_alike();
    NEED(alike >= 0);
    if (alike) {
        PyTypeObject *memo = type_of(module, &memo_spec, 1);
        NEED(memo);
        Py_DECREF(memo);
    }
    else if (PyModule_AddObjectRef(module, "Memo", Py_None))
        return -1;
    NEED(st->clock = attribute_of("ebbcache.clock", "clock"));
#ifdef Py_GIL_DISABLED
    PyObject *now = PyObject_GetAttrString(st->clock, "now");
    NEED(now);
    share_double(&st->stamp, PyFloat_AsDouble(now));
    Py_DECREF(now);
    NEED(!PyErr_Occurred());
#else
    NEED((st->now_at = offset_of((PyObject *)Py_TYPE(st->clock), "now")) >= 0);
#endif
    NEED((st->timer_at = offset_of((PyObject *)Py_TYPE(st->clock), "timer")) >= 0);
    NEED(st->monotonic = attribute_of("time", "monotonic"));
    NEED(st->perf_counter = attribute_of("time", "perf_counter"));
    NEED(st->moment = attribute_of("ebbcache.store.heap", "moment"));
    NEED(st->long_sizeof = PyObject_GetAttrString((PyObject *)&PyLong_Type, "__sizeof__"));
    NEED(st->str_sizeof = PyObject_GetAttrString((PyObject *)&PyUnicode_Type, "__sizeof__"));
#define WORD(field, text) NEED(st->field = PyUnicode_InternFromString(text))
    WORD(s_missing, "__missing__");
    WORD(s_gone, "_gone");
    WORD(s_insert, "_insert");
    WORD(s_policy, "policy");
    WORD(s_dated, "dated");
    WORD(s_pop, "pop");
    WORD(s_expired, "expired");
    WORD(s_deleted, "deleted");
    WORD(s_evicted, "evicted");
    WORD(s_user, "user");
    return 0;
}

/* trust_leaves(yes): whether str, bytes, int and float weigh their blocks, as far as the user has not said
 * otherwise. */
static PyObject *
trust_leaves(PyObject *module, PyObject *arg)
{
    int yes = PyObject_IsTrue(arg);
    if (yes < 0)
        return NULL;
    SHARE_INT(((State *)PyModule_GetState(module))->leaves, yes);
    Py_RETURN_NONE;
}

/* apart(yes): whether the entries of this moment are shared with another process, as they are after a fork. */
static PyObject *
apart(PyObject *module, PyObject *arg)
{
    int yes = PyObject_IsTrue(arg);
    if (yes < 0)
        return NULL;
    State *st = PyModule_GetState(module);
    SHARE_INT(st->apart, yes);
    SHARE_INT(st->forks, st->forks + 1);
    Py_RETURN_NONE;
}

static int
store_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *st = PyModule_GetState(module);
    Py_VISIT(st->core);
    Py_VISIT(st->entry);
    Py_VISIT(st->living);
    Py_VISIT(st->allowance);
    Py_VISIT(st->counts);
    Py_VISIT(st->instance);
    Py_VISIT(st->clock);
    Py_VISIT(st->monotonic);
    Py_VISIT(st->perf_counter);
    Py_VISIT(st->moment);
    return 0;
}

/* Nothing is cleared before the module is freed: its types keep it, and need its state until they are gone. */
static void
store_free(void *module)
{
    State *st = PyModule_GetState((PyObject *)module);
    if (st == NULL)
        return;
    Py_CLEAR(st->core);
    Py_CLEAR(st->entry);
    Py_CLEAR(st->living);
    Py_CLEAR(st->allowance);
    Py_CLEAR(st->counts);
    Py_CLEAR(st->instance);
    Py_CLEAR(st->clock);
    Py_CLEAR(st->monotonic);
    Py_CLEAR(st->perf_counter);
    Py_CLEAR(st->moment);
    Py_CLEAR(st->long_sizeof);
    Py_CLEAR(st->str_sizeof);
    Py_CLEAR(st->s_missing);
    Py_CLEAR(st->s_gone);
    Py_CLEAR(st->s_insert);
    Py_CLEAR(st->s_policy);
    Py_CLEAR(st->s_dated);
    Py_CLEAR(st->s_pop);
    Py_CLEAR(st->s_expired);
    Py_CLEAR(st->s_deleted);
    Py_CLEAR(st->s_evicted);
    Py_CLEAR(st->s_user);
}

#ifdef Py_GIL_DISABLED
/* stamp(clock), set_stamp(clock, now): what `clock.now` is made of here, as twin.py sees to. */
static PyObject *
stamp(PyObject *module, PyObject *Py_UNUSED(clock))
{
    return PyFloat_FromDouble(shared_double(&((State *)PyModule_GetState(module))->stamp));
}

static PyObject *
set_stamp(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (counted(nargs, 2, 2, "set_stamp"))
        return NULL;
    double now = PyFloat_AsDouble(args[1]);
    if (now == -1.0 && PyErr_Occurred())
        return NULL;
    share_double(&((State *)PyModule_GetState(module))->stamp, now);
    Py_RETURN_NONE;
}
#endif

static PyMethodDef store_functions[] = {
    {"trust_leaves", trust_leaves, METH_O, "Say whether str, bytes, int and float may be weighed in C."},
    {"apart", apart, METH_O, "Say whether the entries of this moment are shared with another process."},
#ifdef Py_GIL_DISABLED
    {"stamp", stamp, METH_O, "Return the time of the last tick."},
    {"set_stamp", (PyCFunction)(void (*)(void))set_stamp, METH_FASTCALL, "Set it."},
#endif
    {NULL},
};

static PyModuleDef_Slot store_module_slots[] = {
    {Py_mod_exec, store_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

struct PyModuleDef store_module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "ebbcache.store._store",
    .m_doc = "The native twin of the pure store.",
    .m_size = sizeof(State),
    .m_methods = store_functions,
    .m_slots = store_module_slots,
    .m_traverse = store_traverse,
    .m_free = store_free,
};

PyMODINIT_FUNC
PyInit__store(void)
{
    return PyModuleDef_Init(&store_module);
}
