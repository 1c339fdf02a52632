/* The index: which slot a key is in.
 *
 * Idea: an open-addressing index of uint32 slot numbers, found by linear probing from the top bits of a mixed hash
 * (Fibonacci hashing, Knuth, TAOCP 3, 6.4), and a removal shifts the ones behind it back (ibid., algorithm R), so
 * there are no tombstones. The bits of a cell that the slot number leaves free hold a part of the tag, so that a miss
 * hardly ever leaves the index. Half of the bytes of a dict of objects, and a hit touches one line of the index and
 * one of the slab before it reaches the key.
 * Bound: at most two thirds full, a hit looks at 2 cells on the mean, a miss at 5; half of that full, 1.25 and 1.6.
 */
#include "store.h"

/* Compare with keys whose `==` is foreign code, which may change the store. As long as it does not, this is a
 * plain probe. Once it did, start over, and remember which keys were found different, so that a `==` that
 * changes the store each time is asked once for each key and not for ever. */
uint32_t
find_foreign(Core *s, PyObject *key, uint32_t tag)
{
    PyObject **seen = NULL;
    size_t count = 0, room = 0;
    int disturbed = 0;
    uint32_t answer;

again:
    if (s->live == 0) {
        answer = NIL;
        goto done;
    }
    for (uint32_t at = tag >> s->shift;; at = (at + 1) & s->mask) {
        uint32_t cell = s->index[at], i = cell ^ (tag << s->bits);
        if (cell == NIL) {
            answer = NIL;
            goto done;
        }
        if (i >> s->bits || s->slots[i].tag != tag)
            continue;
        PyObject *stored = s->slots[i].key;
        int same = stored == key ? 1 : same_plainly(stored, key);
        if (same > 0) {
            answer = i;
            goto done;
        }
        if (same == 0)
            continue;
        if (disturbed) {
            size_t n = 0;
            while (n < count && seen[n] != stored)
                n++;
            if (n < count)
                continue;
        }
        uint64_t version = s->version;
        Py_INCREF(stored);
        BEGIN_OUTSIDE_IF(is_foreign(stored) || is_foreign(key))
        same = PyObject_RichCompareBool(stored, key, Py_EQ);
        END_OUTSIDE
        if (LIKELY(version == s->version && same >= 0)) {
            Py_DECREF(stored); /* the slot has another reference */
            if (CAME_IN(version != s->version))
                goto again;
            if (same) {
                answer = i;
                goto done;
            }
            continue;
        }
        if (same < 0) {
            Py_DECREF(stored);
            answer = FAIL;
            goto done;
        }
        disturbed = 1;
        if (same) {
            int there = is_linked(s, i, stored, NULL);
            version = s->version;
            Py_DECREF(stored);
            if (there && version == s->version) {
                answer = i;
                goto done;
            }
            goto again;
        }
        if (count == room) {
            size_t more = room ? 2 * room : 8;
            PyObject **grown = PyMem_Realloc(seen, more * sizeof *seen);
            if (grown == NULL) {
                Py_DECREF(stored);
                PyErr_NoMemory();
                answer = FAIL;
                goto done;
            }
            seen = grown;
            room = more;
        }
        seen[count++] = stored;
        goto again;
    }

done:
    if (count) {
        /* The last reference to a key may go here, and its destructor change the store once more. */
        uint64_t version = s->version;
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        while (count)
            Py_DECREF(seen[--count]);
        PyErr_Restore(type, value, traceback);
        if (answer != FAIL && version != s->version)
            goto again;
    }
    PyMem_Free(seen);
    return answer;
}

/* Write the index of the slab anew, into memory for so many places. */
void
index_fill(Core *s, uint32_t places)
{
    s->mask = places - 1;
    s->shift = 32;
    for (uint32_t n = places; n > 1; n >>= 1)
        s->shift--;
    s->bits = 32 - s->shift;
    while (s->room >> s->bits)
        s->bits++;
    memset(s->index, 0xFF, (size_t)places * sizeof *s->index);
    for (uint32_t i = 0; i < s->used; i++)
        if (s->slots[i].key != NULL)
            enter_index(s, i);
}

int
index_make(Core *s, uint32_t places)
{
    size_t mapped = 0, size = (size_t)places * sizeof(uint32_t);
    uint32_t *fresh = pages_resize(NULL, size, size, &mapped);
    if (fresh == NULL)
        return -1;
    pages_free(s->index, s->index_mapped);
    s->index = fresh;
    s->index_mapped = mapped;
    index_fill(s, places);
    return 0;
}

void
enter_index(Core *s, uint32_t slot)
{
    uint32_t at = s->slots[slot].tag >> s->shift;
    while (s->index[at] != NIL)
        at = (at + 1) & s->mask;
    s->index[at] = cell_of(s, slot);
}

void
leave_index(Core *s, uint32_t slot)
{
    uint32_t *index = s->index, mask = s->mask, cell = cell_of(s, slot);
    uint32_t hole = s->slots[slot].tag >> s->shift;
    while (index[hole] != cell)
        hole = (hole + 1) & mask;
    for (uint32_t at = (hole + 1) & mask; index[at] != NIL; at = (at + 1) & mask) {
        /* Whoever stands here may move back into the hole unless its home lies behind the hole. */
        uint32_t home = s->slots[slot_in(s, index[at])].tag >> s->shift;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            index[hole] = index[at];
            hole = at;
        }
    }
    index[hole] = NIL;
}
