"""How Sphinx builds the guide: ``sphinx-build -W -b html bob_recon_plugin/guide build/guide``."""

from importlib.metadata import version as installed

project = "bob_recon_plugin"
copyright = "its authors, BSD 3-Clause"
version = release = installed(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["__pycache__"]

# headings as targets of links, as on the site of a repository
myst_heading_anchors = 3
# docstrings are numpydoc
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# of scikit-learn, whose docstring refers to its own guide
autodoc_default_options = {"exclude-members": "set_transform_request, set_fit_request"}

html_theme = "furo"
html_title = f"{project} {release}"
