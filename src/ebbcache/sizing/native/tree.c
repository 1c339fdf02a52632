/* One tree: what hangs together by objects with one reference each, and what it shares with others.
 *
 * Walked level by level without a memo or recursion: an object with one reference is met once. What has more is noted
 * as a reference to a top of its own, a leaf to be charged by its share. Once the budget is spent, levels are thinned:
 * an object is drawn in proportion to the looks it takes and stands for as many more; those that take the most stand
 * for themselves. A chain has nothing to draw from: narrow levels are followed for DEEP budgets, some 2 ms. Bound: memory
 * for two levels; the same sums as Walk._tree in walk.py.
 */
#include <math.h>

#include "sizing.h"

#define GOLDEN 0.6180339887498949

/* Place number i of `count` scattered ones below `length`, as layout.scatter. */
Py_ssize_t
scattered(Py_ssize_t length, Py_ssize_t count, Py_ssize_t i)
{
    double step = (double)length / (double)count, jump = (double)i * GOLDEN;
    volatile double part = jump - floor(jump); /* so that no compiler rounds once where Python rounds twice */
    volatile double place = (double)i + part;
    Py_ssize_t at = (Py_ssize_t)(place * step);
    return at < length ? at : length - 1;
}

int
items_grow(Items *to, Py_ssize_t room)
{
    Py_ssize_t more = to->room * 2;
    if (more < room)
        more = room;
    Item *items = PyMem_Realloc(to->items == to->some ? NULL : to->items, (size_t)more * sizeof *items);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (to->items == to->some)
        memcpy(items, to->some, (size_t)to->used * sizeof *items);
    to->items = items;
    to->room = more;
    return 0;
}

/* Let signals and other threads in: once in a millisecond or so. Nothing borrowed is held here. */
int
walk_yield(Walk *w)
{
    w->steps = 0;
    if (PyErr_CheckSignals() < 0)
        return -1;
    Py_BEGIN_ALLOW_THREADS
    Py_END_ALLOW_THREADS
    return 0;
}

static int
index_grow(Walk *w)
{
    size_t size = w->index == NULL ? 64 : 2 * (w->index_mask + 1);
    uint32_t *index = PyMem_Calloc(size, sizeof *index);
    if (index == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < w->ntops; i++) {
        size_t at = (w->tops[i].key >> 4) & (size - 1);
        while (index[at])
            at = (at + 1) & (size - 1);
        index[at] = (uint32_t)i + 1;
    }
    PyMem_Free(w->index);
    w->index = index;
    w->index_mask = size - 1;
    return 0;
}

static int
grow(void **array, void *some, Py_ssize_t *room, size_t each)
{
    size_t had = (size_t)*room * each;
    void *grown = PyMem_Realloc(*array == some ? NULL : *array, 2 * had);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (*array == some)
        memcpy(grown, some, had);
    *array = grown;
    *room *= 2;
    return 0;
}

/* The number of the top that `key` tells, made for `obj` if it is not there; -1 with an exception. */
static Py_ssize_t
find_top(Walk *w, PyObject *obj, uintptr_t key, int *made)
{
    *made = 0;
    size_t at = 0;
    if (w->ntops < FEW) {
        for (Py_ssize_t i = w->ntops; i-- > 0;)
            if (w->tops[i].key == key)
                return i;
    }
    else {
        if ((w->index == NULL || 2 * (size_t)w->ntops >= w->index_mask) && index_grow(w) < 0)
            return -1;
        at = (key >> 4) & w->index_mask;
        for (; w->index[at]; at = (at + 1) & w->index_mask)
            if (w->tops[w->index[at] - 1].key == key)
                return w->index[at] - 1;
    }
    if (w->ntops >= (Py_ssize_t)(UINT32_MAX - 1)) {
        PyErr_NoMemory();
        return -1;
    }
    if (w->ntops == w->room_tops && grow((void **)&w->tops, w->some_tops, &w->room_tops, sizeof *w->tops) < 0)
        return -1;
    if (w->nqueue == w->room_queue && grow((void **)&w->queue, w->some_queue, &w->room_queue, sizeof *w->queue) < 0)
        return -1;
    Top *top = &w->tops[w->ntops];
    memset(top, 0, sizeof *top);
    top->key = key;
    top->nbytes = -1;
    top->owners = -1;
    top->obj = Py_NewRef(obj);
    if (w->index != NULL)
        w->index[at] = (uint32_t)w->ntops + 1;
    *made = 1;
    return w->ntops++;
}

