/* Linking entries: the store's commit, and around it what an insert of a cache is.
 *
 * `put` finds its place, reserves memory, and then changes the store without failing or calling out. `insert` is
 * the short cut. A cache that needs nothing but its settings for an insert says so (`_plain`); then
 * ``cache[key] = value`` is weighed, drawn on the allowance, linked and its victims dropped right here, and Python is
 * entered only where something is out of the ordinary: a listener, a refused value, a spent allowance.
 * Two kinds of inserts make up nearly all of them and need no memory: `replace` gives a live entry another value, and
 * `exchange` gives the slot of a full LRU store's victim to the newcomer. What they cannot do goes the long way.
 * Bound: O(1) and the policy's time for each victim.
 */
#include "store.h"

static inline int
may_be_collected(PyObject *obj)
{
    return PyType_HasFeature(Py_TYPE(obj), Py_TPFLAGS_HAVE_GC);
}

static inline void
note_collected(Core *s, PyObject *key, PyObject *value)
{
    if (!s->collected)
        s->collected = may_be_collected(key) || may_be_collected(value);
}

static inline void
set_hits(Core *s, uint32_t i, double hits)
{
    if (s->policy != LRU)
        s->slots[i].as.hits = hits;
    else
        s->uses[i].hits = hits < (double)UINT32_MAX ? (uint32_t)hits : UINT32_MAX;
}

static inline void
set_cost(Core *s, uint32_t i, double cost)
{
    if (s->costs != NULL)
        s->costs[i] = cost;
    if (cost == cost) {
        s->cost_total += cost;
        s->cost_count++;
    }
}

/* -------------------------------------------------------------------------------------------------- linking */

/* Whether the store has memory for one more entry as wanted. */
static int
is_ready(Core *s, const Wanted *wanted)
{
    return s->index != NULL && 3 * ((uint64_t)s->live + 1) <= 2 * ((uint64_t)s->mask + 1) &&
           (s->used < s->room || (s->policy == LRU && s->vacant != NIL)) &&
           (wanted->cost != wanted->cost || s->costs != NULL) && (wanted->weight == 1.0 || s->weights != NULL) &&
           (wanted->size < (long long)WIDE || s->wide != NULL) &&
           (!is_dated(wanted->due) || (s->dues != NULL && s->due.first + s->due.count < s->due.room)) &&
           (wanted->due.object == NULL || s->odd != NULL) &&
           (s->policy != LFU || s->ranks.first + s->ranks.count < s->ranks.room);
}

static int
make_ready(Core *s, const Wanted *wanted)
{
    if (is_dated(wanted->due) && s->due.count > 2 * (size_t)s->live + 64)
        due_prune(s);
    return reserve(s) || (wanted->cost == wanted->cost && need_costs(s)) ||
                   (wanted->weight != 1.0 && need_weights(s)) ||
                   (wanted->size >= (long long)WIDE && need_wide(s)) ||
                   (is_dated(wanted->due) && (need_dues(s) || heap_reserve(&s->due))) ||
                   (wanted->due.object != NULL && need_odd(s)) ||
                   (s->policy == LFU && heap_reserve(&s->ranks))
               ? -1
               : 0;
}

/* Link an entry: 1; 0: `absent`, and a live one is there; -1: an exception. `slot` is where it is until the next
 * call out; a replaced entry goes to `old`, whose key is NULL where there was none. */
