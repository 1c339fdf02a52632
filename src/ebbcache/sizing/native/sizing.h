/* What a value weighs, in C: the walk of sizing/walk.py, with the same answers.
 *
 * rules.c    which reader serves which type, learnt from kinds.py type by type
 * layout.c   how objects lie in memory: blocks, and what only C can see
 * read.c     the readers of layout.py: what an object refers to
 * holders.c  rules that kinds.py and holders/ declare as data, and trees of lxml
 * libraries.c  torch's tensors and Arrow's arrays
 * arrays.c   numpy's arrays
 * tree.c     one tree of objects with one reference each, and what it shares
 * walk.c     what is shared with whom, and the sum
 * module.c   the functions, and what they need to know
 *
 * Bound: an object that is neither a leaf nor read by Python costs some 20 ns if it is in the processor's cache.
 * Every object that is kept for later is held by a reference of the walk's own, and nothing read from an object is
 * used any more after a call that may run Python code, in which anything may change or die.
 */
#ifndef EBBCACHE_SIZING_H
#define EBBCACHE_SIZING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#ifdef Py_GIL_DISABLED
#error "reference counts tell nothing in a free-threaded build: sizes are measured in Python there"
#endif

#if defined(__GNUC__) || defined(__clang__)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#endif

/* The layouts that layout.c reads in place are those of these versions. */
#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030F0000
#error "the layouts of this version of CPython are not known: sizes are measured in Python there"
#endif

typedef enum {
    NOTHING, /* parts of the program */
    STR,     /* leaves: one block, no references */
    BYTES,
    INT,
    BLOCK,
    LAST_LEAF = BLOCK,
    PART, /* layout.Part */
    LIST,
    TUPLE,
    SET,
    MOMENT, /* a datetime */
    DICT,
    DICT_SUBCLASS,
    ORDERED_DICT,
    DEQUE,
    STR_SUBCLASS,
    INT_SUBCLASS,
    ARRAY,    /* numpy's */
    FUNCTION,
    FRAME,
    BYTES_IO,
    PLAIN,   /* declared as data */
    DTYPE,   /* numpy's */
    IMAGE,   /* Pillow's */
    ELEMENT, /* lxml's */
    TENSOR,  /* torch's */
    ARROW,
    OTHER,  /* instances of classes in Python, and what is known by its __sizeof__ and nbytes */
    PYTHON, /* read by a function in Python */
} Code;

typedef struct {
    PyTypeObject *type; /* borrowed: forgotten when it dies; of several types the address of their kind */
    PyObject *kind;     /* kinds.Kind */
    PyObject *read, *claim, *measure, *nbytes; /* of the kind; NULL: none */
    PyObject *data;     /* kind.native */
    PyObject *source;   /* of a plain rule: where references are found; NULL: see `shown` */
    double fixed;       /* bytes of a plain rule */
    Py_ssize_t bare;    /* basicsize */
    Py_ssize_t front;   /* bytes in front of the object */
    Py_ssize_t item;
    double block;       /* of an object without items */
    double class_bytes; /* of a class that may have been made for a value, and goes with it; else 0 */
    Py_ssize_t inner;   /* references to such a class that are its own */
    unsigned char code, view, alone, values, sentinel, shown;
} Rule;

typedef struct {
    PyTypeObject *type;
    Rule *rule;
} Place;

typedef struct {
    PyObject_HEAD
    PyObject *table; /* kinds.Table */
    Place *places;   /* open addressing by the type's address */
    size_t mask, used;
} Rules;

typedef struct {
    PyTypeObject *rules_type;
    PyObject *part_type;
    PyObject *str_sizeof, *int_sizeof, *dict_sizeof, *ordered_dict_sizeof, *deque_sizeof; /* methods in C */
    PyObject *str_kind, *str_native, *str_read, *str_claim, *str_view, *str_alone, *str_rules,
        *str_note, *str_shared_before, *str_charged, *str_key, *str_several, *str_nbytes, *str_references, *str_shared,
        *str_class_bytes, *str_inner, *str_itemsize, *str_name;
    PyObject *yardstick, *failed; /* callables, or NULL */
    Rules *rules;
    Py_ssize_t budget;
    double least, most, looks_a_second;
    PyObject *dtype; /* of the array that was read last, if it is one of many's */
    Py_ssize_t dtype_item;
    int dict_known;   /* dicts lie in memory as layout.c believes */
    int malloc_known; /* and large blocks are glibc's, which says how large */
} State;