/* What the function says that a layout.Part has for its size. */
static int
ask_part(Walk *w, PyObject *part, double *bytes)
{
    PyObject *nbytes = PyObject_GetAttr(part, w->st->str_nbytes), *told = NULL;
    if (nbytes != NULL)
        told = PyObject_CallNoArgs(nbytes);
    Py_XDECREF(nbytes);
    *bytes = told == NULL ? -1 : PyFloat_AsDouble(told);
    Py_XDECREF(told);
    return PyErr_Occurred() ? -1 : 0;
}

/* Note how many hold a layout.Part, and how large it is. */
static int
read_part(Walk *w, PyObject *part, Py_ssize_t number)
{
    PyObject *nbytes = PyObject_GetAttr(part, w->st->str_nbytes);
    PyObject *owners = PyObject_GetAttr(part, w->st->str_references);
    double bytes = 0;
    Py_ssize_t holders = owners == NULL ? 0 : PyLong_AsSsize_t(owners);
    int lazy = nbytes != NULL && PyCallable_Check(nbytes);
    if (nbytes != NULL && !lazy)
        bytes = PyFloat_AsDouble(nbytes);
    Py_XDECREF(nbytes);
    Py_XDECREF(owners);
    if (PyErr_Occurred())
        return -1;
    Top *top = &w->tops[number]; /* tops may have been moved meanwhile */
    top->nbytes = bytes > 0 ? bytes : 0;
    top->owners = holders > 0 ? holders : 0;
    top->ask = lazy ? ask_part : NULL;
    return 0;
}

/* Have a part that goes with the value say how large it is. May call out. */
int
walk_ask(Walk *w, Top *top)
{
    double bytes = 0;
    Ask ask = top->ask;
    top->ask = NULL;
    if (ask(w, top->obj, &bytes) < 0)
        return -1;
    top->nbytes = bytes > 0 ? bytes : 0;
    return 0;
}

/* The number of the top for `obj`, made if it is not there; -1 with an exception. */
Py_ssize_t
walk_top(Walk *w, PyObject *obj, int slack)
{
    uintptr_t key = (uintptr_t)obj;
    int made, part = (PyObject *)Py_TYPE(obj) == w->st->part_type;
    if (UNLIKELY(part)) {
        PyObject *number = PyObject_GetAttr(obj, w->st->str_key);
        if (number == NULL)
            return -1;
        key = ~(uintptr_t)PyLong_AsUnsignedLongLongMask(number);
        Py_DECREF(number);
        if (PyErr_Occurred())
            return -1;
    }
    Py_ssize_t number = find_top(w, obj, key, &made);
    if (number < 0 || !made)
        return number;
    if (part)
        return read_part(w, obj, number) < 0 ? -1 : number;
    w->tops[number].slack = slack;
    w->queue[w->nqueue++] = number;
    return number;
}

/* Note a reference from the tree that is being walked to the top of that number. */
static int
refer_to(Walk *w, Py_ssize_t number, double weight)
{
    if (number < 0)
        return -1;
    Top *top = &w->tops[number], *user = &w->tops[w->user];
    top->count += weight;
    top->seen++;
    if (w->nuses > user->uses && w->uses[w->nuses - 1] == (uint32_t)number)
        return 0;
    if (w->nuses == w->room_uses && grow((void **)&w->uses, w->some_uses, &w->room_uses, sizeof *w->uses) < 0)
        return -1;
    w->uses[w->nuses++] = (uint32_t)number;
    return 0;
}

