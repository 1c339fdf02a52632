/* The type that caches derive from: how it is made, seen by the collector, emptied and freed.
 *
 * Its methods are in lookup.c (hits and misses), insert.c (linking) and contract.c (the store's contract).
 */
#include "store.h"

static PyObject *
core_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &store_module);
    if (module == NULL)
        return NULL;
    State *st = PyModule_GetState(module);
    Policy policy;
    PyObject *name = PyObject_GetAttr((PyObject *)type, st->s_policy);
    if (name == NULL || !PyUnicode_Check(name)) {
        Py_XDECREF(name);
        PyErr_Format(PyExc_TypeError, "%s has no policy", type->tp_name);
        return NULL;
    }
    if (PyUnicode_CompareWithASCIIString(name, "lru") == 0)
        policy = LRU;
    else if (PyUnicode_CompareWithASCIIString(name, "lfu") == 0)
        policy = LFU;
    else if (PyUnicode_CompareWithASCIIString(name, "density") == 0)
        policy = DENSITY;
    else {
        PyErr_Format(PyExc_ValueError, "policy must be lru, lfu or density, got %R", name);
        Py_DECREF(name);
        return NULL;
    }
    Py_DECREF(name);
    PyObject *nothing = PyTuple_New(0);
    if (nothing == NULL)
        return NULL;
    Core *s = (Core *)PyBaseObject_Type.tp_new(type, nothing, NULL);
    Py_DECREF(nothing);
    if (s == NULL)
        return NULL;
    s->st = st;
    s->policy = policy;
    s->shift = 32;
    s->head = s->tail = s->vacant = s->last = NIL;
    s->forks = st->forks;
    s->gain = 1.0;
    s->seed = 1;
    s->ttl = Py_NAN;
    s->maxbytes = -1;
    s->maxsize = Py_HUGE_VAL;
    s->timer = Py_NewRef(st->monotonic);
    return (PyObject *)s;
}

static int
core_init(Core *s, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timer", NULL};
    PyObject *timer = s->st->monotonic;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &timer))
        return -1;
    Py_SETREF(s->timer, Py_NewRef(timer));
    s->hits = s->misses = 0;
    s->gain = 1.0;
    s->seed = 1;
    s->cost_total = 0.0;
    s->cost_count = 0;
    s->age_at = 0;
    s->pooled = 0;
    s->simple = 0;
    Py_CLEAR(s->counts);
    Core taken;
    table_drain(s, &taken);
    table_free(&taken);
    return 0;
}

static int
core_traverse(Core *s, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(s));
    Py_VISIT(s->timer);
    Py_VISIT(s->listener);
    Py_VISIT(s->sizeof_);
    Py_VISIT(s->weigh);
    return table_traverse(s, visit, arg);
}

static int
core_clear(Core *s)
{
    Core taken;
    table_drain(s, &taken);
    table_free(&taken);
    Py_CLEAR(s->listener);
    Py_CLEAR(s->sizeof_);
    Py_CLEAR(s->weigh);
    s->simple = 0;
    /* The timer stays callable for whoever finds a store that the collector has emptied. */
    Py_SETREF(s->timer, Py_NewRef(s->st->monotonic));
    return 0;
}

static void
core_dealloc(Core *s)
{
    PyTypeObject *type = Py_TYPE(s);
    PyObject_GC_UnTrack(s);
    if (s->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)s);
    /* Nobody else has it, so its arrays need not be taken out first: frames stay small where caches are nested deeply. */
    table_free(s);
    free_beside(s);
    Py_CLEAR(s->timer);
    Py_CLEAR(s->listener);
    Py_CLEAR(s->sizeof_);
    Py_CLEAR(s->weigh);
    Py_CLEAR(s->allowance);
    Py_CLEAR(s->counts);
    type->tp_free(s);
    Py_DECREF(type);
}

static PyObject *
core_get_timer(Core *s, void *Py_UNUSED(closure))
{
    return Py_NewRef(s->timer);
}

static int
core_set_timer(Core *s, PyObject *timer, void *Py_UNUSED(closure))
{
    if (timer == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a store needs its timer");
        return -1;
    }
    Py_SETREF(s->timer, Py_NewRef(timer));
    return 0;
}

static PyObject *
core_get_listener(Core *s, void *Py_UNUSED(closure))
{
    return Py_NewRef(s->listener == NULL ? Py_None : s->listener);
}

