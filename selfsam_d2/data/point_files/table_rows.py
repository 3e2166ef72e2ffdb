"""Text tables: find the delimiter, split into rows, read a cell as a number."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from selfsam_d2.data.segmentations import is_coordinate
from selfsam_d2.errors import InputError, shortened

__all__ = ["TextTable", "parse_table"]

# In this order on a tie; where another one than the comma is used, it can be a decimal comma.
DELIMITERS = (";", "\t", ",")


@dataclass(frozen=True)
class TextTable:
    """Rows of a text table.

    Attributes:
        path: the file, for messages.
        header: names of the columns; None where the first row holds numbers.
        rows: (number of the line, cells), without empty lines.
        decimal_comma: whether a comma in a number is its decimal point.
    """

    path: Path
    header: list[str] | None
    rows: list[tuple[int, list[str]]]
    decimal_comma: bool

    def number(self, line: int, cells: list[str], column: int) -> float:
        """The number in a cell.

        Raises:
            InputError: the row is too short, or the cell holds no finite number.
        """
        text = self.text(cells, column)
        value = self.as_number(text)
        if not is_coordinate(value):
            raise InputError(
                self.path,
                f"line {line} has {shortened(repr(text))} where a number is needed; mend or remove "
                "it",
            )
        return value

    def as_number(self, text: str) -> float:
        """NaN where a text is no number."""
        try:
            return float(text.replace(",", ".") if self.decimal_comma else text)
        except ValueError:
            return float("nan")

    @staticmethod
    def text(cells: list[str], column: int) -> str:
        """A cell without white space around it; empty where the row is too short."""
        return cells[column].strip() if column < len(cells) else ""


def parse_table(path: Path, text: str) -> TextTable:
    """Split the text of a CSV file with comma, semicolon or tab.

    Args:
        path: for messages.
        text: of the file.

    Raises:
        InputError: no line, or quotes that do not close.
    """
    # Unlike str.splitlines, it ends no line at the other separators of Unicode in a cell.
    lines = list(io.StringIO(text, newline=""))
    first_line = next((line for line in lines if line.strip()), "")
    delimiter = max(DELIMITERS, key=first_line.count)
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise InputError(path, f"is not a table that can be read ({error})") from error
    if not rows:
        raise InputError(path, "is empty; export the points again")
    table = TextTable(path, None, rows, decimal_comma=delimiter != ",")
    first = rows[0][1]
    if any(is_coordinate(table.as_number(cell)) for cell in first[:2]):
        return table
    return TextTable(path, [cell.strip() for cell in first], rows[1:], delimiter != ",")
