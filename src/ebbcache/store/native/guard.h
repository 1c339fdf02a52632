/* What keeps threads apart where there is no GIL (PEP 703): one critical section a store. Elsewhere, nothing at all.
 *
 * Every entry point of a store (and of a Memo, for its cache) runs alone on it. The interpreter suspends a critical
 * section where its thread blocks, which is only ever amid a call out, dropping a reference included; and a store is
 * consistent whenever it calls out (store.h). So code that is right where a GIL is handed over in calls out is
 * right here, too, and waiting for another thread that wants the same store cannot deadlock.
 *
 * That alone would have others wait while a sizer, a listener, a timer, a cached function, a key's own `__eq__` or a
 * large value's destructor is busy and does not block. These run outside: the innermost guard of this thread, which is the calling store's as every
 * entry point has one, is left before and entered again behind. It is unlisted meanwhile, so that what switches
 * stacks there (greenlets) meets nobody else's guard.
 *
 * What stores share is read and written in one piece: the allowance, the time of the last tick.
 * Source: CPython's Include/cpython/critical_section.h and pyatomic.h. Bound: an uncontended lock, some 10 ns.
 */
#ifndef EBBCACHE_GUARD_H
#define EBBCACHE_GUARD_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#ifdef Py_GIL_DISABLED

#ifdef _MSC_VER
#define PER_THREAD __declspec(thread)
#else
#define PER_THREAD _Thread_local
#endif

typedef struct Guard {
    PyCriticalSection section;
    PyObject *store; /* kept by whoever called in */
    struct Guard *outer;
} Guard;

extern PER_THREAD Guard *guards; /* the innermost one of this thread that is held; module.c */

static inline void
guard_enter(Guard *guard, PyObject *store)
{
    PyCriticalSection_Begin(&guard->section, store);
    guard->store = store;
    guard->outer = guards;
    guards = guard;
}

static inline void
guard_leave(Guard *guard)
{
    guards = guard->outer;
    PyCriticalSection_End(&guard->section);
}

#define BEGIN_ALONE(store) \
    { \
        Guard guard_; \
        guard_enter(&guard_, (PyObject *)(store));
#define END_ALONE \
    guard_leave(&guard_); \
    }

/* Around a call out that may take long, if it comes to pass. */
#define BEGIN_OUTSIDE_IF(so) \
    { \
        Guard *left_ = (so) ? guards : NULL; \
        if (left_ != NULL) \
            guard_leave(left_);
#define END_OUTSIDE \
    if (left_ != NULL) \
        guard_enter(left_, left_->store); \
    }

/* Define ALONE(function), which does the same in the critical section of a store. */
#define GUARD(type, function, store, parameters, arguments) \
    static type function##_alone parameters \
    { \
        type answer_; \
        BEGIN_ALONE(store) \
        answer_ = function arguments; \
        END_ALONE \
        return answer_; \
    }
#define ALONE(function) function##_alone

static inline double
shared_double(const int64_t *bits)
{
    int64_t read = _Py_atomic_load_int64_relaxed(bits);
    double number;
    memcpy(&number, &read, sizeof number);
    return number;
}

static inline void
share_double(int64_t *bits, double number)
{
    int64_t written;
    memcpy(&written, &number, sizeof written);
    _Py_atomic_store_int64_relaxed(bits, written);
}

#define SHARED_LONG(place) ((long long)_Py_atomic_load_int64_relaxed((int64_t *)&(place)))
#define SHARE_LONG(place, value) _Py_atomic_store_int64_relaxed((int64_t *)&(place), (int64_t)(value))
#define SHARED_INT(place) _Py_atomic_load_int_relaxed(&(place))
#define SHARE_INT(place, value) _Py_atomic_store_int_relaxed(&(place), value)
#define SHARED_SSIZE(place) _Py_atomic_load_ssize_relaxed(&(place))
#define SHARED_POINTER(place) _Py_atomic_load_ptr_acquire(&(place))

/* Whether a reference that was dropped, though never the last one, made the thread wait and others came in. */
#define CAME_IN(so) (so)

#else

#define BEGIN_ALONE(store) {
#define END_ALONE }
#define BEGIN_OUTSIDE_IF(so) {
#define END_OUTSIDE }
#define GUARD(type, function, store, parameters, arguments)
#define ALONE(function) function
#define SHARED_LONG(place) (place)
#define SHARE_LONG(place, value) ((place) = (value))
#define SHARED_INT(place) (place)
#define SHARE_INT(place, value) ((place) = (value))
#define SHARED_SSIZE(place) (place)
#define SHARED_POINTER(place) (place)
#define CAME_IN(so) 0

#endif

#define BEGIN_OUTSIDE BEGIN_OUTSIDE_IF(1)

#endif
