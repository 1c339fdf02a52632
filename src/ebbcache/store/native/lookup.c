/* Hits, misses and removals: what a mapping does with one key, without a call of Python.
 *
 * A lookup that needs no foreign code is a probe and a touch. Where a deadline has passed, the entry is unlinked and
 * the cache is told, so nobody sees it again; without a listener that is counted here and makes no objects.
 * Bound: O(1) besides what keys and timers of others do when they are asked.
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
        BEGIN_OUTSIDE
        rows_clear(rows);
        END_OUTSIDE
        return 0;
    }
    PyObject *list = entries_new(s, rows);
    if (list == NULL)
        return -1;
    PyObject *answer;
    BEGIN_OUTSIDE
    answer = by == NULL ? PyObject_CallMethodObjArgs((PyObject *)s, s->st->s_gone, list, kind, NULL)
                        : PyObject_CallMethodObjArgs((PyObject *)s, s->st->s_gone, list, kind, by, NULL);
    Py_DECREF(list);
    Py_XDECREF(answer);
    END_OUTSIDE
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
        BEGIN_OUTSIDE
        row_clear(row);
        END_OUTSIDE
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
        if (is_fresh(s, i))
            return 1;
        Row row;
        double now;
        if (moment_at(s, i).object != NULL || !timer_now(s, &now)) {
            copy_row(s, i, &row);
            int alive = is_alive(s, row.due);
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
        if (told_gone(s, &row, s->st->s_expired, NULL))
            return -1;
        /* Whoever heard of it, or met its end, may have put another one there: look again. */
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

PyObject *
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
    PyObject *answer;
    BEGIN_OUTSIDE
    answer = PyObject_CallMethodOneArg((PyObject *)s, s->st->s_missing, key);
    END_OUTSIDE
    return answer;
}

PyObject *
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

int
core_contains(Core *s, PyObject *key)
{
    Py_hash_t hash = hash_of(key);
    if (UNLIKELY(hash == -1))
        return -1;
    uint32_t i = find(s, key, hash);
    if (i >= FAIL)
        return i == FAIL ? -1 : 0;
    if (is_fresh(s, i))
        return 1;
    Moment due = moment_at(s, i);
    Py_XINCREF(due.object);
    int alive = is_alive(s, due);
    Py_XDECREF(due.object);
    return alive;
}

Py_ssize_t
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

PyObject *
core_missing(Core *Py_UNUSED(s), PyObject *key)
{
    set_key_error(key);
    return NULL;
}

PyObject *
core_iter(Core *s)
{
    return living_new(s, 1);
}

/* --------------------------------------------------------------------------------------------------- taking */

/* Unlink the live entry of a key into a row: 1; 0: none; -1: an exception. */
int
take(Core *s, PyObject *key, uint32_t tag, Row *into)
{
    uint32_t i;
    int found = seek(s, key, tag, &i);
    if (found > 0)
        detach(s, i, into);
    return found;
}

int
core_ass_subscript(Core *s, PyObject *key, PyObject *value)
{
    Py_hash_t hash = hash_of(key);
    if (UNLIKELY(hash == -1))
        return -1;
    if (value != NULL)
        return insert(s, key, hash, value, Py_NAN, Py_NAN, 0);
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
