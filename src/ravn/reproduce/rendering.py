"""Tables as Markdown and as one HTML page that needs no other file."""

from collections.abc import Sequence
from html import escape

from ravn.reproduce.catalogue import DATASETS, NETWORKS
from ravn.reproduce.cells import Record
from ravn.reproduce.paper import PAPER
from ravn.reproduce.schedule import NotRun
from ravn.reproduce.tables import Table

TITLE = "The paper's tables, measured"
INTRODUCTION = (
    "Every figure of ours is computed from a file in `results/`: accuracies of the network loaded back from the"
    " compressed file, on test images that nothing else has seen; sizes are those of files. The paper's rows are as"
    " printed. Written by `ravn reproduce`; nothing here is written by hand."
)
STYLE = """body{margin:0 auto;max-width:72rem;padding:2rem 1.25rem 4rem;color:#1b2530;
font:16px/1.5 system-ui,sans-serif}
table{border-collapse:collapse;font-size:.875rem;margin:.5rem 0 1rem}th,td{padding:.3rem .7rem;text-align:right;
border-bottom:1px solid #d5dbe1;white-space:nowrap}th{color:#5f6b76;font-weight:500}td:nth-child(-n+3),
th:nth-child(-n+3){text-align:left}tr.ours td{color:#1f5a96;font-weight:600}.scroll{overflow-x:auto}
.note{color:#5f6b76;font-size:.875rem}section{margin-top:2.5rem}"""


def markdown(tables: Sequence[Table], skipped: Sequence[NotRun] = (), figures: Sequence[tuple[str, str]] = ()) -> str:
    """The page as Markdown: our rows bold, the paper's plain.

    Args:
        tables: in the order of the page.
        skipped: cells that were asked for and not run.
        figures: captions and names of files beside the page.
    """
    parts = [f"# {TITLE}", INTRODUCTION]
    for table in tables:
        parts += [f"## Table {table.number}: {table.title}", _grid(table.columns, _cells(table, bold=True))]
        parts += table.sentences
        if table.not_run:
            parts.append(f"Not run: {', '.join(table.not_run)}.")
    parts += [f"![{caption}]({file})\n\n{caption}" for caption, file in figures]
    parts += [f"## {SKIPPED}", _bullets(skipped)] if skipped else []
    parts += [f"## {MADE}", _grid(PROVENANCE, rows)] if (rows := provenance_rows(tables)) else []
    parts += [f"## {CLAIMS}", _grid(CLAIM_COLUMNS, claim_rows())]
    return "\n\n".join(parts) + "\n"


def html(tables: Sequence[Table], skipped: Sequence[NotRun] = (), figures: Sequence[tuple[str, str]] = ()) -> str:
    """The same page as HTML.

    Args:
        tables: in the order of the page.
        skipped: cells that were asked for and not run.
        figures: captions and SVG.
    """
    parts = [f"<h1>{escape(TITLE)}</h1><p>{escape(INTRODUCTION).replace('`', '')}</p>"]
    for table in tables:
        parts.append(f"<section><h2>Table {table.number}: {escape(table.title)}</h2>")
        parts.append(_element(table.columns, [(row.cells, row.ours) for row in table.rows]))
        parts += [f"<p>{escape(sentence)}</p>" for sentence in table.sentences]
        if table.not_run:
            parts.append(f"<p class=note>Not run: {escape(', '.join(table.not_run))}.</p>")
        parts.append("</section>")
    for caption, svg in figures:
        parts.append(f"<section><figure>{svg}<figcaption>{escape(caption)}</figcaption></figure></section>")
    if skipped:
        parts.append(f"<section><h2>{SKIPPED}</h2><ul>")
        parts += [f"<li>{escape(_skipped(i))}</li>" for i in skipped]
        parts.append("</ul></section>")
    parts.append(f"<section><h2>{MADE}</h2>")
    parts.append(_element(PROVENANCE, [(row, False) for row in provenance_rows(tables)]) + "</section>")
    parts.append(f"<section><h2>{escape(CLAIMS)}</h2>")
    parts.append(_element(CLAIM_COLUMNS, [(row, False) for row in claim_rows()]) + "</section>")
    head = f"<meta charset=utf-8><title>{escape(TITLE)}</title><style>{STYLE}</style>"
    body = "\n".join(parts)
    return f"<!DOCTYPE html>\n<html lang=en><head>{head}</head>\n<body>\n{body}\n</body></html>\n"


SKIPPED = "Asked for and not run"
CLAIMS = "What the paper's text says of its own tables"
CLAIM_COLUMNS = ("section", "of", "text says", "its table says", "agree")
MADE = "How our rows were made"
PROVENANCE = ("result", "command", "seed", "commit", "date", "hardware")


def claim_rows() -> list[tuple[str, ...]]:
    """Every figure of the text beside the same figure computed from the table."""
    return [(c.where, c.text, f"{c.said:g}", f"{c.computed:.2f}", "yes" if c.agrees else "no") for c in PAPER.claims]


def provenance_rows(tables: Sequence[Table]) -> list[tuple[str, ...]]:
    """Where every record behind some tables comes from, once each."""
    records = {record.cell.key: record for table in tables for record in table.records}
    return [_provenance_row(record) for record in records.values()]


def _provenance_row(record: Record) -> tuple[str, ...]:
    cell, known = record.cell, record.provenance
    made = (known.get(name, "") for name in ("commit", "date", "hardware"))
    return (f"{cell.key}.json", known.get("command", ""), str(cell.seed), *made)


def _cells(table: Table, *, bold: bool) -> list[tuple[str, ...]]:
    return [tuple(f"**{c}**" if bold and row.ours else c for c in row.cells) for row in table.rows]


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _element(columns: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = ""
    for cells, ours in rows:
        body += f"<tr{' class=ours' * ours}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n"
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"


def _bullets(skipped: Sequence[NotRun]) -> str:
    return "\n".join(f"- {_skipped(item)}" for item in skipped)


def _skipped(item: NotRun) -> str:
    cell = item.cell
    return f"{NETWORKS[cell.network].title} on {DATASETS[cell.dataset]}, {cell.method}, seed {cell.seed}: {item.reason}"
