/* Rules of kinds.py and holders/ that C follows itself: as data that they declare, or where a trial shows how a
 * library's structs lie in memory.
 *
 * A plain rule is a number of bytes, and where references are found: with tp_traverse, in fields (getset or member
 * descriptors of a type in C) or by a method in C. Images of Pillow tell mode and size. Of lxml's elements the nodes
 * are counted in libxml2's tree (include/libxml/tree.h: the head that all nodes share), each trial tree having come
 * out as XPath counts it. Bound: some 20 ns for each field or referent, 3 ns for each node.
 */
#include "sizing.h"

/* What a field of `obj` holds: a new reference, or NULL with an exception. May call out. */
PyObject *
field_of(PyObject *field, PyObject *obj)
{
    return Py_TYPE(field)->tp_descr_get(field, obj, (PyObject *)Py_TYPE(obj));
}

static int
is_field(PyObject *obj)
{
    return (Py_IS_TYPE(obj, &PyGetSetDescr_Type) || Py_IS_TYPE(obj, &PyMemberDescr_Type)) &&
           Py_TYPE(obj)->tp_descr_get != NULL;
}

int
are_fields(PyObject *fields, Py_ssize_t from, Py_ssize_t to)
{
    for (Py_ssize_t i = from; i < to; i++)
        if (!is_field(PyTuple_GET_ITEM(fields, i)))
            return 0;
    return 1;
}

/* Collect what `source` finds in w->kids. May call out. */
static int
collect(Walk *w, PyObject *source, PyObject *obj)
{
    int done = 0;
    if (!PyTuple_Check(source)) {
        PyObject *found = PyObject_CallOneArg(source, obj);
        if (found == NULL)
            return FAILED;
        for (Py_ssize_t i = 0; PyTuple_Check(found) && i < PyTuple_GET_SIZE(found) && done == 0; i++)
            done = items_add(&w->kids, PyTuple_GET_ITEM(found, i), 0);
        Py_DECREF(found);
        return done;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(source) && done == 0; i++) {
        PyObject *value = field_of(PyTuple_GET_ITEM(source, i), obj);
        if (value == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError))
                return FAILED;
            PyErr_Clear(); /* a slot that holds nothing yet */
            continue;
        }
        done = items_add(&w->kids, value, 0);
        Py_DECREF(value);
    }
    return done;
}

/* native: ("plain", bytes, whether the object's own block comes to that, and references: False, True for those that
 * tp_traverse shows, a method that answers a tuple, or a tuple of fields). */
int
plain_fill(Rule *rule)
{
    PyObject *data = rule->data;
    if (PyTuple_GET_SIZE(data) != 4)
        return 0;
    rule->fixed = (double)PyLong_AsSsize_t(PyTuple_GET_ITEM(data, 1));
    if (PyTuple_GET_ITEM(data, 2) == Py_True)
        rule->fixed += rule->block;
    PyObject *source = PyTuple_GET_ITEM(data, 3);
    rule->shown = source == Py_True;
    if (!PyBool_Check(source)) {
        if (PyTuple_Check(source) ? !are_fields(source, 0, PyTuple_GET_SIZE(source)) : !PyCallable_Check(source))
            return 0;
        rule->source = Py_NewRef(source);
    }
    return 1;
}

int
read_plain(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    int view = rule->view, done;
    *own = rule->fixed;
    if (rule->source == NULL)
        return rule->shown ? read_referents(w, obj, PY_SSIZE_T_MAX, view) : 0;
    PyObject *source = Py_NewRef(rule->source);
    done = collect(w, source, obj);
    Py_DECREF(source);
    if (done < 0) {
        items_clear(&w->kids, 0);
        return done;
    }
    return hand_over(w, view, 1);
}

/* native: ("dtypes", field for names, field for fields). */
int
dtype_fill(Rule *rule)
{
    return PyTuple_GET_SIZE(rule->data) == 3 && are_fields(rule->data, 1, 3);
}

