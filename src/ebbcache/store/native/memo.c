/* The decorators' callable: a call's arguments find their entry without becoming a key.
 *
 * The caller's arguments lie in an array (vectorcall, PEP 590). They are hashed one by one, the way a tuple of them
 * would be (xxHash's rounds, as in CPython's tupleobject.c; checked at import), and compared one by one with the
 * stored key. So a hit makes no tuple, no key and no frame. Keywords go to their places by a plan that is worked out
 * once for each tuple of names, which a call site always passes as the same object.
 *
 * Two ways for a call to be a key. *Bound*: all parameters in their order, defaults filled in, so that calls that
 * mean the same share an entry; one parameter is the key itself. *Flat*: functools' way, positions and keywords as
 * they were written.
 *
 * What is not a plain hit goes the long way: a miss makes the key, calls the function, and tells Python what came of
 * it; a call that does not fit the parameters is left to the Python wrapper, which refuses it in the function's own
 * words.
 */
#include "store.h"

#define MOST_PARAMETERS 16
#define PLANS 4

typedef struct {
    PyObject *names;                /* a call's tuple of keyword names; NULL: vacant */
    uint8_t place[MOST_PARAMETERS]; /* which parameter each of them is */
} Plan;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    State *st;
    Core *cache;
    PyObject *func, *keep, *clock, *refuse;
    PyObject *mark;                 /* flat: stands between positions and keywords; NULL: bound */
    PyObject *parameters;           /* bound: a tuple of names */
    PyObject *defaults;             /* bound: the tuple of defaults of the last positions */
    PyObject *named_defaults;       /* bound: the function's own dict, which may change; or NULL */
    int count, positional, named_from;
    Plan plans[PLANS];
    int next_plan;
    PyObject *dict, *weakrefs;
} Memo;

/* ------------------------------------------------------------------------------------------- hashing tuples */

#if SIZEOF_PY_UHASH_T > 4
#define PRIME_1 ((Py_uhash_t)11400714785074694791ULL)
#define PRIME_2 ((Py_uhash_t)14029467366897019727ULL)
#define PRIME_5 ((Py_uhash_t)2870177450012600261ULL)
#define ROTATED(x) (((x) << 31) | ((x) >> 33))
#else
#define PRIME_1 ((Py_uhash_t)2654435761UL)
#define PRIME_2 ((Py_uhash_t)2246822519UL)
#define PRIME_5 ((Py_uhash_t)374761393UL)
#define ROTATED(x) (((x) << 13) | ((x) >> 19))
#endif

static inline Py_uhash_t
mixed(Py_uhash_t sum, Py_hash_t lane)
{
    sum += (Py_uhash_t)lane * PRIME_2;
    return ROTATED(sum) * PRIME_1;
}

static inline Py_hash_t
finished(Py_uhash_t sum, Py_ssize_t length)
{
    sum += (Py_uhash_t)length ^ (PRIME_5 ^ (Py_uhash_t)3527539UL);
    return sum == (Py_uhash_t)-1 ? 1546275796 : (Py_hash_t)sum;
}

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

/* ------------------------------------------------------------------------------------------- finding a call */

/* A call as a key would be: positions, then, in a flat call with keywords, the mark and (name, value) pairs. */
typedef struct {
    PyObject *const *values;
    Py_ssize_t count;
    PyObject *names, *mark; /* NULL without keywords; their values follow the positions */
} Call;

static int
hash_call(const Call *call, Py_hash_t *hash)
{
    Py_uhash_t sum = PRIME_5;
    Py_ssize_t length = call->count;
    for (Py_ssize_t n = 0; n < call->count; n++) {
        Py_hash_t lane = hash_of(call->values[n]);
        if (lane == -1)
            return -1;
        sum = mixed(sum, lane);
    }
    if (call->names != NULL) {
        Py_hash_t lane = PyObject_Hash(call->mark);
        if (lane == -1)
            return -1;
        sum = mixed(sum, lane);
        Py_ssize_t more = PyTuple_GET_SIZE(call->names);
        for (Py_ssize_t n = 0; n < more; n++) {
            Py_hash_t name = hash_of(PyTuple_GET_ITEM(call->names, n));
            if (name == -1)
                return -1;
            lane = hash_of(call->values[call->count + n]);
            if (lane == -1)
                return -1;
            sum = mixed(sum, finished(mixed(mixed(PRIME_5, name), lane), 2));
        }
        length += 1 + more;
    }
    *hash = finished(sum, length);
    return 0;
}