int
walk_refer(Walk *w, PyObject *obj, double weight, int slack)
{
    return refer_to(w, walk_top(w, obj, slack), weight);
}

/* Note a reference to memory at `address` that is no object, of `nbytes` if `ask` is NULL: `owners` hold it, or 0,
 * that is nobody knows. `obj` is being read. */
int
walk_part(Walk *w, PyObject *obj, uintptr_t address, Py_ssize_t owners, double nbytes, Ask ask)
{
    int made;
    Py_ssize_t number = find_top(w, obj, ~address, &made);
    if (number >= 0 && made) {
        Top *top = &w->tops[number];
        top->nbytes = nbytes;
        top->owners = owners;
        top->ask = ask;
        if (obj == w->top_obj)
            w->tops[w->user].lent++;
    }
    w->looks += 1;
    return refer_to(w, number, w->heavy * w->scale);
}

/* Note the class of an instance, of `bytes`, to which `inner` references are its own: as with_class in classes.py. */
static int
refer_to_class(Walk *w, PyTypeObject *type, Py_ssize_t inner, double bytes)
{
    Py_ssize_t owners = Py_REFCNT(type) - inner;
    if (owners > CLASS_MANY)
        return 0;
    return walk_part(w, (PyObject *)type, (uintptr_t)type, owners > 1 ? owners : 1, bytes, NULL);
}

static inline int
take_by(Walk *w, const Rule *rule, PyObject *kid, Py_ssize_t held)
{
    Py_ssize_t references = Py_REFCNT(kid) - held;
    if (rule->code <= LAST_LEAF) {
        if (rule->code == NOTHING)
            return 0;
        if (references <= 1) {
            w->bytes += leaf_bytes(rule, kid) * w->heavy;
            return 0;
        }
        return references < CROWD ? items_add(&w->common, kid, w->heavy * w->scale) : 0;
    }
    if (references <= 1 && rule->code != PART)
        return items_add(&w->below, kid, w->heavy);
    return walk_refer(w, kid, w->heavy * w->scale, rule->alone ? 0 : w->slack);
}

/* Take a kid of the object that is being read into the tree, or note it as shared. `held` of its references are the
 * walk's own. May call out only where its type is new. */
int
walk_take(Walk *w, PyObject *kid, Py_ssize_t held)
{
    const Rule *rule = rules_find(w->rules, Py_TYPE(kid));
    if (LIKELY(rule != NULL))
        return take_by(w, rule, kid, held);
    Py_INCREF(kid);
    rule = rules_learn(w->st, w->rules, kid);
    int done = rule == NULL ? -1 : take_by(w, rule, kid, held + 1);
    Py_DECREF(kid);
    return done;
}

