/* The type that caches derive from: a mapping's hits, and the store's contract, without a call of Python.
 *
 * It has the methods of the pure Store under the same names and with the same meaning; what an entry weighs, when
 * memory is short and who listens is the cache's business. There is one short cut. A cache that needs nothing but its
 * settings for an insert says so (`_plain`); then ``cache[key] = value`` is weighed, drawn on the allowance, linked
 * and its victims dropped right here, and Python is entered only where something is out of the ordinary: a
 * listener, a refused value, a spent allowance.
 */
#include "store.h"

/* ---------------------------------------------------------------------------------------- telling the cache */

/* self._gone([entries], kind[, by]); takes over the rows. */
static int
tell_gone(Core *s, Rows *rows, PyObject *kind, PyObject *by)
{
    if (s->counts != NULL && (s->listener == NULL || s->listener == Py_None)) {
        /* What the cache would do, without making objects of the entries. */
        if (kind == s->st->s_expired)
            s->counts->expirations += (long long)rows->count;
        else if (kind == s->st->s_evicted)
            s->counts->evictions += (long long)rows->count;
        rows_clear(rows);
        return 0;
    }
    PyObject *list = entries_new(s, rows);
    if (list == NULL)
        return -1;
    PyObject *answer = by == NULL
                           ? PyObject_CallMethodObjArgs((PyObject *)s, s->st->s_gone, list, kind, NULL)
                           : PyObject_CallMethodObjArgs((PyObject *)s, s->st->s_gone, list, kind, by, NULL);
    Py_DECREF(list);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}

/* The same for one row, which is taken over. */
int
told_gone(Core *s, Row *row, PyObject *kind, PyObject *by)
{
    if (s->counts != NULL && (s->listener == NULL || s->listener == Py_None)) {
        if (kind == s->st->s_expired)
            s->counts->expirations++;
        else if (kind == s->st->s_evicted)
            s->counts->evictions++;
        row_clear(row);
        return 0;
    }
    Rows rows = {NULL, 0, 0};
    if (rows_reserve(&rows, 1)) {
        row_clear(row);
        return -1;
    }
    rows.rows[rows.count++] = *row;
    memset(row, 0, sizeof *row);
    return tell_gone(s, &rows, kind, by);
}

/* Remove what has expired, as everything does that must not see it. */
static int
sweep(Core *s)
{
    if (s->due.count == 0 && !s->unordered)
        return 0;
    Rows rows = {NULL, 0, 0};
    if (expire(s, NULL, &rows)) {
        rows_clear(&rows);
        return -1;
    }
    return rows.count ? tell_gone(s, &rows, s->st->s_expired, NULL) : 0;
}

/* ---------------------------------------------------------------------------------------------- looking up */

/* Find the live entry of a key: 1 and its slot, which holds until the next call out; 0: none; -1: an exception. */
int
seek(Core *s, PyObject *key, uint32_t tag, uint32_t *slot)
{
    for (int tries = 0; tries < 8; tries++) {
        uint32_t i = find_tagged(s, key, tag);
        if (i == FAIL)
            return -1;
        if (i == NIL)
            return 0;
        *slot = i;
        PyObject *deadline = deadline_at(s, i);
        if (LIKELY(deadline == NULL))
            return 1;
        double now;
        Row row;
        if (PyFloat_CheckExact(deadline) && timer_now(s, &now)) {
            if (now < PyFloat_AS_DOUBLE(deadline))
                return 1;
        }
        else {
            copy_row(s, i, &row);
            int alive = is_alive(s, row.deadline);
            int linked = alive >= 0 && is_linked(s, i, row.key, row.value);
            uint64_t version = s->version;
            row_clear(&row);
            if (alive < 0)
                return -1;
            linked = linked && version == s->version;
            if (alive && linked)
                return 1;
            if (alive)
                continue; /* its timer changed the store: look again, though not for ever */
            if (!linked)
                return 0;
        }
        detach(s, i, &row);
        return told_gone(s, &row, s->st->s_expired, NULL);
    }
    return 0;
}

static inline PyObject *
hit(Core *s, uint32_t i)
{
    PyObject *value = Py_NewRef(s->slots[i].value);
    touch(s, i);
    return value;
}

