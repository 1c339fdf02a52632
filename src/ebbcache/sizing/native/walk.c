/* What goes with a value: trial deletion over the tops that its trees share, and the sum of what nobody else keeps.
 *
 * The references to a top from inside the value are counted; what has more than those, but for a slack for variables
 * that are gone soon, is kept by something outside, with all it reaches: CPython's collector does the same
 * (Modules/gcmodule.c, deduce_unreachable). Bound: linear in tops and references between them; the same sums as
 * Walk in walk.py.
 */
#include <math.h>

#include "sizing.h"

static inline double
references(const Top *top)
{
    if (top->owners >= 0)
        return (double)(top->owners ? top->owners : top->seen);
    return (double)(Py_REFCNT(top->obj) - 1 - top->lent); /* less the walk's own */
}

/* How many more references a top has from outside the value than it may have. Where those from inside are an
 * estimate, or more may come from what was passed over, it may have as many again. What was met one by one is not to
 * be charged for having a sample below it. */
static inline double
outside(const Walk *w, const Top *top)
{
    double all = references(top);
    int estimated = w->blind || top->count > (double)top->seen;
    return all - top->count - (estimated ? top->slack + all / 2 : top->slack);
}

/* For how many tops this one stands. */
static double
stands_for(const Walk *w, const Top *top, int at_start)
{
    if (!w->sampled)
        return 1;
    double all = references(top);
    double many = at_start && top->seen == 1 ? top->count : top->count / (all > 1 ? all : 1);
    return many > 1 ? many : 1;
}

/* Whether the references missing for a top may turn up in its own tree. May call out; -1 with an exception. */
static int
worth_a_try(Walk *w, Py_ssize_t number)
{
    double missing = outside(w, &w->tops[number]);
    if (missing >= w->left)
        return 0;
    if (w->exact)
        return 1;
    PyObject *before =
        PyObject_CallMethodOneArg(w->rules->table, w->st->str_shared_before, w->tops[number].obj);
    if (before == NULL)
        return -1;
    double half = PyFloat_AsDouble(before) / 2;
    Py_DECREF(before);
    if (PyErr_Occurred())
        return -1;
    return !(missing > half && half > 0);
}

/* Walk the tops in `ready`, or some of them if all would cost too much; these then stand for the others too. */
static int
walk_some(Walk *w, const Py_ssize_t *ready, Py_ssize_t many, Py_ssize_t *walked, double *spent)
{
    double cost = *spent / (double)*walked;
    double room = (w->left * PART_FOR_ONE > w->quota ? w->left * PART_FOR_ONE : w->quota) / cost;
    Py_ssize_t count = room >= (double)many ? many : room < 16 ? 16 : (Py_ssize_t)room;
    int all = (double)many * cost <= w->left || count >= many;
    if (all)
        count = many;
    else {
        w->sampled = w->blind = 1;
        for (Py_ssize_t i = 0; i < many; i++)
            w->tops[ready[i]].nbytes = 0;
        for (Py_ssize_t i = 0; i < count; i++)
            w->tops[ready[scattered(many, count, i)]].count *= (double)many / (double)count;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t number = ready[all ? i : scattered(many, count, i)];
        double before = w->left;
        if (walk_tree(w, number, stands_for(w, &w->tops[number], 1)) < 0)
            return -1;
        if (UNLIKELY(w->steps > 1 << 16) && walk_yield(w) < 0)
            return -1;
        ++*walked;
        *spent += before - w->left;
        if (w->left <= w->last) {
            w->blind = 1;
            break;
        }
    }
    return 0;
}