/* Tell that objects of a type cannot be measured as they say. May call out. */
static int
complain(Walk *w, PyObject *kind, const char *what)
{
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL && error != NULL)
        PyException_SetTraceback(error, trace);
    PyObject *done = error == NULL ? NULL : PyObject_CallMethod(kind, "complain", "sO", what, error);
    (void)w;
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Read one object of a level. */
static int
read_one(Walk *w, PyObject *obj, double weight)
{
    Rule *rule = rule_of(w, obj);
    if (UNLIKELY(rule == NULL))
        return -1;
    if (UNLIKELY(rule->claim != NULL) && obj != w->top_obj)
        return walk_refer(w, obj, weight * w->scale, w->slack);
    double left = w->left, own = 0, cap = left > w->quota ? left : w->quota;
    int python = rule->code > TUPLE; /* those that may call out */
    PyObject *kind = python ? Py_NewRef(rule->kind) : NULL;
    double class_bytes = rule->class_bytes;
    Py_ssize_t inner = rule->inner;
    w->heavy = weight;
    w->looks = 0;
    int done = read_object(w, rule, obj, cap, &own);
    if (UNLIKELY(class_bytes > 0) && done >= 0 && w->heavy == weight)
        done = refer_to_class(w, Py_TYPE(obj), inner, class_bytes);
    if (UNLIKELY(done == FAILED)) {
        done = -1;
        if (PyErr_ExceptionMatches(PyExc_RuntimeError)) { /* a container that changed meanwhile */
            PyErr_Clear();
            done = 0;
        }
        else if (PyErr_ExceptionMatches(PyExc_Exception))
            done = complain(w, kind, "__sizeof__ or nbytes failed");
        w->heavy = weight;
        if (done == 0)
            done = read_broken(w, obj, w->quota, &own);
    }
    Py_XDECREF(kind);
    w->bytes += own * weight;
    w->left = left - w->looks - 1;
    w->steps += (Py_ssize_t)w->looks + 1;
    return done;
}

/* How many looks it will about take to read an object. May call out; -1 with an exception. */
static double
cost_of(Walk *w, PyObject *obj, int probe)
{
    PyTypeObject *type = Py_TYPE(obj);
    if (type == &PyList_Type || type == &PyTuple_Type)
        return (double)Py_SIZE(obj) + 1;
    if (type == &PySet_Type || type == &PyFrozenSet_Type)
        return (double)PySet_GET_SIZE(obj) + 1;
    if (type == &PyDict_Type)
        return 2 * (double)PyDict_GET_SIZE(obj) + 1;
    if (!probe)
        return 0;
    Rule *rule = rule_of(w, obj);
    return rule == NULL ? -1 : (double)count_kids(w, rule, obj, w->quota) + 1;
}

/* The costs of w->below; those of other types than the usual as a few of them have it. */
static int
costs_of(Walk *w, double *costs)
{
    Py_ssize_t width = w->below.used, others = 0;
    for (Py_ssize_t i = 0; i < width; i++)
        others += (costs[i] = cost_of(w, w->below.items[i].obj, 0)) == 0;
    if (others == 0)
        return 0;
    Py_ssize_t probes = others < 16 ? others : 16, probe = 0, number = 0;
    double sum = 0;
    Py_ssize_t next = scattered(others, probes, 0);
    for (Py_ssize_t i = 0; i < width && probe < probes; i++) {
        if (costs[i] != 0 || number++ != next)
            continue;
        double cost = cost_of(w, w->below.items[i].obj, 1);
        if (cost < 0)
            return -1;
        sum += cost;
        if (++probe < probes)
            next = scattered(others, probes, probe);
    }
    for (Py_ssize_t i = 0; i < width; i++)
        if (costs[i] == 0)
            costs[i] = sum / (double)probes;
    return 0;
}