static PyObject *
core_subscript(Core *s, PyObject *key)
{
    Py_hash_t hash = hash_of(key);
    if (UNLIKELY(hash == -1))
        return NULL;
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
    s->misses++;
    return PyObject_CallMethodOneArg((PyObject *)s, s->st->s_missing, key);
}

static PyObject *
core_get(Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *fallback = Py_None;
    if (LIKELY(names == NULL && nargs == 1))
        ;
    else if (names == NULL && nargs == 2)
        fallback = args[1];
    else if (names != NULL && nargs == 1 && PyTuple_GET_SIZE(names) == 1 &&
             PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "default") == 0)
        fallback = args[1];
    else {
        PyErr_SetString(PyExc_TypeError, "get() takes a key and at most a default");
        return NULL;
    }
    PyObject *key = args[0];
    Py_hash_t hash = hash_of(key);
    if (UNLIKELY(hash == -1))
        return NULL;
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
    s->misses++;
    return Py_NewRef(fallback);
}

static int
core_contains(Core *s, PyObject *key)
{
    Py_hash_t hash = hash_of(key);
    if (UNLIKELY(hash == -1))
        return -1;
    uint32_t i = find(s, key, hash);
    if (i >= FAIL)
        return i == FAIL ? -1 : 0;
    PyObject *deadline = deadline_at(s, i);
    if (LIKELY(deadline == NULL))
        return 1;
    Py_INCREF(deadline);
    int alive = is_alive(s, deadline);
    Py_DECREF(deadline);
    return alive;
}

static Py_ssize_t
core_length(Core *s)
{
    if (UNLIKELY(s->due.count || s->unordered) && sweep(s))
        return -1;
    return s->live;
}

/* KeyError(key), also where the key is a tuple. */
static void
set_key_error(PyObject *key)
{
    PyObject *error = PyObject_CallOneArg(PyExc_KeyError, key);
    if (error != NULL) {
        PyErr_SetObject(PyExc_KeyError, error);
        Py_DECREF(error);
    }
}

static PyObject *
core_missing(Core *Py_UNUSED(s), PyObject *key)
{
    set_key_error(key);
    return NULL;
}

static PyObject *
core_iter(Core *s)
{
    return living_new(s, 1);
}

/* -------------------------------------------------------------------------------------------------- linking */

typedef struct {
    PyObject *key, *value, *deadline; /* borrowed; deadline may be NULL */
    uint32_t tag;
    long long size;
    double weight, cost;  /* cost NaN: not known */
    double hits, stamp;   /* of a history; hits NaN: none */
    int integral, absent;
} Wanted;

/* Whether the store has memory for one more entry as wanted. */
static int
is_ready(Core *s, const Wanted *wanted)
{
    return s->index != NULL && 3 * ((uint64_t)s->live + 1) <= 2 * ((uint64_t)s->mask + 1) &&
           (s->used < s->room || (s->policy == LRU && s->vacant != NIL)) &&
           (wanted->cost != wanted->cost || s->costs != NULL) && (wanted->weight == 1.0 || s->weights != NULL) &&
           (wanted->size < (long long)WIDE || s->wide != NULL) &&
           (wanted->deadline == NULL || (s->dues != NULL && s->due.count < s->due.room)) &&
           (s->policy != LFU || s->ranks.count < s->ranks.room);
}

static int
make_ready(Core *s, const Wanted *wanted)
{
    if (wanted->deadline != NULL && s->due.count > 2 * (size_t)s->live + 64)
        due_rebuild(s);
    return reserve(s) || (wanted->cost == wanted->cost && need_costs(s)) ||
                   (wanted->weight != 1.0 && need_weights(s)) ||
                   (wanted->size >= (long long)WIDE && need_wide(s)) ||
                   (wanted->deadline != NULL && (need_dues(s) || heap_reserve(&s->due))) ||
                   (s->policy == LFU && heap_reserve(&s->ranks))
               ? -1
               : 0;
}

/* Link an entry: 1; 0: `absent`, and a live one is there; -1: an exception. `slot` is where it is until the next
 * call out; a replaced entry goes to `old`, whose key is NULL where there was none. */
