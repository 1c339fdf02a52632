/* Linking entries: the store's commit, and around it what an insert of a cache is.
 *
 * `put` finds its place, reserves memory, and then changes the store without failing or calling out. `insert` is
 * the short cut. A cache that needs nothing but its settings for an insert says so (`_plain`); then
 * ``cache[key] = value`` is weighed, drawn on the allowance, linked and its victims dropped right here, and Python is
 * entered only where something is out of the ordinary: a listener, a refused value, a spent allowance.
 * Bound: O(1) and the policy's time for each victim.
 */
#include "store.h"

static inline int
may_be_collected(PyObject *obj)
{
    return PyType_HasFeature(Py_TYPE(obj), Py_TPFLAGS_HAVE_GC);
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
    double hits = wanted->hits;
    int stays = 0;
    if (found) {
        uint32_t before = i;
        hits = hits_at(s, i);
        copy_row(s, i, old);
        Py_DECREF(old->key);
        Py_DECREF(old->value);
        Py_XDECREF(old->due.object); /* the row has the slot's references now */
        s->nbytes -= old->size;
        s->weight -= old->weight;
        if (s->policy == LRU)
            order_remove(s, i);
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
    if (s->policy == LRU) {
        s->uses[i].hits = hits < (double)UINT32_MAX ? (uint32_t)hits : UINT32_MAX;
        order_append(s, i);
    }
    else
        at->as.hits = hits;
    if (s->costs != NULL)
        s->costs[i] = wanted->cost;
    if (wanted->cost == wanted->cost) {
        s->cost_total += wanted->cost;
        s->cost_count++;
    }
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
    if (!s->collected)
        s->collected = may_be_collected(wanted->key) || may_be_collected(wanted->value);
    s->version++;
    *slot = i;
    if (!stays) {
        if (s->policy == LFU)
            heap_push(&s->ranks, hits, i, i);
        tighten(s);
        /* A compaction leaves the newest last. */
        *slot = s->policy == LRU ? s->tail : s->used - 1;
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
    if (args[2] != NULL && args[4] != NULL && args[5] != NULL)
        answer = PyObject_VectorcallMethod(s->st->s_insert, args, 6, NULL);
    Py_XDECREF(args[2]);
    Py_XDECREF(args[4]);
    Py_XDECREF(args[5]);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}

static inline int
is_full(Core *s)
{
    return (double)s->live > s->maxsize || (s->maxbytes >= 0 && s->nbytes > s->maxbytes);
}

/* Replace what is in a slot of a store without deadlines, if that takes no more memory and no victim. Like a hit,
 * it looks at no clock. */
static int
replace_plainly(Core *s, uint32_t i, PyObject *key, PyObject *value, long long size)
{
    Slot *slot = &s->slots[i];
    long long more = size - size_at(s, i);
    if (size >= (long long)WIDE || s->weights != NULL || (s->maxbytes >= 0 && s->nbytes + more > s->maxbytes))
        return 0;
    PyObject *old_key = slot->key, *old_value = slot->value;
    slot->key = Py_NewRef(key);
    slot->value = Py_NewRef(value);
    slot->size = (uint32_t)size;
    s->nbytes += more;
    s->uses[i].stamp = clock_now(s->st);
    if (s->costs != NULL)
        s->costs[i] = Py_NAN;
    if (s->policy == LFU)
        age(s);
    else if (s->policy == LRU && s->tail != i) {
        order_remove(s, i);
        order_append(s, i);
    }
    if (!s->collected)
        s->collected = may_be_collected(key) || may_be_collected(value);
    s->version++;
    Py_DECREF(old_value);
    Py_DECREF(old_key);
    return 1;
}

static int
insert_counted(Core *s, PyObject *key, Py_hash_t hash, PyObject *value, double ttl, double cost, Counts *counts)
{
    long long left, size = weigh(s, key), more = size < 0 ? -1 : weigh(s, value);
    if (more < 0)
        return -1;
    size += more + s->overhead;
    double lifetime = ttl == ttl ? ttl : s->ttl;
    if (ttl == ttl && s->ttl != s->ttl)
        size += s->dated;
    if (size > LARGEST_SIZE || (s->maxbytes >= 0 && size > s->maxbytes))
        return insert_by_cache(s, key, hash, value, ttl, cost);
    Moment due = {NULL, Py_NAN};
    if (lifetime == lifetime) {
        if (!s->mortal || !timer_now(s, &due.when))
            return insert_by_cache(s, key, hash, value, ttl, cost);
        due.when += lifetime;
    }
    if (s->allowance != NULL) {
        left = s->allowance->left - size;
        if (left < 0)
            return insert_by_cache(s, key, hash, value, ttl, cost);
        s->allowance->left = left;
    }
    uint64_t missing = 0;
    if (s->dues == NULL && !is_dated(due) && cost != cost) {
        uint32_t i = find(s, key, hash);
        if (i == FAIL)
            return -1;
        if (i == NIL)
            missing = s->version + 1;
        if (i != NIL && s->dues == NULL && replace_plainly(s, i, key, value, size)) {
            counts->inserts++;
            return 0;
        }
    }
    /* Where only other caches look at stamps, each fourth victim is often enough: they are as old as a hit's. */
    if ((s->policy == DENSITY || s->version % 8 < 2 || !is_clock_ours(s->st)) &&
        clock_tick(s->st, s->policy == DENSITY))
        return -1;
    Wanted wanted = {key, value, due, tag_of(hash), size, 1.0, cost, Py_NAN, 0.0, 1, 0, missing};
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
            kept = s->policy == LRU ? s->tail : s->used - 1;
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
    if (old.key != NULL)
        row_clear(&old);
    if (one.key != NULL)
        row_clear(&one);
    rows_clear(&rows);
    return failed ? -1 : 0;
}

/* cache.set(key, value, ttl, cost), NaN for what is not given; in C where the cache is simple. */
int
insert(Core *s, PyObject *key, Py_hash_t hash, PyObject *value, double ttl, double cost)
{
    if (!s->simple || s->maxsize < 1.0 || (s->listener != NULL && s->listener != Py_None))
        return insert_by_cache(s, key, hash, value, ttl, cost);
    Counts *counts = (Counts *)Py_NewRef(s->counts);
    int failed = insert_counted(s, key, hash, value, ttl, cost, counts);
    Py_DECREF(counts);
    return failed;
}

/* _plain(simple, overhead, maxsize, maxbytes, ttl, sizeof, allowance, counts): see the pure store's. */
PyObject *
core_plain(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    if (counted(nargs, 8, 8, "_plain"))
        return NULL;
    State *st = s->st;
    int simple = PyObject_IsTrue(args[0]);
    if (simple < 0 || !Py_IS_TYPE(args[7], st->counts)) {
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
    PyObject *allowance = NULL;
    if (Py_IS_TYPE(args[6], st->allowance))
        allowance = Py_NewRef(args[6]);
    else if (args[6] != Py_None)
        simple = 0;
    Py_XSETREF(s->allowance, (Allowance *)allowance);
    Py_XSETREF(s->counts, (Counts *)Py_NewRef(args[7]));
    s->simple = simple;
    Py_RETURN_NONE;
}
