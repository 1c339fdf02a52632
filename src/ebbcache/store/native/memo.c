/* The decorators' callable: a call's arguments find their entry without becoming a key.
 *
 * The caller's arguments lie in an array (vectorcall, PEP 590), and are looked up as they lie there (calls.h). So a hit
 * makes no tuple, no key and no frame, with a deadline as without. Keywords go to their places by a plan that is worked
 * out once for each tuple of names, which a call site always passes as the same object.
 *
 * Three ways for a call to be a key. *Bound*: all parameters in their order, defaults filled in, so that calls that
 * mean the same share an entry; one parameter is the key itself. *Written*: functools' way, positions, a mark, the
 * names and the values in the order of the call; with `alone`, a single exact int or str is the key itself.
 * *Made*: what a function of the user's answers for the arguments. `typed` appends the arguments' types. In a
 * method's key an Instance (instance.c) stands for the first argument, so a look-up asks that for nothing.
 *
 * A miss makes the key and goes to miss.c. The Python wrapper behind this one does what is rare: it refuses a call that
 * does not fit the parameters, in the function's own words, and it carries out a method's misses.
 */
#include "memo.h"

/* Whether tuples hash here as they do in this interpreter. */
int
tuples_hash_alike(void)
{
    PyObject *sample = Py_BuildValue("(sid)", "a", 7, 0.5);
    if (sample == NULL)
        return -1;
    Py_uhash_t sum = PRIME_5;
    for (Py_ssize_t n = 0; n < 3; n++)
        sum = mixed(sum, PyObject_Hash(PyTuple_GET_ITEM(sample, n)));
    Py_hash_t theirs = PyObject_Hash(sample);
    Py_DECREF(sample);
    return theirs == finished(sum, 3);
}

/* ------------------------------------------------------------------------------------------------ answering */

static inline PyObject *
hit(Core *s, uint32_t i)
{
    PyObject *value = Py_NewRef(s->slots[i].value);
    touch(s, i);
    return value;
}

/* Look a key up and answer; the key is the caller's. */
static inline PyObject *
answer(Memo *self, PyObject *key, Py_hash_t hash, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Core *s = self->cache;
    uint32_t i = find(s, key, hash);
    if (LIKELY(i < FAIL) && LIKELY(is_fresh(s, i)))
        return hit(s, i);
    if (i == FAIL)
        return NULL;
    if (i == NIL)
        return miss(self, Py_NewRef(key), hash, s->version + 1, args, nargsf, names);
    int found = seek(s, key, tag_of(hash), &i);
    if (found < 0)
        return NULL;
    return found ? hit(s, i) : miss(self, Py_NewRef(key), hash, 0, args, nargsf, names);
}

static inline PyObject *
answer_call(Memo *self, const Call *call, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Core *s = self->cache;
    Py_hash_t hash;
    if (UNLIKELY(hash_call(call, &hash)))
        return NULL;
    uint32_t i = find_call(s, call, tag_of(hash));
    if (LIKELY(i < FAIL) && LIKELY(is_fresh(s, i))) {
        PyObject *value = hit(s, i);
        if (UNLIKELY(value == self->itself))
            Py_SETREF(value, Py_NewRef(call->lanes[0]));
        return value;
    }
    if (call->method)
        return by_wrapper(self, args, nargsf, names);
    uint64_t version = s->version; /* a new tuple may have the collector run */
    PyObject *key = key_of(call);
    if (key == NULL)
        return NULL;
    if (i == NIL)
        return miss(self, key, hash, version + 1, args, nargsf, names);
    PyObject *value = answer(self, key, hash, args, nargsf, names);
    Py_DECREF(key);
    return value;
}

/* A call without arguments has one key, so that where it was found is where it is, unless entries moved. */
static inline PyObject *
answer_nothing(Memo *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Core *s = self->cache;
    uint32_t i = self->nothing_at;
    if (LIKELY(i < s->used && s->slots[i].key == self->nothing) && LIKELY(is_fresh(s, i)))
        return hit(s, i);
    i = find(s, self->nothing, self->nothing_hash);
    if (i < FAIL)
        self->nothing_at = i;
    return answer(self, self->nothing, self->nothing_hash, args, nargsf, names);
}

static int
is_cleared(Memo *self)
{
    if (LIKELY(self->cache != NULL))
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "the collector has cleared this function");
    return 1;
}