/* Read a dtype of numpy's; of a structure it holds the names, and the dict below the proxy that it shows. */
int
read_dtype(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    PyObject *data = Py_NewRef(rule->data), *fields = NULL;
    *own = rule->block;
    PyObject *names = field_of(PyTuple_GET_ITEM(data, 1), obj);
    int done = names == NULL ? FAILED : 0;
    if (done == 0 && names != Py_None) {
        *own += 32;
        done = items_add(&w->kids, names, 0);
        fields = done < 0 ? NULL : field_of(PyTuple_GET_ITEM(data, 2), obj);
        if (fields == NULL)
            done = done < 0 ? done : FAILED;
        else
            done = collect_referents(w, fields);
    }
    Py_XDECREF(names);
    Py_XDECREF(fields);
    Py_DECREF(data);
    if (done < 0) {
        items_clear(&w->kids, 0);
        return done;
    }
    return hand_over(w, 0, 1);
}

/* native: ("images", field for mode, field for size, bytes of the struct, of a palette, of a block of rows). */
int
image_fill(Rule *rule)
{
    return PyTuple_GET_SIZE(rule->data) == 6 && are_fields(rule->data, 1, 3);
}

int
read_image(Walk *w, const Rule *rule, PyObject *obj, double *own)
{
    PyObject *data = Py_NewRef(rule->data);
    PyObject *mode = field_of(PyTuple_GET_ITEM(data, 1), obj);
    PyObject *size = mode == NULL ? NULL : field_of(PyTuple_GET_ITEM(data, 2), obj);
    const char *text = size == NULL ? NULL : PyUnicode_AsUTF8(mode); /* one of Pillow's own, all of them ASCII */
    *own = rule->block;
    (void)w;
    if (text != NULL && PyTuple_Check(size) && PyTuple_GET_SIZE(size) == 2) {
        double width = PyFloat_AsDouble(PyTuple_GET_ITEM(size, 0));
        double height = PyFloat_AsDouble(PyTuple_GET_ITEM(size, 1));
        int one = strcmp(text, "1") == 0 || strcmp(text, "L") == 0 || strcmp(text, "P") == 0;
        int two = strncmp(text, "I;16", 4) == 0 || strncmp(text, "BGR;1", 5) == 0;
        double pixels = width * (one ? 1 : two ? 2 : 4) * height;
        *own += malloc_chunk(number_in(data, 3)) + malloc_chunk(8 * height);
        *own += malloc_chunk(16 * (1 + (double)(long long)(pixels / number_in(data, 5)))) + malloc_chunk(pixels);
        if (strcmp(text, "P") == 0 || strcmp(text, "PA") == 0)
            *own += malloc_chunk(number_in(data, 4));
    }
    Py_XDECREF(mode);
    Py_XDECREF(size);
    Py_DECREF(data);
    return PyErr_Occurred() ? FAILED : 0;
}

typedef struct Node {
    void *proxy; /* lxml puts the address of the element here, if somebody has it */
    int type;
    const char *name;
    struct Node *children, *last, *parent, *next, *prev, *doc;
    void *ns;
    const unsigned char *content;
    struct Node *attributes;
} Node;

typedef struct {
    PyObject_HEAD
    PyObject *document;
    Node *node;
    PyObject *tag;
} Element;

enum { ELEMENT_NODE = 1, TEXT_NODE = 3, CDATA_NODE = 4, INSTRUCTION_NODE = 7, COMMENT_NODE = 8 };
enum { ELEMENTS, ATTRIBUTES, TEXTS, LENGTH };

