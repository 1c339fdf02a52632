/* A miss: the function is called, timed, and its answer kept.
 *
 * All of it is C where the cache needs nothing but its settings for an insert (insert.c); else Python is told what
 * came of the call. An answer that was invalidated while it was on its way is returned, but not kept
 * (memoize/invalidated.py): each invalidation puts another object in a slot, which is looked at before the call, after
 * it and after the insert. What was known before the call, that the key is not there, spares the insert its look-up
 * unless entries came or went meanwhile.
 * Bound: two readings of a clock and an insert, beside the function.
 */
#include "memo.h"

#ifndef _WIN32
#include <time.h>
#endif

/* The Python wrapper does what is rare. */
PyObject *
by_wrapper(Memo *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    PyObject *wrapper = Py_NewRef(self->wrapper), *value;
    BEGIN_OUTSIDE
    value = PyObject_Vectorcall(wrapper, args, nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    Py_DECREF(wrapper);
    END_OUTSIDE
    return value;
}

/* When a call begins, in the seconds of `clock`; a perf_counter is asked of the kernel where it is CLOCK_MONOTONIC. */
static int
moment_now(Memo *self, double *now)
{
#ifdef __linux__
    struct timespec ts;
    if (self->quick && clock_gettime(CLOCK_MONOTONIC, &ts) == 0) {
        *now = (double)((int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec) / 1e9;
        return 0;
    }
#endif
    PyObject *number = PyObject_CallNoArgs(self->clock);
    if (number == NULL)
        return -1;
    *now = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return *now == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* The object in a slot of `invalidated` that each invalidation replaces, for comparing only; NULL: there is none. */
static PyObject *
last_invalidation(Memo *self)
{
    return self->invalidated == NULL ? NULL : SHARED_POINTER(*(PyObject **)((char *)self->invalidated + self->last_at));
}

/* The same, held, so that no later one is the same object. */
static PyObject *
held_invalidation(Memo *self)
{
#ifdef Py_GIL_DISABLED
    PyObject *last = self->invalidated == NULL ? NULL : PyObject_GetAttrString(self->invalidated, "last");
    if (last == NULL)
        PyErr_Clear();
    return last;
#else
    return Py_XNewRef(last_invalidation(self));
#endif
}

/* Iterators and coroutines can be used once; Python refuses them in words. */
static int
is_one_shot(PyObject *value)
{
    return PyGen_CheckExact(value) || PyCoro_CheckExact(value) || PyAsyncGen_CheckExact(value);
}

/* Store an answer that nobody invalidated since `last`; 0, or -1 with an exception. */
static int
keep_plainly(Memo *self, PyObject *key, Py_hash_t hash, uint64_t missing, PyObject *value, double began,
             PyObject *last)
{
    Core *s = self->cache;
    double now;
    /* functools': where there is a limit, the first answer stays. */
    if (self->alone && s->maxsize != Py_HUGE_VAL && missing != s->version + 1) {
        uint32_t i = find(s, key, hash);
        if (i != NIL)
            return i == FAIL ? -1 : 0;
    }
    if (moment_now(self, &now))
        return -1;
    if (insert(s, key, hash, value, self->ttl, now > began ? now - began : 0.0, missing))
        return -1;
    if (last == last_invalidation(self))
        return 0;
    /* Invalidated between the look and the store? Whoever did it found nothing to remove. */
    PyObject *gone;
    BEGIN_OUTSIDE
    gone = PyObject_CallMethodObjArgs((PyObject *)s, s->st->s_pop, key, Py_None, NULL);
    Py_XDECREF(gone);
    END_OUTSIDE
    return gone == NULL ? -1 : 0;
}

static int
keep_by_python(Memo *self, PyObject *key, Py_hash_t hash, PyObject *value, double began)
{
    PyObject *number = PyLong_FromSsize_t(hash), *moment = PyFloat_FromDouble(began), *kept = NULL;
    PyObject *keep = Py_NewRef(self->keep);
    BEGIN_OUTSIDE
    if (number != NULL && moment != NULL)
        kept = PyObject_CallFunctionObjArgs(keep, key, number, value, moment, NULL);
    Py_DECREF(keep);
    END_OUTSIDE
    Py_XDECREF(number);
    Py_XDECREF(moment);
    Py_XDECREF(kept);
    return kept == NULL ? -1 : 0;
}

/* Call the function and have the answer kept. `key` is taken over. `missing` is 1 + the version of the store in which
 * it was not found; 0: not known. */
PyObject *
miss(Memo *self, PyObject *key, Py_hash_t hash, uint64_t missing, PyObject *const *args, size_t nargsf,
     PyObject *names)
{
    PyObject *value = NULL, *last = NULL;
    double began;
    self->cache->misses++;
    if (moment_now(self, &began))
        goto done;
    last = held_invalidation(self);
    if (Py_EnterRecursiveCall(" while calling a cached function"))
        goto done;
    BEGIN_OUTSIDE
    value = PyObject_Vectorcall(self->func, args, nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    END_OUTSIDE
    Py_LeaveRecursiveCall();
    if (value == NULL || self->keep == NULL) /* the collector has been here */
        goto done;
    int plain = self->cache->simple && self->cache->maxsize >= 1.0 && last == last_invalidation(self);
    if (!self->alone && is_one_shot(value))
        plain = 0;
    if (plain ? keep_plainly(self, key, hash, missing, value, began, last)
              : keep_by_python(self, key, hash, value, began))
        Py_CLEAR(value);
done:
    Py_XDECREF(last);
    Py_DECREF(key);
    return value;
}
