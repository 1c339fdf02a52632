/* A decorated function: what a call of it needs to know, and who answers it.
 *
 * memo.c finds out which entry a call means (calls.h: without making its key); miss.c carries out the calls that no
 * entry answers.
 */
#ifndef EBBCACHE_MEMO_H
#define EBBCACHE_MEMO_H

#include "calls.h"

#define MOST_PARAMETERS 16
#define MOST_LANES 32
#define PLANS 4

typedef struct {
    PyObject *names;                /* a call's tuple of keyword names; NULL: vacant */
    uint8_t place[MOST_PARAMETERS]; /* which parameter each of them is */
    uint32_t fills;                 /* a bit for each of these parameters */
} Plan;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    State *st;
    Core *cache;
    PyObject *func, *clock, *wrapper;
    PyObject *keep;                 /* NULL: the wrapper carries out the misses */
    PyObject *itself;               /* stands for the instance as a value; NULL: no method */
    PyObject *make;                 /* made: the user's function; otherwise NULL */
    PyObject *mark;                 /* written: stands between positions and keywords; otherwise NULL */
    PyObject *parameters;           /* a tuple of names; in written calls an empty one (no names), or NULL */
    PyObject *defaults;             /* bound: the tuple of defaults of the last positions */
    PyObject *named_defaults;       /* bound: the function's own dict, which may change; or NULL */
    PyObject *invalidated;          /* what knows when entries were invalidated last; or NULL */
    Py_ssize_t last_at;
    double ttl;                     /* NaN: none */
    int quick;                      /* `clock` is time.perf_counter itself */
    PyObject *nothing;              /* the empty tuple, of which there is one */
    Py_hash_t nothing_hash;
    uint32_t nothing_at;            /* the slot where it was found last */
    int count, positional, named_from, typed, alone;
    Plan plans[PLANS];
    int next_plan;
    PyObject *dict, *weakrefs;
} Memo;

/* -------------------------------------------------------------------------------------------- miss.c */

PyObject *by_wrapper(Memo *, PyObject *const *args, size_t nargsf, PyObject *names);
PyObject *miss(Memo *, PyObject *key, Py_hash_t, uint64_t missing, PyObject *const *args, size_t nargsf,
               PyObject *names);

#endif
