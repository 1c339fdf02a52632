"""lxml's trees: every element holds its document, and the nodes are libxml2's (include/libxml/tree.h).

XPath counts them in C without making an element of any. Nodes are 120 bytes, attributes 96 with a text node
below; text up to 15 bytes lies in its node. All that together is a part that is held by as many as hold the
document. Bound: O(nodes) in C, which is some percent of parsing them.
"""

from __future__ import annotations

import gc
import sys
from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, Part, class_of, fixed

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
module_of: Final = type.__dict__["__module__"].__get__
_HELD: Final = 2  # the name here and getrefcount's argument


def _elements(cls: type) -> Expand:
    count = sys.modules["lxml.etree"].XPath(_COUNT)

    def read(obj: Any, cap: float) -> Expanded:
        kids = gc.get_referents(obj)
        own = fixed(class_of(obj))
        document = next((kid for kid in kids if class_of(kid).__name__ == "_Document"), None)
        if document is None:
            return own, kids, 1
        holders = sys.getrefcount(document) - _HELD - 1  # the list of kids is one as well

        def nbytes() -> int:
            elements, attributes, texts, length = map(int, count(obj).split())
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


def _expressions(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls) + _EXPRESSION, gc.get_referents(obj), 1

    return read


elements = Rule(_elements)
expressions = Rule(_expressions)
