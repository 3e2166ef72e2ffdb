#!/usr/bin/env python
"""A page to try a model: drop an image, see its nuclei, click points, take the GeoJSON along.

    python tools/app.py --weights output/monuseg_vitt/model_final.pth

Open the address that is printed and leave the terminal open; Ctrl+C ends the page. Only this
machine can reach it unless --host says otherwise; whoever can reach it can use it. Nothing is sent
to another host. Needs the extra `app`: python -m pip install '.[app]'. KEY VALUE pairs behind an
option override the config.
"""

from __future__ import annotations

import argparse
import logging

from selfsam_d2.engine.arguments import OneLineParser, add_model_options
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.prediction.predictor import NucleiPredictor
from selfsam_d2.prediction.web_page import (
    build_page,
    launch_options,
    load_gradio,
    require_place,
    serve,
)

PORTS = range(1, 65536)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=7860, help="(default: 7860)")
    return parser.parse_intermixed_args()


def main() -> None:
    """Check what can be checked, load the model, serve until Ctrl+C."""
    arguments = parse_arguments()
    if arguments.port not in PORTS:
        raise InputError(f"--port {arguments.port}", "a number from 1 to 65535 is needed")
    logging.captureWarnings(True)
    gradio = load_gradio()
    require_place(arguments.host, arguments.port)
    predictor = NucleiPredictor(
        arguments.weights,
        arguments.config_file,
        device=arguments.device,
        overrides=arguments.overrides,
    )
    page = build_page(predictor)
    place = f"--port {arguments.port}"
    try:
        _, address, _ = page.launch(
            server_name=arguments.host,
            server_port=arguments.port,
            prevent_thread_lock=True,
            **launch_options(gradio),
        )
    except (OSError, ValueError) as error:
        raise InputError(place, f"cannot be listened on ({error}); try another --port") from error
    serve(page, address)


if __name__ == "__main__":
    run_command(main)
