/* Memory for what is read at random places: huge pages, where the table is large and the system has them.
 *
 * An index of a million entries is 8 MiB: 2,048 pages of 4 KiB, more than a processor remembers the addresses of, so
 * that nearly every lookup had to ask for the address of a page before it could ask for the page (in a guest, twice
 * over). The same in four pages of 2 MiB stays known. An index is written all over when it is made, and its size
 * is a power of two, so this takes no more memory. It comes straight from the system, and goes straight back.
 * madvise(2), Linux's Documentation/admin-guide/mm/transhuge.rst; elsewhere, and below 2 MiB, it is plain memory.
 */
#include "store.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#define HUGE_PAGE ((size_t)2 << 20)

/* Memory, or NULL; the same `size` is told to `pages_free`. */
void *
pages_new(size_t size)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (size >= HUGE_PAGE) {
        char *got = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (got == MAP_FAILED)
            return NULL;
        size_t before = -(uintptr_t)got & (HUGE_PAGE - 1);
        if (before)
            munmap(got, before);
        munmap(got + before + size, HUGE_PAGE - before);
        madvise(got + before, size, MADV_HUGEPAGE); /* where that is not to be had, small pages do */
        return got + before;
    }
#endif
    return PyMem_Malloc(size);
}

void
pages_free(void *pages, size_t size)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (size >= HUGE_PAGE) {
        munmap(pages, size);
        return;
    }
#endif
    PyMem_Free(pages);
}