/* A type in a key is held, for hashing its argument may change the argument's class. */
static inline PyObject *
held_type(PyObject *of)
{
    return Py_NewRef((PyObject *)Py_TYPE(of));
}

/* ------------------------------------------------------------------------------------- calls as written, made */

static PyObject *
call_written(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Memo *self = (Memo *)callable;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf), more = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (is_cleared(self))
        return NULL;
    if (nargs + more == 0)
        return answer_nothing(self, args, nargsf, names);
    if (UNLIKELY(more && self->parameters != NULL)) /* there are none that have names */
        return by_wrapper(self, args, nargsf, names);
    if (more == 0 && !self->typed) {
        if (nargs == 1 && self->alone && (PyLong_CheckExact(args[0]) || PyUnicode_CheckExact(args[0])))
            return answer(self, args[0], hash_of(args[0]), args, nargsf, names);
        Call call = {args, nargs, 0};
        return answer_call(self, &call, args, nargsf, names);
    }
    Py_ssize_t untyped = nargs + (more ? 1 + 2 * more : 0);
    Py_ssize_t count = untyped + (self->typed ? nargs + more : 0);
    PyObject *few[MOST_LANES], **lanes = few;
    if (count > MOST_LANES && (lanes = PyMem_New(PyObject *, count)) == NULL)
        return PyErr_NoMemory();
    Py_ssize_t n = 0;
    for (; n < nargs; n++)
        lanes[n] = args[n];
    if (more)
        lanes[n++] = self->mark;
    for (Py_ssize_t k = 0; k < more; k++)
        lanes[n++] = PyTuple_GET_ITEM(names, k);
    for (Py_ssize_t k = 0; k < more; k++)
        lanes[n++] = args[nargs + k];
    for (Py_ssize_t k = 0; n < count; k++)
        lanes[n++] = held_type(args[k]);
    Call call = {lanes, count, 0};
    PyObject *value = answer_call(self, &call, args, nargsf, names);
    while (n > untyped)
        Py_DECREF(lanes[--n]);
    if (lanes != few)
        PyMem_Free(lanes);
    return value;
}

