"""How this documentation is built: Sphinx, MyST pages, the furo theme, docstrings through autodoc.

    python -m sphinx -W --keep-going -b html docs docs/_build/html

Warnings are errors. The examples on the pages are doctests, which pytest runs. Nothing is fetched while
building, so it works without a network.
"""

from __future__ import annotations

import importlib.metadata
import os

os.environ["EBBCACHE_PURE"] = "1"  # what is written in C has its long docstring in Python

project = "ebbcache"
author = "The ebbcache developers"
project_copyright = author
release = version = importlib.metadata.version("ebbcache")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings put names in single backticks: a link where the name is documented, plain code elsewhere.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"ebbcache {release}"
html_copy_source = False