static int
put(Core *s, const Wanted *wanted, uint32_t *slot, Row *old)
{
    double when = Py_NAN;
    uint32_t i;
    int found;
    old->key = NULL;
    if (wanted->deadline != NULL && moment_of(s->st, wanted->deadline, &when))
        return -1;
    do {
        if (make_ready(s, wanted))
            return -1;
        found = seek(s, wanted->key, wanted->tag, &i);
        if (found < 0)
            return -1;
    } while (!is_ready(s, wanted));
    if (found && wanted->absent) {
        if (s->policy == LFU)
            age(s);
        *slot = i;
        return 0;
    }

    /* From here on nothing fails and nothing calls out. */
    double hits = wanted->hits == wanted->hits ? wanted->hits : s->gain;
    if (found) {
        uint32_t before = i;
        hits = hits_at(s, i);
        copy_row(s, i, old);
        Py_DECREF(old->key);
        Py_DECREF(old->value);
        Py_XDECREF(old->deadline); /* the row has the slot's references now */
        s->nbytes -= old->size;
        s->weight -= old->weight;
        if (s->policy == LRU)
            order_remove(s, i);
        else {
            uint32_t at = s->slots[before].tag >> s->shift;
            while (s->index[at] != before)
                at = (at + 1) & s->mask;
            release_slot(s, before);
            i = take_slot(s);
            s->live++;
            s->index[at] = i;
        }
    }
    else {
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
    if (s->dues != NULL) {
        s->dues[i].deadline = wanted->deadline == NULL ? NULL : Py_NewRef(wanted->deadline);
        s->dues[i].when = when;
        s->dues[i].link = s->links++;
        if (wanted->deadline != NULL) {
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
        s->collected = PyObject_IS_GC(wanted->key) || PyObject_IS_GC(wanted->value);
    s->version++;
    if (s->policy == LFU)
        heap_push(&s->ranks, hits, i, i);
    tighten(s);
    if (s->policy == LFU)
        age(s);
    /* A compaction leaves the newest last. */
    *slot = s->policy == LRU ? s->tail : s->used - 1;
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

/* Replace what is in a slot of an LRU store without deadlines, if that takes no more memory and no victim. */
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
    if (s->tail != i) {
        order_remove(s, i);
        order_append(s, i);
    }
    if (!s->collected)
        s->collected = PyObject_IS_GC(key) || PyObject_IS_GC(value);
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
    if (clock_tick(s->st, s->policy == DENSITY))
        return -1;
    if (size > LARGEST_SIZE || (s->maxbytes >= 0 && size > s->maxbytes))
        return insert_by_cache(s, key, hash, value, ttl, cost);
    PyObject *deadline = NULL;
    if (lifetime == lifetime) {
        double now;
        if (!s->mortal || !timer_now(s, &now))
            return insert_by_cache(s, key, hash, value, ttl, cost);
        deadline = PyFloat_FromDouble(now + lifetime);
        if (deadline == NULL)
            return -1;
    }
    if (s->allowance != NULL) {
        left = s->allowance->left - size;
        if (left < 0) {
            Py_XDECREF(deadline);
            return insert_by_cache(s, key, hash, value, ttl, cost);
        }
        s->allowance->left = left;
    }
    if (s->policy == LRU && s->dues == NULL && deadline == NULL && cost != cost) {
        uint32_t i = find(s, key, hash);
        if (i == FAIL)
            return -1;
        if (i != NIL && s->dues == NULL && replace_plainly(s, i, key, value, size)) {
            counts->inserts++;
            return 0;
        }
    }
    Wanted wanted = {key, value, deadline, tag_of(hash), size, 1.0, cost, Py_NAN, 0.0, 1, 0};
    uint32_t kept;
    Row old, one;
    int made = put(s, &wanted, &kept, &old);
    Py_XDECREF(deadline);
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
                detach(s, i, &one);
            else if (rows_reserve(&rows, 1)) {
                PyErr_Clear(); /* the next insert goes on */
                break;
            }
            else
                detach(s, i, &rows.rows[rows.count++]);
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

/* --------------------------------------------------------------------------------------------------- taking */

/* Unlink the live entry of a key into a row: 1; 0: none; -1: an exception. */
static int
take(Core *s, PyObject *key, uint32_t tag, Row *into)
{
    uint32_t i;
    int found = seek(s, key, tag, &i);
    if (found > 0)
        detach(s, i, into);
    return found;
}

static int
core_ass_subscript(Core *s, PyObject *key, PyObject *value)
{
    Py_hash_t hash = hash_of(key);
    if (UNLIKELY(hash == -1))
        return -1;
    if (value != NULL)
        return insert(s, key, hash, value, Py_NAN, Py_NAN);
    Row row;
    int found = take(s, key, tag_of(hash), &row);
    if (found < 0)
        return -1;
    if (!found) {
        set_key_error(key);
        return -1;
    }
    return told_gone(s, &row, s->st->s_deleted, s->st->s_user);
}

/* ------------------------------------------------------------------------------------- the store's contract */

static int
hash_given(PyObject *arg, uint32_t *tag)
{
    long long hash = PyLong_AsLongLong(arg);
    if (hash == -1 && PyErr_Occurred())
        return -1;
    *tag = (uint32_t)(((uint64_t)hash * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
    return 0;
}

static int
size_given(PyObject *arg, long long *size)
{
    int overflow;
    *size = PyLong_AsLongLongAndOverflow(arg, &overflow);
    if (*size == -1 && !overflow && PyErr_Occurred())
        return -1;
    if (overflow > 0 || *size > LARGEST_SIZE)
        *size = LARGEST_SIZE;
    if (overflow < 0 || *size < 0) {
        PyErr_Format(PyExc_ValueError, "size must not be negative, got %R", arg);
        return -1;
    }
    return 0;
}

static int
counted(Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most, const char *name)
{
    if (nargs >= least && nargs <= most)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd to %zd arguments, got %zd", name, least, most, nargs);
    return -1;
}

static PyObject *
entry_at(Core *s, uint32_t i)
{
    Row row;
    copy_row(s, i, &row);
    return entry_new(s, &row);
}

static int
is_entry(Core *s, PyObject *arg, Entry **entry)
{
    if (!Py_IS_TYPE(arg, s->st->entry)) {
        PyErr_Format(PyExc_TypeError, "not an entry: %R", arg);
        return 0;
    }
    *entry = (Entry *)arg;
    return 1;
}

static inline int
still_linked(Core *s, Entry *entry)
{
    return entry->row.key != NULL && is_linked(s, entry->row.slot, entry->row.key, entry->row.value);
}

static PyObject *
core_seek(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t tag, i;
    if (counted(nargs, 2, 2, "_seek") || hash_given(args[1], &tag))
        return NULL;
    int found = seek(s, args[0], tag, &i);
    if (found < 0)
        return NULL;
    return found ? entry_at(s, i) : Py_NewRef(Py_None);
}

static PyObject *
core_hit(Core *s, PyObject *arg)
{
    Entry *entry;
    if (!is_entry(s, arg, &entry))
        return NULL;
    if (still_linked(s, entry))
        touch(s, entry->row.slot);
    else
        s->hits++;
    return Py_NewRef(entry->row.value);
}

static PyObject *
core_put(Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    Wanted wanted = {.weight = 1.0, .cost = Py_NAN, .hits = Py_NAN, .integral = 1};
    if (counted(nargs, 4, 4, "_put") || hash_given(args[1], &wanted.tag) || size_given(args[3], &wanted.size))
        return NULL;
    wanted.key = args[0];
    wanted.value = args[2];
    for (Py_ssize_t n = 0; names != NULL && n < PyTuple_GET_SIZE(names); n++) {
        PyObject *name = PyTuple_GET_ITEM(names, n), *given = args[nargs + n];
        if (PyUnicode_CompareWithASCIIString(name, "weight") == 0) {
            wanted.integral = !PyFloat_Check(given) && PyIndex_Check(given);
            wanted.weight = PyFloat_AsDouble(given);
            if (wanted.weight == -1.0 && PyErr_Occurred())
                return NULL;
        }
        else if (PyUnicode_CompareWithASCIIString(name, "cost") == 0) {
            if (given != Py_None) {
                wanted.cost = PyFloat_AsDouble(given);
                if (wanted.cost == -1.0 && PyErr_Occurred())
                    return NULL;
            }
        }
        else if (PyUnicode_CompareWithASCIIString(name, "deadline") == 0)
            wanted.deadline = given == Py_None ? NULL : given;
        else if (PyUnicode_CompareWithASCIIString(name, "absent") == 0) {
            if ((wanted.absent = PyObject_IsTrue(given)) < 0)
                return NULL;
        }
        else if (PyUnicode_CompareWithASCIIString(name, "history") == 0) {
            if (given != Py_None) {
                if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 2) {
                    PyErr_Format(PyExc_TypeError, "history must be (hits, stamp), not %R", given);
                    return NULL;
                }
                wanted.hits = PyFloat_AsDouble(PyTuple_GET_ITEM(given, 0));
                wanted.stamp = PyFloat_AsDouble(PyTuple_GET_ITEM(given, 1));
                if (PyErr_Occurred())
                    return NULL;
            }
        }
        else {
            PyErr_Format(PyExc_TypeError, "_put() got an unexpected keyword argument %R", name);
            return NULL;
        }
    }
    uint32_t i;
    Row old;
    int made = put(s, &wanted, &i, &old);
    if (made < 0)
        return NULL;
    PyObject *entry = entry_at(s, i), *before;
    if (!made)
        before = Py_XNewRef(entry);
    else if (old.key == NULL)
        before = Py_NewRef(Py_None);
    else
        before = entry_new(s, &old);
    PyObject *pair = entry == NULL || before == NULL ? NULL : PyTuple_Pack(2, entry, before);
    Py_XDECREF(entry);
    Py_XDECREF(before);
    return pair;
}

static PyObject *
core_unlink(Core *s, PyObject *arg)
{
    Entry *entry;
    if (!is_entry(s, arg, &entry))
        return NULL;
    if (!still_linked(s, entry))
        Py_RETURN_FALSE;
    Row row;
    detach(s, entry->row.slot, &row);
    row_clear(&row);
    Py_RETURN_TRUE;
}

static PyObject *
core_take(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t tag;
    Row row;
    if (counted(nargs, 2, 2, "_take") || hash_given(args[1], &tag))
        return NULL;
    int found = take(s, args[0], tag, &row);
    if (found < 0)
        return NULL;
    return found ? entry_new(s, &row) : Py_NewRef(Py_None);
}

static PyObject *
core_resize(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    Entry *entry;
    long long size;
    if (counted(nargs, 2, 2, "_resize") || !is_entry(s, args[0], &entry) || size_given(args[1], &size))
        return NULL;
    if (!still_linked(s, entry))
        Py_RETURN_FALSE;
    uint32_t i = entry->row.slot;
    if (size >= (long long)WIDE && need_wide(s))
        return NULL;
    s->nbytes += size - size_at(s, i);
    entry->row.size = size;
    if (size >= (long long)WIDE) {
        s->slots[i].size = WIDE;
        s->wide[i] = (uint64_t)size;
    }
    else
        s->slots[i].size = (uint32_t)size;
    Py_RETURN_TRUE;
}

/* Everything, as a list in the store's order; the slab is out of the store before the first object is made. */
static PyObject *
drained(Core *s)
{
    Core taken;
    table_drain(s, &taken);
    PyObject *list = PyList_New(taken.live);
    Py_ssize_t n = 0;
    for (uint32_t i = taken.policy == LRU ? taken.head : 0;
         list != NULL && (taken.policy == LRU ? i != NIL : i < taken.used);
         i = taken.policy == LRU ? taken.slots[i].as.order.next : i + 1) {
        if (taken.slots[i].key == NULL)
            continue;
        Row row;
        copy_row(&taken, i, &row);
        PyObject *entry = entry_new(s, &row);
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, n++, entry);
    }
    table_free(&taken);
    return list;
}

static PyObject *
core_drain(Core *s, PyObject *Py_UNUSED(none))
{
    return drained(s);
}

static PyObject *
core_expire(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    Rows rows = {NULL, 0, 0};
    if (counted(nargs, 0, 1, "_expire"))
        return NULL;
    if (expire(s, nargs == 0 || args[0] == Py_None ? NULL : args[0], &rows)) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        rows_clear(&rows);
        PyErr_Restore(type, value, traceback);
        return NULL;
    }
    return entries_new(s, &rows);
}

static PyObject *
core_evict(Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    long long nbytes, leave = 0;
    int overflow;
    if (counted(nargs, 1, 2, "_evict"))
        return NULL;
    nbytes = PyLong_AsLongLongAndOverflow(args[0], &overflow);
    if (overflow)
        nbytes = overflow > 0 ? LLONG_MAX : 0;
    if (nargs == 2 || (names != NULL && PyTuple_GET_SIZE(names) == 1 &&
                       PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "leave") == 0)) {
        leave = PyLong_AsLongLongAndOverflow(args[1], &overflow);
        if (overflow > 0)
            leave = LLONG_MAX;
    }
    else if (names != NULL) {
        PyErr_SetString(PyExc_TypeError, "_evict() takes nbytes and leave");
        return NULL;
    }
    if (PyErr_Occurred())
        return NULL;
    if (s->nbytes <= nbytes && leave <= 0) {
        if (s->policy == DENSITY && clock_tick(s->st, 1))
            return NULL;
        return s->nbytes ? drained(s) : PyList_New(0);
    }
    Rows rows = {NULL, 0, 0};
    if (nbytes > 0 && evict(s, nbytes, leave, &rows)) {
        rows_clear(&rows);
        return NULL;
    }
    return entries_new(s, &rows);
}

static PyObject *
core_evict_one(Core *s, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t keep = NIL;
    Entry *entry;
    if (counted(nargs, 0, 1, "_evict_one"))
        return NULL;
    if (nargs == 1 && args[0] != Py_None) {
        if (!is_entry(s, args[0], &entry))
            return NULL;
        if (still_linked(s, entry))
            keep = entry->row.slot;
    }
    uint32_t i = victim(s, keep);
    if (i == NIL)
        Py_RETURN_NONE;
    Row row;
    detach(s, i, &row);
    return entry_new(s, &row);
}

static PyObject *
core_living(Core *s, PyObject *Py_UNUSED(none))
{
    return living_new(s, 0);
}

static PyObject *
core_snapshot(Core *s, PyObject *Py_UNUSED(none))
{
    Rows rows = {NULL, 0, 0};
    if (rows_reserve(&rows, s->live))
        return NULL;
    for (uint32_t i = s->policy == LRU ? s->head : 0; s->policy == LRU ? i != NIL : i < s->used;
         i = s->policy == LRU ? s->slots[i].as.order.next : i + 1)
        if (s->slots[i].key != NULL)
            copy_row(s, i, &rows.rows[rows.count++]);
    return entries_new(s, &rows);
}

static PyObject *
core_ranked(Core *s, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    Rows rows = {NULL, 0, 0};
    if (nargs + (names == NULL ? 0 : PyTuple_GET_SIZE(names)) != 2) {
        PyErr_SetString(PyExc_TypeError, "_ranked() takes n and hottest");
        return NULL;
    }
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(args[0], &overflow);
    if (overflow || n > (long long)s->live)
        n = s->live;
    int hottest = PyObject_IsTrue(args[1]);
    if (hottest < 0 || PyErr_Occurred())
        return NULL;
    if (ranked(s, n < 0 ? 0 : (Py_ssize_t)n, hottest, &rows)) {
        rows_clear(&rows);
        return NULL;
    }
    return entries_new(s, &rows);
}

static PyObject *
core_sample(Core *s, PyObject *arg)
{
    uint32_t drawn[TALLY_SAMPLE];
    long n = PyLong_AsLong(arg);
    Rows rows = {NULL, 0, 0};
    if (n == -1 && PyErr_Occurred())
        return NULL;
    if (n < 0 || n > TALLY_SAMPLE) {
        PyErr_Format(PyExc_ValueError, "n must be within 0 and %d, got %ld", TALLY_SAMPLE, n);
        return NULL;
    }
    uint32_t count = n ? sample(s, (uint32_t)n, drawn) : 0;
    if (rows_reserve(&rows, count))
        return NULL;
    for (uint32_t k = 0; k < count; k++)
        copy_row(s, drawn[k], &rows.rows[rows.count++]);
    return entries_new(s, &rows);
}

static PyObject *
core_tally(Core *s, PyObject *arg)
{
    double now = PyFloat_AsDouble(arg);
    if (now == -1.0 && PyErr_Occurred())
        return NULL;
    PyObject *into = PyDict_New();
    if (into != NULL && tally(s, now, into))
        Py_CLEAR(into);
    return into;
}

static PyObject *
core_next_deadline(Core *s, PyObject *Py_UNUSED(none))
{
    double when;
    return next_deadline(s, &when) ? PyFloat_FromDouble(when) : Py_NewRef(Py_None);
}

static PyObject *
core_check(Core *s, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    if (table_check(s))
        return NULL;
    Py_RETURN_NONE;
}

/* _plain(simple, overhead, maxsize, maxbytes, ttl, sizeof, allowance, counts): see the pure store's. */
static PyObject *
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

/* ------------------------------------------------------------------------------------------------- the type */

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
    s->head = s->tail = s->vacant = NIL;
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
    Core taken;
    table_drain(s, &taken);
    table_free(&taken);
    Py_CLEAR(s->timer);
    Py_CLEAR(s->listener);
    Py_CLEAR(s->sizeof_);
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
core_get_weight(Core *s, void *Py_UNUSED(closure))
{
    return s->fractional ? PyFloat_FromDouble(s->weight) : PyLong_FromDouble(s->weight);
}

static PyObject *
core_get_unordered(Core *s, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(s->unordered);
}

static PyObject *
core_sizeof(Core *s, PyObject *Py_UNUSED(none))
{
    size_t each = sizeof *s->slots + sizeof *s->uses + (s->costs ? sizeof *s->costs : 0) +
                  (s->weights ? sizeof *s->weights : 0) + (s->dues ? sizeof *s->dues : 0) +
                  (s->wide ? sizeof *s->wide : 0);
    size_t size = (size_t)Py_TYPE(s)->tp_basicsize + each * s->room +
                  (s->index ? ((size_t)s->mask + 1) * sizeof *s->index : 0) +
                  (s->due.room + s->ranks.room) * sizeof(Item);
    return PyLong_FromSize_t(size);
}

static PyGetSetDef core_getset[] = {
    {"timer", (getter)core_get_timer, (setter)core_set_timer, "Tells the time for deadlines.", NULL},
    {"_weight", (getter)core_get_weight, NULL, "The sum of the entries' weights.", NULL},
    {"_unordered", (getter)core_get_unordered, NULL, "Some deadline has no place in the order.", NULL},
    {NULL},
};

static PyMemberDef core_members[] = {
    {"hits", T_LONGLONG, offsetof(Core, hits), 0, "Lookups that found a live entry."},
    {"misses", T_LONGLONG, offsetof(Core, misses), 0, "Lookups that did not."},
    {"nbytes", T_LONGLONG, offsetof(Core, nbytes), READONLY, "Bytes held: the sum of the entries' sizes."},
    {"listener", T_OBJECT, offsetof(Core, listener), 0, "Called after an entry has left, or None."},
    {"_gain", T_DOUBLE, offsetof(Core, gain), 0, "What a hit counts now."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Core, weakrefs), READONLY, NULL},
    {NULL},
};

#define FAST(name, function, doc) {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL, doc}
#define FAST_NAMED(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef core_methods[] = {
    FAST_NAMED("get", core_get,
               "get($self, key, /, default=None)\n--\n\n"
               "Return the value for `key` (a hit), else `default` (a miss); `__missing__` is not asked. O(1)."),
    {"__missing__", (PyCFunction)core_missing, METH_O, NULL},
    {"__sizeof__", (PyCFunction)core_sizeof, METH_NOARGS, "Return the bytes of the store without keys and values."},
    FAST("_seek", core_seek, "Return the live entry of a key with that hash, or None. No hit is counted."),
    {"_hit", (PyCFunction)core_hit, METH_O, "Count a hit on an entry, and return its value."},
    FAST_NAMED("_put", core_put, "Link an entry; return it and the one it replaced, or None."),
    {"_unlink", (PyCFunction)core_unlink, METH_O, "Remove an entry; return whether it was still linked."},
    FAST("_take", core_take, "Remove and return the live entry of a key with that hash, or None."),
    FAST("_resize", core_resize, "Give an entry a new size; return whether it was still linked."),
    {"_drain", (PyCFunction)core_drain, METH_NOARGS, "Remove and return everything."},
    FAST("_expire", core_expire, "Remove and return what has expired."),
    FAST_NAMED("_evict", core_evict, "Remove victims until their sizes reach `nbytes`; return them."),
    FAST("_evict_one", core_evict_one, "Remove and return the next victim, never `keep`; None: there is none."),
    {"_living", (PyCFunction)core_living, METH_NOARGS, "Iterate over a snapshot, without what has expired."},
    {"_snapshot", (PyCFunction)core_snapshot, METH_NOARGS, "Return all entries in the store's order."},
    FAST_NAMED("_ranked", core_ranked, "Return entries from the cold (or hot) end of the order of eviction."),
    {"_sample", (PyCFunction)core_sample, METH_O, "Return that many entries, drawn from all."},
    {"_tally", (PyCFunction)core_tally, METH_O, "Return bytes by class of density."},
    {"_next_deadline", (PyCFunction)core_next_deadline, METH_NOARGS, "Return the least deadline, or None."},
    /* What the pure store may be told, that others are amid their work, makes no difference here. */
    {"_check", (PyCFunction)(void (*)(void))core_check, METH_VARARGS | METH_KEYWORDS,
     "Walk everything and assert every invariant."},
    FAST("_plain", core_plain, "Be told what inserts need to know."),
    {NULL},
};

