"""7 TELL: Result -> HTML, table."""

from ravn.reports.html import render_html
from ravn.reports.table import headline_table

__all__ = ["headline_table", "render_html"]