static PyObject *
call_made(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Memo *self = (Memo *)callable;
    if (is_cleared(self))
        return NULL;
    if (self->itself != NULL && PyVectorcall_NARGS(nargsf) == 0)
        return by_wrapper(self, args, nargsf, names);
    PyObject *make = Py_NewRef(self->make), *key;
    BEGIN_OUTSIDE
    key = PyObject_Vectorcall(make, args, nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    Py_DECREF(make);
    END_OUTSIDE
    if (key == NULL)
        return NULL;
    PyObject *value = NULL;
    if (is_cleared(self))
        ;
    else if (self->itself != NULL) {
        PyObject *lanes[] = {args[0], key};
        Call call = {lanes, 2, 1};
        value = answer_call(self, &call, args, nargsf, names);
    }
    else {
        Py_hash_t hash = hash_of(key);
        if (hash != -1)
            value = answer(self, key, hash, args, nargsf, names);
    }
    Py_DECREF(key);
    return value;
}

/* -------------------------------------------------------------------------------------------- calls as bound */

/* Find or work out where a call's keywords go; NULL without an exception if it does not fit. The tuple of names
 * whose plan had to make room goes to `left`. */
static Plan *
plan_for(Memo *self, PyObject *names, PyObject **left)
{
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    for (int at = 0; at < PLANS; at++)
        if (self->plans[at].names == names)
            return &self->plans[at];
    if (count > self->count)
        return NULL;
    /* What ** unpacks comes in a fresh tuple each time, which must not drive out those that come again. */
    for (int at = 0; at < PLANS; at++) {
        PyObject *known = self->plans[at].names;
        if (known == NULL || PyTuple_GET_SIZE(known) != count)
            continue;
        Py_ssize_t n = 0;
        while (n < count && PyTuple_GET_ITEM(known, n) == PyTuple_GET_ITEM(names, n))
            n++;
        if (n == count)
            return &self->plans[at];
    }
    Plan made = {.fills = 0};
    for (Py_ssize_t n = 0; n < count; n++) {
        PyObject *name = PyTuple_GET_ITEM(names, n);
        int at = self->named_from;
        if (!PyUnicode_CheckExact(name))
            return NULL;
        while (at < self->count && name != PyTuple_GET_ITEM(self->parameters, at) &&
               !same_plainly(name, PyTuple_GET_ITEM(self->parameters, at)))
            at++;
        if (at == self->count || (made.fills & (UINT32_C(1) << at)))
            return NULL;
        made.place[n] = (uint8_t)at;
        made.fills |= UINT32_C(1) << at;
    }
    made.names = Py_NewRef(names);
    Plan *plan = &self->plans[self->next_plan];
    self->next_plan = (self->next_plan + 1) % PLANS;
    *left = plan->names;
    *plan = made;
    return plan;
}

/* Put the arguments of a call in the parameters' order: 1; 0: they do not fit; -1: an exception. What may go away
 * while the arguments are hashed is held, in `held`. */
static int
bind(Memo *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names, PyObject **bound, PyObject **held,
     int *holds)
{
    int count = self->count, positional = self->positional;
    uint32_t filled = (UINT32_C(1) << nargs) - 1;
    for (Py_ssize_t n = 0; n < nargs; n++)
        bound[n] = args[n];
    if (names != NULL && PyTuple_GET_SIZE(names)) {
        PyObject *left = NULL;
        Plan *plan = plan_for(self, names, &left);
        if (left != NULL)
            held[(*holds)++] = left;
        if (plan == NULL || (plan->fills & filled))
            return 0;
        filled |= plan->fills;
        Py_ssize_t more = PyTuple_GET_SIZE(names);
        for (Py_ssize_t k = 0; k < more; k++)
            bound[plan->place[k]] = args[nargs + k];
    }
    int first = positional - (int)PyTuple_GET_SIZE(self->defaults);
    for (int n = (int)nargs; filled != (UINT32_C(1) << count) - 1; n++) {
        if (filled & (UINT32_C(1) << n))
            continue;
        filled |= UINT32_C(1) << n;
        if (n < first)
            return 0;
        if (n < positional) {
            bound[n] = PyTuple_GET_ITEM(self->defaults, n - first);
            continue;
        }
        PyObject *given = NULL, *name = PyTuple_GET_ITEM(self->parameters, n); /* the dict is anybody's to change */
#if PY_VERSION_HEX >= 0x030D0000
        if (self->named_defaults != NULL && PyDict_GetItemRef(self->named_defaults, name, &given) < 0)
            return -1;
        if (given == NULL)
            return 0;
#else
        if (self->named_defaults != NULL)
            given = PyDict_GetItemWithError(self->named_defaults, name);
        if (given == NULL)
            return PyErr_Occurred() ? -1 : 0;
        Py_INCREF(given);
#endif
        bound[n] = held[(*holds)++] = given;
    }
    return 1;
}

static PyObject *
call_bound(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Memo *self = (Memo *)callable;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    int count = self->count;
    if (is_cleared(self))
        return NULL;
    if (UNLIKELY(nargs > self->positional))
        return by_wrapper(self, args, nargsf, names);
    PyObject *const *values = args;
    PyObject *lanes[2 * MOST_PARAMETERS], *held[2 * MOST_PARAMETERS + 1], *value = NULL;
    int holds = 0;
    if (names != NULL || nargs != count) {
        int fits = bind(self, args, nargs, names, lanes, held, &holds);
        if (fits <= 0) {
            if (fits == 0)
                value = by_wrapper(self, args, nargsf, names);
            goto done;
        }
        values = lanes;
    }
    Call call = {values, count, self->itself != NULL};
    if (self->typed) {
        for (int n = 0; n < count; n++)
            lanes[n] = values[n];
        for (int n = call.method; n < count; n++)
            lanes[call.count++] = held[holds++] = held_type(lanes[n]);
        call.lanes = lanes;
    }
    else if (count == 1 && !call.method) {
        Py_hash_t hash = hash_of(values[0]);
        value = hash == -1 ? NULL : answer(self, values[0], hash, args, nargsf, names);
        goto done;
    }
    value = answer_call(self, &call, args, nargsf, names);
done:
    while (UNLIKELY(holds))
        Py_DECREF(held[--holds]);
    return value;
}

/* The same for a function without parameters. */
static PyObject *
call_nothing(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Memo *self = (Memo *)callable;
    if (UNLIKELY(PyVectorcall_NARGS(nargsf) || names != NULL || self->cache == NULL))
        return call_bound(callable, args, nargsf, names);
    return answer_nothing(self, args, nargsf, names);
}

/* The same for a function of one parameter, given by position, which is most calls of most functions. */
static PyObject *
call_one(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Memo *self = (Memo *)callable;
    if (UNLIKELY(PyVectorcall_NARGS(nargsf) != 1 || names != NULL || self->cache == NULL))
        return call_bound(callable, args, nargsf, names);
    Py_hash_t hash = hash_of(args[0]);
    return UNLIKELY(hash == -1) ? NULL : answer(self, args[0], hash, args, nargsf, names);
}

/* All that a call looks at belongs to its cache or to itself, so it runs alone on the cache. */
#ifdef Py_GIL_DISABLED
static PyObject *
cache_of(PyObject *callable)
{
    Core *cache = ((Memo *)callable)->cache;
    return cache == NULL ? callable : (PyObject *)cache; /* the collector has cleared it */
}
#endif

#define GUARD_CALL(function) \
    GUARD(PyObject *, function, cache_of(callable), \
          (PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names), (callable, args, nargsf, names))
GUARD_CALL(call_made)
GUARD_CALL(call_written)
GUARD_CALL(call_nothing)
GUARD_CALL(call_one)
GUARD_CALL(call_bound)

/* -------------------------------------------------------------------------------------------------- the type */

/* Memo(func, cache, keep, clock, wrapper, *, ttl=None, invalidated=None, mark=None, alone=False, make=None,
 *      itself=None, typed=False, parameters=(), positional=0, named_from=0, defaults=(), named_defaults=None)
 *
 * `keep` is None for a method, whose `itself` is given; `mark` or `make` choose how a call is a key. */
static PyObject *
memo_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"func",  "cache", "keep", "clock",  "wrapper", "ttl",        "invalidated", "mark",
                            "alone", "make",  "itself", "typed", "parameters", "positional", "named_from",  "defaults",
                            "named_defaults", NULL};
    PyObject *func, *cache, *keep, *clock, *wrapper, *mark = Py_None, *make = Py_None, *itself = Py_None;
    PyObject *parameters = NULL, *defaults = NULL, *named_defaults = Py_None, *ttl = Py_None, *invalidated = Py_None;
    double lifetime = Py_NAN;
    Py_ssize_t last_at = 0;
    int positional = 0, named_from = 0, alone = 0, typed = 0;
    PyObject *module = PyType_GetModuleByDef(type, &store_module);
    if (module == NULL)
        return NULL;
    State *st = PyModule_GetState(module);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!OOO|$OOOpOOpO!iiO!O", names, &func, st->core, &cache, &keep,
                                     &clock, &wrapper, &ttl, &invalidated, &mark, &alone, &make, &itself, &typed, &PyTuple_Type,
                                     &parameters, &positional, &named_from, &PyTuple_Type, &defaults,
                                     &named_defaults))
        return NULL;
    Py_ssize_t count = parameters == NULL ? 0 : PyTuple_GET_SIZE(parameters);
    if ((named_defaults != Py_None && !PyDict_CheckExact(named_defaults)) ||
        (defaults != NULL && PyTuple_GET_SIZE(defaults) > positional) || count > MOST_PARAMETERS ||
        positional < 0 || positional > count || named_from < 0 || named_from > count) {
        PyErr_SetString(PyExc_ValueError, "these are no parameters that a Memo can bind");
        return NULL;
    }
    if ((keep == Py_None) != (itself != Py_None) || (itself != Py_None && make == Py_None && positional == 0)) {
        PyErr_SetString(PyExc_ValueError, "a method has an instance and leaves misses to its wrapper");
        return NULL;
    }
    for (Py_ssize_t n = 0; n < count; n++)
        if (!PyUnicode_CheckExact(PyTuple_GET_ITEM(parameters, n))) {
            PyErr_SetString(PyExc_TypeError, "parameters are named by str");
            return NULL;
        }
    if (ttl != Py_None && (lifetime = PyFloat_AsDouble(ttl)) == -1.0 && PyErr_Occurred())
        return NULL;
    if (invalidated != Py_None && (last_at = offset_of((PyObject *)Py_TYPE(invalidated), "last")) < 0)
        return NULL;
    Memo *self = (Memo *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->ttl = lifetime;
    self->invalidated = invalidated == Py_None ? NULL : Py_NewRef(invalidated);
    self->last_at = last_at;
    self->quick = clock == st->perf_counter;
    self->func = Py_NewRef(func);
    self->cache = (Core *)Py_NewRef(cache);
    self->clock = Py_NewRef(clock);
    self->wrapper = Py_NewRef(wrapper);
    self->keep = keep == Py_None ? NULL : Py_NewRef(keep);
    self->itself = itself == Py_None ? NULL : Py_NewRef(itself);
    self->make = make == Py_None ? NULL : Py_NewRef(make);
    self->mark = mark == Py_None ? NULL : Py_NewRef(mark);
    self->parameters = Py_XNewRef(parameters);
    self->named_defaults = named_defaults == Py_None ? NULL : Py_NewRef(named_defaults);
    self->count = (int)count;
    self->positional = positional;
    self->named_from = named_from;
    self->typed = typed;
    self->alone = alone;
    self->vectorcall = self->make != NULL   ? ALONE(call_made)
                       : self->mark != NULL ? ALONE(call_written)
                       : count == 0                                                   ? ALONE(call_nothing)
                       : count == 1 && positional == 1 && !typed && itself == Py_None ? ALONE(call_one)
                                                                                      : ALONE(call_bound);
    self->defaults = defaults == NULL ? PyTuple_New(0) : Py_NewRef(defaults);
    self->nothing = PyTuple_New(0);
    self->nothing_hash = finished(PRIME_5, 0);
    if (self->defaults == NULL || self->nothing == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
memo_traverse(Memo *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->func);
    Py_VISIT(self->cache);
    Py_VISIT(self->keep);
    Py_VISIT(self->clock);
    Py_VISIT(self->wrapper);
    Py_VISIT(self->invalidated);
    Py_VISIT(self->itself);
    Py_VISIT(self->make);
    Py_VISIT(self->mark);
    Py_VISIT(self->defaults);
    Py_VISIT(self->named_defaults);
    Py_VISIT(self->dict);
    return 0;
}

static int
memo_clear(Memo *self)
{
    Py_CLEAR(self->cache);
    Py_CLEAR(self->func);
    Py_CLEAR(self->keep);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->wrapper);
    Py_CLEAR(self->invalidated);
    Py_CLEAR(self->itself);
    Py_CLEAR(self->make);
    Py_CLEAR(self->mark);
    Py_CLEAR(self->named_defaults);
    Py_CLEAR(self->dict);
    return 0;
}

