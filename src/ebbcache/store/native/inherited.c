/* Which entries were there at a fork: they lie in pages of other processes as well, so that giving them up frees
 * nothing, and are given up last.
 *
 * The slots of the density policy are filled in rising order and keep it when the living move together: what lies
 * below a boundary is inherited. An LRU store fills vacant slots again, and has a bit for each slot below it. The
 * LFU policy does not tell them apart. Bounds: O(slots) once a fork and store, at its first change or eviction; a
 * bit an LRU entry; one comparison where an entry leaves, none at a hit of a process that did not fork.
 */
#include "store.h"

/* Take note of a fork: what is there by now is inherited; or, where nothing is shared any more, nothing is. */
void
inherit(Core *s)
{
    s->forks = SHARED_INT(s->st->forks);
    PyMem_Free(s->heirlooms);
    s->heirlooms = NULL;
    s->boundary = s->inherited = 0;
    s->last = s->tail;
    if (!SHARED_INT(s->st->apart) || s->policy == LFU)
        return;
    if (s->policy == LRU) {
        s->heirlooms = PyMem_Calloc(s->used / 8 + 1, 1);
        if (s->heirlooms == NULL)
            return; /* without the memory, all count as this process's own */
        for (uint32_t i = 0; i < s->used; i++)
            if (s->slots[i].key != NULL)
                s->heirlooms[i / 8] |= (uint8_t)(1 << i % 8);
        s->last = NIL;
    }
    s->boundary = s->used;
    s->inherited = s->live;
}

/* The entry in a slot leaves; or, in an LRU store, another has come in its place. */
void
disinherit(Core *s, uint32_t i)
{
    if (!is_inherited(s, i))
        return;
    if (s->heirlooms != NULL)
        s->heirlooms[i / 8] &= (uint8_t)~(1 << i % 8);
    s->inherited--;
}

/* Make an inherited entry of an LRU store the newest of those. */
void
order_renew_inherited(Core *s, uint32_t i)
{
    Slot *slots = s->slots;
    if (s->tail == i)
        return;
    order_remove(s, i);
    slots[i].as.order.prev = s->tail;
    slots[i].as.order.next = NIL;
    if (s->tail == NIL)
        s->head = i;
    else
        slots[s->tail].as.order.next = i;
    s->tail = i;
}