/* Walk the trees of all tops but those that are surely shared, or of some of each round's. */
static int
settle(Walk *w)
{
    Py_ssize_t *ready = NULL, *doubtful = NULL, nready, ndoubtful = 0, room = 0, walked = 1;
    double spent = 8;
    int done = 0;
    while (w->left > w->last) {
        if (room < ndoubtful + w->nqueue) {
            room = 2 * (ndoubtful + w->nqueue);
            Py_ssize_t *more = PyMem_Realloc(ready, (size_t)room * sizeof *ready);
            if (more != NULL)
                ready = more;
            Py_ssize_t *again = PyMem_Realloc(doubtful, (size_t)room * sizeof *doubtful);
            if (again != NULL)
                doubtful = again;
            if (more == NULL || again == NULL) {
                PyErr_NoMemory();
                done = -1;
                break;
            }
        }
        nready = 0;
        for (Py_ssize_t i = 0; i < w->nqueue; i++) {
            if (outside(w, &w->tops[w->queue[i]]) > 0)
                doubtful[ndoubtful++] = w->queue[i];
            else
                ready[nready++] = w->queue[i];
        }
        w->nqueue = 0;
        if (nready == 0) {
            /* The references missing for the doubtful ones can only come from their own trees, and to find n of
             * them takes n looks at least. */
            for (Py_ssize_t i = 0; i < ndoubtful && done >= 0; i++) {
                done = worth_a_try(w, doubtful[i]);
                if (done > 0)
                    ready[nready++] = doubtful[i];
            }
            if (nready == 0)
                w->blind |= ndoubtful && w->left <= 0;
            if (done < 0 || nready == 0)
                break;
            ndoubtful = 0;
        }
        done = walk_some(w, ready, nready, &walked, &spent);
        if (done < 0)
            break;
    }
    PyMem_Free(ready);
    PyMem_Free(doubtful);
    return done < 0 ? -1 : 0;
}

/* Mark the tops of which `mark` says so as kept by something outside, and all that they reach, but the root. */
static int
keep(Walk *w, const unsigned char *mark)
{
    Py_ssize_t *stack = NULL, used = 0, room = 0;
    for (Py_ssize_t i = 1; i < w->ntops; i++) {
        if (!mark[i] || w->tops[i].kept)
            continue;
        Py_ssize_t next = i;
        for (;;) {
            Top *top = &w->tops[next];
            if (next != 0 && !top->kept) {
                top->kept = 1;
                for (Py_ssize_t use = top->uses; use < top->uses_end; use++) {
                    if (w->tops[w->uses[use]].kept)
                        continue;
                    if (used == room) {
                        room = room ? 2 * room : 64;
                        Py_ssize_t *more = PyMem_Realloc(stack, (size_t)room * sizeof *stack);
                        if (more == NULL) {
                            PyMem_Free(stack);
                            PyErr_NoMemory();
                            return -1;
                        }
                        stack = more;
                    }
                    stack[used++] = w->uses[use];
                }
            }
            if (used == 0)
                break;
            next = stack[--used];
        }
    }
    PyMem_Free(stack);
    return 0;
}

typedef struct {
    PyObject *obj; /* borrowed from w->common */
    double weight;
    Py_ssize_t count, held;
} Leaf;