static void
memo_dealloc(Memo *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    memo_clear(self);
    for (int n = 0; n < PLANS; n++)
        Py_CLEAR(self->plans[n].names);
    Py_CLEAR(self->parameters);
    Py_CLEAR(self->defaults);
    Py_CLEAR(self->nothing);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
memo_descr_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(owner))
{
    return instance == NULL || instance == Py_None ? Py_NewRef(self) : PyMethod_New(self, instance);
}

static PyObject *
memo_repr(Memo *self)
{
    return PyUnicode_FromFormat("<cached %R>", self->func == NULL ? Py_None : self->func);
}

/* Like a function, it is pickled by its name and copied by not copying it. */
static PyObject *
memo_reduce(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyObject_GetAttrString(self, "__qualname__");
}

static PyObject *
memo_copy(PyObject *self, PyObject *Py_UNUSED(memo))
{
    return Py_NewRef(self);
}

static PyMethodDef memo_methods[] = {
    {"__copy__", memo_copy, METH_NOARGS, NULL},
    {"__deepcopy__", memo_copy, METH_O, NULL},
    {"__reduce__", memo_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyMemberDef memo_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Memo, vectorcall), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(Memo, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Memo, weakrefs), READONLY, NULL},
    {NULL},
};

static PyGetSetDef memo_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL},
};

static PyType_Slot memo_slots[] = {
    {Py_tp_new, memo_new},
    {Py_tp_dealloc, memo_dealloc},
    {Py_tp_traverse, memo_traverse},
    {Py_tp_clear, memo_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, memo_descr_get},
    {Py_tp_repr, memo_repr},
    {Py_tp_methods, memo_methods},
    {Py_tp_members, memo_members},
    {Py_tp_getset, memo_getset},
    {0, NULL},
};

PyType_Spec memo_spec = {
    .name = "ebbcache.store._store.Memo",
    .basicsize = sizeof(Memo),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = memo_slots,
};