/* Replace w->below by some of it if to look at all would cost too much. */
static int
thin(Walk *w)
{
    Py_ssize_t width = w->below.used;
    if ((double)width * 64 < w->left || (width <= NARROW && w->left > w->deep))
        return 0;
    if (w->left <= w->last) {
        w->blind = 1;
        items_clear(&w->below, 0);
        return 0;
    }
    double *costs = PyMem_Malloc((size_t)width * sizeof *costs);
    if (costs == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (costs_of(w, costs) < 0) {
        PyMem_Free(costs);
        return -1;
    }
    double all = 0, squares = 0;
    for (Py_ssize_t i = 0; i < width; i++) {
        all += costs[i];
        squares += costs[i] * costs[i];
    }
    double room = w->left * PART_FOR_ONE > w->quota ? w->left * PART_FOR_ONE : w->quota;
    /* An object is drawn in proportion to its cost, and then costs as much: hence the squares. */
    double want = room * all / squares;
    if (all <= w->left || want >= (double)width) {
        PyMem_Free(costs);
        return 0;
    }
    Py_ssize_t count = want < NARROW ? NARROW : (Py_ssize_t)want;
    w->sampled = 1;
    double step = all / (double)count, rest = 0;
    Items thinned;
    items_init(&thinned);
    int done = 0;
    Py_ssize_t small = 0;
    for (Py_ssize_t i = 0; i < width && done == 0; i++) {
        if (costs[i] >= step)
            done = items_add(&thinned, w->below.items[i].obj, w->below.items[i].weight);
        else {
            rest += costs[i];
            small++;
        }
    }
    if (small && done == 0) {
        Py_ssize_t draws = (Py_ssize_t)nearbyint(rest / step);
        if (draws < 1)
            draws = 1;
        double end = 0;
        Py_ssize_t draw = 0;
        double place = (double)scattered((Py_ssize_t)(rest * 16), draws, 0) / 16;
        for (Py_ssize_t i = 0; i < width && draw < draws && done == 0; i++) {
            if (costs[i] >= step)
                continue;
            end += costs[i];
            while (place < end && draw < draws && done == 0) {
                double weight = w->below.items[i].weight * rest / (double)draws / costs[i];
                done = items_add(&thinned, w->below.items[i].obj, weight);
                if (++draw < draws)
                    place = (double)scattered((Py_ssize_t)(rest * 16), draws, draw) / 16;
            }
        }
    }
    PyMem_Free(costs);
    items_clear(&w->below, 0);
    for (Py_ssize_t i = 0; i < thinned.used && done == 0; i++)
        done = items_add(&w->below, thinned.items[i].obj, thinned.items[i].weight);
    items_clear(&thinned, 0);
    if (thinned.items != thinned.some)
        PyMem_Free(thinned.items);
    return done;
}

/* Walk the tree of a top that stands for `scale` like it, and note its bytes. */
int
walk_tree(Walk *w, Py_ssize_t number, double scale)
{
    PyObject *obj = w->tops[number].obj;
    w->user = number;
    w->scale = scale;
    w->bytes = 0;
    w->top_obj = obj;
    w->tops[number].uses = w->nuses;
    w->tops[number].common = w->common.used;
    if (read_one(w, obj, 1) < 0)
        return -1;
    while (w->below.used) {
        if (thin(w) < 0)
            return -1;
        Items *level = &w->level, *below = &w->below;
        if (level->items != level->some && below->items != below->some) {
            Items swap = {.items = level->items, .room = level->room};
            level->items = below->items;
            level->room = below->room;
            below->items = swap.items;
            below->room = swap.room;
        }
        else {
            if (level->room < below->used && items_grow(level, below->used) < 0)
                return -1;
            memcpy(level->items, below->items, (size_t)below->used * sizeof *level->items);
        }
        level->used = below->used;
        below->used = 0;
        for (Py_ssize_t i = 0; i < level->used; i++) {
            if (read_one(w, level->items[i].obj, level->items[i].weight) < 0)
                return -1;
            if (UNLIKELY(w->steps > 1 << 16) && walk_yield(w) < 0)
                return -1;
        }
        items_clear(level, 0);
    }
    Rule *rule = rule_of(w, obj);
    if (rule == NULL)
        return -1;
    double bytes = w->bytes, claimed;
    if (rule->claim != NULL) {
        PyObject *kind = Py_NewRef(rule->kind);
        if (call_for_bytes(rule->claim, obj, &claimed) < 0) {
            int done = PyErr_ExceptionMatches(PyExc_Exception) ? complain(w, kind, "__sizeof__ failed") : -1;
            Py_DECREF(kind);
            if (done < 0)
                return -1;
        }
        else {
            Py_DECREF(kind);
            if (claimed > bytes)
                bytes = claimed;
        }
    }
    Top *top = &w->tops[number];
    top->nbytes = bytes;
    top->uses_end = w->nuses;
    top->common_end = w->common.used;
    return 0;
}
