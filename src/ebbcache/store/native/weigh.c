/* What an insert needs to know about the world: the time, and the bytes of what it is given.
 *
 * Both ask Python only where they must. The process's clock is ebbcache.clock.clock, whose slots are read and
 * written in place; where its timer is time.monotonic itself, the kernel is asked without going through it. Exact
 * str, bytes, int, float, complex, bool and None are weighed here, by the same blocks as sizing/chunks.py, unless
 * somebody registered a sizer for one of them; everything else goes to `sizeof`.
 * Bound: some 10 ns for both.
 */
#include "store.h"

#ifndef _WIN32
#include <time.h>
#endif

#ifndef Py_GIL_DISABLED
static PyObject **
slot_of(State *st, Py_ssize_t offset)
{
    return (PyObject **)((char *)st->clock + offset);
}

/* `clock.now` where it is no float. */
double
clock_slow(State *st)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *now = *slot_of(st, st->now_at);
    double seconds = 0.0;
    if (now != NULL && PyLong_CheckExact(now)) {
        seconds = PyLong_AsDouble(now);
        PyErr_Clear();
    }
    PyErr_Restore(type, value, traceback);
    return seconds;
}
#endif

static int
monotonic(double *seconds, int precise)
{
#if defined(CLOCK_MONOTONIC) && !defined(__APPLE__) && !defined(_WIN32)
    struct timespec ts;
#ifdef CLOCK_MONOTONIC_COARSE
    clockid_t which = precise ? CLOCK_MONOTONIC : CLOCK_MONOTONIC_COARSE;
#else
    clockid_t which = CLOCK_MONOTONIC;
    (void)precise;
#endif
    if (clock_gettime(which, &ts))
        return 0;
    *seconds = (double)((int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec) / 1e9;
    return 1;
#else
    (void)seconds;
    (void)precise;
    return 0;
#endif
}

/* clock.tick(). The coarse time of the kernel (4 ms) does where only the order of eviction under pressure could
 * tell the difference. May call out. */
#ifdef Py_GIL_DISABLED
int
clock_tick(State *st, int precise)
{
    double seconds;
    if (is_clock_ours(st) && monotonic(&seconds, precise)) {
        if (shared_double(&st->stamp) < seconds)
            share_double(&st->stamp, seconds);
        return 0;
    }
    PyObject *timer = PyObject_GetAttrString(st->clock, "timer"), *fresh = NULL;
    if (timer != NULL)
        fresh = PyObject_CallNoArgs(timer);
    Py_XDECREF(timer);
    if (fresh == NULL)
        return -1;
    seconds = PyFloat_AsDouble(fresh);
    Py_DECREF(fresh);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    share_double(&st->stamp, seconds);
    return 0;
}
#else
int
clock_tick(State *st, int precise)
{
    PyObject *timer = *slot_of(st, st->timer_at), *fresh;
    double seconds;
    if (timer == st->monotonic && monotonic(&seconds, precise)) {
        PyObject *now = *slot_of(st, st->now_at);
        if (now != NULL && PyFloat_CheckExact(now) && PyFloat_AS_DOUBLE(now) >= seconds)
            return 0;
        fresh = PyFloat_FromDouble(seconds);
    }
    else if (timer == NULL) {
        PyErr_SetString(PyExc_AttributeError, "timer");
        return -1;
    }
    else {
        Py_INCREF(timer);
        fresh = PyObject_CallNoArgs(timer);
        Py_DECREF(timer);
    }
    if (fresh == NULL)
        return -1;
    PyObject **now = slot_of(st, st->now_at);
    Py_XSETREF(*now, fresh);
    return 0;
}
#endif

/* What a store's own timer says, if that is time.monotonic; 0 if it must be asked. */
int
timer_now(Core *s, double *now)
{
    return s->timer == s->st->monotonic && monotonic(now, 1);
}

/* Whether a store's timer has not reached a deadline, if the timer is time.monotonic; 0 if it must be asked. The
 * kernel's coarse time costs a third of the precise one. It lags by a tick (1 to 10 ms), and in a guest whose first
 * processor was taken away by as long as that, so it decides only what lives for another second. */
int
is_before(Core *s, double when)
{
    double now;
    return s->timer == s->st->monotonic && monotonic(&now, 0) &&
           (now + 1.0 < when || (monotonic(&now, 1) && now < when));
}

static long long
told_size(PyObject *sizeof_, PyObject *obj, double cost)
{
    PyObject *args[] = {obj, cost == cost ? PyFloat_FromDouble(cost) : NULL}, *size = NULL;
    BEGIN_OUTSIDE
    Py_INCREF(sizeof_);
    if (cost != cost || args[1] != NULL)
        size = PyObject_Vectorcall(sizeof_, args, cost == cost ? 2 : 1, NULL);
    Py_DECREF(sizeof_);
    Py_XDECREF(args[1]);
    END_OUTSIDE
    if (size == NULL)
        return -1;
    long long bytes = PyLong_AsLongLong(size);
    Py_DECREF(size);
    if (bytes < 0 && !PyErr_Occurred())
        bytes = 0;
    return bytes > LARGEST_SIZE ? LARGEST_SIZE : bytes;
}

/* The bytes of one object, or -1 with an exception. `cost` is the seconds that it took to make, which bound what
 * weighing it may take; NaN: not known. May call out. */
long long
weigh(Core *s, PyObject *obj, double cost)
{
    State *st = s->st;
    long long size = leaf_size(st, obj);
    if (size >= 0)
        return size;
    if (SHARED_INT(st->leaves) && (PyUnicode_CheckExact(obj) || PyLong_CheckExact(obj))) {
        size = told_size(PyUnicode_CheckExact(obj) ? st->str_sizeof : st->long_sizeof, obj, Py_NAN);
        return size < 0 ? -1 : chunk(size);
    }
    return told_size(cost == cost ? s->weigh : s->sizeof_, obj, cost);
}
