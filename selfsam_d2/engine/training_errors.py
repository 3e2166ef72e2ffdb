"""Errors that end a training: one line for those of ours and for a disk that is full."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfsam_d2.engine.process_group import is_lost_process
from selfsam_d2.errors import OutputError, SelfSAMError

__all__ = ["in_one_line"]

# Detectron2 logs whatever ends a training there, with its traceback.
TRAIN_LOOP = "detectron2.engine.train_loop"
UNWRITABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,  # of a disk, or of a network file system whose server has gone, as the next
    errno.ESTALE,
)


@contextmanager
def in_one_line(folder: str | Path) -> Iterator[None]:
    """Leave errors of this package to the command, and name a folder that cannot be written.

    That another process has ended is for :mod:`selfsam_d2.engine.processes` to say.

    Args:
        folder: OUTPUT_DIR of the training: logs, metrics and checkpoints.

    Raises:
        OutputError: the log or the metrics cannot be written.
    """
    logger = logging.getLogger(TRAIN_LOOP)
    logger.addFilter(_has_no_line_of_its_own)
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise OutputError(
            folder, f"cannot be written ({error.strerror}); mend it and go on with --resume"
        ) from error
    finally:
        logger.removeFilter(_has_no_line_of_its_own)


def _has_no_line_of_its_own(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, SelfSAMError) or is_lost_process(error))
