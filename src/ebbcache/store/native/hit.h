/* A lookup and a hit, inline in whoever makes one: hash, probe, compare, touch.
 *
 * Exact int and str are hashed and compared right here, so that a hit on them calls nothing; the comparison of other
 * keys is index.c's. Included by store.h.
 * Bound: one line of the index, one or two of the slab, the key; with LRU the neighbours in the order of use, too.
 */
#ifndef EBBCACHE_HIT_H
#define EBBCACHE_HIT_H

/* Whether two keys are equal, if that takes no foreign code: 1 or 0; -1: ask them. */
static inline int
same_plainly(PyObject *a, PyObject *b)
{
    if (PyUnicode_CheckExact(a) && PyUnicode_CheckExact(b)) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(a);
        if (length != PyUnicode_GET_LENGTH(b) || PyUnicode_KIND(a) != PyUnicode_KIND(b))
            return 0;
        return memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)length * PyUnicode_KIND(a)) == 0;
    }
    if (PyLong_CheckExact(a) && PyLong_CheckExact(b)) {
#if PY_VERSION_HEX >= 0x030C0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)a) && PyUnstable_Long_IsCompact((PyLongObject *)b))
            return PyUnstable_Long_CompactValue((PyLongObject *)a) ==
                   PyUnstable_Long_CompactValue((PyLongObject *)b);
#else
        Py_ssize_t size = Py_SIZE(a);
        if (size != Py_SIZE(b))
            return 0;
        if (size < 0)
            size = -size;
        for (Py_ssize_t i = 0; i < size; i++)
            if (((PyLongObject *)a)->ob_digit[i] != ((PyLongObject *)b)->ob_digit[i])
                return 0;
        return 1;
#endif
    }
    return -1;
}

/* Whether an object's class was written in Python, more or less: the methods of others do not take long. */
static inline int
is_foreign(PyObject *object)
{
    return PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_HEAPTYPE);
}

/* hash(key); for exact str and small exact int without a call. */
static inline Py_hash_t
hash_of(PyObject *key)
{
    if (PyUnicode_CheckExact(key)) {
        Py_hash_t hash = SHARED_SSIZE(((PyASCIIObject *)key)->hash);
        if (hash != -1)
            return hash;
    }
    else if (PyLong_CheckExact(key)) {
#if PY_VERSION_HEX >= 0x030C0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)key)) {
            Py_hash_t value = PyUnstable_Long_CompactValue((PyLongObject *)key);
            return value == -1 ? -2 : value;
        }
#else
        Py_ssize_t size = Py_SIZE(key);
        if (size == 1)
            return (Py_hash_t)((PyLongObject *)key)->ob_digit[0];
        if (size == 0)
            return 0;
        if (size == -1) {
            Py_hash_t value = -(Py_hash_t)((PyLongObject *)key)->ob_digit[0];
            return value == -1 ? -2 : value;
        }
#endif
    }
    Py_hash_t hash;
    BEGIN_OUTSIDE_IF(is_foreign(key))
    hash = PyObject_Hash(key);
    END_OUTSIDE
    return hash;
}

/* What the index says of a slot: its number, and as much of its tag as there is room for. */
static inline uint32_t
cell_of(const Core *s, uint32_t slot)
{
    return s->slots[slot].tag << s->bits | slot;
}

static inline uint32_t
slot_in(const Core *s, uint32_t cell)
{
    return cell & ((UINT32_C(1) << s->bits) - 1);
}

/* The slot of `key`, or NIL, or FAIL. The answer holds until the next call out. */
static inline uint32_t
find_tagged(Core *s, PyObject *key, uint32_t tag)
{
    if (UNLIKELY(s->live == 0))
        return NIL;
    const uint32_t *index = s->index;
    const Slot *slots = s->slots;
    uint32_t mask = s->mask, bits = s->bits, wanted = tag << bits;
    for (uint32_t at = tag >> s->shift;; at = (at + 1) & mask) {
        uint32_t cell = index[at];
        if (cell == NIL)
            return NIL;
        uint32_t i = cell ^ wanted; /* the slot's number, if the bits of the tag agree */
        if (i >> bits)
            continue;
        PREFETCH(&s->uses[i]);
        const Slot *slot = &slots[i];
        if (slot->tag != tag)
            continue;
        if (slot->key == key)
            return i;
        int same = same_plainly(slot->key, key);
        if (same > 0)
            return i;
        if (UNLIKELY(same < 0))
            return find_foreign(s, key, tag);
    }
}

static inline uint32_t
find(Core *s, PyObject *key, Py_hash_t hash)
{
    return find_tagged(s, key, tag_of(hash));
}

/* Whether an entry has not expired, as far as that takes no foreign code; 0 also where that is not known. */
static inline int
is_fresh(Core *s, uint32_t i)
{
    if (LIKELY(s->dues == NULL))
        return 1;
    double when = s->dues[i].when;
    if (UNLIKELY(s->odd != NULL && s->odd[i] != NULL))
        return 0;
    return when != when || is_before(s, when);
}

static inline void
note_fork(Core *s)
{
    if (UNLIKELY(s->forks != SHARED_INT(s->st->forks)))
        inherit(s);
}

/* Make an entry of an LRU store the newest. */
static inline void
order_renew(Core *s, uint32_t i)
{
    if (s->last == i)
        return;
    if (UNLIKELY(s->last != s->tail)) {
        if (is_inherited(s, i)) {
            order_renew_inherited(s, i);
            return;
        }
        order_remove(s, i);
        order_append(s, i);
        return;
    }
    Slot *slots = s->slots;
    uint32_t prev = slots[i].as.order.prev, next = slots[i].as.order.next, tail = s->tail;
    /* Stores wait for memory one after the other, loads together. */
    PREFETCH(&slots[next]);
    if (prev == NIL)
        s->head = next;
    else {
        PREFETCH(&slots[prev]);
        slots[prev].as.order.next = next;
    }
    slots[next].as.order.prev = prev;
    slots[i].as.order.prev = tail;
    slots[i].as.order.next = NIL;
    slots[tail].as.order.next = i;
    s->tail = s->last = i;
}

/* Count a hit on a slot. Calls nothing. */
static inline void
touch(Core *s, uint32_t i)
{
    Use *use = &s->uses[i];
    use->stamp = clock_now(s->st);
    s->hits++;
    if (s->policy == LRU) {
        use->hits += use->hits != UINT32_MAX;
        order_renew(s, i);
    }
    else
        s->slots[i].as.hits += s->gain;
}

#endif