int
put(Core *s, const Wanted *wanted, uint32_t *slot, Row *old)
{
    uint32_t i;
    int found;
    old->key = NULL;
    do {
        if (make_ready(s, wanted))
            return -1;
        found = wanted->missing == s->version + 1 ? 0 : seek(s, wanted->key, wanted->tag, &i);
        if (found < 0)
            return -1;
    } while (!is_ready(s, wanted));
    if (found && wanted->absent) {
        *slot = i;
        return 0;
    }

    /* From here on nothing fails and nothing calls out. */
    note_fork(s);
    double hits = wanted->hits;
    int stays = 0;
    if (found) {
        uint32_t before = i;
        hits = hits_at(s, i);
        read_row(s, i, old); /* the row has the slot's references now */
        s->nbytes -= old->size;
        s->weight -= old->weight;
        if (s->policy == LRU) {
            order_remove(s, i);
            disinherit(s, i);
        }
        else if (!is_dated(old->due) && !is_dated(wanted->due))
            stays = 1; /* an entry without a deadline keeps its place */
        else {
            uint32_t at = s->slots[before].tag >> s->shift;
            while (s->index[at] != cell_of(s, before))
                at = (at + 1) & s->mask;
            release_slot(s, before);
            i = take_slot(s);
            s->live++;
            s->slots[i].tag = wanted->tag;
            s->index[at] = cell_of(s, i);
        }
    }
    else {
        if (hits != hits)
            hits = welcome(s, wanted->tag);
        i = take_slot(s);
        s->slots[i].tag = wanted->tag;
        enter_index(s, i);
        s->live++;
    }
    Slot *at = &s->slots[i];
    at->key = Py_NewRef(wanted->key);
    at->value = Py_NewRef(wanted->value);
    at->tag = wanted->tag;
    if (wanted->size >= (long long)WIDE) {
        at->size = WIDE;
        s->wide[i] = (uint64_t)wanted->size;
    }
    else
        at->size = (uint32_t)wanted->size;
    s->uses[i].stamp = wanted->hits == wanted->hits ? wanted->stamp : clock_now(s->st);
    set_hits(s, i, hits);
    if (s->policy == LRU)
        order_append(s, i);
    set_cost(s, i, wanted->cost);
    if (s->weights != NULL)
        s->weights[i] = wanted->weight;
    if (!wanted->integral)
        s->fractional = 1;
    if (s->odd != NULL)
        s->odd[i] = Py_XNewRef(wanted->due.object);
    if (s->dues != NULL) {
        double when = wanted->due.when;
        s->dues[i].when = when;
        s->dues[i].link = s->links++;
        if (is_dated(wanted->due)) {
            s->mortal = 1;
            if (when == when)
                heap_push(&s->due, when, s->dues[i].link, i);
            else
                s->unordered = 1;
        }
    }
    s->nbytes += wanted->size;
    s->weight += wanted->weight;
    note_collected(s, wanted->key, wanted->value);
    s->version++;
    *slot = i;
    if (!stays) {
        if (s->policy == LFU)
            heap_push(&s->ranks, hits, i, i);
        tighten(s);
        /* A compaction leaves the newest last. */
        *slot = s->policy == LRU ? s->last : s->used - 1;
    }
    if (s->policy == LFU)
        age(s);
    return 1;
}

static PyObject *
number_or_none(double number)
{
    return number == number ? PyFloat_FromDouble(number) : Py_NewRef(Py_None);
}

/* self._insert(key, hash, value, ttl, cost): the long way. */
static int
insert_by_cache(Core *s, PyObject *key, Py_hash_t hash, PyObject *value, double ttl, double cost)
{
    PyObject *answer = NULL;
    PyObject *args[] = {(PyObject *)s, key, PyLong_FromSsize_t(hash), value, number_or_none(ttl), number_or_none(cost)};
    BEGIN_OUTSIDE
    if (args[2] != NULL && args[4] != NULL && args[5] != NULL)
        answer = PyObject_VectorcallMethod(s->st->s_insert, args, 6, NULL);
    Py_XDECREF(args[2]);
    Py_XDECREF(args[4]);
    Py_XDECREF(args[5]);
    Py_XDECREF(answer);
    END_OUTSIDE
    return answer == NULL ? -1 : 0;
}

static inline int
is_full(Core *s)
{
    return (double)s->live > s->maxsize || (s->maxbytes >= 0 && s->nbytes > s->maxbytes);
}

