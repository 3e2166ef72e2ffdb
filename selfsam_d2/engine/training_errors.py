"""Errors that end a training: one line for those of ours and for a disk that is full."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfsam_d2.errors import OutputError, SelfSAMError

__all__ = ["in_one_line"]

# Detectron2 logs whatever ends a training there, with its traceback.
TRAIN_LOOP = "detectron2.engine.train_loop"
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


@contextmanager
def in_one_line(folder: str | Path) -> Iterator[None]:
    """Leave errors of this package to the command, and name a folder that cannot be written.

    Args:
        folder: OUTPUT_DIR of the training: logs, metrics and checkpoints.

    Raises:
        OutputError: the log or the metrics cannot be written.
    """
    logger = logging.getLogger(TRAIN_LOOP)
    logger.addFilter(_is_no_error_of_ours)
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise OutputError(
            folder, f"cannot be written ({error.strerror}); mend it and go on with --resume"
        ) from error
    finally:
        logger.removeFilter(_is_no_error_of_ours)


def _is_no_error_of_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], SelfSAMError))
