"""lxml's trees: every element holds its document, and the nodes are libxml2's (include/libxml/tree.h).

XPath counts them in C without making an element of any; the walk in C counts them itself. Nodes are 120
bytes, attributes 96 with a text node below; text up to 15 bytes lies in its node. All that together is a
part that is held by as many as hold the document. Bound: O(nodes) in C, which is some percent of parsing
them.
"""

from __future__ import annotations

import functools
import gc
import sys
from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule, plain
from ebbcache.sizing.layout import IN_NAME, Expand, Expanded, Part, class_of, fixed, members

_NODE: Final = malloc_chunk(120)
_ATTRIBUTE: Final = malloc_chunk(96) + _NODE
_DOCUMENT: Final = 400
_INLINE: Final = 15
_NAME: Final = malloc_chunk(8)
_EXPRESSION: Final = 1930  # an expression of a step or two, and the context that it is evaluated in
_COUNT: Final = (
    "concat(count(//*), ' ', count(//@*), ' ', count(//text() | //comment() | //processing-instruction()),"
    " ' ', string-length(/))"
)
_TRIALS: Final = (
    "<a/>",
    "<!DOCTYPE a [<!ELEMENT a ANY><!ATTLIST b c CDATA 'd'>]><?e f?><!-- g --><a h='i' xml:lang='en'>j"
    "<b>\u0436\u4e2d<k xmlns='urn:l' xmlns:m='urn:m' m:n='o'><![CDATA[p<q]]></k><!-- r --></b>"
    "text that is longer<?s?></a><!---->",
)
"""Documents in which C must count what XPath counts, or else XPath is asked."""
module_of: Final = type.__dict__["__module__"].__get__


def _elements(cls: type) -> Expand:
    count: Any = sys.modules["lxml.etree"].XPath(_COUNT)
    tree_of: Any = members(cls)["getroottree"]

    def counts(obj: Any) -> str:
        try:
            return str(count(obj))
        except ValueError:  # XPath begins at no comment
            try:
                return str(count(tree_of(obj)))
            except ValueError:  # nor where there is no element
                return "0 0 1 0"

    def read(obj: Any, cap: float) -> Expanded:
        kids = gc.get_referents(obj)
        own = fixed(class_of(obj))
        document = next((kid for kid in kids if class_of(kid).__name__ == "_Document"), None)
        if document is None:
            return own, kids, 1
        holders = sys.getrefcount(document) - IN_NAME - 1  # the list of kids is one as well

        def nbytes() -> int:
            elements, attributes, texts, length = map(int, counts(obj).split())
            size = _DOCUMENT + elements * _NODE + attributes * _ATTRIBUTE + texts * _NODE
            if module_of(class_of(obj)) == "lxml.html":
                # Its parser gives each element and attribute a name of its own.
                size += (elements + 2 * attributes) * _NAME
            if texts and length > _INLINE * texts:
                size += texts * malloc_chunk(length // texts + 1)
            return size

        # If more hold it than this walk could find, some are outside the value: no use in counting nodes.
        return own, [*kids, Part(id(document), nbytes if holders < cap else 0, holders)], 1

    return read


@functools.cache
def _trials() -> tuple[Any, ...]:
    """Return elements, what XPath counts in their documents, and these."""
    etree: Any = sys.modules["lxml.etree"]
    count = etree.XPath(_COUNT)
    trials: list[Any] = []
    for text in _TRIALS:
        root = etree.fromstring(text)
        document = next(kid for kid in gc.get_referents(root) if class_of(kid).__name__ == "_Document")
        trials += [
            (each, tuple(map(int, count(each).split())), document)
            for each in (root, *root.iterchildren("*"))
        ]
    return (*trials,)


def _elements_in_c(base: type, cls: type) -> tuple[Any, ...]:
    names = module_of(cls) == "lxml.html"
    return "elements", _trials(), names, _DOCUMENT, _NODE, _ATTRIBUTE, _NAME, _INLINE


def _expressions(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls) + _EXPRESSION, gc.get_referents(obj), 1

    return read


elements = Rule(_elements, native=_elements_in_c)
expressions = Rule(_expressions, native=plain(found=True, more=_EXPRESSION))
