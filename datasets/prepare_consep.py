"""Put one split of CoNSeP where consep_train and consep_test are looked up.

From the published form, PNG images and MATLAB labels (``inst_map``), paired by name:

    python datasets/prepare_consep.py --split train --images CoNSeP/Train/Images \\
        --labels CoNSeP/Train/Labels

Some of the images have a fourth channel, which is dropped when they are read. The types of the
nuclei (``type_map``) are not used.

Writes below --output: consep/annotations/consep_SPLIT.json and consep/SPLIT/images (links to the
images, copies where links are not possible).
"""

from __future__ import annotations

from functools import partial

from selfsam_d2.engine.prepare_dataset import prepare_from_label_folder
from selfsam_d2.errors import run_command

if __name__ == "__main__":
    run_command(partial(prepare_from_label_folder, "consep", __doc__))
