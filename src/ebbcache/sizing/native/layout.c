/* How values lie in memory: the readers of layout.py, and what shows in C only.
 *
 * A reader says what an object takes itself, and hands each thing it refers to on to the walk: straight from lists,
 * tuples, sets and dicts, through tp_traverse from everything else. A visitor only collects, as no Python code may
 * run inside it. Beyond Python's readers it sees the capacity of an instance's attribute array (Objects/dictobject.c:
 * new_values, shared_keys_usable_size), and a `__dict__` that somebody asked for in CPython 3.13. Bound: exact
 * block by block; containers over `cap` are read in scattered places.
 */
#include "sizing.h"

#include <datetime.h>

#define DEQUE_BLOCK 528 /* Modules/_collectionsmodule.c: 64 items and two links */

/* Objects/dictobject.c, the same in 3.11 to 3.13; layout_check() compares it with what dict.__sizeof__ says. */
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

/* The blocks of a dict but the object itself. May call out. */
static int
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

/* Compare what is believed of dicts with what they say. */
int
layout_check(State *st)
{
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

static inline Py_ssize_t
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

double
leaf_bytes(const Rule *rule, PyObject *obj)
{
    switch (rule->code) {
    case STR:
        return chunk(str_bytes(obj));
    case BYTES:
        return chunk((Py_ssize_t)offsetof(PyBytesObject, ob_sval) + 1 + PyBytes_GET_SIZE(obj));
    case INT:
        return chunk(int_bytes(obj));
    default:
        return rule->block;
    }
}

/* What the attributes of an instance take beside it, and how much longer they make the instance itself. */
static double
attributes(PyObject *obj, Py_ssize_t *inside)
{
    const Keys *keys = (const Keys *)((PyHeapTypeObject *)Py_TYPE(obj))->ht_cached_keys;
    *inside = 0;
#if PY_VERSION_HEX >= 0x030D0000
    (void)keys;
    const uint8_t *values = (const uint8_t *)obj + Py_TYPE(obj)->tp_basicsize;
    Py_ssize_t room = values[0];
    *inside = ((room + 7) & -8) + (room + 1) * (Py_ssize_t)sizeof(PyObject *);
    return 0;
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

#if PY_VERSION_HEX >= 0x030D0000
/* A dict that somebody asked an instance for, whose values still are the instance's: tp_traverse passes it over. */
static double
asked_for(PyObject *obj)
{
    const uint8_t *values = (const uint8_t *)obj + Py_TYPE(obj)->tp_basicsize;
    PyObject *dict = ((PyObject **)obj)[-3];
    if (dict == NULL || !values[3] || Py_REFCNT(dict) > 1)
        return 0;
    return chunk(PyDict_Type.tp_basicsize + 16);
}
#endif

/* The same for objects that are not plain enough to have them inside. */
static double
beside(const Rule *rule, PyObject *obj)
{
    Py_ssize_t inside = 0;
    return rule->values ? attributes(obj, &inside) + (double)inside : 0;
}

typedef struct {
    Walk *walk;
    Py_ssize_t seen, most;         /* first look: collect up to `most`, count all */
    Py_ssize_t length, count, at;  /* second look: collect `count` of `length`, `at` being the next */
    Py_ssize_t next;
    int failed;
} Visit;

static int
visit_first(PyObject *obj, void *arg)
{
    Visit *visit = arg;
    if (visit->seen++ < visit->most && items_add(&visit->walk->kids, obj, 0) < 0) {
        visit->failed = 1;
        return 1;
    }
    return 0;
}

static int
visit_scattered(PyObject *obj, void *arg)
{
    Visit *visit = arg;
    if (visit->seen++ != visit->next)
        return 0;
    if (items_add(&visit->walk->kids, obj, 0) < 0) {
        visit->failed = 1;
        return 1;
    }
    if (++visit->at >= visit->count)
        return 1;
    visit->next = scattered(visit->length, visit->count, visit->at);
    if (visit->next < visit->seen)
        visit->next = visit->seen;
    return 0;
}

/* Collect what `obj` refers to in w->kids, but of more than `most` a sample or the first; return how many there
 * are, or -1. */
static Py_ssize_t
referents(Walk *w, PyObject *obj, Py_ssize_t most, int sample)
{
    traverseproc traverse = Py_TYPE(obj)->tp_traverse;
    if (traverse == NULL || !PyObject_IS_GC(obj))
        return 0;
    Visit visit = {.walk = w, .most = most};
    traverse(obj, visit_first, &visit);
    if (!visit.failed && sample && visit.seen > visit.most) {
        items_clear(&w->kids, 0); /* the object still holds them */
        visit.length = visit.seen;
        visit.count = few((double)most);
        visit.next = scattered(visit.length, visit.count, 0);
        visit.seen = 0;
        traverse(obj, visit_scattered, &visit);
        visit.seen = visit.length;
    }
    if (visit.failed) {
        PyErr_NoMemory();
        return -1;
    }
    return visit.seen;
}

/* Hand w->kids over to the walk: `held` of the references to each are ours or a reader's. */
static int
hand_over(Walk *w, int view, Py_ssize_t held)
{
    int done = 0;
    for (Py_ssize_t i = 0; i < w->kids.used && done >= 0; i++) {
        PyObject *kid = w->kids.items[i].obj;
        done = view ? walk_refer(w, kid, w->heavy * w->scale, 0) : walk_take(w, kid, held);
        if ((i & 0xFFFF) == 0xFFFF && done >= 0)
            done = walk_yield(w);
    }
    w->looks += (double)w->kids.used;
    items_clear(&w->kids, 0);
    return done;
}

static inline void
stands_for(Walk *w, double times)
{
    if (times != 1) {
        w->sampled = 1;
        w->heavy *= times;
    }
}

/* How many kids may be looked at of a container that holds the like of `kid`, as `thinned` in layout.py: where it
 * holds leaves, to list it is to know it; where it does not, looks are left for what it holds. */
static double
limit_for(PyObject *kid, double cap)
{
    PyTypeObject *type = kid == NULL ? NULL : Py_TYPE(kid);
    if (type == &PyUnicode_Type || type == &PyBytes_Type || type == &PyLong_Type || type == &PyFloat_Type ||
        type == &PyComplex_Type || type == &PyBool_Type || kid == Py_None)
        return cap;
    return cap / 2;
}

static int
read_array(Walk *w, PyObject *obj, double cap)
{
    int list = PyList_Check(obj);
    Py_ssize_t length = Py_SIZE(obj), count = length;
    int all = (double)length <= cap / 2;
    if (!all && (double)length <= cap)
        all = (double)length <= limit_for(PySequence_Fast_ITEMS(obj)[length / 2], cap);
    if (!all) {
        count = few(cap / 2);
        stands_for(w, (double)length / (double)count);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t at = all ? i : scattered(length, count, i);
        if (UNLIKELY(at >= Py_SIZE(obj)))
            break; /* it shrank meanwhile */
        PyObject *kid = list ? PyList_GET_ITEM(obj, at) : PyTuple_GET_ITEM(obj, at);
        if (kid != NULL && walk_take(w, kid, 0) < 0)
            return -1;
        if (UNLIKELY((i & 0xFFFF) == 0xFFFF) && walk_yield(w) < 0)
            return -1;
    }
    w->looks += (double)count;
    return 0;
}

static int
take_item(Walk *w, PyObject *key, PyObject *value, int twice)
{
    /* Held, as to learn a key's type may run Python code that takes the value out. */
    Py_INCREF(value);
    int done = walk_take(w, key, 0);
    if (done >= 0 && twice)
        done = walk_take(w, key, 0);
    if (done >= 0)
        done = walk_take(w, value, 1);
    Py_DECREF(value);
    return done;
}

/* Read the items of a dict. `twice`: each key has a second reference from inside. */
static int
read_items(Walk *w, PyObject *dict, double cap, int twice)
{
    Py_ssize_t length = PyDict_GET_SIZE(dict), at = 0, taken = 0;
    PyObject *key, *value;
    int all = (double)length <= cap / 2;
    if (!all && (double)length <= cap && PyDict_Next(dict, &at, &key, &value)) {
        all = (double)length <= limit_for(value, cap);
        at = 0;
    }
    if (all) {
        while (PyDict_Next(dict, &at, &key, &value)) {
            if (take_item(w, key, value, twice) < 0)
                return -1;
            if (UNLIKELY((++taken & 0xFFFF) == 0) && walk_yield(w) < 0)
                return -1;
        }
        w->looks += 2 * (double)length;
        return 0;
    }
    Py_ssize_t count = few(cap / 2);
    stands_for(w, (double)length / (double)count);
    w->looks += 2 * (double)count;
    if (w->st->dict_known && dict_entries(dict) == length) {
        for (Py_ssize_t i = 0; i < count; i++) { /* a position is the number of an entry */
            at = scattered(length, count, i);
            if (PyDict_Next(dict, &at, &key, &value) && take_item(w, key, value, twice) < 0)
                return -1;
        }
        return 0;
    }
    for (Py_ssize_t i = 0; taken < count && i < length && PyDict_Next(dict, &at, &key, &value); i++) {
        if (i < scattered(length, count, taken))
            continue;
        taken++;
        if (take_item(w, key, value, twice) < 0)
            return -1;
    }
    return 0;
}

static int
read_set(Walk *w, PyObject *obj, double cap)
{
    PySetObject *set = (PySetObject *)obj;
    Py_ssize_t length = PySet_GET_SIZE(obj);
    if ((double)length <= cap) {
        for (Py_ssize_t i = 0; i <= set->mask; i++) {
            PyObject *kid = set->table[i].key;
            if (kid == NULL || set->table[i].hash == -1) /* that of a member is never -1 */
                continue;
            if (walk_take(w, kid, 0) < 0)
                return -1;
            if (UNLIKELY((i & 0xFFFF) == 0xFFFF) && walk_yield(w) < 0)
                return -1;
        }
        w->looks += (double)length;
        return 0;
    }
    /* In 64 places, as members that are numbers may lie side by side in a corner of the table. */
    Py_ssize_t count = few(cap), places = count < 64 ? count : 64, each = (count + places - 1) / places;
    for (Py_ssize_t i = 0; i < places; i++) {
        Py_ssize_t at = scattered(set->mask + 1, places, i), taken = 0;
        for (Py_ssize_t n = 0; n < 16 * each && taken < each && at <= set->mask; n++, at++) {
            PyObject *kid = set->table[at].key;
            if (kid != NULL && set->table[at].hash != -1) {
                taken++;
                if (items_add(&w->kids, kid, 0) < 0)
                    return -1;
            }
        }
    }
    if (w->kids.used == 0)
        return 0;
    stands_for(w, (double)length / (double)w->kids.used);
    return hand_over(w, 0, 1);
}

/* Read an instance of a subclass of dict. tp_traverse shows its attributes first and then the dict's values, with
 * their keys unless all are str; before these, an OrderedDict shows each key once for its list. */
static int
read_dict_subclass(Walk *w, PyObject *obj, double cap, int ordered)
{
    Py_ssize_t length = PyDict_GET_SIZE(obj), at = 0;
    PyObject *key = NULL, *value = NULL;
    int sampled = (double)length > cap;
    Py_ssize_t seen = referents(w, obj, sampled ? 1024 : PY_SSIZE_T_MAX, 0);
    if (seen < 0)
        return -1;
    Py_ssize_t own = w->kids.used;
    if (length && PyDict_Next(obj, &at, &key, &value)) {
        Py_ssize_t full = (2 + ordered) * length, first = ordered * length;
        own = seen > full ? seen - full : 0;
        for (int i = 0; i < 2; i++, full -= length) {
            Py_ssize_t from = seen - full;
            if (from < 0 || from + first >= w->kids.used)
                continue;
            PyObject *found = w->kids.items[from + first].obj;
            if (found == value || found == key) {
                own = from;
                break;
            }
        }
    }
    if (own < w->kids.used)
        items_clear(&w->kids, own); /* these are read from the dict */
    return hand_over(w, 0, 1) < 0 ? -1 : read_items(w, obj, cap, ordered);
}

/* As `referents`, and hand them over. */
static int
read_referents(Walk *w, PyObject *obj, double cap, int view)
{
    Py_ssize_t seen = referents(w, obj, cap < 4e18 ? (Py_ssize_t)cap : PY_SSIZE_T_MAX, 1);
    if (seen < 0)
        return -1;
    if (seen > w->kids.used && w->kids.used)
        stands_for(w, (double)seen / (double)w->kids.used);
    return hand_over(w, view, 1);
}

/* Read a function: all that it refers to but its module's variables and the builtins. */
static int
read_function(Walk *w, PyObject *obj)
{
    PyObject *shared[] = {PyFunction_GET_GLOBALS(obj), ((PyFunctionObject *)obj)->func_builtins};
    Py_ssize_t kept = 0;
    if (referents(w, obj, PY_SSIZE_T_MAX, 0) < 0)
        return FATAL;
    for (Py_ssize_t i = 0; i < w->kids.used; i++) {
        PyObject *kid = w->kids.items[i].obj;
        if (kid == shared[0] || kid == shared[1])
            Py_DECREF(kid); /* the function still holds it */
        else
            w->kids.items[kept++] = w->kids.items[i];
    }
    w->kids.used = kept;
    return hand_over(w, 0, 1);
}

/* Have kind.read say what `obj` takes and refers to. FAILED is the fault of what it asked. */
static int
ask_python(Walk *w, PyObject *read, PyObject *obj, double cap, double *own, double *times)
{
    PyObject *limit = PyFloat_FromDouble(cap);
    if (limit == NULL)
        return FATAL;
    Py_INCREF(read);
    PyObject *args[] = {NULL, obj, limit}, *answer;
    answer = PyObject_Vectorcall(read, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(read);
    Py_DECREF(limit);
    if (answer == NULL)
        return FAILED;
    if (!PyTuple_Check(answer) || PyTuple_GET_SIZE(answer) != 3 || !PyList_Check(PyTuple_GET_ITEM(answer, 1))) {
        PyErr_SetString(PyExc_TypeError, "a reader answers (bytes, list, times)");
        Py_DECREF(answer);
        return FAILED;
    }
    *own = PyFloat_AsDouble(PyTuple_GET_ITEM(answer, 0));
    *times = PyFloat_AsDouble(PyTuple_GET_ITEM(answer, 2));
    if (PyErr_Occurred()) {
        Py_DECREF(answer);
        return FAILED;
    }
    PyObject *kids = PyTuple_GET_ITEM(answer, 1);
    int done = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(kids) && done == 0; i++)
        done = items_add(&w->kids, PyList_GET_ITEM(kids, i), 0);
    Py_DECREF(answer);
    return done < 0 ? FATAL : 0;
}

/* What an object takes by what its type says of it. */
static int
ask_type(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    Py_ssize_t bare = rule->bare, item = rule->item, inside = 0;
    Py_ssize_t front = rule->front + (rule->sentinel ? item : 0);
    int values = rule->values;
    Py_ssize_t items = item ? Py_SIZE(obj) : 0;
    double total = (double)(bare + item * (items < 0 ? -items : items)), more;
    PyObject *nbytes = rule->nbytes == NULL ? NULL : Py_NewRef(rule->nbytes);
    (void)w;
    /* Not to be used below: the rule. */
    if (rule->measure != NULL && call_for_bytes(rule->measure, obj, &total) < 0) {
        Py_XDECREF(nbytes);
        return FAILED;
    }
    if (nbytes != NULL) {
        int failed = call_for_bytes(nbytes, obj, &more) < 0;
        Py_DECREF(nbytes);
        if (failed)
            return FAILED;
        if (total < (double)bare + more)
            total = (double)bare + more;
    }
    *own = values ? attributes(obj, &inside) : 0;
#if PY_VERSION_HEX >= 0x030D0000
    if (values)
        *own += asked_for(obj);
#endif
    Py_ssize_t inline_ = item ? (Py_ssize_t)total : bare;
    *own += chunk(inline_ + front + inside);
    if (total > (double)inline_)
        *own += chunk((Py_ssize_t)total - inline_);
    return 0;
}

/* The block of an object, and the one that holds what is left of what `function` says but for `less`. */
static int
two_blocks(const Rule *rule, PyObject *function, PyObject *obj, Py_ssize_t less, double *own)
{
    double block = rule->block + beside(rule, obj), total;
    if (call_for_bytes(function, obj, &total) < 0)
        return FAILED;
    *own = block + (total > (double)less ? chunk((Py_ssize_t)total - less) : 0);
    return 0;
}

/* Read `obj`, of whose kids at most about `cap` are handed over. Returns FAILED, with an exception and nothing
 * handed over, where it could not be read. May call out. */
int
read_object(Walk *w, const Rule *rule, PyObject *obj, double cap, double *own)
{
    State *st = w->st;
    double tables, times = 1;
    int done, view = rule->view;
    switch (rule->code) {
    case NOTHING:
    case PART:
        *own = 0;
        return 0;
    case STR:
    case BYTES:
    case INT:
    case BLOCK:
        *own = leaf_bytes(rule, obj);
        return 0;
    case LIST:
        *own = rule->block + chunk(((PyListObject *)obj)->allocated * (Py_ssize_t)sizeof(PyObject *));
        return read_array(w, obj, cap);
    case TUPLE:
        *own = chunk(rule->bare + rule->front + Py_SIZE(obj) * (Py_ssize_t)sizeof(PyObject *));
        return read_array(w, obj, cap);
    case SET:
        *own = rule->block;
        if (((PySetObject *)obj)->table != ((PySetObject *)obj)->smalltable)
            *own += chunk((((PySetObject *)obj)->mask + 1) * (Py_ssize_t)sizeof(setentry));
        return read_set(w, obj, cap);
    case DICT:
        *own = rule->block;
        if (dict_tables(w, obj, &tables) < 0)
            return FAILED;
        *own += tables;
        return read_items(w, obj, cap, 0);
    case DICT_SUBCLASS:
    case ORDERED_DICT: {
        int ordered = rule->code == ORDERED_DICT;
        Py_ssize_t bare = rule->bare, inside = 0;
        *own = rule->values ? attributes(obj, &inside) : 0;
        *own += chunk(bare + rule->front + inside);
        double total = 0;
        if (ordered && call_for_bytes(st->ordered_dict_sizeof, obj, &total) < 0)
            return FAILED;
        if (ordered) {
            Py_ssize_t nodes = 32 * PyDict_GET_SIZE(obj);
            double table;
            if (call_for_bytes(st->dict_sizeof, obj, &table) < 0)
                return FAILED;
            if (total > table + (double)nodes)
                *own += chunk((Py_ssize_t)(total - table) - nodes);
            *own += (double)nodes;
        }
        if (dict_tables(w, obj, &tables) < 0)
            return FAILED;
        *own += tables;
        return read_dict_subclass(w, obj, cap, ordered);
    }
    case DEQUE: {
        Py_ssize_t bare = rule->bare;
        double total;
        *own = rule->block + beside(rule, obj);
        if (call_for_bytes(st->deque_sizeof, obj, &total) < 0)
            return FAILED;
        *own += (double)(((Py_ssize_t)total - bare) / DEQUE_BLOCK) * chunk(DEQUE_BLOCK);
        return read_referents(w, obj, cap, 0);
    }
    case STR_SUBCLASS:
        done = two_blocks(rule, st->str_sizeof, obj, PyUnicode_Type.tp_basicsize, own);
        return done < 0 ? done : read_referents(w, obj, PY_SSIZE_T_MAX, 0);
    case INT_SUBCLASS: {
        Py_ssize_t more = rule->bare - PyLong_Type.tp_basicsize + rule->item + rule->front;
        *own = chunk(int_bytes(obj) + more) + beside(rule, obj);
        return read_referents(w, obj, PY_SSIZE_T_MAX, 0);
    }
    case MOMENT: {
        *own = rule->block;
        PyObject *zone = PyDateTime_DATE_GET_TZINFO(obj);
        (void)PyDateTimeAPI; /* not needed for that */
        if (zone == Py_None)
            return 0;
        w->looks += 1;
        return walk_take(w, zone, 0);
    }
    case FUNCTION:
        *own = rule->block;
        return read_function(w, obj);
    case OTHER:
        done = ask_type(w, rule, obj, own);
        return done < 0 ? done : read_referents(w, obj, cap, view);
    case ARRAY:
        done = read_ndarray(w, rule, obj, own);
        if (done <= 0)
            return done;
        rule = rule_of(w, obj);
        if (rule == NULL)
            return FATAL;
        /* fall through */
    default:
        done = ask_python(w, rule->read, obj, cap, own, &times);
        if (done < 0) {
            items_clear(&w->kids, 0);
            return done;
        }
        stands_for(w, times);
        return hand_over(w, view, 1);
    }
}

/* Read `obj` without what its type says of itself. */
int
read_broken(Walk *w, PyObject *obj, double cap, double *own)
{
    PyTypeObject *type = Py_TYPE(obj);
    unsigned long flags = PyType_GetFlags(type);
    *own = chunk(type->tp_basicsize + (flags & Py_TPFLAGS_HAVE_GC ? 16 : 0) +
                 (flags & Py_TPFLAGS_MANAGED_DICT ? 16 : 0));
    return read_referents(w, obj, cap, 0);
}

/* About how many kids a look at `obj` finds. May call out; errors are passed over. */
Py_ssize_t
count_kids(Walk *w, const Rule *rule, PyObject *obj, double cap)
{
    Py_ssize_t count = 0;
    double own, times;
    switch (rule->code) {
    case LIST:
    case TUPLE:
        count = Py_SIZE(obj);
        break;
    case SET:
        count = PySet_GET_SIZE(obj);
        break;
    case DICT:
    case DICT_SUBCLASS:
    case ORDERED_DICT:
        count = 2 * PyDict_GET_SIZE(obj);
        break;
    case ARRAY:
    case PYTHON:
        if (ask_python(w, rule->read, obj, cap, &own, &times) < 0)
            PyErr_Clear();
        count = w->kids.used;
        break;
    default:
        count = referents(w, obj, 0, 0);
        if (count < 0)
            PyErr_Clear();
    }
    items_clear(&w->kids, 0);
    return count > 0 && (double)count > cap ? few(cap) : count;
}
