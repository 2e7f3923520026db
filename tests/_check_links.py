"""Check the links of a built site, without a network: ``python tests/_check_links.py doc/_build/html``.

Links inside the site must lead to a file that is there, and to an anchor of it. Addresses elsewhere must be well
formed. Whatever a browser loads by itself (scripts, styles, pictures) must be part of the site, so that it can be read
offline.
"""

import sys
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["faults"]

# Attributes that name an address, by tag; of those in the second table the browser loads what is there.
_LINKS = {"a": "href", "area": "href", "form": "action"}
_LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
# Of <link>, only these are loaded; the others are links.
_LOADED_RELATIONS = {"icon", "manifest", "modulepreload", "preload", "stylesheet"}
_WITHOUT_HOST = {"data", "javascript", "mailto"}


class _Page(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.path, self.anchors, self.addresses = path, set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.update(value for name in ("id", "name") if (value := attrs.get(name)))
        name = _LINKS.get(tag) or _LOADED.get(tag)
        if not name or not (address := attrs.get(name)):
            return
        loaded = tag in _LOADED
        if tag == "link":
            loaded = bool(_LOADED_RELATIONS & set((attrs.get("rel") or "").split()))
        self.addresses.append((address.strip(), loaded))


class _Site:
    """The pages of a folder, each read once."""

    def __init__(self, folder):
        self.folder = folder.resolve()
        self._pages = {}

    @cached_property
    def paths(self):
        static = self.folder / "_static"  # what a theme brings, templates among it
        return sorted(path for path in self.folder.rglob("*.html") if not path.is_relative_to(static))

    def page(self, path):
        if path not in self._pages:
            self._pages[path] = _Page(path)
        return self._pages[path]

    def fault(self, page, address, loaded):
        """What is wrong with an address on a page; None where nothing is."""
        try:
            parts = urlsplit(address)
            _ = parts.port  # reading it checks it
        except ValueError as error:
            return f"is no address: {error}"
        if parts.scheme in _WITHOUT_HOST:
            return None
        if parts.scheme or parts.netloc:
            return _fault_elsewhere(parts, loaded)
        target = page.path
        if parts.path:
            start = self.folder if parts.path.startswith("/") else page.path.parent
            target = (start / unquote(parts.path).lstrip("/")).resolve()
        if target.is_dir():
            target /= "index.html"
        if not target.is_relative_to(self.folder) or not target.is_file():
            return "leads to no file of the site"
        anchor = unquote(parts.fragment)
        if anchor and target.suffix == ".html" and anchor not in self.page(target).anchors:
            return f"leads to no anchor of {target.relative_to(self.folder)}"
        return None


def _fault_elsewhere(parts, loaded):
    if loaded:
        return "is loaded from the network"
    if parts.scheme not in {"http", "https"}:
        return "is neither http nor https"
    host = parts.hostname or ""
    if "." not in host.strip(".") or " " in parts.geturl():
        return "is no address of a page"
    return None


def faults(folder):
    """The faults of a site.

    Parameters
    ----------
    folder : str or Path
        Where its pages are.

    Returns
    -------
    list of str
        A line for each address that is wrong, with the page and the fault.
    """
    site = _Site(Path(folder))
    if not site.paths:
        return [f"{folder} has no pages: build them first, by make doc"]
    found = []
    for path in site.paths:
        page = site.page(path)
        for address, loaded in dict.fromkeys(page.addresses):
            if fault := site.fault(page, address, loaded):
                found.append(f"{path.relative_to(site.folder)}: {address} {fault}")
    return found


if __name__ == "__main__":
    wrong = faults(*sys.argv[1:])
    print("\n".join([*wrong, f"{len(wrong)} wrong links"]))
    sys.exit(bool(wrong))
