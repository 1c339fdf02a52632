/* Which reader serves which type: kinds.py decides, once a type; here it is remembered by the type's address.
 *
 * A table with open addressing, at most half full, of rules that stay where they are. When a type dies, before its
 * address can be used again, a weak reference in kinds.py has its rule forgotten. Bound: one probe or two an object.
 */
#include "sizing.h"

static void
rule_free(Rule *rule)
{
    Py_XDECREF(rule->kind);
    Py_XDECREF(rule->read);
    Py_XDECREF(rule->claim);
    Py_XDECREF(rule->measure);
    Py_XDECREF(rule->nbytes);
    Py_XDECREF(rule->data);
    Py_XDECREF(rule->source);
    PyMem_Free(rule);
}

static int
rules_resize(Rules *self, size_t size)
{
    Place *places = PyMem_Calloc(size, sizeof *places);
    if (places == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t mask = size - 1;
    for (size_t i = 0; self->places != NULL && i <= self->mask; i++) {
        if (self->places[i].type == NULL)
            continue;
        size_t at = ((uintptr_t)self->places[i].type >> 4) & mask;
        while (places[at].type != NULL)
            at = (at + 1) & mask;
        places[at] = self->places[i];
    }
    PyMem_Free(self->places);
    self->places = places;
    self->mask = mask;
    return 0;
}

/* Take the rule of a type out of the table, or NULL. */
static Rule *
rules_take(Rules *self, uintptr_t type)
{
    size_t at = (type >> 4) & self->mask;
    while ((uintptr_t)self->places[at].type != type) {
        if (self->places[at].type == NULL)
            return NULL;
        at = (at + 1) & self->mask;
    }
    Rule *rule = self->places[at].rule;
    size_t hole = at;
    for (size_t next = (at + 1) & self->mask; self->places[next].type != NULL; next = (next + 1) & self->mask) {
        size_t home = ((uintptr_t)self->places[next].type >> 4) & self->mask;
        if (((next - home) & self->mask) >= ((next - hole) & self->mask)) {
            self->places[hole] = self->places[next];
            hole = next;
        }
    }
    self->places[hole].type = NULL;
    self->places[hole].rule = NULL;
    self->used--;
    return rule;
}

static int
is_true(PyObject *obj, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(obj, name);
    if (value == NULL)
        return -1;
    int truth = PyObject_IsTrue(value);
    Py_DECREF(value);
    return truth;
}

/* An attribute, NULL for None. */
static int
get(PyObject *obj, PyObject *name, PyObject **value)
{
    *value = PyObject_GetAttr(obj, name);
    if (*value == NULL)
        return -1;
    if (*value == Py_None)
        Py_CLEAR(*value);
    return 0;
}

static Py_ssize_t
get_number(PyObject *obj, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(obj, name);
    if (value == NULL)
        return -1;
    Py_ssize_t number = PyLong_AsSsize_t(value);
    Py_DECREF(value);
    return number;
}

static const struct {
    const char *name;
    Code code;
} codes[] = {
    {"nothing", NOTHING},
    {"read_leaf", BLOCK},
    {"read_list", LIST},
    {"read_tuple", TUPLE},
    {"read_set", SET},
    {"read_moment", MOMENT},
    {"arrays", ARRAY},
    {"functions", FUNCTION},
    {"frames", FRAME},
    {"bytes_io", BYTES_IO},
    {"plain", PLAIN},
    {"dtypes", DTYPE},
    {"images", IMAGE},
    {"elements", ELEMENT},
    {"tensors", TENSOR},
    {"arrow", ARROW},
    {"read_dict", DICT},
    {"read_dict_subclass", DICT_SUBCLASS},
    {"read_ordered_dict", ORDERED_DICT},
    {"read_deque", DEQUE},
    {"read_str_subclass", STR_SUBCLASS},
    {"read_int_subclass", INT_SUBCLASS},
    {"instances", OTHER},
    {"others", OTHER},
};

/* Whether what the rule declares can be followed; if not, Python reads. */
static int
can_follow(Rule *rule, PyTypeObject *type)
{
    switch (rule->code) {
    case PLAIN:
        return plain_fill(rule);
    case FRAME:
    case BYTES_IO: /* ("...", __sizeof__, what it counts of the object's own block) */
        if (PyTuple_GET_SIZE(rule->data) != 3 || !PyCallable_Check(PyTuple_GET_ITEM(rule->data, 1)))
            return 0;
        rule->measure = Py_NewRef(PyTuple_GET_ITEM(rule->data, 1));
        rule->fixed = PyFloat_AsDouble(PyTuple_GET_ITEM(rule->data, 2));
        return 1;
    case ARRAY:
        return array_fill(rule);
    case DTYPE:
        return dtype_fill(rule);
    case IMAGE:
        return image_fill(rule);
    case ELEMENT:
        return element_fill(rule, type);
    case TENSOR:
        return tensor_fill(rule);
    case ARROW:
        return arrow_fill(rule);
    default:
        return 1;
    }
}

static int
rule_fill(State *st, Rule *rule, PyTypeObject *type)
{
    PyObject *native = NULL;
    int view = is_true(rule->kind, st->str_view), alone = is_true(rule->kind, st->str_alone);
    if (view < 0 || alone < 0 || get(rule->kind, st->str_read, &rule->read) < 0 ||
        get(rule->kind, st->str_claim, &rule->claim) < 0 || get(rule->kind, st->str_native, &native) < 0)
        return -1;
    rule->view = (unsigned char)view;
    rule->alone = (unsigned char)alone;
    rule->code = PYTHON;
    rule->bare = type->tp_basicsize;
    rule->item = type->tp_itemsize;
    unsigned long flags = PyType_GetFlags(type);
    rule->front = flags & Py_TPFLAGS_HAVE_GC ? 16 : 0;
#if PY_VERSION_HEX >= 0x030C0000
    unsigned long managed = Py_TPFLAGS_MANAGED_DICT | Py_TPFLAGS_MANAGED_WEAKREF;
#else
    unsigned long managed = Py_TPFLAGS_MANAGED_DICT;
#endif
    if (flags & managed)
        rule->front += 16;
    rule->block = chunk(rule->bare + rule->front);
    rule->sentinel = rule->item && flags & Py_TPFLAGS_HEAPTYPE;
#if PY_VERSION_HEX >= 0x030D0000
    rule->values = (flags & Py_TPFLAGS_INLINE_VALUES) != 0;
#else
    rule->values = (flags & Py_TPFLAGS_MANAGED_DICT) != 0;
#endif
    if ((PyObject *)type == st->part_type)
        rule->code = PART;
    else if (native != NULL && PyTuple_Check(native) && PyTuple_GET_SIZE(native) > 0 &&
             PyUnicode_Check(PyTuple_GET_ITEM(native, 0))) {
        for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
            if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(native, 0), codes[i].name) == 0) {
                rule->code = (unsigned char)codes[i].code;
                break;
            }
        }
        rule->data = Py_NewRef(native);
        if (rule->code == OTHER && PyTuple_GET_SIZE(native) == 4) {
            if (PyTuple_GET_ITEM(native, 1) != Py_None)
                rule->measure = Py_NewRef(PyTuple_GET_ITEM(native, 1));
            if (PyTuple_GET_ITEM(native, 2) != Py_None)
                rule->nbytes = Py_NewRef(PyTuple_GET_ITEM(native, 2));
            rule->front += PyLong_AsSsize_t(PyTuple_GET_ITEM(native, 3));
        }
    }
    Py_XDECREF(native);
    if (!can_follow(rule, type)) {
        if (PyErr_Occurred())
            return -1;
        rule->code = PYTHON;
    }
    if (rule->code != PYTHON) { /* else kind.read sees to it */
        rule->class_bytes = (double)get_number(rule->kind, st->str_class_bytes);
        rule->inner = get_number(rule->kind, st->str_inner);
        if (PyErr_Occurred())
            return -1;
    }
    if (rule->code == BLOCK) {
        if (type == &PyUnicode_Type)
            rule->code = STR;
        else if (type == &PyBytes_Type) {
            rule->code = BYTES;
            rule->view = (unsigned char)st->malloc_known;
        } else if (type == &PyLong_Type)
            rule->code = INT;
    }
    return 0;
}

