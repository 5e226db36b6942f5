# SPDX-License-Identifier: Apache-2.0

"""What Sphinx is told; it reads the pages that pages.py has laid out."""

from __future__ import annotations

import sys
from importlib.metadata import version as _version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "sordino"
release = _version("sordino")
extensions = ["myst_nb", "sphinx.ext.autodoc", "maths", "references"]

# Prose means the characters that it has, and a name in it is looked for by references.py.
smartquotes = False
highlight_language = "none"
toc_object_entries_show_parents = "hide"

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # scripts of another host
nb_merge_streams = True

autodoc_default_options = {"member-order": "bysource", "show-inheritance": True, "no-value": True}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
# What is described does not need the extras: these may be absent, and are not asked for if they are here.
autodoc_mock_imports = ["SimpleITK", "flwr", "httpx", "nvflare", "radiomics", "tenseal", "torch"]

html_theme = "furo"
html_title = f"sordino {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_show_search_summary = False  # would fetch pages, which a browser refuses for files
html_domain_indices = False