/* The bytes of the leaves with several references under what is not kept, each charged by its share. */
static int
sum_leaves(Walk *w, double *total)
{
    if (w->common.used == 0)
        return 0;
    size_t size = 64;
    while (size < 2 * (size_t)w->common.used)
        size *= 2;
    Leaf few_leaves[64], *leaves = few_leaves;
    if (size > 64) {
        leaves = PyMem_Malloc(size * sizeof *leaves);
        if (leaves == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    memset(leaves, 0, size * sizeof *leaves);
    for (Py_ssize_t i = 0; i < w->ntops; i++) {
        Top *top = &w->tops[i];
        for (Py_ssize_t n = top->common; n < top->common_end; n++) {
            PyObject *obj = w->common.items[n].obj;
            size_t at = ((uintptr_t)obj >> 4) & (size - 1);
            while (leaves[at].obj != NULL && leaves[at].obj != obj)
                at = (at + 1) & (size - 1);
            leaves[at].obj = obj;
            leaves[at].held++;
            if (!top->kept) {
                leaves[at].count++;
                leaves[at].weight += w->common.items[n].weight;
            }
        }
    }
    for (size_t at = 0; at < size; at++) {
        Leaf *leaf = &leaves[at];
        if (leaf->obj == NULL || leaf->count == 0)
            continue;
        const Rule *rule = rules_find(w->rules, Py_TYPE(leaf->obj));
        if (rule == NULL)
            continue;
        double all = (double)(Py_REFCNT(leaf->obj) - leaf->held);
        double share = all - (double)leaf->count <= w->leaf_slack ? 1 : (double)leaf->count / all;
        if (w->sampled && leaf->weight / all > share)
            share = leaf->weight / all;
        *total += leaf_bytes(rule, leaf->obj) * share;
    }
    if (leaves != few_leaves)
        PyMem_Free(leaves);
    return 0;
}

/* How many blocks are allocated in all; infinitely many if that is not known. -1 with an exception. */
static double
blocks_in_use(void)
{
    PyObject *ask = PySys_GetObject("getallocatedblocks");
    PyObject *answer = ask == NULL ? PyLong_FromLong(0) : PyObject_CallNoArgs(ask);
    double count = answer == NULL ? -1 : PyLong_AsDouble(answer);
    Py_XDECREF(answer);
    return count == 0 ? Py_HUGE_VAL : count;
}

/* The bytes of the root and of the tops that are not kept. */
static int
sum_freed(Walk *w, double *total)
{
    double sizes = 0, count = 0;
    Py_ssize_t sized = 0;
    for (Py_ssize_t i = 1; i < w->ntops; i++) {
        if (!w->tops[i].kept && w->tops[i].nbytes > 0) {
            sizes += w->tops[i].nbytes;
            sized++;
        }
    }
    double typical = sized ? sizes / (double)sized : 0; /* for those that the budget did not reach */
    *total = w->tops[0].nbytes;
    for (Py_ssize_t i = 1; i < w->ntops; i++) {
        const Top *top = &w->tops[i];
        if (!top->kept) {
            double alike = stands_for(w, top, 0);
            *total += (top->nbytes < 0 ? typical : top->nbytes) * alike;
            count += alike;
        }
    }
    if (sum_leaves(w, total) < 0)
        return -1;
    if (count > MANY_TOPS) {
        /* Samples take a graph for a tree, whose branches meet nowhere; there are no more objects than blocks. */
        double most = blocks_in_use();
        if (most < 0)
            return -1;
        if (most < count)
            *total *= most / count;
    }
    return 0;
}

/* Remember that a top was walked in vain: that is not to be tried again with every value that refers to it. */
static int
note_shared(Walk *w, Py_ssize_t number)
{
    PyObject *shared = PyFloat_FromDouble(outside(w, &w->tops[number]));
    PyObject *note = PyObject_GetAttr(w->rules->table, w->st->str_note);
    PyObject *names = PyTuple_Pack(1, w->st->str_shared), *done = NULL;
    PyObject *args[] = {w->tops[number].obj, shared};
    if (shared != NULL && note != NULL && names != NULL)
        done = PyObject_Vectorcall(note, args, 1, names);
    Py_XDECREF(shared);
    Py_XDECREF(note);
    Py_XDECREF(names);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Whether a part was charged to another value before. */
static int
charged_before(Walk *w, PyObject *part)
{
    PyObject *answer =
        PyObject_CallMethodObjArgs(w->rules->table, w->st->str_charged, part, w->tops[0].obj, NULL);
    if (answer == NULL)
        return -1;
    int truth = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return truth;
}

static int
sum_up(Walk *w, double *total)
{
    unsigned char some[256], *mark = some;
    if (w->ntops > (Py_ssize_t)sizeof some) {
        mark = PyMem_Malloc((size_t)w->ntops);
        if (mark == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    int done = 0;
    for (Py_ssize_t i = 1; i < w->ntops; i++)
        mark[i] = outside(w, &w->tops[i]) > 0;
    for (Py_ssize_t i = 1; i < w->ntops && done >= 0 && !w->evicted; i++)
        if (mark[i] && w->tops[i].nbytes >= 0 && w->tops[i].owners < 0)
            done = note_shared(w, i);
    if (done >= 0)
        done = keep(w, mark);
    for (Py_ssize_t i = 1; i < w->ntops && done >= 0; i++)
        if (w->tops[i].ask != NULL && !w->tops[i].kept)
            done = walk_ask(w, &w->tops[i]);
    if (done >= 0)
        done = sum_freed(w, total);
    if (done >= 0 && *total >= LARGE && !w->evicted) {
        /* A large part that the slack has us charge may still be one that every value refers to. If each of them
         * were charged with it none might get into a cache, so only the first one is. */
        int again = 0;
        for (Py_ssize_t i = 1; i < w->ntops && done >= 0; i++) {
            mark[i] = 0;
            if (w->tops[i].kept || !(references(&w->tops[i]) > w->tops[i].count))
                continue;
            done = charged_before(w, w->tops[i].obj);
            mark[i] = done > 0;
            again |= done > 0;
        }
        if (done >= 0 && again) {
            done = keep(w, mark);
            if (done >= 0)
                done = sum_freed(w, total);
        }
    }
    if (mark != some)
        PyMem_Free(mark);
    return done < 0 ? -1 : 0;
}

static void
walk_free(Walk *w)
{
    /* What is dropped here may run code of its own, which must not replace an exception on its way. */
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    Items *all[] = {&w->level, &w->below, &w->kids, &w->common};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        items_clear(all[i], 0);
        if (all[i]->items != all[i]->some)
            PyMem_Free(all[i]->items);
    }
    for (Py_ssize_t i = 0; i < w->ntops; i++)
        Py_DECREF(w->tops[i].obj);
    if (w->tops != w->some_tops)
        PyMem_Free(w->tops);
    PyMem_Free(w->index);
    if (w->uses != w->some_uses)
        PyMem_Free(w->uses);
    if (w->queue != w->some_queue)
        PyMem_Free(w->queue);
    Py_DECREF(w->rules);
    PyErr_Restore(type, error, trace);
}

/* The bytes that would be freed with `obj`; `budget` objects are looked at, all if it is infinite. May call out. */
int
walk_weigh(State *st, PyObject *obj, double budget, int evicted, double *bytes)
{
    Walk walk, *w = &walk;
    memset(w, 0, offsetof(Walk, level));
    memset(&w->tops, 0, offsetof(Walk, some_tops) - offsetof(Walk, tops));
    w->tops = w->some_tops;
    w->uses = w->some_uses;
    w->queue = w->some_queue;
    w->room_tops = w->room_queue = FEW;
    w->room_uses = 2 * FEW;
    items_init(&w->level);
    items_init(&w->below);
    items_init(&w->kids);
    items_init(&w->common);
    w->st = st;
    w->rules = (Rules *)Py_NewRef((PyObject *)st->rules);
    w->exact = isinf(budget);
    if (w->exact)
        budget = (double)PY_SSIZE_T_MAX;
    w->left = budget;
    w->last = -budget;
    w->deep = -(DEEP - 1) * budget;
    w->quota = budget < 512 ? 64 : budget < 9e15 ? (double)((long long)budget / 8) : budget / 8;
    w->evicted = evicted;
    w->slack = evicted ? 0 : SLACK;
    w->leaf_slack = evicted ? 0 : LEAF_SLACK;
    int done = walk_top(w, obj, 0) < 0 ? -1 : 0;
    w->nqueue = 0; /* the root is walked at once */
    if (done == 0)
        done = walk_tree(w, 0, 1);
    if (done == 0) {
        if (w->nqueue)
            done = settle(w);
        if (done == 0 && w->ntops == 1 && w->common.used == 0)
            *bytes = w->tops[0].nbytes;
        else if (done == 0)
            done = sum_up(w, bytes);
    }
    walk_free(w);
    return done;
}