typedef struct {
    PyObject *obj;
    double weight;
} Item;

typedef struct {
    Item *items; /* each holds a reference */
    Py_ssize_t used, room;
    Item some[32];
} Items;

typedef struct Walk Walk;

/* Tells what a part takes that is no object. May call out; -1 with an exception. */
typedef int (*Ask)(Walk *, PyObject *obj, double *bytes);

typedef struct {
    PyObject *obj; /* held; where `owners` is not -1 a layout.Part, a class, or what was read when a part was met */
    uintptr_t key;
    Ask ask;        /* for nbytes, if the part turns out to go with the value; or NULL: known */
    double count;   /* references to it from inside the value, so many as those stand for */
    double nbytes;  /* of its tree; -1: not walked */
    Py_ssize_t seen, owners;
    Py_ssize_t uses, uses_end;     /* in Walk.uses: the tops its tree refers to */
    Py_ssize_t common, common_end; /* in Walk.common: leaves with several references */
    int slack, kept;
    int lent; /* references to `obj` that parts' tops have */
} Top;

#define FEW 8 /* tops that are found without an index */

struct Walk {
    State *st;
    Rules *rules;
    double left, last, deep, quota;
    int exact, sampled, evicted, slack, leaf_slack;
    int blind; /* something that may hold references was passed over, not sampled */
    Py_ssize_t steps; /* since other threads last had a chance */
    Items level, below;
    Items kids; /* of the object that is being read */
    Items common;
    Top *tops;
    uint32_t *index; /* of tops by key: 0 is a free place, else one more than the number of the top; or NULL: few */
    size_t index_mask;
    uint32_t *uses;
    Py_ssize_t *queue;
    Py_ssize_t ntops, room_tops, nuses, room_uses, nqueue, room_queue;
    /* of the tree that is being walked */
    Py_ssize_t user;
    double scale;
    double heavy; /* how many objects a kid of the object being read stands for */
    double bytes; /* of leaves met so far */
    double looks; /* at kids of the object being read */
    PyObject *top_obj;
    /* Most values share little: room for that, so that their walk asks for no memory. */
    Top some_tops[FEW];
    uint32_t some_uses[2 * FEW];
    Py_ssize_t some_queue[FEW];
};

#define SLACK 2
#define LEAF_SLACK 3
#define SHOWN 2 /* by a view: its base and its dtype; more are elements of an array that owns its memory */
#define CROWD 4096
#define MANY_TOPS 100000.0 /* for as many it is worth counting all blocks there are */
#define CLASS_MANY 64 /* classes._MANY */
#define LARGE 1048576.0
#define NARROW 16 /* objects in a level or round, of which none is left out */
#define DEEP 8 /* budgets that may be spent where all levels are narrow, as in a chain */
#define PART_FOR_ONE 0.35 /* level or round, of the looks that are left */

#define SMALL 512           /* the largest request that pymalloc serves itself */
#define COMPILED_IN 1000000 /* references that only an immortal object has */

/* A block as pymalloc and glibc cut it (chunks.py). */
static inline double
chunk(Py_ssize_t size)
{
    return (double)(size <= SMALL ? (size + 15) & -16 : (size + 23) & -16);
}

/* What C's malloc cuts for `size` bytes. */
static inline double
malloc_chunk(double size)
{
    double whole = (double)((long long)(size + 23) & -16);
    return whole < 32 ? 32 : whole;
}

/* rules.c */
Rule *rules_learn(State *, Rules *, PyObject *obj);
extern PyType_Spec rules_spec;

static inline Rule *
rules_find(const Rules *rules, PyTypeObject *type)
{
    size_t at = ((uintptr_t)type >> 4) & rules->mask;
    while (rules->places[at].type != type) {
        if (rules->places[at].type == NULL)
            return NULL;
        at = (at + 1) & rules->mask;
    }
    return rules->places[at].rule;
}

/* The rule of the type of `obj`. May call out; NULL with an exception. */
static inline Rule *
rule_of(Walk *w, PyObject *obj)
{
    Rule *rule = rules_find(w->rules, Py_TYPE(obj));
    return LIKELY(rule != NULL) ? rule : rules_learn(w->st, w->rules, obj);
}

