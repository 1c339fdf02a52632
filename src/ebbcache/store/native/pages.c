/* Memory for what is read at random places: huge pages, where a table is large and the system has them.
 *
 * A million entries lie in 50 MB: 13,000 pages of 4 KiB, far more than a processor remembers the addresses of, so that
 * nearly every lookup asked for the address of a page before it asked for the page (in a guest, twice over). The same
 * in pages of 2 MiB stays known. An index is all written when it is made, so it is given huge pages from the start. An
 * array that grows begins with small ones, so that nothing is taken before it is used; what is full of it is
 * gathered into huge ones whenever it needs more addresses. These arrays also begin on a cache line, which
 * malloc's do not, and come straight from the system and go straight back. madvise(2), mremap(2), Linux's
 * Documentation/admin-guide/mm/transhuge.rst; elsewhere, and below 128 KiB, it is plain memory.
 * Bound: growing moves pages' addresses, no bytes; gathering copies each byte once.
 */
#include "store.h"

#if defined(__linux__)
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#if defined(__linux__) && defined(MADV_HUGEPAGE) && defined(MREMAP_FIXED)
#define HUGE_PAGE ((size_t)2 << 20)
#define LARGE ((size_t)128 << 10) /* from here on, so that little is copied and left behind on the way to huge pages */
#define ANY_PAGE ((size_t)64 << 10) /* a multiple of whatever pages the system has */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; older ones refuse it, and gather in the background if at all */
#endif

/* Whether the administrator allows huge pages: MADV_COLLAPSE, unlike MADV_HUGEPAGE, does not ask. */
static int
are_allowed(void)
{
    char said[64] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t size = read(fd, said, sizeof(said) - 1);
        said[size > 0 ? size : 0] = 0;
        close(fd);
    }
    return strstr(said, "[never]") == NULL;
}

static size_t
whole(size_t size)
{
    return (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}

/* Addresses for `size` bytes, at the start of a huge page; NULL: there are none. */
static char *
address_for(size_t size)
{
    char *got = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)got & (HUGE_PAGE - 1);
    if (before)
        munmap(got, before);
    munmap(got + before + size, HUGE_PAGE - before);
    return got + before;
}

/* Give an array another size; NULL if there is no memory for it, and all is as it was. `had` bytes of it are filled, or
 * in a new one (NULL) about to be. `mapped` is kept for it: the bytes that it has from the system itself. */
void *
pages_resize(void *pages, size_t had, size_t size, size_t *mapped)
{
    size_t wanted = whole(size);
    if (*mapped == 0) {
        char *fresh = size < LARGE ? NULL : address_for(wanted);
        if (fresh == NULL)
            return PyMem_Realloc(pages, size);
        if (had == wanted)
            madvise(fresh, wanted, MADV_HUGEPAGE); /* from the start, as all of it is filled */
        if (pages != NULL)
            memcpy(fresh, pages, had < size ? had : size);
        PyMem_Free(pages);
        *mapped = wanted;
        return fresh;
    }
    if (size < LARGE / 2) {
        void *small = PyMem_Malloc(size);
        if (small != NULL) {
            memcpy(small, pages, size);
            munmap(pages, *mapped);
            *mapped = 0;
            return small;
        }
    }
    if (size < had) {
        size_t kept = (size + ANY_PAGE - 1) & ~(ANY_PAGE - 1);
        madvise((char *)pages + kept, *mapped - kept, MADV_DONTNEED); /* it keeps the addresses */
    }
    if (wanted < *mapped)
        munmap((char *)pages + wanted, *mapped - wanted);
    else if (wanted > *mapped) {
        if (had >= HUGE_PAGE && are_allowed()) /* MADV_HUGEPAGE would make two mappings of it, which cannot be moved as one */
            madvise(pages, had & ~(HUGE_PAGE - 1), MADV_COLLAPSE);
        /* Where this fails, the addresses may be somebody else's already: they are left alone. */
        char *place = address_for(wanted);
        if (place == NULL || mremap(pages, *mapped, wanted, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED)
            return NULL;
        pages = place;
    }
    *mapped = wanted;
    return pages;
}

void
pages_free(void *pages, size_t mapped)
{
    if (mapped)
        munmap(pages, mapped);
    else
        PyMem_Free(pages);
}

#else

void *
pages_resize(void *pages, size_t Py_UNUSED(had), size_t size, size_t *Py_UNUSED(mapped))
{
    return PyMem_Realloc(pages, size);
}

void
pages_free(void *pages, size_t Py_UNUSED(mapped))
{
    PyMem_Free(pages);
}

#endif