/* Ask kinds.py what the type of `obj` is, which nobody asked before. */
Rule *
rules_learn(State *st, Rules *self, PyObject *obj)
{
    PyTypeObject *type = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(obj));
    Py_INCREF(obj);
    Rule *rule = PyMem_Calloc(1, sizeof *rule), *old = NULL;
    if (rule == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    rule->kind = PyObject_CallMethodOneArg(self->table, st->str_kind, obj);
    if (rule->kind == NULL || rule_fill(st, rule, type) < 0)
        goto fail;
    /* The rule for several classes, which are not remembered, is found by its kind, which lives as long. */
    int several = is_true(rule->kind, st->str_several);
    if (several < 0)
        goto fail;
    PyTypeObject *key = several ? (PyTypeObject *)rule->kind : type;
    /* Another thread may have learnt it meanwhile: that rule is as good, and may be in use. */
    old = rules_find(self, key);
    if (old == NULL) {
        if (2 * (self->used + 1) > self->mask && rules_resize(self, 2 * (self->mask + 1)) < 0)
            goto fail;
        size_t at = ((uintptr_t)key >> 4) & self->mask;
        while (self->places[at].type != NULL)
            at = (at + 1) & self->mask;
        rule->type = key;
        self->places[at].type = key;
        self->places[at].rule = rule;
        self->used++;
        goto done;
    }
fail:
    rule_free(rule);
    rule = old;
done:
    /* The type lives on in `obj`, which the caller holds. */
    Py_DECREF(type);
    Py_DECREF(obj);
    return rule;
}

