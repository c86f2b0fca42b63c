"""A page of the report, taken apart."""

from __future__ import annotations

import re
from html.parser import HTMLParser


def plain(text: str) -> str:
    """Text with ordinary spaces for those that no line breaks at."""
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{NO-BREAK SPACE}", " ")


class Page(HTMLParser):
    """What a page holds: tags with attributes, tables as text, and the text itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.values: dict[str, list[list[float]]] = {}
        self._table = ""
        self.words: list[str] = []
        self.feed(html)
        self.text = re.sub(
            r"\s+", " ", "".join(self.words).replace("\N{NARROW NO-BREAK SPACE}", " ")
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.tags.append((tag, about))
        if tag == "table":
            self._table = str(about.get("class"))
            self.tables.setdefault(self._table, [])
            self.values.setdefault(self._table, [])
        elif tag == "tr":
            self.tables[self._table].append([])
            self.values[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")
        elif tag == "data" and self._table:
            self.values[self._table][-1].append(float(str(about["value"])))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.tables[self._table] = [
                [cell.strip() for cell in row] for row in self.tables[self._table]
            ]
            self._table = ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._table and self.tables[self._table] and self.tables[self._table][-1]:
            self.tables[self._table][-1][-1] += plain(data)