static PyType_Slot core_slots[] = {
    {Py_tp_doc, "Entries by key, with byte and weight totals, an order of eviction and deadlines."},
    {Py_tp_new, core_new},
    {Py_tp_init, core_init},
    {Py_tp_dealloc, core_dealloc},
    {Py_tp_traverse, core_traverse},
    {Py_tp_clear, core_clear},
    {Py_tp_iter, core_iter},
    {Py_tp_methods, core_methods},
    {Py_tp_members, core_members},
    {Py_tp_getset, core_getset},
    {Py_mp_subscript, core_subscript},
    {Py_mp_ass_subscript, core_ass_subscript},
    {Py_mp_length, core_length},
    {Py_sq_contains, core_contains},
    {0, NULL},
};

PyType_Spec core_spec = {
    .name = "ebbcache.store._store.Core",
    .basicsize = sizeof(Core),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = core_slots,
};

/* ------------------------------------------------------------------------------- the allowance and counters */

static PyObject *
allowance_get(Allowance *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(self->left);
}

/* Amounts that only make-believe machines have are cut to what C can count. */
static int
allowance_set(Allowance *self, PyObject *left, void *Py_UNUSED(closure))
{
    int overflow;
    if (left == NULL) {
        PyErr_SetString(PyExc_AttributeError, "left cannot be deleted");
        return -1;
    }
    long long amount = PyLong_AsLongLongAndOverflow(left, &overflow);
    if (amount == -1 && !overflow && PyErr_Occurred())
        return -1;
    const long long most = 1LL << 62;
    self->left = overflow > 0 || amount > most ? most : overflow < 0 || amount < -most ? -most : amount;
    return 0;
}