/* Whether a stored key is this call, if that takes no foreign code: 1 or 0; -1: ask. */
static inline int
is_call(PyObject *stored, const Call *call)
{
    Py_ssize_t more = call->names == NULL ? 0 : 1 + PyTuple_GET_SIZE(call->names);
    if (!PyTuple_CheckExact(stored))
        return -1;
    if (PyTuple_GET_SIZE(stored) != call->count + more)
        return 0;
    int sure = 1;
    for (Py_ssize_t n = 0; n < call->count; n++) {
        PyObject *own = PyTuple_GET_ITEM(stored, n), *given = call->values[n];
        int same = own == given ? 1 : same_plainly(own, given);
        if (same == 0)
            return 0;
        if (same < 0)
            sure = 0;
    }
    if (more) {
        if (PyTuple_GET_ITEM(stored, call->count) != call->mark)
            return -1;
        for (Py_ssize_t n = 0; n + 1 < more; n++) {
            PyObject *pair = PyTuple_GET_ITEM(stored, call->count + 1 + n);
            if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2)
                return -1;
            PyObject *name = PyTuple_GET_ITEM(call->names, n), *given = call->values[call->count + n];
            int same = PyTuple_GET_ITEM(pair, 0) == name ? 1 : same_plainly(PyTuple_GET_ITEM(pair, 0), name);
            if (same == 0)
                return 0;
            if (same > 0) {
                PyObject *own = PyTuple_GET_ITEM(pair, 1);
                same = own == given ? 1 : same_plainly(own, given);
                if (same == 0)
                    return 0;
            }
            if (same < 0)
                sure = 0;
        }
    }
    return sure ? 1 : -1;
}

static PyObject *
key_of(const Call *call)
{
    Py_ssize_t more = call->names == NULL ? 0 : 1 + PyTuple_GET_SIZE(call->names);
    PyObject *key = PyTuple_New(call->count + more);
    if (key == NULL)
        return NULL;
    for (Py_ssize_t n = 0; n < call->count; n++)
        PyTuple_SET_ITEM(key, n, Py_NewRef(call->values[n]));
    if (more) {
        PyTuple_SET_ITEM(key, call->count, Py_NewRef(call->mark));
        for (Py_ssize_t n = 0; n + 1 < more; n++) {
            PyObject *pair =
                PyTuple_Pack(2, PyTuple_GET_ITEM(call->names, n), call->values[call->count + n]);
            if (pair == NULL) {
                Py_DECREF(key);
                return NULL;
            }
            PyTuple_SET_ITEM(key, call->count + 1 + n, pair);
        }
    }
    return key;
}

/* Whether the elements of a key of tuples must be asked (`==` is foreign, or tells by NaN's rules): a probe that
 * cannot tell leaves it to find_tagged, with a real key. Returns a slot, NIL, or FAIL without an exception. */
static inline uint32_t
find_call(Core *s, const Call *call, uint32_t tag)
{
    if (s->live == 0)
        return NIL;
    for (uint32_t at = tag >> s->shift;; at = (at + 1) & s->mask) {
        uint32_t i = s->index[at];
        if (i == NIL)
            return NIL;
        if (s->slots[i].tag != tag)
            continue;
        int same = is_call(s->slots[i].key, call);
        if (same > 0)
            return i;
        if (same < 0)
            return FAIL;
    }
}

/* ------------------------------------------------------------------------------------------------- calling */

