/* What the files of the native store share: the shape of a store, and who offers what.
 *
 * Each file is one idea and opens by telling it: index.c (which slot a key is in; hit.h: what a hit does), table.c (the
 * slab of slots), pages.c (memory for both), entry.c (what callers see of an entry), expiry.c (deadlines), policies.c
 * (who goes first), past.c (what was given up), trust.c (what came of what was promised), weigh.c (clock and bytes),
 * lookup.c (hits, misses, removals), insert.c (linking), contract.c (the store's methods), core.c (the type that caches
 * derive from), numbers.c (counters), memo.c (the decorators' callable; calls.h: what it looks up; miss.c: what it does
 * when that is not there; instance.c: who a method was called on), module.c (the module and its state), guard.h (what
 * keeps threads apart where there is no GIL).
 *
 * One rule holds everywhere: a store never calls out while it is inconsistent. Calling out is hashing or
 * comparing foreign keys, a timer, dropping a reference, and making an object that the collector tracks (3.11
 * collects there and then). So every change first finds its place, then reserves memory, then changes the store
 * without calling out, then lets go of what left it.
 */
#ifndef EBBCACHE_STORE_H
#define EBBCACHE_STORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "guard.h"

#define NIL UINT32_MAX         /* no slot */
#define FAIL (UINT32_MAX - 1)  /* no slot, and an exception is set */
#define MOST_SLOTS (INT32_MAX - 16)
#define WIDE UINT32_MAX        /* a size that is in `wide` */
#define LARGEST_SIZE (1LL << 52)

#if defined(__GNUC__)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define PREFETCH(p) __builtin_prefetch(p)
#else
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#define PREFETCH(p) ((void)0)
#endif

typedef enum { LRU, LFU, DENSITY } Policy;

/* What every lookup touches: 32 bytes, two to a cache line. `key` is NULL in a vacant slot. */
typedef struct {
    PyObject *key;
    PyObject *value;
    uint32_t tag;   /* 32 mixed bits of the hash */
    uint32_t size;  /* bytes, or WIDE */
    union {
        struct {
            uint32_t prev, next;  /* LRU: the order of use; a vacant slot: `next` vacant one */
        } order;
        double hits;  /* LFU, DENSITY */
    } as;
} Slot;

/* What a hit writes besides: 12 bytes. */
#pragma pack(push, 4)
typedef struct {
    double stamp;
    uint32_t hits;  /* LRU only; stays at its largest value */
} Use;
#pragma pack(pop)

/* When an entry expires. An exact float is just a number. Anything else is an object that is asked, with the number
 * that has its place in the order, or NaN where there is none. Never: NULL and NaN. */
typedef struct {
    PyObject *object;
    double when;
} Moment;

/* A deadline's number, and which link it came with: 12 bytes. */
#pragma pack(push, 4)
typedef struct {
    double when;
    uint32_t link;
} Due;
#pragma pack(pop)

/* An item of a lazy heap, least (number, link) first. */
typedef struct {
    double number;
    uint32_t link, slot;
} Item;

/* As long as numbers come in rising order, as with one ttl, the heap is a queue: sorted, and taken from in front. */
typedef struct {
    Item *items;
    size_t first, count, room;  /* first: 0 unless sorted */
    int heaped;                 /* no longer sorted */
} Heap;

/* A row: an entry outside of the slab, with references of its own. */
typedef struct {
    PyObject *key, *value;
    Moment due;
    long long size;
    double weight, cost, stamp, hits;
    uint32_t tag, slot;
} Row;

typedef struct {
    Row *rows;
    size_t count, room;
} Rows;

typedef struct {
    double density;
    double hits;
    uint32_t slot;
} Candidate;

#define LOWEST (-128) /* classes of density */
#define HIGHEST 127
#define CLASSES 256
#define NO_LEVEL (HIGHEST + 1)
#define POOL 8
#define WATCHED 64
#define SAMPLE 32
#define FRESH 16
#define TALLY_SAMPLE 1024
#define SATURATION 64.0
#define YOUNGEST 1e-6
#define UNTIMED 1e-3
#define HALF_LIFE 10