static void
plain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyGetSetDef allowance_getset[] = {
    {"left", (getter)allowance_get, (setter)allowance_set, "Bytes.", NULL},
    {NULL},
};

static PyType_Slot allowance_slots[] = {
    {Py_tp_doc, "The bytes that inserts may still add before somebody must look; shared by all caches."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, plain_dealloc},
    {Py_tp_getset, allowance_getset},
    {0, NULL},
};

PyType_Spec allowance_spec = {
    .name = "ebbcache.store._store.Allowance",
    .basicsize = sizeof(Allowance),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = allowance_slots,
};

static PyMemberDef counts_members[] = {
    {"inserts", T_LONGLONG, offsetof(Counts, inserts), 0, NULL},
    {"evictions", T_LONGLONG, offsetof(Counts, evictions), 0, NULL},
    {"expirations", T_LONGLONG, offsetof(Counts, expirations), 0, NULL},
    {"refused", T_LONGLONG, offsetof(Counts, refused), 0, NULL},
    {"listener_errors", T_LONGLONG, offsetof(Counts, listener_errors), 0, NULL},
    {NULL},
};

static PyType_Slot counts_slots[] = {
    {Py_tp_doc, "Counters of one cache."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, plain_dealloc},
    {Py_tp_members, counts_members},
    {0, NULL},
};

PyType_Spec counts_spec = {
    .name = "ebbcache.store._store.Counts",
    .basicsize = sizeof(Counts),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = counts_slots,
};