/* Call the function and have the answer kept. `key` is taken over. */
static PyObject *
miss(Memo *self, PyObject *key, Py_hash_t hash, PyObject *const *args, size_t nargsf, PyObject *names)
{
    PyObject *value = NULL, *began = NULL, *number = NULL, *kept = NULL;
    self->cache->misses++;
    began = PyObject_CallNoArgs(self->clock);
    if (began == NULL)
        goto done;
    if (Py_EnterRecursiveCall(" while calling a cached function"))
        goto done;
    value = PyObject_Vectorcall(self->func, args, nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    Py_LeaveRecursiveCall();
    if (value == NULL)
        goto done;
    if (self->keep == NULL)
        goto done; /* the collector has been here */
    number = PyLong_FromSsize_t(hash);
    if (number != NULL) {
        PyObject *keep = Py_NewRef(self->keep);
        kept = PyObject_CallFunctionObjArgs(keep, key, number, value, began, NULL);
        Py_DECREF(keep);
    }
    if (kept == NULL)
        Py_CLEAR(value);
done:
    Py_XDECREF(kept);
    Py_XDECREF(number);
    Py_XDECREF(began);
    Py_DECREF(key);
    return value;
}

static inline PyObject *
hit(Core *s, uint32_t i)
{
    PyObject *value = Py_NewRef(s->slots[i].value);
    touch(s, i);
    return value;
}

/* Look a key up and answer; the key is the caller's. */
static PyObject *
answer(Memo *self, PyObject *key, Py_hash_t hash, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Core *s = self->cache;
    uint32_t i;
    if (LIKELY(s->dues == NULL)) {
        i = find(s, key, hash);
        if (LIKELY(i < FAIL))
            return hit(s, i);
        if (i == FAIL)
            return NULL;
    }
    else {
        int found = seek(s, key, tag_of(hash), &i);
        if (found < 0)
            return NULL;
        if (found)
            return hit(s, i);
    }
    return miss(self, Py_NewRef(key), hash, args, nargsf, names);
}

static PyObject *
answer_call(Memo *self, const Call *call, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Core *s = self->cache;
    Py_hash_t hash;
    if (UNLIKELY(hash_call(call, &hash)))
        return NULL;
    uint32_t i = UNLIKELY(s->dues != NULL) ? FAIL : find_call(s, call, tag_of(hash));
    if (LIKELY(i < FAIL))
        return hit(s, i);
    PyObject *key = key_of(call);
    if (key == NULL)
        return NULL;
    if (i == NIL)
        return miss(self, key, hash, args, nargsf, names);
    PyObject *value = answer(self, key, hash, args, nargsf, names);
    Py_DECREF(key);
    return value;
}

static PyObject *
refused(Memo *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    PyObject *refuse = Py_NewRef(self->refuse);
    PyObject *value = PyObject_Vectorcall(refuse, args, nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    Py_DECREF(refuse);
    return value;
}

static PyObject *
call_flat(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Memo *self = (Memo *)callable;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (UNLIKELY(self->cache == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "the collector has cleared this function");
        return NULL;
    }
    if (names != NULL && PyTuple_GET_SIZE(names) == 0)
        names = NULL;
    Call call = {args, nargs, names, self->mark};
    return answer_call(self, &call, args, nargsf, names);
}

/* Work out where a call's keywords go; NULL without an exception if it does not fit. */
static Plan *
plan_for(Memo *self, PyObject *names)
{
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    Plan made;
    if (count > self->count)
        return NULL;
    for (Py_ssize_t n = 0; n < count; n++) {
        PyObject *name = PyTuple_GET_ITEM(names, n);
        int at = self->named_from;
        if (!PyUnicode_CheckExact(name))
            return NULL;
        while (at < self->count && !same_plainly(name, PyTuple_GET_ITEM(self->parameters, at)))
            at++;
        if (at == self->count)
            return NULL;
        made.place[n] = (uint8_t)at;
    }
    made.names = Py_NewRef(names);
    Plan *plan = &self->plans[self->next_plan];
    self->next_plan = (self->next_plan + 1) % PLANS;
    PyObject *before = plan->names;
    *plan = made;
    Py_XDECREF(before); /* strings only */
    return plan;
}

static PyObject *
call_bound(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Memo *self = (Memo *)callable;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    int count = self->count;
    if (UNLIKELY(self->cache == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "the collector has cleared this function");
        return NULL;
    }
    if (UNLIKELY(nargs > self->positional))
        return refused(self, args, nargsf, names);
    PyObject *const *values = args;
    PyObject *bound[MOST_PARAMETERS], *held[MOST_PARAMETERS];
    int holds = 0;
    if (names != NULL || nargs != count) {
        int n = 0;
        for (; n < nargs; n++)
            bound[n] = args[n];
        for (; n < count; n++)
            bound[n] = NULL;
        if (names != NULL && PyTuple_GET_SIZE(names)) {
            Plan *plan = NULL;
            for (int at = 0; at < PLANS && plan == NULL; at++)
                if (self->plans[at].names == names)
                    plan = &self->plans[at];
            if (plan == NULL && (plan = plan_for(self, names)) == NULL)
                return refused(self, args, nargsf, names);
            Py_ssize_t more = PyTuple_GET_SIZE(names);
            for (Py_ssize_t k = 0; k < more; k++) {
                if (bound[plan->place[k]] != NULL)
                    return refused(self, args, nargsf, names);
                bound[plan->place[k]] = args[nargs + k];
            }
        }
        int first = self->positional - (int)PyTuple_GET_SIZE(self->defaults);
        for (n = (int)nargs; n < self->positional; n++)
            if (bound[n] == NULL) {
                if (n < first)
                    return refused(self, args, nargsf, names);
                bound[n] = PyTuple_GET_ITEM(self->defaults, n - first);
            }
        for (; n < count; n++)
            if (bound[n] == NULL) {
                PyObject *given = self->named_defaults == NULL
                                      ? NULL
                                      : PyDict_GetItemWithError(self->named_defaults,
                                                                PyTuple_GET_ITEM(self->parameters, n));
                if (given == NULL) {
                    while (holds)
                        Py_DECREF(held[--holds]);
                    return PyErr_Occurred() ? NULL : refused(self, args, nargsf, names);
                }
                /* The dict is anybody's to change while the arguments are hashed. */
                bound[n] = held[holds++] = Py_NewRef(given);
            }
        values = bound;
    }
    PyObject *value;
    if (count == 1) {
        Py_hash_t hash = hash_of(values[0]);
        value = hash == -1 ? NULL : answer(self, values[0], hash, args, nargsf, names);
    }
    else {
        Call call = {values, count, NULL, NULL};
        value = answer_call(self, &call, args, nargsf, names);
    }
    while (UNLIKELY(holds))
        Py_DECREF(held[--holds]);
    return value;
}

/* -------------------------------------------------------------------------------------------------- the type */

/* Memo(func, cache, keep, clock, refuse, *, mark=None, parameters=(), positional=0, named_from=0, defaults=(),
 * named_defaults=None) */
static PyObject *
memo_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"func", "cache", "keep", "clock", "refuse", "mark", "parameters", "positional",
                            "named_from", "defaults", "named_defaults", NULL};
    PyObject *func, *cache, *keep, *clock, *refuse, *mark = Py_None, *parameters = NULL, *defaults = NULL,
             *named_defaults = Py_None;
    int positional = 0, named_from = 0;
    PyObject *module = PyType_GetModuleByDef(type, &store_module);
    if (module == NULL)
        return NULL;
    State *st = PyModule_GetState(module);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!OOO|$OO!iiO!O", names, &func, st->core, &cache, &keep, &clock,
                                     &refuse, &mark, &PyTuple_Type, &parameters, &positional, &named_from,
                                     &PyTuple_Type, &defaults, &named_defaults))
        return NULL;
    Py_ssize_t count = parameters == NULL ? 0 : PyTuple_GET_SIZE(parameters);
    if ((named_defaults != Py_None && !PyDict_CheckExact(named_defaults)) ||
        (defaults != NULL && PyTuple_GET_SIZE(defaults) > positional) || count > MOST_PARAMETERS || positional < 0 || positional > count || named_from < 0 || named_from > count) {
        PyErr_SetString(PyExc_ValueError, "these are no parameters that a Memo can bind");
        return NULL;
    }
    for (Py_ssize_t n = 0; n < count; n++)
        if (!PyUnicode_CheckExact(PyTuple_GET_ITEM(parameters, n)) ||
            PyObject_Hash(PyTuple_GET_ITEM(parameters, n)) == -1) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "parameters are named by str");
            return NULL;
        }
    Memo *self = (Memo *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->vectorcall = mark == Py_None ? call_bound : call_flat;
    self->func = Py_NewRef(func);
    self->cache = (Core *)Py_NewRef(cache);
    self->keep = Py_NewRef(keep);
    self->clock = Py_NewRef(clock);
    self->refuse = Py_NewRef(refuse);
    self->mark = mark == Py_None ? NULL : Py_NewRef(mark);
    self->parameters = Py_XNewRef(parameters);
    self->named_defaults = named_defaults == Py_None ? NULL : Py_NewRef(named_defaults);
    self->count = (int)count;
    self->positional = positional;
    self->named_from = named_from;
    self->defaults = defaults == NULL ? PyTuple_New(0) : Py_NewRef(defaults);
    if (self->defaults == NULL) {
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
    Py_VISIT(self->refuse);
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
    Py_CLEAR(self->refuse);
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
