"""Run one command several times in one process, which spares its imports.

python run_commands.py SCRIPT < JSON list of argument lists > JSON list of [exit status, stderr]
"""

import json
import os
import runpy
import sys
import tempfile


def run(script, arguments):
    with tempfile.TemporaryFile("w+") as file:
        kept = os.dup(2)
        sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        sys.argv = [script, *arguments]
        status = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return status, file.read()


def main():
    script = sys.argv[1]
    batches = json.load(sys.stdin)
    answer = os.dup(1)
    # What the command itself says on stdout is of no interest here.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    results = [run(script, arguments) for arguments in batches]
    os.write(answer, json.dumps(results).encode())


if __name__ == "__main__":
    main()