/* layout.c */
int layout_check(State *);
double leaf_bytes(const Rule *, PyObject *);
int number_of_bytes(PyObject *answer, double *bytes);
int call_for_bytes(PyObject *function, PyObject *obj, double *bytes);
Py_ssize_t int_bytes(PyObject *obj);
int dict_tables(Walk *, PyObject *dict, double *bytes);
Py_ssize_t dict_entries(PyObject *dict);
double attributes(PyObject *obj, Py_ssize_t *inside);
double beside(const Rule *, PyObject *obj);

/* read.c */
#define FATAL (-1)
#define FAILED (-2)
int read_object(Walk *, const Rule *, PyObject *obj, double cap, double *own);
int read_broken(Walk *, PyObject *obj, double cap, double *own);
Py_ssize_t count_kids(Walk *, const Rule *, PyObject *obj, double cap);
int collect_referents(Walk *, PyObject *obj);
int read_referents(Walk *, PyObject *obj, double cap, int view);
int hand_over(Walk *, int view, Py_ssize_t held);
void stand_for(Walk *, double times);

/* holders.c: whether what a rule declares can be followed, and how */
int plain_fill(Rule *);
int read_plain(Walk *, const Rule *, PyObject *obj, double *own);
int dtype_fill(Rule *);
int read_dtype(Walk *, const Rule *, PyObject *obj, double *own);
int image_fill(Rule *);
int read_image(Walk *, const Rule *, PyObject *obj, double *own);
int element_fill(Rule *, PyTypeObject *);
int read_element(Walk *, const Rule *, PyObject *obj, double cap, double *own);

PyObject *field_of(PyObject *field, PyObject *obj);
int are_fields(PyObject *fields, Py_ssize_t from, Py_ssize_t to);

/* A number that a rule declares. These are small ints, which cannot fail. */
static inline double
number_in(PyObject *data, Py_ssize_t i)
{
    return (double)PyLong_AsSsize_t(PyTuple_GET_ITEM(data, i));
}

/* libraries.c */
int tensor_fill(Rule *);
int read_tensor(Walk *, const Rule *, PyObject *obj, double *own);
int arrow_fill(Rule *);
int read_arrow(Walk *, const Rule *, PyObject *obj, double *own);

/* arrays.c */
int array_fill(Rule *);
Py_ssize_t count_in_array(Walk *, PyObject *obj, double cap);
int read_ndarray(Walk *, const Rule *, PyObject *obj, double cap, double *own);

/* tree.c */
int items_grow(Items *, Py_ssize_t room);
int walk_take(Walk *, PyObject *kid, Py_ssize_t held);
Py_ssize_t walk_top(Walk *, PyObject *obj, int slack);
int walk_refer(Walk *, PyObject *obj, double weight, int slack);
int walk_part(Walk *, PyObject *obj, uintptr_t address, Py_ssize_t owners, double nbytes, Ask ask);
int walk_ask(Walk *, Top *);
int walk_tree(Walk *, Py_ssize_t top, double scale);
int walk_yield(Walk *);
Py_ssize_t scattered(Py_ssize_t length, Py_ssize_t count, Py_ssize_t i);

static inline Py_ssize_t
few(double cap)
{
    double count = cap / 4;
    return count < 1 ? 1 : count > (double)(PY_SSIZE_T_MAX / 2) ? PY_SSIZE_T_MAX / 2 : (Py_ssize_t)count;
}

static inline int
items_add(Items *to, PyObject *obj, double weight)
{
    if (UNLIKELY(to->used == to->room) && items_grow(to, to->used + 1) < 0)
        return -1;
    to->items[to->used].obj = Py_NewRef(obj);
    to->items[to->used++].weight = weight;
    return 0;
}

static inline void
items_init(Items *items)
{
    items->items = items->some;
    items->used = 0;
    items->room = (Py_ssize_t)(sizeof items->some / sizeof *items->some);
}

/* Drops the references. May call out. */
static inline void
items_clear(Items *items, Py_ssize_t from)
{
    while (items->used > from)
        Py_DECREF(items->items[--items->used].obj);
}

/* walk.c */
int walk_weigh(State *, PyObject *obj, double budget, int evicted, double *bytes);

#endif