/* Whom a tally saw, and how. */
typedef struct {
    double hits, stamp;
    uint32_t slot;
} Watched;

typedef struct {
    Watched *watched;  /* in rising order of slots; NULL before the first tally */
    uint32_t count;
    double found, promised, looked;
} Trust;

typedef struct {
    PyObject_HEAD
    long long left;
} Allowance;

typedef struct {
    PyObject_HEAD
    long long inserts, evictions, expirations, refused, listener_errors;
} Counts;

typedef struct {
    PyTypeObject *core, *entry, *living, *allowance, *counts, *instance;
    PyObject *clock;           /* ebbcache.clock.clock, whose slots are read in place */
    Py_ssize_t now_at, timer_at;
    PyObject *monotonic, *perf_counter; /* time's own */
    PyObject *moment;          /* ebbcache.store.heap.moment */
    PyObject *s_missing, *s_gone, *s_insert, *s_policy, *s_dated, *s_pop, *s_expired, *s_deleted, *s_evicted, *s_user;
    PyObject *long_sizeof, *str_sizeof;  /* what C cannot tell by itself */
    int forks;                 /* rises when entries begin, or cease, to be shared with other processes */
    int apart;                 /* which of the two */
#ifdef Py_GIL_DISABLED
    int64_t stamp;             /* `clock.now`, a double's bits */
#endif
    int leaves;                /* the sizes of str, bytes, int and float are nobody else's business */
} State;

typedef struct {
    PyObject_HEAD
    State *st;  /* of the module that the type keeps alive */
    Policy policy;

    Slot *slots;
    Use *uses;
    double *costs;    /* NULL until a cost is given; NaN: not known */
    double *weights;  /* NULL until a weight other than 1 is given */
    Due *dues;        /* NULL until a deadline is given */
    PyObject **odd;   /* NULL until a deadline is given that is no float */
    uint64_t *wide;   /* NULL until a size does not fit */
    uint32_t *index;  /* cells: low bits of a tag above a slot's number; NIL where empty */
    size_t slots_mapped, uses_mapped, index_mapped; /* see pages.c */
    unsigned shift;   /* the index has 2 ** (32 - shift) places */
    unsigned bits;    /* of a cell, those of the slot's number; room < 2 ** bits */
    uint32_t mask;
    uint32_t room, used, live;  /* slots that there is memory for, were ever filled, are filled */
    uint32_t head, tail, vacant;
    uint32_t last;     /* LRU: what comes in, or is used, is linked behind this one: the tail, or see order_append */
    int forks;         /* of the state's, those that this store took note of */
    uint32_t inherited, boundary; /* entries that were there at a fork; slots that were in use */
    uint8_t *heirlooms; /* LRU: a bit for each slot below the boundary; see inherited.c */
    uint64_t version;  /* rises whenever an entry is linked or unlinked */
    uint32_t links;    /* deadlines linked so far; at their wrap, ties are broken the other way round */

    long long nbytes, hits, misses;
    double weight;
    int fractional;    /* some weight is no integer */
    double gain;
    double cost_total;
    long long cost_count;
    uint64_t seed;
    long long age_at;
    Heap ranks;        /* LFU: (hits, slot) */
    Heap due;          /* (when, link) */
    int unordered;     /* some deadline has no place in the order */
    int mortal;        /* a deadline was given once */
    int collected;     /* some key or value may be part of a cycle */
    Candidate pool[POOL];
    int pooled;
    uint8_t *past;     /* DENSITY: what was given up; NULL until something was */
    uint32_t cells;
    long long fades;   /* evictions until its hits are halved */

    Trust trust;       /* DENSITY */

    PyObject *timer;
    PyObject *listener;
    /* What an insert needs to know to be made without Python; see insert.c. */
    int simple;
    long long overhead, dated, maxbytes; /* maxbytes -1: none */
    double maxsize;               /* infinity: none */
    double ttl;                   /* NaN: none */
    PyObject *sizeof_, *weigh;    /* sizeof(obj), weigh(obj, cost) */
    Allowance *allowance;         /* NULL: not registered */
    Counts *counts;
    PyObject *weakrefs;
} Core;

