/* A call as a key that is never made: its arguments hashed and compared where they lie.
 *
 * They are hashed one by one, the way a tuple of them would be (xxHash's rounds, as in CPython's tupleobject.c; checked
 * at import), and compared one by one with the tuples that are stored as keys. Only where foreign code must be asked
 * whether two arguments are equal, or where the call is a miss, is the tuple made.
 * Bound: a hash and a comparison for each argument; no allocation.
 */
#ifndef EBBCACHE_CALLS_H
#define EBBCACHE_CALLS_H

#include "store.h"

/* ------------------------------------------------------------------------------------------- hashing tuples */

#if SIZEOF_PY_UHASH_T > 4
#define PRIME_1 ((Py_uhash_t)11400714785074694791ULL)
#define PRIME_2 ((Py_uhash_t)14029467366897019727ULL)
#define PRIME_5 ((Py_uhash_t)2870177450012600261ULL)
#define ROTATED(x) (((x) << 31) | ((x) >> 33))
#else
#define PRIME_1 ((Py_uhash_t)2654435761UL)
#define PRIME_2 ((Py_uhash_t)2246822519UL)
#define PRIME_5 ((Py_uhash_t)374761393UL)
#define ROTATED(x) (((x) << 13) | ((x) >> 19))
#endif

static inline Py_uhash_t
mixed(Py_uhash_t sum, Py_hash_t lane)
{
    sum += (Py_uhash_t)lane * PRIME_2;
    return ROTATED(sum) * PRIME_1;
}

static inline Py_hash_t
finished(Py_uhash_t sum, Py_ssize_t length)
{
    sum += (Py_uhash_t)length ^ (PRIME_5 ^ (Py_uhash_t)3527539UL);
    return sum == (Py_uhash_t)-1 ? 1546275796 : (Py_hash_t)sum;
}

/* ------------------------------------------------------------------------------------------- finding a call */

/* A call as its key would be, element by element: a lane each. */
typedef struct {
    PyObject *const *lanes;
    Py_ssize_t count;
    int method; /* the first one is the instance itself */
} Call;

static inline int
hash_call(const Call *call, Py_hash_t *hash)
{
    Py_uhash_t sum = PRIME_5;
    Py_ssize_t n = 0;
    if (call->method)
        sum = mixed(sum, hash_of_address(call->lanes[n++]));
    for (; n < call->count; n++) {
        Py_hash_t lane = hash_of(call->lanes[n]);
        if (lane == -1)
            return -1;
        sum = mixed(sum, lane);
    }
    *hash = finished(sum, call->count);
    return 0;
}

/* Whether two arguments are equal, if that takes no foreign code: 1 or 0; -1: ask. Two floats that are equal but
 * not the same object are found with a key otherwise, which costs more than all the rest of a hit. */
static int
same_argument(PyObject *own, PyObject *given, int depth)
{
    if (own == given)
        return 1;
    int same = same_plainly(own, given);
    if (same >= 0)
        return same;
    if (PyFloat_CheckExact(own) && PyFloat_CheckExact(given))
        return PyFloat_AS_DOUBLE(own) == PyFloat_AS_DOUBLE(given);
    if (PyBytes_CheckExact(own) && PyBytes_CheckExact(given)) {
        Py_ssize_t size = PyBytes_GET_SIZE(own);
        return size == PyBytes_GET_SIZE(given) &&
               memcmp(PyBytes_AS_STRING(own), PyBytes_AS_STRING(given), (size_t)size) == 0;
    }
    if (depth && PyTuple_CheckExact(own) && PyTuple_CheckExact(given)) {
        Py_ssize_t size = PyTuple_GET_SIZE(own);
        if (size != PyTuple_GET_SIZE(given))
            return 0;
        same = 1;
        for (Py_ssize_t n = 0; n < size; n++) {
            int here = same_argument(PyTuple_GET_ITEM(own, n), PyTuple_GET_ITEM(given, n), depth - 1);
            if (here == 0)
                return 0;
            if (here < 0)
                same = -1;
        }
    }
    return same;
}

/* Whether a stored key is this call, if that takes no foreign code: 1 or 0; -1: ask. */
static inline int
is_call(State *st, PyObject *stored, const Call *call)
{
    if (!PyTuple_CheckExact(stored))
        return -1;
    if (PyTuple_GET_SIZE(stored) != call->count)
        return 0;
    int sure = 1;
    Py_ssize_t n = 0;
    if (call->method && !stands_for(st, PyTuple_GET_ITEM(stored, n++), call->lanes[0]))
        return 0;
    for (; n < call->count; n++) {
        PyObject *own = PyTuple_GET_ITEM(stored, n), *given = call->lanes[n];
        int same = own == given ? 1 : same_argument(own, given, 4);
        if (same == 0)
            return 0;
        if (same < 0)
            sure = 0;
    }
    return sure ? 1 : -1;
}

/* The slot of a call; NIL; or FAIL, without an exception, if foreign code must be asked about it, which is
 * find_tagged's business and takes a real key. */
static inline uint32_t
find_call(Core *s, const Call *call, uint32_t tag)
{
    if (s->live == 0)
        return NIL;
    for (uint32_t at = tag >> s->shift;; at = (at + 1) & s->mask) {
        uint32_t cell = s->index[at], i = cell ^ (tag << s->bits);
        if (cell == NIL)
            return NIL;
        if (i >> s->bits || s->slots[i].tag != tag)
            continue;
        int same = is_call(s->st, s->slots[i].key, call);
        if (same > 0)
            return i;
        if (same < 0)
            return FAIL;
    }
}

static inline PyObject *
key_of(const Call *call)
{
    PyObject *key = PyTuple_New(call->count);
    for (Py_ssize_t n = 0; key != NULL && n < call->count; n++)
        PyTuple_SET_ITEM(key, n, Py_NewRef(call->lanes[n]));
    return key;
}

#endif