static int
core_set_listener(Core *s, PyObject *listener, void *Py_UNUSED(closure))
{
    Py_XSETREF(s->listener, Py_XNewRef(listener));
    return 0;
}

static PyObject *
core_get_weight(Core *s, void *Py_UNUSED(closure))
{
    return s->fractional ? PyFloat_FromDouble(s->weight) : PyLong_FromDouble(s->weight);
}

static PyObject *
core_get_unordered(Core *s, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(s->unordered);
}

PyObject *
core_sizeof(Core *s, PyObject *Py_UNUSED(none))
{
    size_t each = sizeof *s->slots + sizeof *s->uses + (s->costs ? sizeof *s->costs : 0) +
                  (s->weights ? sizeof *s->weights : 0) + (s->dues ? sizeof *s->dues : 0) + (s->odd ? sizeof *s->odd : 0) +
                  (s->wide ? sizeof *s->wide : 0);
    size_t size = (size_t)Py_TYPE(s)->tp_basicsize + each * s->room +
                  (s->index ? ((size_t)s->mask + 1) * sizeof *s->index : 0) +
                  (s->due.room + s->ranks.room) * sizeof(Item) + s->cells +
                  (s->trust.watched ? WATCHED * sizeof *s->trust.watched : 0);
    return PyLong_FromSize_t(size);
}

GUARD(int, core_init, s, (Core *s, PyObject *args, PyObject *kwargs), (s, args, kwargs))
GUARD(PyObject *, core_get_timer, s, (Core *s, void *closure), (s, closure))
GUARD(int, core_set_timer, s, (Core *s, PyObject *timer, void *closure), (s, timer, closure))
GUARD(PyObject *, core_get_listener, s, (Core *s, void *closure), (s, closure))
GUARD(int, core_set_listener, s, (Core *s, PyObject *listener, void *closure), (s, listener, closure))
GUARD(PyObject *, core_get_weight, s, (Core *s, void *closure), (s, closure))
GUARD(PyObject *, core_iter, s, (Core *s), (s))
GUARD(PyObject *, core_subscript, s, (Core *s, PyObject *key), (s, key))
GUARD(int, core_ass_subscript, s, (Core *s, PyObject *key, PyObject *value), (s, key, value))
GUARD(Py_ssize_t, core_length, s, (Core *s), (s))
GUARD(int, core_contains, s, (Core *s, PyObject *key), (s, key))

static PyGetSetDef core_getset[] = {
    {"timer", (getter)ALONE(core_get_timer), (setter)ALONE(core_set_timer), "Tells the time for deadlines.", NULL},
    {"listener", (getter)ALONE(core_get_listener), (setter)ALONE(core_set_listener),
     "Called after an entry has left, or None.", NULL},
    {"_weight", (getter)ALONE(core_get_weight), NULL, "The sum of the entries' weights.", NULL},
    {"_unordered", (getter)core_get_unordered, NULL, "Some deadline has no place in the order.", NULL},
    {NULL},
};

static PyMemberDef core_members[] = {
    {"hits", T_LONGLONG, offsetof(Core, hits), 0, "Lookups that found a live entry."},
    {"misses", T_LONGLONG, offsetof(Core, misses), 0, "Lookups that did not."},
    {"nbytes", T_LONGLONG, offsetof(Core, nbytes), READONLY, "Bytes held: the sum of the entries' sizes."},
    {"_gain", T_DOUBLE, offsetof(Core, gain), 0, "What a hit counts now."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Core, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot core_slots[] = {
    {Py_tp_doc, "Entries by key, with byte and weight totals, an order of eviction and deadlines."},
    {Py_tp_new, core_new},
    {Py_tp_init, ALONE(core_init)},
    {Py_tp_dealloc, core_dealloc},
    {Py_tp_traverse, core_traverse},
    {Py_tp_clear, core_clear},
    {Py_tp_iter, ALONE(core_iter)},
    {Py_tp_methods, core_methods},
    {Py_tp_members, core_members},
    {Py_tp_getset, core_getset},
    {Py_mp_subscript, ALONE(core_subscript)},
    {Py_mp_ass_subscript, ALONE(core_ass_subscript)},
    {Py_mp_length, ALONE(core_length)},
    {Py_sq_contains, ALONE(core_contains)},
    {0, NULL},
};

PyType_Spec core_spec = {
    .name = "ebbcache.store._store.Core",
    .basicsize = sizeof(Core),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = core_slots,
};