/* What an insert of a cache has found out. All references are borrowed. */
typedef struct {
    PyObject *key, *value;
    uint32_t tag;
    long long size;
    double cost, now, when; /* NaN: not known; no deadline, and the time was not asked for */
} Plain;

/* Whether `replace` and `exchange` can do it: no column is missing and no memory is needed. */
static inline int
is_plain(Core *s, const Plain *new)
{
    if (new->size >= (long long)WIDE || s->weights != NULL || (new->cost == new->cost && s->costs == NULL))
        return 0;
    if (s->dues == NULL)
        return new->when != new->when;
    return s->policy == LRU && new->when == new->when && s->odd == NULL && !s->unordered &&
           s->due.count <= 2 * (size_t)s->live + 64 && s->due.first + s->due.count < s->due.room;
}

static inline void
set_due(Core *s, uint32_t i, double when)
{
    if (s->dues == NULL)
        return;
    Due due = {when, s->links++};
    s->dues[i] = due;
    heap_push(&s->due, when, due.link, i); /* into room that `is_plain` has seen */
}

/* Replace what is in a slot, if that takes no victim. Like a hit, it looks at no clock. */
static inline int
replace(Core *s, uint32_t i, const Plain *new)
{
    Slot *slot = &s->slots[i];
    long long more = new->size - size_at(s, i);
    if (!is_plain(s, new) || (s->maxbytes >= 0 && s->nbytes + more > s->maxbytes) ||
        (s->dues != NULL && !(new->now < s->dues[i].when)))
        return 0;
    PyObject *old_key = slot->key, *old_value = slot->value;
    slot->key = Py_NewRef(new->key);
    slot->value = Py_NewRef(new->value);
    slot->size = (uint32_t)new->size;
    s->nbytes += more;
    s->uses[i].stamp = clock_now(s->st);
    set_cost(s, i, new->cost);
    set_due(s, i, new->when);
    if (s->policy == LRU) {
        disinherit(s, i);
        order_renew(s, i);
    }
    else if (s->policy == LFU)
        age(s);
    note_collected(s, new->key, new->value);
    s->version++;
    BEGIN_OUTSIDE
    Py_DECREF(old_value);
    Py_DECREF(old_key);
    END_OUTSIDE
    return 1;
}

/* Put a new entry in the place of the one victim that a full LRU store gives up for it; 0: it takes more than that. */
static inline int
exchange(Core *s, const Plain *new, Counts *counts)
{
    uint32_t i = s->head;
    if (s->policy != LRU || i == NIL || !((double)s->live + 1.0 > s->maxsize && (double)s->live <= s->maxsize) ||
        !is_plain(s, new) || !is_clock_ours(s->st))
        return 0;
    long long more = new->size - size_at(s, i);
    if (s->maxbytes >= 0 && s->nbytes + more > s->maxbytes)
        return 0;
    double next;
    if (s->dues != NULL && next_deadline(s, &next) && !(new->now < next))
        return 0; /* the expired go first */
    /* Only other caches look at its stamps, so each fourth victim is often enough: they are as old as a hit's. */
    uint64_t version = s->version;
    if (version % 8 < 2 && clock_tick(s->st, 0))
        PyErr_Clear(); /* no memory for a float: an old stamp does */
    if (CAME_IN(version != s->version))
        return 0; /* the clock was exchanged meanwhile */
    Slot *slot = &s->slots[i];
    PyObject *old_key = slot->key, *old_value = slot->value;
    leave_index(s, i);
    slot->key = Py_NewRef(new->key);
    slot->value = Py_NewRef(new->value);
    slot->tag = new->tag;
    slot->size = (uint32_t)new->size;
    enter_index(s, i);
    s->nbytes += more;
    s->uses[i].stamp = clock_now(s->st);
    set_hits(s, i, s->gain);
    set_cost(s, i, new->cost);
    set_due(s, i, new->when);
    note_fork(s);
    disinherit(s, i);
    order_renew(s, i);
    note_collected(s, new->key, new->value);
    s->version += 2; /* one has left, one has come */
    counts->evictions++;
    BEGIN_OUTSIDE
    Py_DECREF(old_value);
    Py_DECREF(old_key);
    END_OUTSIDE
    return 1;
}

