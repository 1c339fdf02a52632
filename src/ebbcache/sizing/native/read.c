/* The readers of layout.py: what an object takes, and all that it refers to.
 *
 * Each thing that an object refers to is handed on to the walk: straight from lists, tuples, sets and dicts, through
 * tp_traverse from everything else. A visitor only collects, as no Python code may run inside it. Bound: linear in what
 * is handed on; containers over `cap` are read in scattered places.
 */
#include "sizing.h"

#include <datetime.h>

#define DEQUE_BLOCK 528 /* Modules/_collectionsmodule.c: 64 items and two links */

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

/* Collect all that `obj` refers to in w->kids. */
int
collect_referents(Walk *w, PyObject *obj)
{
    return referents(w, obj, PY_SSIZE_T_MAX, 0) < 0 ? FATAL : 0;
}

/* Hand w->kids over to the walk: `held` of the references to each are ours or a reader's. */
int
hand_over(Walk *w, int view, Py_ssize_t held)
{
    int done = 0;
    view = view && w->kids.used <= SHOWN;
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

/* Let each kid of the object that is being read stand for `times` as many. */
void
stand_for(Walk *w, double times)
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
        stand_for(w, (double)length / (double)count);
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
    stand_for(w, (double)length / (double)count);
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
    stand_for(w, (double)length / (double)w->kids.used);
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
int
read_referents(Walk *w, PyObject *obj, double cap, int view)
{
    Py_ssize_t seen = referents(w, obj, cap < 4e18 ? (Py_ssize_t)cap : PY_SSIZE_T_MAX, 1);
    if (seen < 0)
        return -1;
    if (seen > w->kids.used && w->kids.used)
        stand_for(w, (double)seen / (double)w->kids.used);
    return hand_over(w, view, 1);
}

/* Whether `names` are a module's, and not of what a program compiled into a dict of its own. May call out. */
static int
is_of_a_module(State *st, PyObject *names)
{
    PyObject *name = PyDict_GetItemWithError(names, st->str_name), *modules = PyImport_GetModuleDict(), *home = NULL;
    if (name != NULL && PyUnicode_CheckExact(name) && PyDict_Check(modules))
        home = PyDict_GetItemWithError(modules, name);
    int known = home != NULL && PyModule_Check(home) && PyModule_GetDict(home) == names;
    if (home == NULL)
        PyErr_Clear();
    return known;
}

/* Read a function: all that it refers to but its module's variables and the builtins. */
static int
read_function(Walk *w, PyObject *obj)
{
    PyObject *names = Py_NewRef(PyFunction_GET_GLOBALS(obj));
    PyObject *shared[] = {is_of_a_module(w->st, names) ? names : NULL, ((PyFunctionObject *)obj)->func_builtins};
    Py_DECREF(names); /* the function holds them */
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

/* Read a frame: its variables, but neither its callers nor the module's variables and the builtins. */
static int
read_frame(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    PyTypeObject *type = Py_TYPE(obj);
    Py_ssize_t front = rule->front, kept = 0;
    double total;
    if (call_for_bytes(rule->measure, obj, &total) < 0)
        return FAILED;
    *own = chunk((Py_ssize_t)total + front);
    PyObject *shared[] = {PyFrame_GetGlobals((PyFrameObject *)obj), PyFrame_GetBuiltins((PyFrameObject *)obj)};
    int done = collect_referents(w, obj);
    for (Py_ssize_t i = 0; i < w->kids.used; i++) {
        PyObject *kid = w->kids.items[i].obj;
        if (kid == shared[0] || kid == shared[1] || Py_IS_TYPE(kid, type))
            Py_DECREF(kid); /* the frame still holds it */
        else
            w->kids.items[kept++] = w->kids.items[i];
    }
    w->kids.used = kept;
    Py_XDECREF(shared[0]);
    Py_XDECREF(shared[1]);
    return done < 0 ? done : hand_over(w, 0, 1);
}

/* Read an io.BytesIO, which keeps a bytes object, and since CPython 3.12 shows it too. */
static int
read_bytes_io(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    double total, bare = rule->fixed;
    int shown = 0;
    *own = rule->block;
    if (call_for_bytes(rule->measure, obj, &total) < 0)
        return FAILED;
    if (collect_referents(w, obj) < 0)
        return FATAL;
    for (Py_ssize_t i = 0; i < w->kids.used; i++)
        shown |= PyBytes_CheckExact(w->kids.items[i].obj);
    if (!shown && total > bare)
        *own += chunk((Py_ssize_t)(total - bare));
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
    case FRAME:
        return read_frame(w, rule, obj, own);
    case BYTES_IO:
        return read_bytes_io(w, rule, obj, own);
    case PLAIN:
        return read_plain(w, rule, obj, own);
    case DTYPE:
        return read_dtype(w, rule, obj, own);
    case IMAGE:
        return read_image(w, rule, obj, own);
    case ELEMENT:
        return read_element(w, rule, obj, cap, own);
    case ARROW:
        return read_arrow(w, rule, obj, own);
    case ARRAY:
    case TENSOR:
        done = rule->code == ARRAY ? read_ndarray(w, rule, obj, cap, own) : read_tensor(w, rule, obj, own);
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
        stand_for(w, times);
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
        count = count_in_array(w, obj, cap);
        break;
    case TENSOR:
    case ARROW:
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
