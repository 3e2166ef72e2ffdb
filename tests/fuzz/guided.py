"""Damaged files led by coverage: those that run new lines of a reader are damaged further.

``python -m tests.fuzz.guided READER FOLDER [OPTION …]``: a name of READERS, a folder for the files
tried and for those found, options of libFuzzer (``-max_total_time=60``, ``-runs=1000``). It ends
with a status other than 0 where a reader ends in anything but its result or an error of this
package, takes longer than ``-timeout`` seconds or more memory than ``-rss_limit_mb``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

# Readers, and what of the libraries below them is Python.
WATCHED = ["selfsam_d2", "json", "csv", "yaml", "defusedxml", "xml", "tifffile", "tiffslide"]

with atheris.instrument_imports(include=WATCHED):
    from tests.fuzz.readers import READERS
    from tests.fuzz.reading import as_bytes, read


def main(name: str, place: str, *options: str) -> None:
    """Try files without end, or as the options say."""
    reader, folder = READERS[name], Path(place)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "whole").write_bytes(as_bytes(reader.content))
    limits = ["-timeout=30", "-rss_limit_mb=8192", "-max_len=20000"]
    found = f"-artifact_prefix={folder}/"
    tried = folder / "tried"
    tried.mkdir(exist_ok=True)
    atheris.Setup(
        [sys.argv[0], str(corpus), found, *limits, *options],
        lambda content: read(reader, content, tried),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