/* Link what is new, and make room for it. */
static int
insert_slowly(Core *s, const Plain *new, uint64_t missing, Counts *counts)
{
    if ((s->policy == DENSITY || s->version % 8 < 2 || !is_clock_ours(s->st)) &&
        clock_tick(s->st, s->policy == DENSITY))
        return -1;
    Wanted wanted = {new->key, new->value, {NULL, new->when}, new->tag, new->size, 1.0, new->cost, Py_NAN, 0.0,
                     1, 0, missing};
    uint32_t kept;
    Row old, one;
    int made = put(s, &wanted, &kept, &old);
    if (made < 0)
        return -1;
    counts->inserts++;
    one.key = NULL;
    int failed = 0;
    Rows rows = {NULL, 0, 0};
    if (is_full(s)) {
        if (s->due.count || s->unordered) {
            /* The expired go first. Asking them may call out; the new entry is found again by what it holds. */
            PyObject *told = Py_NewRef(s->slots[kept].key), *what = Py_NewRef(s->slots[kept].value);
            failed = expire(s, NULL, &rows);
            counts->expirations += (long long)rows.count;
            kept = s->policy == LRU ? s->last : s->used - 1;
            if (s->live == 0 || !is_linked(s, kept, told, what))
                kept = NIL;
            uint64_t version = s->version;
            Py_DECREF(told);
            Py_DECREF(what);
            if (version != s->version)
                kept = NIL;
        }
        while (!failed && is_full(s)) {
            uint32_t i = victim(s, kept);
            if (i == NIL)
                break;
            if (one.key == NULL)
                give_up(s, i, &one);
            else if (rows_reserve(&rows, 1)) {
                PyErr_Clear(); /* the next insert goes on */
                break;
            }
            else
                give_up(s, i, &rows.rows[rows.count++]);
            counts->evictions++;
        }
    }
    /* All is done and consistent: let go of what left. */
    BEGIN_OUTSIDE_IF(old.key != NULL || one.key != NULL || rows.count != 0)
    if (old.key != NULL)
        row_clear(&old);
    if (one.key != NULL)
        row_clear(&one);
    rows_clear(&rows);
    END_OUTSIDE
    return failed ? -1 : 0;
}

/* Take bytes from the allowance and return what is left; where that would be negative, none are taken. */
static inline long long
draw_on(Allowance *allowance, long long size)
{
#ifdef Py_GIL_DISABLED
    int64_t before = _Py_atomic_load_int64_relaxed((int64_t *)&allowance->left);
    while (before >= size &&
           !_Py_atomic_compare_exchange_int64((int64_t *)&allowance->left, &before, before - size))
        ;
    return before - size;
#else
    long long left = allowance->left - size;
    if (left >= 0)
        allowance->left = left;
    return left;
#endif
}

static inline int
insert_counted(Core *s, PyObject *key, Py_hash_t hash, PyObject *value, double ttl, double cost, uint64_t missing,
               Counts *counts)
{
    if (s->index != NULL)
        PREFETCH(&s->index[tag_of(hash) >> s->shift]); /* it comes while the entry is weighed */
    long long size = leaf_size(s->st, key), more = leaf_size(s->st, value);
    if ((size < 0 && (size = weigh(s, key, Py_NAN)) < 0) || (more < 0 && (more = weigh(s, value, cost)) < 0))
        return -1;
    size += more + s->overhead;
    double lifetime = ttl == ttl ? ttl : s->ttl;
    if (ttl == ttl && s->ttl != s->ttl)
        size += s->dated;
    if (size > LARGEST_SIZE || (s->maxbytes >= 0 && size > s->maxbytes))
        return insert_by_cache(s, key, hash, value, ttl, cost);
    Plain new = {key, value, tag_of(hash), size, cost, Py_NAN, Py_NAN};
    if (lifetime == lifetime) {
        if (!s->mortal || !timer_now(s, &new.now))
            return insert_by_cache(s, key, hash, value, ttl, cost);
        new.when = new.now + lifetime;
    }
    if (s->allowance != NULL) {
        if (draw_on(s->allowance, size) < 0)
            return insert_by_cache(s, key, hash, value, ttl, cost);
    }
    uint32_t i = missing == s->version + 1 ? NIL : find_tagged(s, key, new.tag);
    if (i == FAIL)
        return -1;
    missing = i == NIL ? s->version + 1 : 0;
    if (i == NIL ? exchange(s, &new, counts) : replace(s, i, &new)) {
        counts->inserts++;
        return 0;
    }
    return insert_slowly(s, &new, missing, counts);
}

