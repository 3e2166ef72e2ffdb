"""A table with a row per nucleus as a file, from one piece or from many."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

__all__ = ["write_csv", "write_parquet"]

ROWS = 50_000  # of a group of rows in a Parquet file

Table = Mapping[str, NDArray[Any]]


def write_csv(path: Path, columns: Sequence[str], tables: Iterable[Table]) -> None:
    """Write a header and the rows of tables, one behind the other.

    Args:
        path: of the file, whatever its name.
        columns: their names.
        tables: name of a column -> (N,) values, in the order of ``columns``.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for table in tables:
            writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))


def write_parquet(path: Path, columns: Sequence[str], tables: Iterable[Table]) -> None:
    """The same as Parquet: ``id`` an int64, the others float64. Needs pyarrow.

    Args:
        path: as for :func:`write_csv`.
        columns: the same.
        tables: the same; some 50,000 rows are in memory at once.
    """
    import pyarrow
    from pyarrow import parquet

    kinds = {"id": pyarrow.int64()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in columns])
    waiting: list[Any] = []
    with parquet.ParquetWriter(path, schema) as writer:
        for table in tables:
            waiting.append(pyarrow.table(dict(table), schema=schema))
            if sum(map(len, waiting)) >= ROWS:
                writer.write_table(pyarrow.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pyarrow.concat_tables(waiting))