/* ------------------------------------------------------------------------------------------- index.c */

uint32_t find_foreign(Core *, PyObject *key, uint32_t tag);
void enter_index(Core *, uint32_t slot);
void leave_index(Core *, uint32_t slot);
void index_fill(Core *, uint32_t places);
int index_make(Core *, uint32_t places);

/* ------------------------------------------------------------------------------------------- table.c */

static inline uint32_t
tag_of(Py_hash_t hash)
{
    return (uint32_t)(((uint64_t)hash * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

int reserve(Core *);
int need_costs(Core *), need_weights(Core *), need_dues(Core *), need_odd(Core *), need_wide(Core *);
uint32_t take_slot(Core *);
void release_slot(Core *, uint32_t slot);
void compact(Core *);
void tighten(Core *);
int is_linked(Core *, uint32_t slot, PyObject *key, PyObject *value);
void detach(Core *, uint32_t slot, Row *into);
void read_row(Core *, uint32_t slot, Row *into), copy_row(Core *, uint32_t slot, Row *into);
void row_clear(Row *);
int rows_reserve(Rows *, size_t more);
void rows_clear(Rows *);
int table_traverse(Core *, visitproc, void *);
void table_drain(Core *, Core *into);
void table_free(Core *), free_beside(Core *);
int table_check(Core *);

/* Whether so many slots are vacant that the living should move together. */
static inline int
is_sparse(Core *s)
{
    return 2 * (uint64_t)s->used > 3 * (uint64_t)s->live + 128;
}

static inline long long
size_at(Core *s, uint32_t i)
{
    uint32_t size = s->slots[i].size;
    return size == WIDE ? (long long)s->wide[i] : (long long)size;
}

static inline double
hits_at(Core *s, uint32_t i)
{
    return s->policy == LRU ? (double)s->uses[i].hits : s->slots[i].as.hits;
}

static inline double
weight_at(Core *s, uint32_t i)
{
    return s->weights == NULL ? 1.0 : s->weights[i];
}

static inline Moment
moment_at(Core *s, uint32_t i)
{
    Moment due = {s->odd == NULL ? NULL : s->odd[i], s->dues == NULL ? Py_NAN : s->dues[i].when};
    return due;
}

static inline int
is_dated(Moment due)
{
    return due.object != NULL || due.when == due.when;
}

/* ------------------------------------------------------------------------------------------- pages.c */

void *pages_resize(void *, size_t had, size_t size, size_t *mapped);
void pages_free(void *, size_t mapped);

/* ------------------------------------------------------------------------------------------- weigh.c */

double clock_slow(State *);
int clock_tick(State *, int precise);
int timer_now(Core *, double *now);
int is_before(Core *, double when);
long long weigh(Core *, PyObject *, double cost);

/* A block as pymalloc and glibc cut it, or mimalloc where there is no GIL (sizing/chunks.py). */
static inline long long
chunk(long long size)
{
#ifdef Py_GIL_DISABLED
    long long step = size > 1 << 17 ? 4096 : 16;
    while (size <= 1 << 17 && size > 8 * step)
        step *= 2;
    return (size + step - 1) & -step;
#else
    return size <= 512 ? (size + 15) & -16 : (size + 23) & -16;
#endif
}

/* The bytes of an object that C can weigh by itself; -1: somebody must be asked. Calls nothing. */
static inline long long
leaf_size(const State *st, PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    if (LIKELY(SHARED_INT(st->leaves))) {
        if (type == &PyLong_Type) {
#if PY_VERSION_HEX >= 0x030C0000
            if (!PyUnstable_Long_IsCompact((PyLongObject *)obj))
                return -1;
            Py_ssize_t value = PyUnstable_Long_CompactValue((PyLongObject *)obj);
#else
            Py_ssize_t digits = Py_SIZE(obj), value;
            if (digits < -2 || digits > 2)
                return -1;
            if (digits < -1 || digits > 1)
                return chunk((long long)sizeof(PyLongObject));
            value = digits * (Py_ssize_t)((PyLongObject *)obj)->ob_digit[0];
#endif
            /* Kept for ever; one or two digits of 30 bits. */
            return -5 <= value && value <= 256 ? 0 : chunk((long long)sizeof(PyLongObject));
        }
        if (type == &PyUnicode_Type)
            return PyUnicode_IS_COMPACT_ASCII(obj)
                       ? chunk((long long)sizeof(PyASCIIObject) + PyUnicode_GET_LENGTH(obj) + 1)
                       : -1;
        if (type == &PyBytes_Type)
            return chunk((long long)offsetof(PyBytesObject, ob_sval) + 1 + PyBytes_GET_SIZE(obj));
        if (type == &PyFloat_Type)
            return chunk((long long)sizeof(PyFloatObject));
        if (type == &PyComplex_Type)
            return chunk((long long)sizeof(PyComplexObject));
    }
    return obj == Py_None || type == &PyBool_Type ? 0 : -1;
}

static inline double
clock_now(State *st)
{
#ifdef Py_GIL_DISABLED
    return shared_double(&st->stamp); /* others replace the float object; see twin.py */
#else
    PyObject *now = *(PyObject **)((char *)st->clock + st->now_at);
    return LIKELY(now != NULL && PyFloat_CheckExact(now)) ? PyFloat_AS_DOUBLE(now) : clock_slow(st);
#endif
}

/* Whether the process's clock is time.monotonic itself, and nobody plays with time. */
static inline int
is_clock_ours(State *st)
{
    return SHARED_POINTER(*(PyObject **)((char *)st->clock + st->timer_at)) == st->monotonic;
}

/* ------------------------------------------------------------------------------------------ expiry.c */

int heap_push(Heap *, double number, uint32_t link, uint32_t slot);
int heap_reserve(Heap *);
void heap_pop(Heap *);
void heap_renumber(Heap *, double number);
void heap_make(Heap *);
void heap_free(Heap *);
int heap_check(Heap *);
int moment_of(State *, PyObject *deadline, Moment *due);
PyObject *moment_object(Moment due);
int is_late(Moment due, PyObject *now);
PyObject *ask_timer(Core *);
int is_alive(Core *, Moment due);
void due_rebuild(Core *), due_prune(Core *);
int expire(Core *, PyObject *now, Rows *into);
int next_deadline(Core *, double *when);

static inline Item *
heap_top(Heap *heap)
{
    return &heap->items[heap->first];
}

/* ---------------------------------------------------------------------------------------- policies.c */

void order_append(Core *, uint32_t slot);
void order_remove(Core *, uint32_t slot);
void ranks_rebuild(Core *);
void age(Core *);
uint32_t victim(Core *, uint32_t keep);
int evict(Core *, long long nbytes, long long leave, Rows *into);
int tally(Core *, double now, PyObject *into);
int ranked(Core *, Py_ssize_t n, int hottest, Rows *into);
void pool_forget(Core *);
uint32_t sample(Core *, uint32_t n, uint32_t from, uint32_t *into);

/* --------------------------------------------------------------------------------------- inherited.c */

void inherit(Core *);
void disinherit(Core *, uint32_t slot);
void order_renew_inherited(Core *, uint32_t slot);

static inline int
is_inherited(Core *s, uint32_t i)
{
    return i < s->boundary && (s->heirlooms == NULL || s->heirlooms[i / 8] >> i % 8 & 1);
}

/* -------------------------------------------------------------------------------------------- past.c */

void give_up(Core *, uint32_t slot, Row *into);
double welcome(Core *, uint32_t tag);
void past_tighten(Core *);
void past_free(Core *);

/* ------------------------------------------------------------------------------------------- trust.c */

double trusted(Core *, double now);
void watch(Core *, const Rows *, const int16_t *levels, double now);
void watch_tidy(Core *);
void trust_free(Core *);

/* ------------------------------------------------------------------------------------------- entry.c */

typedef struct {
    PyObject_HEAD
    Row row;
} Entry;

extern PyType_Spec entry_spec, living_spec;
PyObject *entry_new(Core *, Row *);              /* takes over the row */
PyObject *entries_new(Core *, Rows *);           /* a list; takes over the rows */
PyObject *living_new(Core *, int keys);

/* ------------------------------------------------------------------------------------------ lookup.c */

int told_gone(Core *, Row *, PyObject *kind, PyObject *by);
int seek(Core *, PyObject *key, uint32_t tag, uint32_t *slot);
int take(Core *, PyObject *key, uint32_t tag, Row *into);
PyObject *core_subscript(Core *, PyObject *key);
PyObject *core_get(Core *, PyObject *const *args, Py_ssize_t nargs, PyObject *names);
int core_contains(Core *, PyObject *key);
Py_ssize_t core_length(Core *);
PyObject *core_missing(Core *, PyObject *key);
PyObject *core_iter(Core *);
int core_ass_subscript(Core *, PyObject *key, PyObject *value);

/* ------------------------------------------------------------------------------------------ insert.c */

typedef struct {
    PyObject *key, *value;
    Moment due;           /* all references are borrowed */
    uint32_t tag;
    long long size;
    double weight, cost;  /* cost NaN: not known */
    double hits, stamp;   /* of a history; hits NaN: none */
    int integral, absent;
    uint64_t missing;     /* 1 + the version of a store in which the key was not found; 0: not known */
} Wanted;

int put(Core *, const Wanted *, uint32_t *slot, Row *old);
int insert(Core *, PyObject *key, Py_hash_t, PyObject *value, double ttl, double cost, uint64_t missing);
PyObject *core_plain(Core *, PyObject *const *args, Py_ssize_t nargs);

/* -------------------------------------------------------------------------------- contract.c, core.c */

extern PyMethodDef core_methods[];
extern PyType_Spec core_spec;
extern struct PyModuleDef store_module;
int counted(Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most, const char *name);
PyObject *core_sizeof(Core *, PyObject *none);

/* ----------------------------------------------------------------------------------------- numbers.c */

extern PyType_Spec allowance_spec, counts_spec;

/* ------------------------------------------------------------------------------------------ module.c */

Py_ssize_t offset_of(PyObject *type, const char *name);

/* -------------------------------------------------------------------------------------------- memo.c */

extern PyType_Spec memo_spec;
int tuples_hash_alike(void);

/* ---------------------------------------------------------------------------------------- instance.c */

typedef struct {
    PyObject_HEAD
    PyObject *address; /* for comparing only: it may be gone */
    PyObject *ref;
} Instance;

extern PyType_Spec instance_spec;

/* The hash that objects have by identity. */
static inline Py_hash_t
hash_of_address(PyObject *object)
{
    uintptr_t bits = (uintptr_t)object;
    Py_hash_t hash = (Py_hash_t)((bits >> 4) | (bits << (8 * sizeof bits - 4)));
    return hash == -1 ? -2 : hash;
}

/* Whether an element of a key stands for this very object. */
static inline int
stands_for(State *st, PyObject *element, PyObject *object)
{
    if (!Py_IS_TYPE(element, st->instance) || ((Instance *)element)->address != object)
        return 0;
#ifdef Py_GIL_DISABLED
    /* Nothing else is at the address of an object that the caller has, and dropping a reference might wait. */
    return SHARED_POINTER(((PyWeakReference *)((Instance *)element)->ref)->wr_object) == object;
#elif PY_VERSION_HEX >= 0x030D0000
    PyObject *referent;
    int alive = PyWeakref_GetRef(((Instance *)element)->ref, &referent);
    Py_XDECREF(referent); /* the caller has `object`, and nobody else is at its address */
    return alive == 1;
#else
    return PyWeakref_GET_OBJECT(((Instance *)element)->ref) == object;
#endif
}

#include "hit.h"

#endif
