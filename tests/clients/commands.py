"""Runs python-openstackclient many times in one process, for its modules take a second to load.

Standard input is a JSON list of commands, each a list of words. Standard output is a JSON list with the exit code, the
output and the error output of each.
"""

import contextlib
import io
import json
import logging
import sys

from openstackclient import shell


def run(words):
    out, err = io.StringIO(), io.StringIO()
    # The handlers of the command before hold its error output.
    logging.getLogger().handlers.clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = shell.main(["--os-cloud", "isospin", *words])
        except SystemExit as stop:
            code = stop.code
    return {"code": code or 0, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    json.dump([run(words) for words in json.load(sys.stdin)], sys.stdout)