static PyObject *
rules_forget(Rules *self, PyObject *id)
{
    void *type = PyLong_AsVoidPtr(id);
    if (type == NULL && PyErr_Occurred())
        return NULL;
    Rule *rule = rules_take(self, (uintptr_t)type);
    if (rule != NULL)
        rule_free(rule);
    Py_RETURN_NONE;
}

static PyObject *
rules_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    PyObject *table;
    if (!PyArg_ParseTuple(args, "O:Rules", &table))
        return NULL;
    if (kwds != NULL && PyDict_GET_SIZE(kwds)) {
        PyErr_SetString(PyExc_TypeError, "Rules() takes no keyword arguments");
        return NULL;
    }
    Rules *self = (Rules *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->table = Py_NewRef(table);
    if (rules_resize(self, 64) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
rules_traverse(Rules *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->table);
    for (size_t i = 0; self->places != NULL && i <= self->mask; i++) {
        Rule *rule = self->places[i].rule;
        if (rule != NULL) {
            Py_VISIT(rule->kind);
            Py_VISIT(rule->read);
            Py_VISIT(rule->claim);
            Py_VISIT(rule->measure);
            Py_VISIT(rule->nbytes);
            Py_VISIT(rule->data);
            Py_VISIT(rule->source);
        }
    }
    return 0;
}

static int
rules_clear(Rules *self)
{
    Py_CLEAR(self->table);
    return 0;
}

static void
rules_dealloc(Rules *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    rules_clear(self);
    if (self->places != NULL) {
        for (size_t i = 0; i <= self->mask; i++) {
            Rule *rule = self->places[i].rule;
            self->places[i].rule = NULL;
            if (rule != NULL)
                rule_free(rule);
        }
        PyMem_Free(self->places);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
rules_size(Rules *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromSize_t(self->used);
}

static PyMethodDef rules_methods[] = {
    {"forget", (PyCFunction)rules_forget, METH_O, "Forget the type of that id, which is about to die."},
    {"known", (PyCFunction)rules_size, METH_NOARGS, "Return how many types are known."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rules_slots[] = {
    {Py_tp_doc, "Rules(table): what kinds.Table says of types, by their addresses."},
    {Py_tp_new, rules_new},
    {Py_tp_dealloc, rules_dealloc},
    {Py_tp_traverse, rules_traverse},
    {Py_tp_clear, rules_clear},
    {Py_tp_methods, rules_methods},
    {0, NULL},
};

PyType_Spec rules_spec = {
    .name = "ebbcache.sizing._sizing.Rules",
    .basicsize = sizeof(Rules),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = rules_slots,
};