/* cache.set(key, value, ttl, cost), NaN for what is not given; in C where the cache is simple. `missing` is 1 + the
 * version of a store in which the key was not found; 0: not known. */
int
insert(Core *s, PyObject *key, Py_hash_t hash, PyObject *value, double ttl, double cost, uint64_t missing)
{
    if (!s->simple || s->maxsize < 1.0 || (s->listener != NULL && s->listener != Py_None))
        return insert_by_cache(s, key, hash, value, ttl, cost);
    Counts *counts = (Counts *)Py_NewRef(s->counts);
    int failed = insert_counted(s, key, hash, value, ttl, cost, missing, counts);
    Py_DECREF(counts);
    return failed;
}

/* _plain(simple, overhead, maxsize, maxbytes, ttl, sizeof, weigh, allowance, counts): see the pure store's. */
PyObject *
core_plain(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    if (counted(nargs, 9, 9, "_plain"))
        return NULL;
    State *st = s->st;
    int simple = PyObject_IsTrue(args[0]);
    if (simple < 0 || !Py_IS_TYPE(args[8], st->counts)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "counts must be the store's own");
        return NULL;
    }
    s->simple = 0;
    s->overhead = PyLong_AsLongLong(args[1]);
    PyObject *dated = PyObject_GetAttr((PyObject *)s, st->s_dated);
    s->dated = dated == NULL ? 0 : PyLong_AsLongLong(dated);
    Py_XDECREF(dated);
    if (dated == NULL || (s->dated == -1 && PyErr_Occurred()))
        return NULL;
    s->maxsize = args[2] == Py_None ? Py_HUGE_VAL : PyFloat_AsDouble(args[2]);
    if (PyErr_Occurred()) { /* an int beyond all floats */
        PyErr_Clear();
        s->maxsize = Py_HUGE_VAL;
    }
    s->maxbytes = -1;
    if (args[3] != Py_None) {
        int overflow;
        s->maxbytes = PyLong_AsLongLongAndOverflow(args[3], &overflow);
        if (overflow)
            s->maxbytes = -1;
    }
    s->ttl = Py_NAN;
    if (PyFloat_CheckExact(args[4]))
        s->ttl = PyFloat_AS_DOUBLE(args[4]);
    else if (PyLong_CheckExact(args[4])) {
        s->ttl = PyLong_AsDouble(args[4]);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            simple = 0;
        }
    }
    else if (args[4] != Py_None)
        simple = 0;
    if (args[4] != Py_None && s->ttl != s->ttl)
        simple = 0;
    Py_XSETREF(s->sizeof_, Py_NewRef(args[5]));
    Py_XSETREF(s->weigh, Py_NewRef(args[6]));
    PyObject *allowance = NULL;
    if (Py_IS_TYPE(args[7], st->allowance))
        allowance = Py_NewRef(args[7]);
    else if (args[7] != Py_None)
        simple = 0;
    Py_XSETREF(s->allowance, (Allowance *)allowance);
    Py_XSETREF(s->counts, (Counts *)Py_NewRef(args[8]));
    s->simple = simple;
    Py_RETURN_NONE;
}