/* Count the nodes below a document, and the characters in its text. */
static void
count_nodes(const Node *doc, long long counts[4])
{
    const Node *node = doc->children;
    memset(counts, 0, 4 * sizeof *counts);
    while (node != NULL) {
        switch (node->type) {
        case ELEMENT_NODE:
            counts[ELEMENTS]++;
            for (const Node *attribute = node->attributes; attribute != NULL; attribute = attribute->next)
                counts[ATTRIBUTES]++;
            if (node->children != NULL) {
                node = node->children;
                continue;
            }
            break;
        case TEXT_NODE:
        case CDATA_NODE:
            for (const unsigned char *at = node->content; at != NULL && *at; at++)
                counts[LENGTH] += (*at & 0xC0) != 0x80;
            counts[TEXTS]++;
            break;
        case INSTRUCTION_NODE:
        case COMMENT_NODE:
            counts[TEXTS]++;
        }
        while (node != NULL && node->next == NULL)
            node = node->parent == doc ? NULL : node->parent;
        if (node != NULL)
            node = node->next;
    }
}

/* native: ("elements", trials, whether names count, bytes of a document, a node, an attribute, a name, and the length
 * of the longest text that lies in its node). A trial is an element and what XPath counts in its document. */
int
element_fill(Rule *rule, PyTypeObject *type)
{
    PyObject *data = rule->data;
    if (PyTuple_GET_SIZE(data) != 8 || type->tp_basicsize < (Py_ssize_t)sizeof(Element))
        return 0;
    PyObject *trials = PyTuple_GET_ITEM(data, 1);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(trials); i++) {
        PyObject *trial = PyTuple_GET_ITEM(trials, i), *expected = PyTuple_GET_ITEM(trial, 1);
        const Element *element = (const Element *)PyTuple_GET_ITEM(trial, 0);
        long long counts[4];
        if (Py_TYPE(element)->tp_basicsize < (Py_ssize_t)sizeof(Element) || element->document == NULL ||
            element->node == NULL || element->node->proxy != element || element->node->type != ELEMENT_NODE)
            return 0;
        if (element->document != PyTuple_GET_ITEM(trial, 2) || element->node->doc == NULL)
            return 0;
        count_nodes(element->node->doc, counts);
        for (Py_ssize_t n = 0; n < 4; n++)
            if (PyLong_AsLongLong(PyTuple_GET_ITEM(expected, n)) != counts[n])
                return 0;
    }
    return PyTuple_GET_SIZE(trials) > 0;
}

/* The bytes of the document of an element. */
static int
document_bytes(Walk *w, PyObject *obj, double *bytes)
{
    const Rule *rule = rule_of(w, obj);
    if (rule == NULL)
        return -1;
    const Node *node = ((const Element *)obj)->node;
    *bytes = 0;
    if (rule->code != ELEMENT || node == NULL || node->doc == NULL)
        return 0;
    PyObject *data = rule->data;
    long long counts[4];
    count_nodes(node->doc, counts);
    double elements = (double)counts[ELEMENTS], attributes = (double)counts[ATTRIBUTES];
    *bytes = number_in(data, 3) + (elements + (double)counts[TEXTS]) * number_in(data, 4) + attributes * number_in(data, 5);
    if (PyTuple_GET_ITEM(data, 2) == Py_True)
        *bytes += (elements + 2 * attributes) * number_in(data, 6);
    if (counts[TEXTS] && (double)counts[LENGTH] > number_in(data, 7) * (double)counts[TEXTS])
        *bytes += (double)counts[TEXTS] * malloc_chunk((double)(counts[LENGTH] / counts[TEXTS] + 1));
    return 0;
}

int
read_element(Walk *w, const Rule *rule, PyObject *obj, double cap, double *own)
{
    PyObject *document = ((const Element *)obj)->document;
    *own = rule->block;
    if (document == NULL)
        return read_referents(w, obj, PY_SSIZE_T_MAX, 0);
    double holders = (double)Py_REFCNT(document);
    Py_INCREF(document);
    int done = read_referents(w, obj, PY_SSIZE_T_MAX, 0);
    /* If more hold it than this walk could find, some are outside the value: no use in counting nodes. */
    if (done >= 0)
        done = walk_part(w, obj, (uintptr_t)document, (Py_ssize_t)holders, 0, holders < cap ? document_bytes : NULL);
    Py_DECREF(document);
    return done;
}
